// People recover by hand, from what baton is told to leave alone: every way there is, one after the other.

import { ask, check, fits, isAccessible, isClean, same, until } from './lib.mjs';
import { UI, act, api, choose, confirm, key, opened, path, play, port, post, row, shoot } from './shop.mjs';

const SERVERS = [0, 1, 2, 3];
const isReadOnly = (at) => ask({ do: 'ask', server: at, sql: 'SELECT @@global.read_only' });

const isWell = () => until('all is well', async () => (await api('problems')) === null);

/** Who heads the shop, and who might come after. */
async function heads() {
  const { Key } = await api('master/shop');
  const primary = SERVERS.find((at) => port(at) === Key.Port);
  return { primary, replicas: SERVERS.filter((at) => at !== primary) };
}

/** Somebody else heads it, and is open. */
async function replaced(page, old, heir) {
  const now = await until('somebody else heads the shop', async () => {
    const { primary } = await heads();
    return primary !== undefined && primary !== old && [primary];
  });
  if (heir !== undefined) same(now[0], heir, 'who was named heads the shop');
  same(await isReadOnly(now[0]), '0', 'it is open');
  await row(page, now[0]).locator('.badge', { hasText: 'primary' }).waitFor();
  await post('ack-all-recoveries?comment=played');
  return now[0];
}

