// Somebody who may only look, at a fleet of ten thousand that the browser is made to believe in.

import { BASE, browse, check, isAccessible, isClean, same, until } from './lib.mjs';

const CLUSTERS = 1_000;
const SIZE = 10;
/** Of one of them. */
const LARGE = 30;
const { browser, visit, wrong } = await browse();

/** A fleet as /api/fleet tells it. */
function fleet(token) {
  const Clusters = [];
  const Instances = [];
  for (let at = 0; at < CLUSTERS; at += 1) {
    const names = Array.from({ length: at === 8 ? LARGE : SIZE }, (_, it) => `db${it}.cluster${at}.example.com:3306`);
    Clusters.push({ Id: names[0], Name: names[0], Alias: `cluster${at}`, Primaries: [names[0]], Size: names.length, RecoversPrimary: true, RecoversIntermediate: true });
    names.forEach((Key, it) => Instances.push({
      Key, Cluster: names[0], ...(it ? { Source: names[0], Replication: 'running', Positioning: 'gtid' } : {}), Depth: it ? 1 : 0, Role: it ? 'replica' : 'primary',
      State: 'ok', Lag: it ? 0 : null, ReadOnly: it > 0, Version: '8.4.3', DataCenter: `dc${at % 3}`, ServerId: at * LARGE + it + 1, Feeds: true,
    }));
  }
  return { Token: token, Node: 'n', Generation: 1e12, At: new Date().toISOString(), State: { LedgerIndex: 1, RecoveriesDisabled: false, Breaker: '' }, Clusters, Instances };
}

const health = await (await fetch(`${BASE}/api/health`)).json();
const body = JSON.stringify(fleet(health.Details.Token));
const page = await visit();
await page.route('**/api/fleet', (route) => route.fulfill({ contentType: 'application/json', body }));
await page.addInitScript(() => {
  window.blocked = [];
  new PerformanceObserver((list) => list.getEntries().forEach((it) => window.blocked.push(it.duration))).observe({ type: 'longtask' });
});

const began = Date.now();
await page.goto(`${BASE}/ui/`);
await page.locator('.clusters .row:not(.titles)').nth(10).waitFor();
const shown = Date.now() - began;
await page.getByRole('heading', { name: 'All is well' }).waitFor();

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
console.log(`10,000 instances: shown after ${shown} ms, filtered in ${Math.round(filtered)} ms, searched in ${Math.round(searched)} ms, tasks over 50 ms while scrolling: ${JSON.stringify(scrolling)}`);
// Machines that build at the same time are slow: the bars themselves are for a quiet one.
check(shown < 5_000 && filtered < 1_000 && searched < 1_000, 'too slow');

// Healthy replicas of a large tree are folded, and each stands in it once.
await page.goto(`${BASE}/ui/cluster/cluster8`);
await page.locator('.node.folded', { hasText: '29 more healthy replicas' }).waitFor();
same(await page.locator('.node:not(.titles)').count(), 2, 'rows of a folded tree');
await page.getByRole('button', { name: 'more healthy replicas' }).click();
await until('all are shown', async () => (await page.locator('.node:not(.titles)').count()) === LARGE);

// Who may only look is told why, wherever there would be something to press.
await page.goto(`${BASE}/ui/cluster/cluster7`);
await page.locator('.banner', { hasText: 'read-only' }).waitFor();
await page.locator('.banner', { hasText: '<b>drill</b> at noon' }).waitFor();
await page.getByRole('link', { name: 'db3.cluster7:3306', exact: true }).waitFor();
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
