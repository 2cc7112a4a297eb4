// People recover by hand, from what baton is told to leave alone: every way there is, one after the other.

import { ask, check, isAccessible, isClean, same, until } from './lib.mjs';
import { UI, act, api, confirm, key, opened, path, play, port, post, row, went } from './shop.mjs';

const SERVERS = [0, 1, 2, 3];
const isReadOnly = (at) => ask({ do: 'ask', server: at, sql: 'SELECT @@global.read_only' });

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

const scenes = {
  async 'a dead primary is recovered from'() {
    await post('disable-global-recoveries');
    const page = await opened(`${UI}/cluster/shop`);
    const { primary } = await heads();
    await ask({ do: 'kill', server: primary });
    await page.locator('.problem.critical').waitFor();
    await act(page, primary, 'Recover from its failure', { alias: 'shop' });
    await replaced(page, primary);
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
