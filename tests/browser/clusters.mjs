// What the plays over clusters in memory have in common: their names, rows and pages.

import { BASE, browse } from './lib.mjs';

export const UI = `${BASE}/ui`;
const { browser, visit, wrong } = await browse();
export { browser, wrong };
export const api = async (path) => (await fetch(`${BASE}/api/${path}`)).json();
export const post = async (path) => (await fetch(`${BASE}/api/${path}`, { method: 'POST' })).json();
export const host = (cluster, number) => `db${number}.cluster${cluster}.dc${number % 3}.example.com`;
export const key = (cluster, number) => `${host(cluster, number)}:3306`;
export const path = (cluster, number) => `${host(cluster, number)}/3306`;

/** The row of an instance in a tree. */
export const row = (page, cluster, number) => page.locator('.node', { has: page.getByRole('link', { name: key(cluster, number), exact: true }) });

export async function opened(address, options) {
  const page = await visit(options);
  await page.goto(UI + address);
  await page.locator('.live', { hasText: 'live' }).first().waitFor();
  return page;
}

/** Where to take hold of it. */
export async function middle(it) {
  const box = await it.boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
}