/** One page has what baton concluded and what is the matter with each instance. */
async function everythingWrongIsTold(dead) {
  const page = await opened(`${UI}/problems`, { colorScheme: 'dark' });
  await page.locator('.problem.critical', { hasText: 'The primary is dead' }).waitFor();
  await page.locator('.problem.critical .verdict').waitFor();
  await page.locator('.ailing .row', { hasText: key(dead) }).locator('.c-wrong', { hasText: 'does not answer' }).waitFor();
  const listed = async () => [await page.locator('.problem').count(), await page.locator('.ailing .row:not(.titles)').count()];
  await until('its replicas are there as well', async () => (await listed())[1] === SERVERS.length);
  await isAccessible(page, 'all problems');
  await shoot(page, 'problems');
  for (const width of [360, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await fits(page, `the problems at ${width}`);
    await shoot(page, `problems-${width}`);
  }
  await page.getByLabel('How bad').selectOption('critical');
  await page.getByLabel('Filter problems').fill(key(dead));
  await until('only what is looked for is listed', async () => JSON.stringify(await listed()) === '[1,1]');
  await page.getByLabel('Filter problems').fill('no such thing');
  await page.getByText('No problem matches.').waitFor();
  await page.context().close();
}

/** The one that was given up comes back, as a replica of who replaced it. */
async function back(at) {
  const page = await opened(`${UI}/instance/${key(at)}`);
  await page.locator('.total', { hasText: 'primary' }).waitFor();
  await act(page, at, 'Bring back as a replica');
  await page.goto(`${UI}/cluster/shop`);
  await row(page, at).waitFor();
  await until('all is well', async () => (await api('problems')) === null && (await api('replication-analysis')).Details.length === 0);
  await isClean(page);
  await page.context().close();
}

/** What the README shows. */
async function shootForReadme(page, dead) {
  if (!process.env.SHOTS) return;
  await page.setViewportSize({ width: 1180, height: 825 });
  await page.locator('.card', { hasText: 'would take over.' }).waitFor();
  await page.mouse.move(0, 0);
  await shoot(page, 'cluster');
  const phone = await opened(`${UI}/cluster/shop`, { colorScheme: 'dark', viewport: { width: 360, height: 720 }, deviceScaleFactor: 1.5 });
  await shoot(phone, 'phone');
  await choose(phone, dead, 'Recover from its failure');
  await phone.locator('dialog[open] .plan li').first().waitFor();
  await shoot(phone, 'phone-plan');
  await phone.context().close();
}

const scenes = {
  async 'a dead primary is recovered from'() {
    await post('disable-global-recoveries');
    const page = await opened(`${UI}/cluster/shop`);
    const { primary } = await heads();
    await ask({ do: 'kill', server: primary });
    await page.locator('.problem.critical').waitFor();
    await everythingWrongIsTold(primary);
    await shootForReadme(page, primary);
    await act(page, primary, 'Recover from its failure', { alias: 'shop' });
    await replaced(page, primary);
    // What was detected is told together with what was done about it.
    await page.goto(`${UI}/detections`);
    await page.locator('.recovery', { hasText: 'The primary is dead' }).first().getByRole('link', { name: 'recovered from' }).click();
    await page.locator('ol.steps li', { hasText: 'accepts writes' }).waitFor();
    await page.locator('.facts dt', { hasText: 'Detected' }).waitFor();
    await page.getByRole('heading', { name: 'over time' }).waitFor();
    await page.goto(`${UI}/cluster/shop`);
    await page.context().close();
    await ask({ do: 'restart', server: primary });
    await back(primary);
  },

  async 'a dead primary is recovered from, to somebody named'() {
    const page = await opened(`${UI}/cluster/shop`);
    const { primary, replicas: [, heir] } = await heads();
    await ask({ do: 'kill', server: primary });
    await page.locator('.problem.critical').waitFor();
    await act(page, primary, 'Recover, to a named successor', { fields: { Successor: key(heir) }, alias: 'shop' });
    await replaced(page, primary, heir);
    await page.context().close();
    await ask({ do: 'restart', server: primary });
    await back(primary);
  },

  async 'a failover is forced'() {
    const page = await opened(`${UI}/cluster/shop`);
    const { primary } = await heads();
    await act(page, primary, 'Force a failover', { alias: 'shop' });
    await replaced(page, primary);
    await page.context().close();
    await back(primary);
  },

  async 'a takeover is forced'() {
    const page = await opened(`${UI}/cluster/shop`);
    const { primary, replicas: [, , heir] } = await heads();
    await act(page, primary, 'Force a takeover by a named replica', { fields: { Successor: key(heir) }, alias: 'shop' });
    await replaced(page, primary, heir);
    await page.context().close();
    await back(primary);
  },

  async 'a takeover shows its steps while it runs, and what was undone when it fails'() {
    const page = await opened(`${UI}/cluster/shop`);
    const { primary, replicas: [heir] } = await heads();
    const dialog = page.locator('dialog[open]');
    await ask({ do: 'exec', server: primary, sql: 'CREATE TABLE shop.slow (id INT PRIMARY KEY)' });
    await until('the heir has the table', async () => (await ask({ do: 'ask', server: heir, sql: "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'slow'" })) === '1');
    /** Somebody locks the table there for so long, and something is to be applied. */
    const slowed = async (id, seconds) => {
      await ask({ do: 'exec', server: heir, sql: 'SET GLOBAL super_read_only = OFF' });
      await ask({ do: 'exec unlogged', server: heir, sql: `CREATE EVENT shop.hold${id} ON SCHEDULE AT CURRENT_TIMESTAMP DO BEGIN START TRANSACTION; SELECT COUNT(*) INTO @n FROM shop.slow FOR UPDATE; DO SLEEP(${seconds}); COMMIT; END` });
      await until('it is locked', async () => (await ask({ do: 'ask', server: heir, sql: "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'" })) !== '0');
      await ask({ do: 'exec', server: heir, sql: 'SET GLOBAL super_read_only = ON' });
      await ask({ do: 'exec', server: primary, sql: `INSERT INTO shop.slow VALUES (${id})` });
      await page.getByRole('button', { name: 'Switch over' }).click();
      await dialog.getByLabel('To', { exact: true }).selectOption(key(heir));
      await dialog.getByLabel('to confirm').fill('shop');
      await dialog.locator('button[type=submit]:enabled').click();
      await dialog.locator('ol.steps li', { hasText: 'is to hand over' }).waitFor();
      await page.locator('.running ol.steps li').nth(1).waitFor({ state: 'attached' });
    };
    await slowed(1, 30);
    await shoot(page, 'takeover-running');
    await ask({ do: 'kill', server: heir });
    const trouble = dialog.locator('.trouble');
    await trouble.waitFor({ timeout: 60_000 });
    await shoot(page, 'takeover-failed');
    await dialog.locator('.outcome', { hasText: 'rolled back, so all is as it was' }).waitFor();
    await dialog.locator('ol.steps li', { hasText: 'rolling back' }).waitFor();
    same(await isReadOnly(primary), '0', 'the primary is open again');
    await dialog.getByRole('button', { name: 'Close' }).click();
    await page.locator('.news .problem.warning', { hasText: 'rolled back, so all is as it was' }).waitFor();
    await page.locator('.news').getByRole('button', { name: 'Acknowledge' }).click();
    await confirm(page, 'it is acknowledged', { fields: { Comment: 'it was locked' } });
    await page.locator('.news').waitFor({ state: 'detached' });
    await ask({ do: 'restart', server: heir });
    await isWell();
    await slowed(2, 5);
    await dialog.locator('.fine').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await replaced(page, primary, heir);
    await page.context().close();
  },

  async 'a hook that runs is shown, and a person ends it'() {
    const { primary } = await heads();
    await ask({ do: 'hold hooks' });
    const taken = post('graceful-master-takeover-auto/shop');
    const page = await opened(`${UI}/recoveries`);
    const hook = page.locator('.hooks li', { hasText: 'PostGracefulTakeoverProcesses' });
    await hook.locator('code', { hasText: 'test -e held' }).waitFor();
    await hook.locator('.of time').waitFor();
    await isAccessible(page, 'hooks that run');
    await page.setViewportSize({ width: 360, height: 800 });
    await fits(page, 'hooks that run');
    await shoot(page, 'hooks-360');
    await hook.getByRole('button', { name: 'End' }).click();
    await confirm(page, 'the hook is ended');
    await page.locator('.hooks').waitFor({ state: 'detached' });
    await taken;
    await ask({ do: 'let hooks go' });
    await page.goto(`${UI}/cluster/shop`);
    await replaced(page, primary);
    await isWell();
    await page.context().close();
  },

  async 'people switch over on the page of the cluster'() {
    const page = await opened(`${UI}/cluster/shop`);
    const { primary, replicas: [heir] } = await heads();
    await page.getByRole('button', { name: 'Switch over' }).click();
    await page.locator('dialog[open] .plan li').first().waitFor();
    await isAccessible(page, 'a planned takeover');
    await confirm(page, 'the takeover', { fields: { To: key(heir) }, alias: 'shop' });
    await replaced(page, primary, heir);
    await until('the old one follows', async () => (await api(`instance/${path(primary)}`)).MasterKey.Port === port(heir));
    await page.goto(`${UI}/recoveries`);
    await page.getByRole('button', { name: 'Acknowledge all' }).click();
    await confirm(page, 'all are acknowledged', { fields: { Comment: 'drill' } });
    check((await api('audit-recovery')).every((it) => it.Acknowledged), 'all are acknowledged');
    await page.context().close();
  },
};

await play('recoveries', scenes);
