// Somebody who may only look, at a fleet of ten thousand in memory.

import { BASE, ask, browse, check, isAccessible, isClean, same, until } from './lib.mjs';

/** Instances of one of the clusters. */
const LARGE = 30;
const { browser, visit, wrong } = await browse();

const page = await visit();
await page.addInitScript(() => {
  window.blocked = [];
  new PerformanceObserver((list) => list.getEntries().forEach((it) => window.blocked.push(it.duration))).observe({ type: 'longtask' });
  const look = () => {
    if (document.querySelectorAll('.clusters .row:not(.titles)').length > 10) window.shown = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
});

await page.goto(`${BASE}/ui/`);
await page.getByRole('heading', { name: 'All is well' }).waitFor();
const shown = await until('the clusters are there', () => page.evaluate(() => window.shown));
/** Where that time went. */
const spent = await page.evaluate(() => {
  const of = (path) => performance.getEntriesByType('resource').find((it) => it.name.endsWith(path));
  const rows = of('/api/fleet');
  return { scripts: rows.startTime, answer: rows.responseStart - rows.startTime, transfer: rows.responseEnd - rows.responseStart, drawing: window.shown - rows.responseEnd };
});
const told = Object.entries(spent).map(([what, took]) => `${what} ${Math.round(took)}`).join(', ');

/** Changes a field and tells how long the page takes to show what follows. */
const typed = (selector, text, wanted) => page.evaluate(([selector, text, wanted]) => new Promise((resolve) => {
  const input = document.querySelector(selector);
  const from = performance.now();
  input.value = text;
  input.dispatchEvent(new Event('input', { bubbles: true }));
  const look = () => {
    if (document.querySelector('main').textContent.includes(wanted)) resolve(performance.now() - from);
    else requestAnimationFrame(look);
  };
  look();
}), [selector, text, wanted]);

const filtered = await typed('.bar input', 'db7.cluster512.', '1 of 1000');
await typed('.bar input', '', 'cluster0');
await page.evaluate(() => { window.blocked.length = 0; });
const list = page.locator('.clusters .virtual');
for (let at = 1; at <= 40; at += 1) {
  await list.evaluate((it, top) => { it.scrollTop = top; }, at * 850);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
}
await until('the list shows where it is', () => page.locator('.clusters', { hasText: 'cluster950' }).count());
const scrolling = await page.evaluate(() => window.blocked);
check((await page.locator('.clusters .row').count()) < 100, 'only what is seen is there');

await page.goto(`${BASE}/ui/search`);
await page.getByText('10,020 instances').waitFor();
const searched = await typed('#search-page', 'db3.cluster77.', '1 instance');
// What that takes is told, not judged: a busy machine is slow.
console.log(`10,000 instances: shown after ${Math.round(shown)} ms (${told}), filtered in ${Math.round(filtered)} ms, searched in ${Math.round(searched)} ms, tasks over 50 ms while scrolling: ${JSON.stringify(scrolling)}`);
// Healthy replicas of a large tree are folded, and each stands in it once.
await page.goto(`${BASE}/ui/cluster/cluster8`);
await page.locator('.node.folded', { hasText: '10 more healthy replicas in ◆ dc2' }).waitFor();
same(await page.locator('.node:not(.titles)').count(), 4, 'rows of a folded tree: the primary, and each data centre');
const folds = page.getByRole('button', { name: 'more healthy replicas' });
for (let left = 3; left > 0; left -= 1) {
  await folds.first().click();
  await until('one group less is folded', async () => (await folds.count()) === left - 1);
}
await until('all are shown', async () => (await page.locator('.node:not(.titles)').count()) === LARGE);

// Who may only look is told why, wherever there would be something to press.
await page.goto(`${BASE}/ui/cluster/cluster7`);
await page.locator('.banner', { hasText: 'read-only' }).waitFor();
await page.locator('.banner', { hasText: '<b>drill</b> at noon' }).waitFor();
await page.getByRole('link', { name: 'db3.cluster7.dc0:3306', exact: true }).first().waitFor();
await page.locator('.node:not(.titles)').nth(3).waitFor();
check(await page.getByRole('button', { name: 'Switch over' }).isDisabled(), 'nothing can be pressed');
await page.getByRole('button', { name: 'actions on' }).nth(1).click();
await page.getByRole('menu').getByText('ReadOnly').waitFor();
const usable = await page.locator('[role=menuitem][aria-disabled=false]').count();
same(usable, 0, 'actions that can be chosen');
await isAccessible(page, 'what an onlooker sees');
await page.keyboard.press('Escape');
check((await page.locator('.node[draggable=true]').count()) === 0, 'nothing can be dragged');
const refused = await fetch(`${BASE}/api/disable-global-recoveries`, { method: 'POST' });
same([refused.status, (await refused.json()).Message], [500, 'Unauthorized'], 'the API agrees');
await isClean(page);

await browser.close();
if (wrong.length) console.log(`errors in pages:\n${wrong.join('\n')}`);
process.exit(wrong.length ? 1 : 0);
