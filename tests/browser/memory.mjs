// What no machine has: large groups to drag, names that no operating system takes, clusters of one, failures that nobody
// can recover from.

import { BASE, ask, check, end, fits, isAccessible, isClean, playEach, same, shoot, until } from './lib.mjs';
import { UI, api, browser, host, key, middle, opened, path, post, row, wrong } from './clusters.mjs';

/** Pictures of all of a page, however long. */
const WHOLE = { fullPage: true };

const scenes = {
  async 'the fleet is filtered and sorted'() {
    await post(`tag/${path(3, 1)}?tag=${encodeURIComponent('role=backup')}`);
    await ask({ do: 'lag', server: [3, 2], seconds: 1500 });
    await ask({ do: 'call', server: [0, 1], text: 'another release' });
    const page = await opened('/');
    const listed = () => page.locator('.clusters .row:not(.titles) .c-alias').allTextContents();
    const becomes = (wanted, text) => until(`${text}: ${wanted}`, async () => (await listed()).join() === wanted);
    await becomes('cluster3,cluster0,cluster1,cluster2', 'the worst first');
    for (const [label, order] of [['Size', 'cluster1,cluster0,cluster3,cluster2'], ['Cluster', 'cluster0,cluster1,cluster2,cluster3'], ['Lag', 'cluster3,cluster0,cluster1,cluster2']]) {
      await page.getByRole('columnheader', { name: label }).getByRole('button').click();
      await becomes(order, `sorted by ${label}`);
    }
    same(await page.getByRole('columnheader', { name: 'Lag' }).getAttribute('aria-sort'), 'descending', 'how it is sorted');
    await page.getByRole('columnheader', { name: 'Health' }).getByRole('button').click();
    const filter = page.getByLabel('Filter clusters');
    for (const [text, found] of [['role=backup', 'cluster3'], ['db29.cluster1', 'cluster1'], ['cluster2', 'cluster2']]) {
      await filter.fill(text);
      await becomes(found, `filtered by ${text}`);
    }
    await filter.fill('');
    for (const [label, value, found] of [['Version', '8.0.36', 'cluster0'], ['Data centre', 'dc1', 'cluster3,cluster0,cluster1'], ['Problem', 'replication_lag', 'cluster3']]) {
      await page.getByRole('combobox', { name: label }).selectOption(value);
      await becomes(found, `filtered by ${label}`);
      await page.getByRole('combobox', { name: label }).selectOption('');
    }
    // Two choices count both, even if nothing is drawn between them.
    await page.evaluate(() => {
      for (const [label, value] of [['Version', '8.0.36'], ['Data centre', 'dc1']]) {
        const named = [...document.querySelectorAll('label')].find((it) => it.firstElementChild?.textContent === label);
        const select = /** @type {HTMLSelectElement} */ (named?.querySelector('select'));
        select.value = value;
        select.dispatchEvent(new Event('change'));
      }
    });
    await becomes('cluster0', 'two choices at once');
    await page.context().close();
  },

  async 'a lag tells since when'() {
    const page = await opened('/problems');
    await page.locator('.ailing .row', { hasText: key(3, 2) }).locator('.c-since', { hasText: '25 min ago' }).waitFor();
    await page.goto(`${UI}/`);
    await page.locator('.problem', { hasText: key(3, 2) }).getByText('lags by 25 min').waitFor();
    await ask({ do: 'lag', server: [3, 2], seconds: 0 });
    await page.locator('.problem').waitFor({ state: 'detached' });
    await page.context().close();
  },

  async 'a folded group is dragged, and so are all replicas of one'() {
    // Whoever has replicas is not folded.
    same((await post(`relocate/${path(1, 2)}/${path(1, 1)}`)).Code, 'OK', 'one has a replica');
    const page = await opened('/cluster/cluster1');
    const folded = page.locator('.node.folded', { hasText: 'more healthy replicas in ◆ dc2' });
    await folded.waitFor();
    const move = async (handle, onto, before) => {
      const [x, y] = await middle(handle);
      await page.mouse.move(x + 120, y);
      await page.mouse.down();
      await page.mouse.move(...(await middle(onto)), { steps: 5 });
      await until('the target lights up', async () => {
        await page.mouse.move(...(await middle(onto)), { steps: 3 });
        return (await onto.getAttribute('class')).includes('fits over');
      });
      await before?.();
      await page.mouse.up();
      const dialog = page.locator('dialog[open]');
      await dialog.locator('.plan li').nth(26).waitFor();
      await shoot(page, 'memory-folded', WHOLE);
      await dialog.getByRole('button', { name: 'Move its replicas below' }).click();
      await dialog.locator('.fine').waitFor();
      await dialog.getByRole('button', { name: 'Close' }).click();
    };
    await move(folded, row(page, 1, 1), async () => {
      // Where they are is no place to go, and says so before anything is dropped.
      await until('that says why', async () => {
        await page.mouse.move(...(await middle(row(page, 1, 0))), { steps: 3 });
        return row(page, 1, 0).locator('.said.no', { hasText: 'where it is' }).count();
      });
      await until('the target lights up again', async () => {
        await page.mouse.move(...(await middle(row(page, 1, 1))), { steps: 3 });
        return page.locator('.node.fits.over').count();
      });
    });
    const sources = async () => (await api('cluster/cluster1')).filter((it) => it.MasterKey.Hostname === host(1, 1)).length;
    await until('all of it are below the other one', async () => (await sources()) === 10);
    await row(page, 1, 1).locator('.handle', { hasText: '10' }).waitFor();
    // The handle stands for all of them as well. It is small: the middle of it is taken.
    const handle = row(page, 1, 1).locator('.handle');
    const [x, y] = await middle(handle);
    await page.mouse.move(x, y);
    await page.mouse.down();
    const target = row(page, 1, 0);
    await until('the target lights up', async () => {
      await page.mouse.move(...(await middle(target)), { steps: 3 });
      return (await target.getAttribute('class')).includes('fits over');
    });
    await page.mouse.up();
    await page.locator('dialog[open] .plan li').first().waitFor();
    await page.locator('dialog[open]').getByRole('button', { name: 'Move its replicas below' }).click();
    await page.locator('dialog[open] .fine').waitFor();
    await until('all are where they were', async () => (await sources()) === 0);
    await page.locator('dialog[open]').getByRole('button', { name: 'Close' }).click();
    await page.context().close();
  },

  async 'a cluster of one is told of, and lost with its only server'() {
    const page = await opened('/cluster/cluster2');
    await row(page, 2, 0).waitFor();
    await page.getByText('Nobody could take over.').waitFor();
    await ask({ do: 'kill', server: [2, 0] });
    await page.locator('.problem.critical', { hasText: 'The primary is dead and has no replicas' }).waitFor();
    await page.locator('.verdict', { hasText: 'nothing replicates from it' }).waitFor();
    await page.locator('.next', { hasText: `Start ${key(2, 0)} again.` }).waitFor();
    await page.goto(`${UI}/`);
    await page.getByRole('heading', { name: '1 cluster needs attention' }).waitFor();
    await isAccessible(page, 'a dead cluster of one');
    await page.context().close();
  },

  async 'a dead primary says why it is left alone, and what can be done'() {
    const page = await opened('/', { colorScheme: 'dark' });
    await ask({ do: 'kill', server: [0, 0] });
    const problem = page.locator('.problem.critical', { hasText: key(0, 0) });
    await problem.locator('.verdict', { hasText: 'RecoverMasterClusterFilters does not name this cluster' }).waitFor();
    await problem.locator('.next', { hasText: /Recover by hand: .* takes the place of .*Nothing that is known of would be lost/ }).waitFor();
    await shoot(page, 'memory-left-alone', WHOLE);
    // The same is told on the page of the cluster, and what is offered there shows its plan.
    await page.goto(`${UI}/cluster/cluster0`);
    await isAccessible(page, 'a dead primary that is left alone');
    await page.setViewportSize({ width: 360, height: 800 });
    await fits(page, 'a dead primary that is left alone');
    await shoot(page, 'memory-left-alone-360', WHOLE);
    await page.getByRole('button', { name: 'Recover…' }).click();
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.plan li', { hasText: 'takes the place of' }).waitFor();
    await dialog.getByLabel('to confirm').fill('cluster0');
    await dialog.locator('button[type=submit]:enabled').click();
    await dialog.locator('.fine').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await page.goto(`${UI}/`);
    await page.locator('.clusters .row', { hasText: 'cluster1' }).waitFor();
    check((await problem.count()) === 0, 'it was replaced');
    await isClean(page);
    await page.context().close();
  },

  async 'where nobody is fit, all reasons are there'() {
    for (const number of [1, 2, 3]) await ask({ do: 'write', server: [3, number] });
    const page = await opened('/cluster/cluster3');
    for (const number of [1, 2, 3]) await row(page, 3, number).locator('.badge', { hasText: '1 errant' }).waitFor();
    await ask({ do: 'kill', server: [3, 0] });
    const problem = page.locator('.problem.critical');
    await problem.locator('.verdict li', { hasText: 'cannot be promoted' }).first().waitFor();
    await problem.getByText(`Start ${key(3, 0)} again: its replicas go on by themselves`).waitFor();
    check((await page.getByRole('button', { name: 'Recover…' }).count()) === 0, 'what would be refused is not offered');
    await isAccessible(page, 'a failure nobody can recover from');
    await shoot(page, 'memory-nobody', WHOLE);
    await page.context().close();
  },

  async 'no name runs or breaks anything, whoever gave it'() {
    const evil = `<img src=x onerror="window.ran=1">'"\u202e%2f:`.padEnd(255, 'x');
    same(evil.length, 255, 'as long as names get');
    await ask({ do: 'add', server: [1, 0], text: evil });
    await ask({ do: 'call', server: [1, 0], text: evil });
    const alias = 'a/b:c%d e?f#g <i>';
    same((await post(`set-cluster-alias/cluster1?alias=${encodeURIComponent(alias)}`)).Code, 'OK', 'the alias');
    const page = await opened('/', { viewport: { width: 360, height: 800 } });
    const seen = async (what) => {
      await page.locator('.live', { hasText: 'live' }).first().waitFor();
      await until('all is there', async () => (await page.locator('main [aria-busy]').count()) === 0);
      for (const width of [1280, 360]) {
        await page.setViewportSize({ width, height: 800 });
        await fits(page, `${what} at ${width}`);
      }
      check(!(await page.evaluate(() => window.ran)), 'it ran');
      check((await page.locator('img, i:not(.rail, .branch)').count()) === 0, 'it became an element');
      await isClean(page);
    };
    await page.locator('.clusters .row', { hasText: alias }).click();
    await page.getByRole('heading', { name: alias }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: alias }).waitFor();
    await page.getByRole('button', { name: 'more healthy replicas' }).last().click();
    const link = page.getByRole('link', { name: 'onerror' }).first();
    await link.waitFor();
    await seen('the cluster');
    check((await page.locator('main .trouble').count()) === 0, 'the cluster is asked about by its name');
    const line = page.locator('.node', { has: page.getByRole('link', { name: 'onerror' }) });
    await line.getByRole('button', { name: 'actions on' }).click();
    await page.getByRole('menuitem', { name: 'Forget…' }).click();
    await page.locator('dialog[open] .fields').waitFor();
    await seen('a dialog');
    await shoot(page, 'memory-hostile-dialog', WHOLE);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await link.click();
    await page.getByText('What baton observed and concluded').waitFor();
    await seen('the instance');
    check((await page.locator('main .trouble').count()) === 0, 'the instance is asked about by its name');
    await shoot(page, 'memory-hostile', WHOLE);
    for (const address of ['/search?s=onerror', '/audit', '/problems', '/detections', '/']) {
      await page.goto(UI + address);
      await seen(address);
    }
    await page.context().close();
  },

  async 'old addresses with anything in them lead to the same'() {
    const page = await opened('/');
    const alias = encodeURIComponent('a/b:c%d e?f#g <i>');
    for (const [old, heading] of [[`/web/cluster/alias/${alias}`, 'a/b:c%d e?f#g <i>'], [`/web/cluster/${key(1, 3)}`, 'a/b:c%d e?f#g <i>'], ['/web/audit-recovery/id/1', /primary/], [`/web/audit/instance/${path(1, 3)}`, 'Audit of']]) {
      await page.goto(BASE + old);
      await page.getByRole('heading', { name: heading }).waitFor();
    }
    await page.context().close();
  },
};

end([...(await playEach(browser, 'memory', scenes)), ...wrong]);
