// Every operation that moves replicas, steers replication or names things, as people find it in menus and on pages.

import { BASE, ask, check, fits, isClean, same, until } from './lib.mjs';
import { UI, act, api, badge, becomes, choose, confirm, isAtLevel, key, opened, path, play, port, post, press, row, shoot, went } from './shop.mjs';

const isWell = () => until('all replicate', async () => (await api('problems')) === null);

/** Something a replica has of its own: nobody but this play may write there. */
async function stray(at, sql, unlogged) {
  await ask({ do: 'exec', server: at, sql: 'SET GLOBAL super_read_only = OFF' });
  await ask({ do: unlogged ? 'exec unlogged' : 'exec', server: at, sql });
  await ask({ do: 'exec', server: at, sql: 'SET GLOBAL super_read_only = ON' });
}

const scenes = {
  async 'replicas are moved'() {
    const page = await opened(`${UI}/cluster/shop`);
    await act(page, 3, 'Move below', { fields: { Below: key(1) } });
    await isAtLevel(page, 3, 3);
    const transfer = await page.evaluateHandle(() => new DataTransfer());
    await row(page, 3).dispatchEvent('dragstart', { dataTransfer: transfer });
    await page.locator('.throne.fits', { hasText: 'change places' }).waitFor();
    await page.locator('.throne').dispatchEvent('drop', { dataTransfer: transfer });
    await confirm(page, 'the change of places');
    went('Change places with its source');
    await isAtLevel(page, 3, 2);
    await isAtLevel(page, 1, 3);
    await act(page, 3, 'Move its replicas below', { fields: { Below: key(0) } });
    await isAtLevel(page, 1, 2);
    await act(page, 2, 'Name its source again');
    await act(page, 0, 'Have its replicas name it again');
    await isWell();
    await act(page, 0, 'Regroup its replicas');
    const levels = () => Promise.all([1, 2, 3].map((at) => row(page, at).getAttribute('aria-level')));
    await until('one has taken the others', async () => (await levels()).sort().join() === '2,3,3');
    const head = (await levels()).indexOf('2') + 1;
    await act(page, head, 'Move its replicas below', { fields: { Below: key(0) } });
    for (const at of [1, 2, 3]) await isAtLevel(page, at, 2);
    await isClean(page);
    await page.context().close();
  },

  async 'a replica that knows no GTID is moved by file and position'() {
    const page = await opened(`${UI}/cluster/shop`);
    for (const at of [2, 3]) {
      await act(page, at, 'Find its place by file and position');
      await badge(page, at, 'file:pos').waitFor();
    }
    await act(page, 3, 'Move below', { fields: { Below: key(2), By: 'move-below' } });
    await isAtLevel(page, 3, 3);
    // Nothing was written since: where it came from is still known.
    await page.goto(`${UI}/instance/${key(3)}`);
    const known = page.locator('.card', { hasText: 'Equivalent positions' });
    await known.locator('li', { hasText: key(0) }).getByRole('button').click();
    await until('it is moved by the equivalent position', async () => (await page.locator('dialog[open]').getByLabel('By').inputValue()) === 'move-equivalent');
    await shoot(page, 'equivalent');
    await confirm(page, 'the move to where it came from');
    await page.goto(`${UI}/cluster/shop`);
    await isAtLevel(page, 3, 2);
    for (const at of [2, 3]) {
      await act(page, at, 'Find its place by GTID');
      await badge(page, at, 'file:pos').waitFor({ state: 'detached' });
    }
    await act(page, 3, 'Move below', { fields: { Below: key(2), By: 'move-below-gtid' } });
    await isAtLevel(page, 3, 3);
    await act(page, 2, 'Move its replicas below', { fields: { Below: key(0), By: 'move-replicas-gtid' } });
    await isAtLevel(page, 3, 2);
    await isWell();
    await page.context().close();
  },

  async 'a replica is moved with a finger'() {
    const page = await opened(`${UI}/cluster/shop`, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    const hand = await page.context().newCDPSession(page);
    const finger = (type, ...touchPoints) => hand.send('Input.dispatchTouchEvent', { type, touchPoints });
    const middle = async (it) => {
      const box = await it.boundingBox();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    };
    await row(page, 2).waitFor();
    await fits(page, 'a cluster under a finger');
    const grip = row(page, 2).locator('.grip');
    await grip.scrollIntoViewIfNeeded();
    await finger('touchStart', await middle(grip));
    await page.locator('.node.fits').first().waitFor();
    await until('the target lights up', async () => {
      const { x, y } = await middle(row(page, 1));
      await finger('touchMove', { x, y: y - 4 });
      await finger('touchMove', { x, y });
      return page.locator('.node.fits.over').count();
    });
    await shoot(page, 'finger');
    await finger('touchEnd');
    await page.locator('dialog[open] .plan li').first().waitFor();
    await confirm(page, 'the move');
    await isAtLevel(page, 2, 3);
    await act(page, 2, 'Move up one level');
    await isAtLevel(page, 2, 2);
    await page.context().close();
  },

  async 'two replicate from each other, until one forgets its source'() {
    const page = await opened(`${UI}/cluster/shop`);
    await act(page, 1, 'Make co-primary', { alias: 'shop' });
    for (const at of [0, 1]) await badge(page, at, 'co-primary').waitFor();
    await act(page, 0, 'Reset replication', { alias: 'shop' });
    for (const at of [0, 1]) await badge(page, at, 'co-primary').waitFor({ state: 'detached' });
    await isAtLevel(page, 1, 2);
    await isWell();
    await page.context().close();
  },

  async 'replication is stopped, started and brought past what fails'() {
    const page = await opened(`${UI}/cluster/shop`);
    await act(page, 2, 'Stop with everything applied');
    await becomes(2, 'ReplicationSQLThreadRuning', false);
    await row(page, 2).locator('.said', { hasText: 'replication is stopped' }).waitFor();
    await press(page, 2, 'Restart replication');
    await becomes(2, 'ReplicationSQLThreadRuning', true);

    await stray(3, 'CREATE TABLE shop.twice (id INT PRIMARY KEY)', true);
    await ask({ do: 'exec', server: 0, sql: 'CREATE TABLE shop.twice (id INT PRIMARY KEY)' });
    await row(page, 3).locator('.said', { hasText: 'replication failed' }).waitFor();
    await act(page, 3, 'Skip the failed transaction');
    await becomes(3, 'ReplicationSQLThreadRuning', true);

    await stray(3, 'CREATE DATABASE stray');
    await press(page, 3, 'Look at it now');
    await badge(page, 3, '1 errant').waitFor();
    await act(page, 3, 'Errant transactions: reset its logs', { alias: 'shop' });
    await badge(page, 3, 'errant').waitFor({ state: 'detached' });
    await isWell();

    const log = () => ask({ do: 'ask', server: 0, sql: 'SHOW BINARY LOG STATUS' });
    const before = await log();
    await press(page, 0, 'Begin a new binary log');
    await until('there is another one', async () => (await log()) !== before);
    await page.context().close();
  },

  async 'semi-sync is switched on and off'() {
    const page = await opened(`${UI}/cluster/shop`);
    await act(page, 1, 'Acknowledge what it receives');
    await badge(page, 1, 'acks').waitFor();
    await act(page, 0, 'Wait for acknowledgements');
    await badge(page, 0, 'semi-sync').waitFor();
    await ask({ do: 'exec', server: 0, sql: 'CREATE TABLE shop.acknowledged (id INT PRIMARY KEY)' });
    await act(page, 0, 'Wait for acknowledgements no more');
    await badge(page, 0, 'semi-sync').waitFor({ state: 'detached' });
    await act(page, 1, 'Acknowledge no more');
    await badge(page, 1, 'acks').waitFor({ state: 'detached' });
    await page.context().close();
  },

  async 'downtime begins and ends in the menu'() {
    const page = await opened(`${UI}/cluster/shop`);
    await act(page, 2, 'Begin downtime', { fields: { Who: 'ann', Why: 'moving house', For: '10m' } });
    await badge(page, 2, 'downtime').waitFor();
    await press(page, 2, 'End downtime');
    await badge(page, 2, 'downtime').waitFor({ state: 'detached' });
    await page.context().close();
  },

  async 'the audit of one instance has pages'() {
    const count = async (page) => (await (await fetch(`${BASE}/ops/api/audit/instance/${path(3)}/${page}`)).json()).length;
    while ((await count(1)) < 2) {
      await post(`begin-maintenance/${path(3)}/ann/page`);
      await post(`end-maintenance/${path(3)}`);
    }
    const page = await opened(`${UI}/audit?instance=${key(3)}`);
    await page.getByRole('link', { name: 'older' }).click();
    await page.getByText('page 2').waitFor();
    const left = await count(1);
    await until('what is left is there', async () => (await page.locator('.audit .row:not(.titles)').count()) === left);
    check((await page.locator('.audit .key').allTextContents()).every((it) => it === key(3)), 'nobody else is there');
    await page.goto(`${BASE}/ops/web/audit/instance/${path(3)}/1`);
    await page.getByText('page 2').waitFor();
    await page.getByRole('link', { name: 'newer' }).click();
    await page.locator('.pager', { hasText: 'page 1' }).waitFor();
    await page.context().close();
  },

  async 'pools, names and nodes'() {
    const page = await opened(`${UI}/cluster/shop`);
    await page.getByRole('button', { name: 'Submit a pool' }).click();
    await confirm(page, 'a pool', { fields: { Pool: 'reporting', 'Instances (host:port, …)': `${key(2)},${key(3)}` } });
    await page.locator('dt', { hasText: 'reporting' }).waitFor();
    same((await api('cluster-pool-instances/shop/reporting')).Details?.reporting?.map((it) => it.Port).sort(), [port(2), port(3)].sort(), 'the pool');

    await page.getByRole('button', { name: 'Rename' }).click();
    await confirm(page, 'another alias', { fields: { Alias: 'stall' } });
    await page.goto(`${UI}/cluster/stall`);
    await page.getByRole('heading', { name: 'stall' }).waitFor();
    await page.getByRole('button', { name: 'Rename' }).click();
    await confirm(page, 'the old alias', { fields: { Alias: 'shop' } });

    await page.goto(`${UI}/nodes`);
    for (const name of ['Reload configuration', 'Reset host names']) {
      await page.getByRole('button', { name }).click();
      await confirm(page, name);
    }
    await isClean(page);
    await page.context().close();
  },

  async 'a cluster is forgotten and found again'() {
    const page = await opened(`${UI}/cluster/shop`);
    await page.getByRole('button', { name: 'Forget' }).click();
    await confirm(page, 'the cluster is forgotten', { alias: 'shop' });
    await page.getByText('baton knows no cluster of that name').waitFor();
    for (const at of [0, 1, 2, 3]) {
      const { Code, Message } = await post(`discover/${path(at)}`);
      same([Code, Message], ['OK', `Instance discovered: ${key(at)}`], 'it is found again');
    }
    await page.goto(`${UI}/cluster/shop`);
    for (const at of [0, 1, 2, 3]) await row(page, at).waitFor();
    await page.context().close();
  },
};

await play('operations', scenes);
