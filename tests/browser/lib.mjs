// What all plays need: a browser, the servers, and ways to look and to wait.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.TOOLS}/`);
const { chromium } = require('playwright-core');

/** Where each baton answers. */
export const BATONS = JSON.parse(process.env.BATONS ?? '[]');
export const BASE = BATONS[0];
/** `host:port` of each server. */
export const SERVERS = JSON.parse(process.env.SERVERS ?? '[]');
const PATIENCE = 30_000;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has something done to the servers, or to baton. */
export async function ask(wish) {
  console.log(JSON.stringify(wish));
  return JSON.parse((await lines.next()).value);
}

export function check(isTrue, text) {
  if (!isTrue) throw new Error(text);
}

export function same(found, expected, text) {
  check(JSON.stringify(found) === JSON.stringify(expected), `${text}: found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}

/** Looks until something is found. */
export async function until(text, probe, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await probe();
    if (found) return found;
    check(Date.now() < end, `not within ${patience} ms: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A browser, and everything that goes wrong in its pages. */
export async function browse(more = []) {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', ...more];
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args });
  const wrong = [];
  /** A page in a context of its own. */
  const visit = async (options = {}) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    page.on('pageerror', (error) => wrong.push(`${page.url()}: ${error}`));
    page.on('console', (message) => {
      const text = message.text();
      // Routes tell refusals by their status, which the browser also prints.
      if (message.type() === 'error' && !/^Failed to load resource/.test(text)) wrong.push(`${page.url()}: ${text}`);
    });
    await page.addInitScript(() => {
      window.violations = [];
      document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    });
    return page;
  };
  return { browser, visit, wrong };
}

/** Nothing tried to do what the page must not. */
export async function isClean(page) {
  same(await page.evaluate(() => window.violations), [], `the policy of ${page.url()}`);
}

const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** Nobody is shut out of the page. */
export async function isAccessible(page, what) {
  // The examiner writes markup into elements of its own, which the page's policy forbids to all.
  const script = `(() => { const module = undefined, exports = undefined, define = undefined; ${AXE}; })()`;
  await page.evaluate(script);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { resultTypes: ['violations'] });
    return result.violations
      .filter((it) => ['serious', 'critical'].includes(it.impact))
      .map((it) => `${it.id}: ${it.help}: ${it.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any.concat(node.all).map((one) => one.message).join(' ')}`).join(' | ')}`);
  });
  same(found, [], `accessibility of ${what}`);
}

/** No page is wider than what it is shown on. */
export async function fits(page, what) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  check(wide <= room, `${what} is ${wide} wide in ${room}`);
}

/** A picture for who works on the pages: SHOTS names the folder. */
export async function shoot(page, name, how = {}) {
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, ...how });
}

/** Plays all scenes, or those that SCENE names by a part of their titles; tells which failed. */
export async function playEach(browser, name, scenes) {
  const failed = [];
  for (const [title, scene] of Object.entries(scenes)) {
    if (process.env.SCENE && !title.includes(process.env.SCENE)) continue;
    const began = Date.now();
    try {
      await scene();
      console.log(`well: ${title} (${Date.now() - began} ms)`);
    } catch (error) {
      failed.push(`failed: ${title}`);
      console.log(`FAILED: ${title}: ${error.stack}`);
      const pages = browser.contexts().flatMap((it) => it.pages());
      for (const [at, page] of pages.entries()) await shoot(page, `failed-${name}-${failed.length}-${at}`);
      for (const context of browser.contexts()) await context.close();
    }
  }
  await browser.close();
  return failed;
}

/** Ends the play: well, unless there is something to say. */
export function end(problems) {
  const said = [...new Set(problems)];
  if (said.length) console.log(said.join('\n'));
  process.exit(said.length ? 1 : 0);
}
