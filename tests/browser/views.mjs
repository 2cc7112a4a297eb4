// What people who worked with orchestrator look for: data centres told apart, names hidden for a picture, few rows.

import { BASE, ask, browse, check, end, fits, isAccessible, isClean, playEach, same, shoot, until } from './lib.mjs';

const { browser, visit, wrong } = await browse();
const UI = `${BASE}/ui`;
const api = async (path) => (await fetch(`${BASE}/api/${path}`)).json();
const post = async (path) => (await fetch(`${BASE}/api/${path}`, { method: 'POST' })).json();
const host = (cluster, number) => `db${number}.cluster${cluster}.dc${number % 3}.example.com`;
const key = (cluster, number) => `${host(cluster, number)}:3306`;
const path = (cluster, number) => `${host(cluster, number)}/3306`;
const row = (page, cluster, number) => page.locator('.node', { has: page.getByRole('link', { name: key(cluster, number), exact: true }) });
const below = async (cluster, number) => (await api(`cluster/cluster${cluster}`)).filter((it) => it.MasterKey.Hostname === host(cluster, number)).map((it) => it.Key.Hostname);

async function opened(address, options) {
  const page = await visit(options);
  await page.goto(UI + address);
  await page.locator('.live', { hasText: 'live' }).first().waitFor();
  return page;
}

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
    const middle = async (it) => {
      const box = await it.boundingBox();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    await page.mouse.move(...(await middle(folded('dc2'))));
    await page.mouse.down();
    await until('the target lights up', async () => {
      await page.mouse.move(...(await middle(row(page, 1, 3))), { steps: 3 });
      return page.locator('.node.fits.over').count();
    });
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

end([...(await playEach(browser, 'views', scenes)), ...wrong]);
