// People see and do everything: four real servers, one of them the primary, and a page that is open all the time.

import { BASE, ask, check, fits, isAccessible, isClean, same, until } from './lib.mjs';
import { UI, act, api, badge as badgeOf, becomes, choose, isAtLevel, key, opened, path, play, press, row, shoot, went } from './shop.mjs';

const scenes = {
  async 'the root and old addresses lead to the pages'() {
    const page = await opened(`${BASE}/ops/`);
    check(page.url() === `${UI}/`, page.url());
    for (const [old, address] of [['/web/clusters', '/'], ['/web/cluster/alias/shop', '/cluster/shop'], ['/web/status', '/nodes'], ['/web/search?s=127', '/search?s=127']]) {
      await page.goto(`${BASE}/ops${old}`);
      check(page.url() === UI + address, `${old} leads to ${page.url()}`);
    }
    await page.context().close();
  },

  async 'every page is there, clean, accessible, and fits'() {
    const pages = ['/', '/problems', '/cluster/shop', `/instance/${key(1)}`, '/recoveries', '/detections', '/audit', '/downtimes', '/nodes', '/search?s=127', '/discover', '/nosuch'];
    for (const colorScheme of ['light', 'dark']) {
      const page = await opened(`${UI}/`, { colorScheme });
      for (const it of pages) {
        await page.goto(UI + it);
        await page.locator('.live', { hasText: 'live' }).first().waitFor();
        await page.locator('main h1').waitFor();
        await until(`${it} has all it asked for`, async () => (await page.locator('main [aria-busy]').count()) === 0);
        await isAccessible(page, `${it}, ${colorScheme}`);
        await isClean(page);
        check((await page.locator('main .trouble').count()) === 0, `${it} tells of trouble`);
        for (const width of colorScheme === 'light' ? [1280, 360, 3840] : []) {
          await page.setViewportSize({ width, height: 900 });
          await fits(page, `${it} at ${width}`);
        }
        await page.setViewportSize({ width: 1280, height: 900 });
      }
      await page.context().close();
    }
  },

  async 'hostile names neither run nor break anything'() {
    const evil = `<img src=x onerror="window.ran=1">'"\u202e${'x'.repeat(120)}`;
    await fetch(`${BASE}/ops/api/tag/${path(1)}?tag=${encodeURIComponent(`role=${evil}`)}`, { method: 'POST' });
    await fetch(`${BASE}/ops/api/begin-downtime/${path(1)}/${encodeURIComponent(evil.slice(0, 100))}/${encodeURIComponent(evil)}/1h`, { method: 'POST' });
    await fetch(`${BASE}/ops/api/set-cluster-alias/shop?alias=${encodeURIComponent(evil)}`, { method: 'POST' });
    const page = await opened(`${UI}/`, { viewport: { width: 360, height: 800 } });
    await page.locator('.clusters .row', { hasText: 'onerror' }).waitFor();
    await fits(page, 'the fleet with a hostile alias');
    await page.locator('.clusters .row', { hasText: 'onerror' }).click();
    await page.locator('.node').nth(4).waitFor();
    for (const address of [null, `/instance/${key(1)}`, '/downtimes', '/audit', '/search?s=onerror']) {
      if (address) await page.goto(UI + address);
      await page.locator('.live', { hasText: 'live' }).first().waitFor();
      await until('all is there', async () => (await page.locator('main [aria-busy]').count()) === 0);
      await fits(page, `${page.url()} with hostile names`);
      check(!(await page.evaluate(() => window.ran)), 'it ran');
      check((await page.locator('img').count()) === 0, 'it became an element');
      await isClean(page);
    }
    await fetch(`${BASE}/ops/api/set-cluster-alias/${encodeURIComponent(key(0))}?alias=shop`, { method: 'POST' });
    await fetch(`${BASE}/ops/api/end-downtime/${path(1)}`, { method: 'POST' });
    await fetch(`${BASE}/ops/api/untag/${path(1)}?tag=role`, { method: 'POST' });
    await page.context().close();
  },

  async 'downtime and tags, by keyboard alone'() {
    const page = await opened(`${UI}/cluster/shop`);
    await row(page, 2).getByRole('button', { name: 'actions on' }).focus();
    await page.keyboard.press('Enter');
    await until('the menu has the focus', () => page.evaluate(() => document.activeElement?.getAttribute('role') === 'menuitem'));
    await until('downtime is reached', async () => {
      if ((await page.evaluate(() => document.activeElement?.textContent?.trim())) === 'Begin downtime…') return true;
      await page.keyboard.press('ArrowDown');
      return false;
    });
    await page.keyboard.press('Enter');
    await page.locator('dialog[open]').waitFor();
    await isAccessible(page, 'a dialog');
    await page.keyboard.press('Control+A');
    await page.getByLabel('Who').focus();
    await page.keyboard.type('ann');
    await page.keyboard.press('Tab');
    await page.keyboard.type('moving house');
    // What was typed is drawn with the next frame; until then Enter sends nothing.
    await page.locator('dialog[open] button[type=submit]:enabled').waitFor();
    await page.keyboard.press('Enter');
    await row(page, 2).locator('.badge', { hasText: 'downtime' }).waitFor();
    const known = await api(`instance/${path(2)}`);
    went('Begin downtime');
    same([known.IsDowntimed, known.DowntimeOwner, known.DowntimeReason], [true, 'ann', 'moving house'], 'the downtime');
    await page.goto(`${UI}/downtimes`);
    await page.getByText('moving house').waitFor();
    await page.getByRole('button', { name: 'End' }).click();
    await page.getByText('0 instances in downtime').waitFor();
    await page.context().close();
  },

  async 'replicas are moved by dragging, and what is invalid says why before'() {
    const page = await opened(`${UI}/cluster/shop`);
    const [from, onto] = [row(page, 3), row(page, 1)];
    const transfer = await page.evaluateHandle(() => new DataTransfer());
    await from.dispatchEvent('dragstart', { dataTransfer: transfer });
    await page.locator('.node.fits').first().waitFor();
    await row(page, 0).dispatchEvent('dragover', { dataTransfer: transfer });
    await row(page, 0).locator('.said.no', { hasText: 'where it is' }).waitFor();
    await page.locator('.throne.fits').waitFor();
    await from.dispatchEvent('dragend', { dataTransfer: transfer });
    await from.locator('a.key').scrollIntoViewIfNeeded();
    const middle = async (it) => {
      const box = await it.boundingBox();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    await page.mouse.move(...(await middle(from)));
    await page.mouse.down();
    const [x, y] = await middle(onto);
    await page.mouse.move(x, y + 3, { steps: 5 });
    await page.locator('.node.fits').first().waitFor();
    await until('the target lights up', async () => {
      await page.mouse.move(...(await middle(onto)), { steps: 3 });
      return page.locator('.node.fits.over').count();
    });
    await page.mouse.up();
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.plan li').first().waitFor();
    await dialog.getByRole('button', { name: 'Move below' }).click();
    await dialog.getByText('relocated below').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await until('it replicates from there', async () => (await api(`instance/${path(3)}`)).MasterKey.Port === Number(key(1).split(':')[1]));
    await isAtLevel(page, 3, 3);
    went('Move below');
    await act(page, 3, 'Move up one level');
    await isAtLevel(page, 3, 2);
    await page.context().close();
  },

  async 'what a menu offers is done to the server'() {
    const page = await opened(`${UI}/cluster/shop`);
    const badge = (at, text) => badgeOf(page, at, text);

    await act(page, 2, 'Stop replication');
    await becomes(2, 'ReplicationSQLThreadRuning', false);
    await row(page, 2).locator('.said', { hasText: 'replication is stopped' }).waitFor();
    await press(page, 2, 'Start replication');
    await becomes(2, 'ReplicationSQLThreadRuning', true);

    await act(page, 2, 'Delay replication', { fields: { Seconds: '5' } });
    await badge(2, 'delayed 5 s').waitFor();
    await act(page, 2, 'Delay replication', { fields: { Seconds: '0' } });
    await badge(2, 'delayed').waitFor({ state: 'detached' });

    // Whoever is detached is in a cluster of its own.
    await act(page, 2, 'Detach from its source');
    await row(page, 2).waitFor({ state: 'detached' });
    await page.goto(`${UI}/instance/${key(2)}`);
    await page.locator('.badge', { hasText: 'detached' }).waitFor();
    await act(page, 2, 'Reattach');
    await page.locator('.badge', { hasText: 'detached' }).waitFor({ state: 'detached' });
    await page.goto(`${UI}/cluster/shop`);
    await row(page, 2).waitFor();

    await act(page, 2, 'Find its place by file and position');
    await badge(2, 'file:pos').waitFor();
    await act(page, 2, 'Find its place by GTID');
    await badge(2, 'file:pos').waitFor({ state: 'detached' });

    await act(page, 2, 'Tag', { fields: { 'Tag (name, or name=value)': 'role=backup' } });
    await badge(2, 'role=backup').waitFor();
    await act(page, 2, 'Remove a tag', { fields: { Tag: 'role' } });
    await badge(2, 'role=backup').waitFor({ state: 'detached' });
    await act(page, 2, 'Promotion rule', { fields: { 'As the next primary it is': 'prefer_not' } });
    await badge(2, 'prefer not').waitFor();
    await act(page, 2, 'Promotion rule', { fields: { 'As the next primary it is': 'neutral' } });
    await badge(2, 'prefer not').waitFor({ state: 'detached' });
    await act(page, 2, 'Begin maintenance', { fields: { Who: 'ann', Why: 'disk' } });
    await badge(2, 'maintenance').waitFor();
    await press(page, 2, 'End maintenance');
    await badge(2, 'maintenance').waitFor({ state: 'detached' });

    await act(page, 2, 'Make writable', { alias: 'shop' });
    await badge(2, 'writable').waitFor();
    await ask({ do: 'exec', server: 2, sql: 'CREATE DATABASE stray' });
    await press(page, 2, 'Look at it now');
    await badge(2, '1 errant').waitFor();
    await act(page, 2, 'Make read-only', { alias: 'shop' });
    await badge(2, 'writable').waitFor({ state: 'detached' });
    await act(page, 2, 'Errant transactions: inject empty ones', { alias: 'shop' });
    await badge(2, 'errant').waitFor({ state: 'detached' });

    await act(page, 1, 'Take its siblings');
    await isAtLevel(page, 3, 3);
    await act(page, 1, 'Move its replicas up one level');
    await isAtLevel(page, 3, 2);

    await act(page, 3, 'Forget', { alias: 'shop' });
    await row(page, 3).waitFor({ state: 'detached' });
    const [host, port] = key(3).split(':');
    await page.goto(`${UI}/discover`);
    await page.getByLabel('Host').fill(host);
    await page.getByLabel('Port').fill(port);
    await page.getByRole('button', { name: 'Discover…' }).click();
    await page.locator('dialog[open]').getByRole('button', { name: 'Discover' }).click();
    await page.locator('dialog[open] .fine').waitFor();
    await page.goto(`${UI}/cluster/shop`);
    await row(page, 3).waitFor();
    await isClean(page);
    await page.context().close();
  },

  async 'the topology is copied as text'() {
    const page = await opened(`${UI}/cluster/shop`, { permissions: ['clipboard-read', 'clipboard-write'] });
    const holdsAll = (text) => [0, 1, 2, 3].every((at) => text.includes(key(at)));
    await page.getByRole('button', { name: 'Copy as text' }).click();
    await until('it is in the clipboard', async () => holdsAll(await page.evaluate(() => navigator.clipboard.readText())));
    // Without HTTPS there is none, and the text is shown, to be marked.
    await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('there is none')); });
    await page.getByRole('button', { name: 'Copy as text' }).click();
    await until('it is shown', async () => (await page.locator('pre').count()) && holdsAll(await page.locator('pre').textContent()));
    await page.context().close();
  },

  async 'a dangerous action shows its plan and asks for the alias'() {
    const page = await opened(`${UI}/cluster/shop`);
    await choose(page, 1, 'Promote in place of its source');
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.plan li', { hasText: 'takes the place of' }).waitFor();
    const promote = dialog.getByRole('button', { name: 'Promote in place' });
    check(await promote.isDisabled(), 'the alias is not typed yet');
    await dialog.getByLabel('to confirm').fill('shap');
    check(await promote.isDisabled(), 'that is another alias');
    await dialog.getByLabel('to confirm').fill('shop');
    await isAccessible(page, 'a plan');
    await promote.click();
    await dialog.locator('.fine').waitFor();
    went('Promote in place');
    same(await ask({ do: 'ask', server: 1, sql: 'SELECT @@global.read_only' }), '0', 'the new primary');
    await dialog.getByRole('button', { name: 'Close' }).click();
    await isAtLevel(page, 1, 1);
    await page.context().close();
    // The old one has the primary's place again for the scenes that follow.
    await until('all replicate', async () => (await api('problems')) === null);
    await api('ack-all-recoveries?comment=played');
    const back = await fetch(`${BASE}/ops/api/graceful-master-takeover-auto/shop/${path(0)}`, { method: 'POST' });
    check(back.ok, await back.text());
    await api('ack-all-recoveries?comment=played');
    await until('all replicate', async () => (await api('problems')) === null);
  },

  async 'switching recoveries off is a banner on every page'() {
    const page = await opened(`${UI}/`);
    const other = await opened(`${UI}/audit`);
    await page.getByRole('button', { name: 'Recoveries on' }).click();
    await page.locator('dialog[open]').getByRole('button', { name: 'Switch off' }).click();
    await other.locator('.banner.off').waitFor();
    await isAccessible(other, 'a banner');
    await other.getByRole('button', { name: 'Switch on' }).click();
    await other.locator('dialog[open]').getByRole('button', { name: 'Switch on' }).click();
    await page.locator('.banner.off').waitFor({ state: 'detached' });
    for (const it of [page, other]) await it.context().close();
  },

  async 'a recovery is watched live, and acknowledged'() {
    const page = await opened(`${UI}/cluster/shop`);
    const fleet = await opened(`${UI}/`);
    await fetch(`${BASE}/ops/api/disable-global-recoveries`, { method: 'POST' });
    await page.locator('.banner.off').waitFor();
    const isDown = page.evaluate((name) => new Promise((resolve) => {
      const look = () => {
        const row = [...document.querySelectorAll('.node.critical')].find((it) => it.textContent?.includes(name));
        if (row) resolve(Date.now());
        else setTimeout(look, 5);
      };
      look();
    }), key(0));
    const killed = Date.now();
    await ask({ do: 'kill', server: 0 });
    // What that takes is told, not judged: a busy machine is slow.
    const took = (await isDown) - killed;
    console.log(`a death was on the page after ${took} ms`);
    for (const it of [page, fleet]) await it.locator('.problem.critical .verdict', { hasText: 'baton does nothing by itself' }).waitFor();
    await isAccessible(fleet, 'a dead primary');
    await fetch(`${BASE}/ops/api/enable-global-recoveries`, { method: 'POST' });
    await until('somebody else heads the tree', async () => {
      const first = await page.locator('.node:not(.titles)').first().textContent();
      return first && !first.includes(key(0)) && first.includes('primary');
    });
    await page.locator('.recovery', { hasText: 'The primary is dead' }).first().waitFor();
    await page.locator('.recovery', { hasText: 'The primary is dead' }).getByRole('link', { name: 'The primary' }).first().click();
    await page.locator('ol.steps li').nth(3).waitFor();
    await page.locator('ol.steps li', { hasText: /Completed PostMasterFailoverProcesses hook 1 of 1.*output: the pager was told of 127/ }).waitFor();
    await isAccessible(page, 'a recovery');
    // Whoever looks at the fleet learns at once what happened while he slept.
    const news = fleet.locator('.news .problem.ok', { hasText: 'took the place of' });
    await news.waitFor();
    await isAccessible(fleet, 'news');
    await shoot(fleet, 'news');
    await page.getByRole('button', { name: 'Acknowledge' }).click();
    await page.getByLabel('Comment').fill('seen');
    await page.locator('dialog[open]').getByRole('button', { name: 'Acknowledge' }).click();
    await page.getByText('seen', { exact: false }).first().waitFor();
    await until('it is acknowledged', async () => (await api('audit-recovery'))[0].Acknowledged);
    await news.waitFor({ state: 'detached' });
    // What was detected leads to what was done, and back.
    await page.locator('dd a[href*="detections?id="]').click();
    await page.getByRole('heading', { name: 'Detections' }).waitFor();
    await page.locator('.recovery details[open] .steps li').first().waitFor();
    same(await page.locator('.recovery').count(), 1, 'detections of that number');
    await shoot(page, 'detection');
    await isAccessible(page, 'a detection');
    await page.getByLabel('Cluster, or id of a detection').fill('shop');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Detections of shop' }).waitFor();
    await page.getByRole('link', { name: 'recovered from' }).first().click();
    await page.getByText('Step by step').waitFor();
    await page.goto(`${BASE}/ops/web/audit-failure-detection/alias/elsewhere`);
    await page.getByText('No failure was detected').waitFor();
    await ask({ do: 'restart', server: 0 });
    for (const it of [page, fleet]) {
      await isClean(it);
      await it.context().close();
    }
  },

  async 'a page whose stream is cut says so, and catches up'() {
    const page = await opened(`${UI}/cluster/shop`);
    await ask({ do: 'stop baton' });
    await page.locator('.banner.stale').waitFor();
    await isAccessible(page, 'a stale page');
    await ask({ do: 'start baton' });
    await page.locator('.banner.stale').waitFor({ state: 'detached' });
    await page.locator('.live', { hasText: 'live' }).waitFor();
    await page.locator('.node:not(.titles)').nth(2).waitFor();
    await page.context().close();
  },
};

await play('dashboard', scenes);
