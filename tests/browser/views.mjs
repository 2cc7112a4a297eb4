// What people who worked with orchestrator look for: data centres told apart, names hidden for a picture, few rows.

import { BASE, ask, check, end, fits, isAccessible, isClean, playEach, same, shoot, until } from './lib.mjs';
import { UI, api, browser, host, key, middle, opened, path, post, row, wrong } from './clusters.mjs';

const below = async (cluster, number) => (await api(`cluster/cluster${cluster}`)).filter((it) => it.MasterKey.Hostname === host(cluster, number)).map((it) => it.Key.Hostname);

/** Moves what is dragged over a row until that lights up: on its way there it passes others. */
const hover = (page, onto) => until('the target lights up', async () => {
  await page.mouse.move(...(await middle(onto)), { steps: 3 });
  return (await onto.getAttribute('class')).includes('fits over');
});

/** In the light, in the dark, and on a phone: accessible, and no wider than what it is shown on. */
async function inEveryLight(page, what) {
  for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 360], ['dark', 360]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await fits(page, `${what} at ${width}`);
    await isAccessible(page, `${what}, ${colorScheme}, at ${width}`);
    await shoot(page, `views-${what}-${colorScheme}-${width}`, { fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}

const scenes = {
  async 'data centres are told apart, and one of them is marked'() {
    const page = await opened('/cluster/cluster0');
    const centers = page.getByRole('group', { name: 'data centres' });
    await centers.getByRole('button').nth(2).waitFor();
    same((await centers.getByRole('button').allTextContents()).map((it) => it.replace(/\s+/g, ' ').trim()), ['● dc0 2', '■ dc1 2', '◆ dc2 1'], 'what is where');
    // Who is elsewhere than the primary stands out without being asked for.
    const elsewhere = () => page.locator('.n-dc.elsewhere').allTextContents();
    same((await elsewhere()).map((it) => it.trim()), ['■ dc1', '◆ dc2', '■ dc1'], 'who is elsewhere');
    await ask({ do: 'lag', server: [0, 4], seconds: 300 });
    await centers.getByRole('button', { name: 'dc1 2 warning 1' }).click();
    await page.locator('.node.there').nth(1).waitFor();
    same(await centers.getByRole('button', { pressed: true }).count(), 1, 'buttons that are pressed');
    same(await page.locator('.node.there a.key').allTextContents(), [key(0, 1), key(0, 4)], 'what is marked');
    check(page.url().endsWith('?dc=dc1'), 'the address says what is marked, for others to see');
    await page.reload();
    await page.locator('.node.there').nth(1).waitFor();
    await inEveryLight(page, 'centers');
    await page.setViewportSize({ width: 360, height: 900 });
    await row(page, 0, 2).locator('.badge', { hasText: 'dc2' }).waitFor();
    await page.setViewportSize({ width: 1280, height: 900 });
    await centers.getByRole('button', { pressed: true }).focus();
    await page.keyboard.press('Space');
    await page.locator('.node.there').first().waitFor({ state: 'detached' });
    await ask({ do: 'lag', server: [0, 4], seconds: 0 });
    await isClean(page);
    await page.context().close();
  },

  async 'healthy replicas are folded by data centre, and moved together'() {
    const page = await opened('/cluster/cluster1');
    const folded = (center) => page.locator('.node.folded', { hasText: center });
    await folded('dc2').waitFor();
    same((await page.locator('.node.folded').allTextContents()).map((it) => it.replace(/\s+/g, ' ').trim()),
      ['9 more healthy replicas in ● dc0', '10 more healthy replicas in ■ dc1', '10 more healthy replicas in ◆ dc2'], 'what is folded');
    await folded('dc0').getByRole('button').click();
    await row(page, 1, 3).waitFor();
    await page.mouse.move(...(await middle(folded('dc2'))));
    await page.mouse.down();
    await hover(page, row(page, 1, 3));
    await page.mouse.up();
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.plan li').nth(9).waitFor();
    check((await dialog.locator('.plan li', { hasText: '.dc1.' }).count()) === 0, 'nobody else is moved');
    await inEveryLight(page, 'folded-plan');
    await dialog.getByRole('button', { name: 'Move its replicas below' }).click();
    await dialog.locator('.fine').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await until('all of dc2 are there', async () => (await below(1, 3)).length === 10);
    check((await below(1, 3)).every((it) => it.includes('.dc2.')), 'and nobody else');
    await page.getByRole('button', { name: 'Fold the healthy' }).click();
    await page.locator('.node.folded[aria-level="3"]', { hasText: '10 more healthy replicas in ◆ dc2' }).waitFor();
    await page.locator('.node.folded[aria-level="2"]', { hasText: '8 more healthy replicas in ● dc0' }).waitFor();
    await page.getByRole('button', { name: 'Fold the healthy' }).click();
    await row(page, 1, 5).waitFor();
    // By a pattern, from the menu.
    await row(page, 1, 3).getByRole('button', { name: 'actions on' }).click();
    await page.getByRole('menuitem', { name: 'Move its replicas below' }).click();
    await dialog.getByLabel('Below').selectOption(key(1, 0));
    await dialog.getByLabel('Only those that match').fill('^db(2|5)\\.');
    await dialog.locator('.plan li').nth(1).waitFor();
    await until('only they are in the plan', async () => !/db8\./.test(await dialog.locator('.plan').textContent()));
    await dialog.getByRole('button', { name: 'Move its replicas below' }).click();
    await dialog.locator('.fine').waitFor();
    await until('two went', async () => (await below(1, 3)).length === 8);
    same((await post(`relocate-replicas/${path(1, 3)}/${path(1, 0)}`)).Code, 'OK', 'all are back');
    await page.context().close();
  },

  async 'who is in a pool says so in the tree'() {
    same((await post(`submit-pool-instances/reporting?instances=${key(3, 1)},${key(3, 2)}`)).Code, 'OK', 'a pool');
    const page = await opened('/cluster/cluster3');
    for (const number of [1, 2]) await row(page, 3, number).locator('.badge', { hasText: 'pool reporting' }).waitFor();
    same(await page.locator('.badge', { hasText: 'pool' }).count(), 2, 'who is in a pool');
    await page.goto(`${UI}/instance/${key(3, 1)}`);
    await page.locator('.badge', { hasText: 'pool reporting' }).waitFor();
    await page.context().close();
  },
};

/** Everything a page shows, reads out or has for a pointer that rests. */
const everything = (page) => page.evaluate(() => {
  const said = [document.title, document.body.innerText];
  for (const it of document.querySelectorAll('*')) for (const name of ['title', 'aria-label', 'placeholder']) said.push(it.getAttribute(name) ?? '');
  return said.join('\n');
});
/** What must not be seen while names are hidden. */
const REAL = /db\d+\.cluster|example\.com|cluster\d|\bdc\d|\b(ann|zoe)\b/;

Object.assign(scenes, {
  async 'names are hidden for a picture, and the same everywhere'() {
    same((await post(`begin-downtime/${path(0, 2)}/ann/disk of ${host(0, 2)}/1h`)).Code, 'OK', 'a downtime');
    same((await post(`set-cluster-alias/cluster2?alias=${encodeURIComponent('our shop / eu')}`)).Code, 'OK', 'an alias of several words');
    same((await post(`begin-maintenance/${path(0, 1)}/zoe/disk`)).Code, 'OK', 'a maintenance of which only the audit knows soon');
    same((await post(`end-maintenance/${path(0, 1)}`)).Code, 'OK', 'its end');
    const page = await opened('/cluster/cluster0', { permissions: ['clipboard-read', 'clipboard-write'] });
    check(REAL.test(await everything(page)), 'they are there at first');
    await page.locator('.topology').getByRole('button', { name: 'Hide names' }).click();
    await page.getByText('Names are hidden').waitFor();
    const hidden = async (what) => {
      await page.locator('.live', { hasText: 'live' }).first().waitFor();
      await until(`${what} has all it asked for`, async () => (await page.locator('main [aria-busy]').count()) === 0);
      const found = REAL.exec(await everything(page));
      check(!found, `${what} shows ${found?.input.slice(Math.max(0, found.index - 60), found.index + 40)}`);
    };
    await hidden('a cluster');
    const names = await page.locator('.node a.key').allTextContents();
    same([names.length, new Set(names).size], [5, 5], 'names that are shown, each another one');
    check(names.every((it) => /^host-\d+:3306$/.test(it)), names.join());
    await inEveryLight(page, 'nameless');

    // The drawing has the same names, below each other, in the clipboard and on the page.
    await page.getByRole('button', { name: 'Copy as text' }).click();
    const drawing = await until('it is in the clipboard', async () => {
      const text = await page.evaluate(() => navigator.clipboard.readText());
      return text.includes('|') && text;
    });
    check(!REAL.test(drawing), drawing);
    same(drawing.match(/host-\d+:3306/g).sort(), [...names].sort(), 'names in the drawing');
    same(new Set(drawing.trimEnd().split('\n').map((it) => it.indexOf('|'))).size, 1, `columns of ${drawing}`);
    await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('there is none')); });
    await page.getByRole('button', { name: 'Copy as text' }).click();
    await page.locator('pre').waitFor();
    await hidden('a drawing');

    // A dialog too; what is asked of baton has the real names.
    await page.locator('.node').nth(2).getByRole('button', { name: 'actions on' }).click();
    await hidden('a menu');
    await page.getByRole('menuitem', { name: 'Promote in place' }).click();
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.plan li').first().waitFor();
    await hidden('a plan');
    const alias = await dialog.locator('label strong').textContent();
    check(/^cluster-\d+$/.test(alias), alias);
    await dialog.getByLabel('to confirm').fill(alias);
    await dialog.locator('button[type=submit]:enabled').waitFor();
    await shoot(page, 'views-nameless-plan');
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('.node').nth(2).getByRole('button', { name: 'actions on' }).click();
    await page.getByRole('menuitem', { name: 'Look at it now' }).click();
    await page.locator('.notices p').last().waitFor();
    await hidden('what was done');
    await page.reload();
    await page.getByText('Names are hidden').waitFor();
    await page.locator('.node a.key').nth(4).waitFor();
    same(await page.locator('.node a.key').allTextContents(), names, 'names after a reload');

    // Nor are they shown while all but the address is still on its way.
    await page.route('**/api/fleet*', () => {});
    await page.reload();
    await page.getByText('Names are hidden').waitFor();
    const early = await everything(page);
    check(!REAL.test(early) && early.includes('…'), `before anything is known: ${early.slice(0, 400)}`);
    await page.unroute('**/api/fleet*');
    await page.reload();
    await page.locator('.node a.key').first().click();
    check(decodeURIComponent(page.url()).endsWith(`/instance/${key(0, 0)}`), `addresses stay as they are: ${page.url()}`);
    for (const address of ['/', '/problems', `/instance/${key(0, 2)}`, '/downtimes', '/audit', '/recoveries', '/detections', '/nodes', '/search', '/about', '/cluster/our shop %2F eu']) {
      await page.goto(UI + address);
      await page.locator('main h1').waitFor();
      await hidden(address);
      await isAccessible(page, `${address} without names`);
      await isClean(page);
    }
    check(!/our shop/.test(await everything(page)), 'an alias of several words');
    await page.locator('footer').getByRole('button', { name: 'Hide names' }).click();
    await page.getByRole('heading', { name: 'our shop / eu' }).waitFor();
    await post('set-cluster-alias/our%20shop%20%2F%20eu?alias=cluster2');
    await page.context().close();
  },

  async 'what is no more says so where it was'() {
    const page = await opened('/');
    for (const [old, heading] of [['/web/agents', 'Agents and seeds: not in baton'], ['/web/seed-details/7', 'Agents and seeds: not in baton'], ['/web/access-token?publicToken=x', 'Access tokens: not in baton'], ['/web/keep-calm', 'About baton']]) {
      await page.goto(BASE + old);
      await page.getByRole('heading', { name: heading }).waitFor();
    }
    await inEveryLight(page, 'about');
    // The pools of a cluster are on its page, at the end.
    await page.setViewportSize({ width: 360, height: 500 });
    await page.goto(`${BASE}/web/cluster-pools/cluster1`);
    await until('the pools are in sight', () => page.locator('#pools-title').evaluate((it) => it.getBoundingClientRect().top < innerHeight).catch(() => false));
    await page.context().close();
  },
});

