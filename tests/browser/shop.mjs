// What the plays over a shop have in common: four real servers, the first one the primary, rows and menus, and which
// operations people went through with.

import { BASE, SERVERS, browse, check, end, playEach, same, until } from './lib.mjs';

export { shoot } from './lib.mjs';

export const UI = `${BASE}/ops/ui`;
export const { browser, visit, wrong } = await browse();
export const api = async (path) => (await fetch(`${BASE}/ops/api/${path}`)).json();
export const post = async (path) => (await fetch(`${BASE}/ops/api/${path}`, { method: 'POST' })).json();
export const key = (at) => SERVERS[at];
export const path = (at) => SERVERS[at].replace(':', '/');
export const port = (at) => Number(SERVERS[at].split(':')[1]);

/** Which play goes through with which operation: all there are, and each at least once. */
const PLAYS = {
  dashboard: 'promote relocate move-up move-up-replicas take-siblings start stop delay detach reattach gtid-on gtid-off errant-inject read-only writable refresh downtime maintenance maintenance-end rule tag untag forget',
  operations: 'relocate relocate-replicas take-source regroup repoint repoint-replicas co-primary stop-nice restart skip reset errant-reset semi-source-on semi-source-off semi-replica-on semi-replica-off flush downtime downtime-end',
  recoveries: 'recover recover-to force force-to rejoin',
};

/** The operations people went through with in this play. */
const played = new Set();
/** @type {{id: string, label: string}[]} */
let known = [];

/** The row of an instance in a tree. */
export const row = (page, at) => page.locator('.node', { has: page.getByRole('link', { name: key(at), exact: true }) });
export const badge = (page, at, text) => row(page, at).locator('.badge', { hasText: text });
export const isAtLevel = (page, at, level) => until(`${key(at)} is at level ${level}`, async () => (await row(page, at).getAttribute('aria-level')) === String(level));

/** What baton says of an instance becomes this. */
export const becomes = (at, field, wanted) => until(`${field} of ${key(at)} is ${wanted}`, async () => JSON.stringify((await api(`instance/${path(at)}`))[field]) === JSON.stringify(wanted));

await until('baton knows all servers', async () => (await api('all-instances')).filter((it) => it.IsLastCheckValid).length === SERVERS.length);

export async function opened(address, options) {
  const page = await visit(options);
  await page.goto(address);
  await page.locator('.live', { hasText: 'live' }).first().waitFor();
  if (!known.length) known = await page.evaluate((file) => import(file).then((it) => it.OPERATIONS.map(({ id, label }) => ({ id, label }))), `${UI}/-/any/operations.js`);
  return page;
}

/** Somebody went through with an operation. */
export function went(label) {
  const begins = known.filter((it) => it.label.startsWith(label));
  const found = begins.find((it) => it.label.replace('…', '') === label) ?? begins[0];
  check(found, `no operation is called ${label}`);
  played.add(found.id);
}

/** Chooses in the menu of an instance: of its row in a tree, or of its own page. */
export async function choose(page, at, label) {
  const isOwnPage = page.url().includes('/instance/');
  await (isOwnPage ? page.getByRole('button', { name: 'Actions' }) : row(page, at).getByRole('button', { name: 'actions on' })).click();
  await page.getByRole('menuitem', { name: new RegExp(`^${label.replace(/[()]/g, '.')}`) }).click();
}

/** Goes through with what is shown. */
export async function confirm(page, label, { fields = {}, alias = '', patience = 30_000 } = {}) {
  const dialog = page.locator('dialog[open]');
  for (const [field, value] of Object.entries(fields)) {
    const input = dialog.getByLabel(field, { exact: true });
    if (await input.evaluate((it) => it.tagName === 'SELECT')) await input.selectOption(value);
    else await input.fill(value);
  }
  if (alias) await dialog.getByLabel('to confirm').fill(alias);
  await dialog.locator('button[type=submit]:enabled').click();
  const outcome = await until(`${label} has an end`, async () => {
    if (!(await dialog.count())) return 'done';
    if (await dialog.locator('.fine').count()) return 'done';
    const trouble = dialog.locator('.trouble');
    return (await trouble.count()) ? trouble.first().textContent() : '';
  }, patience);
  same(outcome, 'done', label);
  if (await dialog.count()) await dialog.getByRole('button', { name: 'Close' }).click();
}

/** Chooses in the menu of an instance, and goes through with it. */
export async function act(page, at, label, how = {}) {
  await choose(page, at, label);
  await confirm(page, label, how);
  went(label);
}

/** The same where nothing is asked before. */
export async function press(page, at, label) {
  await choose(page, at, label);
  went(label);
}

/** Plays all scenes, and ends. */
export async function play(name, scenes) {
  const problems = await playEach(browser, name, scenes);
  problems.push(...wrong);
  if (!process.env.SCENE) {
    const promised = Object.values(PLAYS).flatMap((it) => it.split(' '));
    const nowhere = known.map((it) => it.id).filter((id) => !promised.includes(id));
    const missed = PLAYS[name].split(' ').filter((id) => !played.has(id));
    if (nowhere.length) problems.push(`nobody plays ${nowhere.join(', ')}`);
    if (missed.length) problems.push(`not played here: ${missed.join(', ')}`);
  }
  end(problems);
}
