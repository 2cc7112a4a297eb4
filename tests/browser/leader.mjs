// Three batons: the one that leads dies while pages are open on all of them.

import { BATONS, SERVERS, ask, browse, check, isAccessible, isClean, same, until } from './lib.mjs';

const { browser, visit, wrong } = await browse();
const status = async (at) => (await fetch(`${BATONS[at]}/api/raft-status`)).json();
const states = await Promise.all(BATONS.map((_, at) => status(at)));
const leader = states.findIndex((it) => it.State === 'Leader');
const [one, other] = BATONS.map((_, at) => at).filter((at) => at !== leader);

const pages = [];
for (const url of BATONS) {
  const page = await visit();
  await page.goto(`${url}/ui/cluster/shop`);
  await page.locator('.live', { hasText: 'live' }).first().waitFor();
  await page.locator('.node:not(.titles)').nth(SERVERS.length - 1).waitFor();
  pages.push(page);
}

const began = Date.now();
const note = (text) => console.log(`${Date.now() - began} ms: ${text}`);

// What is set at one is seen at all.
const path = SERVERS[1].replace(':', '/');
await fetch(`${BATONS[one]}/api/tag/${path}?tag=seen`, { method: 'POST' });
for (const page of pages) await page.locator('.badge.tag', { hasText: 'seen' }).waitFor();

note('all see what was set');
await ask({ do: 'stop baton', baton: leader });
await pages[leader].locator('.banner.stale').waitFor();
note('the page of the dead node says that it is stale');
await until('another one leads', async () => (await Promise.all([one, other].map(status))).some((it) => it.State === 'Leader'));
note('another one leads');
await fetch(`${BATONS[one]}/api/untag/${path}?tag=seen`, { method: 'POST' });
const untagged = () => fetch(`${BATONS[other]}/api/untag/${path}?tag=seen`, { method: 'POST' });
await until('the next leader takes it', async () => (await untagged()).ok);
note('the next leader takes a change');
for (const at of [one, other]) {
  await pages[at].locator('.badge.tag', { hasText: 'seen' }).waitFor({ state: 'detached' });
  await until('it is live', async () => (await pages[at].locator('.live', { hasText: 'live' }).count()) && !(await pages[at].locator('.banner.stale').count()));
}

note('the pages follow it');
// The nodes tell the same, and that one is missing.
await pages[one].goto(`${BATONS[one]}/ui/nodes`);
await pages[one].locator('.badge', { hasText: 'leader' }).waitFor();
await until('all members are there', async () => (await pages[one].locator('ul.list:not([aria-label="what is wrong"]) li').count()) === BATONS.length);
await pages[one].locator('ul.list li', { hasText: 'does not answer' }).waitFor();
same(await pages[one].locator('ul.list li', { hasText: /baton \d+\.\d+/ }).count(), BATONS.length - 1, 'members that tell their release');
await isAccessible(pages[one], 'the nodes');
if (process.env.SHOTS) await pages[one].screenshot({ path: `${process.env.SHOTS}/nodes.png` });

note('the nodes are told of');
// A leader can be changed by hand.
const now = (await status(one)).State === 'Leader' ? one : other;
await pages[now].goto(`${BATONS[now]}/ui/nodes`);
await pages[now].getByRole('button', { name: 'Step down' }).click();
await pages[now].locator('dialog[open]').getByRole('button', { name: 'Step down' }).click();
await until('it stepped down', async () => (await status(now)).State !== 'Leader');

note('the leader stepped down');
await ask({ do: 'start baton', baton: leader });
await pages[leader].locator('.banner.stale').waitFor({ state: 'detached' });
await pages[leader].locator('.node:not(.titles)').nth(SERVERS.length - 1).waitFor();
note('the page of the node that came back is live');
// Where a majority is gone, a page shows what its own node sees, and says so.
await ask({ do: 'stop baton', baton: one });
await ask({ do: 'stop baton', baton: other });
await pages[leader].locator('.banner', { hasText: 'No leader answers.' }).waitFor();
await pages[leader].reload();
await pages[leader].locator('.banner', { hasText: 'No leader answers.' }).waitFor();
await pages[leader].locator('.node:not(.titles)').nth(SERVERS.length - 1).waitFor();
await pages[leader].getByText('would take over.').waitFor();
check((await pages[leader].locator('main .trouble').count()) === 0, 'what that node knows is told');
await isAccessible(pages[leader], 'a page without a leader');
if (process.env.SHOTS) await pages[leader].screenshot({ path: `${process.env.SHOTS}/leaderless.png` });
note('a page without a leader shows what its node sees');
await ask({ do: 'start baton', baton: one });
await pages[leader].locator('.live', { hasText: 'live' }).first().waitFor();
await pages[leader].locator('.banner', { hasText: 'No leader answers.' }).waitFor({ state: 'detached' });
note('and is live when one is back');
for (const page of pages) await isClean(page);
check(!wrong.length, wrong.join('\n'));
await browser.close();
process.exit(0);