Object.assign(scenes, {
  async 'the primary is dragged onto its replica, and both are co-primaries'() {
    const page = await opened('/cluster/cluster3');
    await ask({ do: 'lag', server: [3, 3], seconds: 0 });
    await page.mouse.move(...(await middle(row(page, 3, 0))));
    await page.mouse.down();
    await hover(page, row(page, 3, 2));
    await row(page, 3, 2).locator('.said', { hasText: 'they are co-primaries' }).waitFor();
    await shoot(page, 'views-co-primary');
    await until('where it stands is no place to go', async () => {
      await page.mouse.move(...(await middle(row(page, 3, 0))), { steps: 3 });
      return row(page, 3, 0).locator('.said.no').count();
    });
    await shoot(page, 'views-refused');
    await hover(page, row(page, 3, 2));
    await page.mouse.up();
    const dialog = page.locator('dialog[open]');
    await dialog.getByRole('heading', { name: 'Make co-primary' }).waitFor();
    await dialog.locator('.plan li').first().waitFor();
    await dialog.getByLabel('to confirm').fill('cluster3');
    await dialog.locator('button[type=submit]:enabled').click();
    await dialog.locator('.fine').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    for (const number of [0, 2]) await row(page, 3, number).locator('.badge', { hasText: 'co-primary' }).waitFor();
    same((await post(`reset-replica/${path(3, 0)}`)).Code, 'OK', 'it follows nobody again');
    await row(page, 3, 0).locator('.badge', { hasText: 'co-primary' }).waitFor({ state: 'detached' });
    await page.context().close();
  },

  async 'a move is done by the means that somebody names'() {
    const page = await opened('/cluster/cluster3');
    await row(page, 3, 3).getByRole('button', { name: 'actions on' }).click();
    await page.getByRole('menuitem', { name: 'Move below' }).click();
    const dialog = page.locator('dialog[open]');
    await dialog.getByLabel('Below').selectOption(key(3, 1));
    await dialog.locator('.plan li', { hasText: 'by GTID' }).waitFor();
    await dialog.getByLabel('By').selectOption('move-equivalent');
    await dialog.locator('.trouble').waitFor();
    await dialog.getByLabel('By').selectOption('move-below-gtid');
    await dialog.locator('.plan li', { hasText: 'by GTID' }).waitFor();
    await inEveryLight(page, 'by');
    await dialog.getByRole('button', { name: 'Move below' }).click();
    await dialog.locator('.fine').waitFor();
    await until('it is there', async () => (await below(3, 1)).length === 1);
    same((await post(`move-up/${path(3, 3)}`)).Code, 'OK', 'it is back');
    await page.context().close();
  },

  async 'how the clusters are sorted is remembered'() {
    const page = await opened('/');
    await page.getByRole('columnheader', { name: 'Size' }).getByRole('button').click();
    const first = page.locator('.clusters .row:not(.titles) .c-alias').first();
    await until('the largest is first', async () => (await first.textContent()) === 'cluster1');
    await page.goto(`${UI}/problems`);
    await page.getByRole('link', { name: 'Fleet', exact: true }).click();
    await until('the largest is first again', async () => (await first.textContent()) === 'cluster1');
    await page.getByRole('columnheader', { name: 'Size' }).getByRole('button').click();
    await until('it is not any more', async () => (await first.textContent()) === 'cluster0');
    await page.context().close();
  },

  async 'what was done is found by instance, by cluster, and by number'() {
    same((await post(`begin-maintenance/${path(0, 2)}/ann/disk`)).Code, 'OK', 'a maintenance');
    same((await post(`end-maintenance/${path(0, 2)}`)).Code, 'OK', 'its end');
    const page = await opened('/audit');
    await page.getByLabel('Instance (host:port)').fill('db2.cluster0');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: `Audit of ${key(0, 2)}` }).waitFor();
    await page.getByText('begin-maintenance').first().waitFor();
    check((await page.locator('.audit .row', { hasText: 'cluster3' }).count()) === 0, 'that is about others');
    await inEveryLight(page, 'audit');

    await ask({ do: 'kill', server: [3, 0] });
    await page.goto(`${UI}/cluster/cluster3`);
    await page.locator('.problem.critical').first().waitFor();
    same((await post(`recover/${path(3, 0)}`)).Code, 'OK', 'a recovery');
    await until('it ended', async () => (await api('audit-recovery'))[0]?.RecoveryEndTimestamp);
    const { Id: number, UID: uid } = (await api('audit-recovery'))[0];
    const find = async (text) => {
      await page.goto(`${UI}/recoveries`);
      await page.getByLabel('Cluster, or id of a recovery').fill(text);
      await page.keyboard.press('Enter');
    };
    for (const text of [String(number), uid]) {
      await find(text);
      await page.getByText('Step by step').waitFor();
    }
    await find('cluster3');
    await page.getByRole('heading', { name: 'Recoveries of cluster3' }).waitFor();
    await page.locator('.recovery', { hasText: 'The primary is dead' }).waitFor();
    await find('cluster1');
    await page.getByText('Nothing was recovered').waitFor();

    await isClean(page);
    await page.context().close();
  },
});

end([...(await playEach(browser, 'views', scenes)), ...wrong]);
