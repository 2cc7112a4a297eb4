// What people can do, as a table: when it makes sense, what it says, what it asks of the API.

import { at } from './api.js';
import { fleet, membersOf } from './store.js';

/** @typedef {import('./types').Instance} Instance */
/** @typedef {import('./types').Cluster} Cluster */
/** @typedef {Record<string, string>} Values */

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {'text' | 'number' | 'choice' | 'instance'} kind
 * @property {(row: Instance) => string} [value] what is there at first
 * @property {[string, string][]} [choices] value and label
 * @property {(row: Instance) => Instance[]} [instances]
 * @property {boolean} [optional]
 */

/**
 * @typedef {object} Operation
 * @property {string} id
 * @property {string} group
 * @property {string} label
 * @property {'none' | 'plan' | 'alias'} care `plan`: what would be done is shown first; `alias`: and
 *   the alias of the cluster has to be typed
 * @property {(row: Instance) => string} says
 * @property {(row: Instance) => string} [unfit] why it makes no sense now; empty when it does
 * @property {(row: Instance) => boolean} [shown]
 * @property {Field[]} [fields]
 * @property {(row: Instance, values: Values) => string} path
 * @property {(values: Values) => Record<string, string>} [query]
 */

/** @param {Instance} row */
const isReplica = (row) => Boolean(row.Source);
/** @param {Instance} row */
const isPrimary = (row) => row.Role === 'primary' || row.Role === 'co-primary';
/** @param {Instance} row */
const isDown = (row) => row.State === 'down';
/** @param {Instance} row */
const follows = (row) => (isReplica(row) ? '' : `${row.Key} replicates from nobody`);
/** @param {Instance} row */
const answers = (row) => (isDown(row) ? `${row.Key} does not answer` : '');
/** @param {Instance} row */
const replicasOf = (row) => membersOf(row.Cluster).filter((it) => it.Source === row.Key);
/** @param {Instance} row */
const feeds = (row) => (replicasOf(row).length ? '' : `${row.Key} has no replicas`);
/** @param {Instance} row */
const others = (row) => membersOf(row.Cluster).filter((it) => it.Key !== row.Key);
/** @param {Instance} row */
export function sourceOf(row) {
  return row.Source ? fleet.instances.get(row.Source) : undefined;
}
/** @param {...((row: Instance) => string)} checks @returns {(row: Instance) => string} */
const all = (...checks) => (row) => checks.map((check) => check(row)).find(Boolean) ?? '';

const OWNER = 'baton.owner';

/** @returns {string} */
function rememberedOwner() {
  try {
    return localStorage.getItem(OWNER) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} owner */
export function rememberOwner(owner) {
  try {
    localStorage.setItem(OWNER, owner);
  } catch {
    // It is asked for again next time.
  }
}

/** @type {Field} */
const owner = { name: 'owner', label: 'Who', kind: 'text', value: rememberedOwner };
/** @type {Field} */
const reason = { name: 'reason', label: 'Why', kind: 'text' };
/** @type {Field} */
const below = { name: 'below', label: 'Below', kind: 'instance', instances: others };
/** @type {Field} */
const pattern = { name: 'pattern', label: 'Only those that match', kind: 'text', optional: true };
/** @type {Field} */
const tag = { name: 'tag', label: 'Tag (name, or name=value)', kind: 'text' };

/** @param {string} name @returns {(row: Instance, values: Values) => string} */
const on = (name) => (row) => `${name}/${at(row.Key)}`;
/** @param {string} name @returns {(row: Instance, values: Values) => string} */
const onBelow = (name) => (row, values) => `${name}/${at(row.Key)}/${at(values.below || ':')}`;

/** @type {Operation[]} */
export const OPERATIONS = [
  // Recovery
  {
    id: 'promote', group: 'Recovery', label: 'Promote in place of its source…', care: 'alias',
    shown: (row) => isReplica(row),
    unfit: (row) => {
      const source = sourceOf(row);
      if (!source) return 'its source is not known';
      if (!isPrimary(source)) return `its source ${source.Key} is not the primary`;
      return source.State === 'down' ? `${source.Key} does not answer: recover it instead` : answers(row);
    },
    says: (row) => `${row.Key} becomes the primary in a planned takeover; ${row.Source} then replicates from it. Writes stop for a moment and none is lost.`,
    path: (row) => `graceful-master-takeover-auto/${at(row.Source ?? ':')}/${at(row.Key)}`,
  },
  {
    id: 'recover', group: 'Recovery', label: 'Recover from its failure…', care: 'alias', shown: isDown,
    unfit: feeds,
    says: (row) => `baton recovers from the failure of ${row.Key} now, even where it would not by itself.`,
    path: on('recover'),
  },
  {
    id: 'recover-to', group: 'Recovery', label: 'Recover, to a named successor…', care: 'alias', shown: isDown,
    unfit: feeds,
    fields: [{ name: 'successor', label: 'Successor', kind: 'instance', instances: replicasOf }],
    says: (row) => `baton recovers from the failure of ${row.Key}, and opens the successor you name if that is safe.`,
    path: (row, values) => `recover/${at(row.Key)}/${at(values.successor || ':')}`,
  },
  {
    id: 'force', group: 'Recovery', label: 'Force a failover…', care: 'alias',
    shown: isPrimary, unfit: feeds,
    says: (row) => `${row.Key} is given up and replaced, whatever baton sees of it. What only it has is lost.`,
    path: on('force-master-failover'),
  },
  {
    id: 'force-to', group: 'Recovery', label: 'Force a takeover by a named replica…', care: 'alias',
    shown: isPrimary, unfit: feeds,
    fields: [{ name: 'successor', label: 'Successor', kind: 'instance', instances: replicasOf }],
    says: (row) => `${row.Key} is given up and the replica you name takes over. What only ${row.Key} or a broken replica has is lost.`,
    path: (row, values) => `force-master-takeover/${at(row.Key)}/${at(values.successor || ':')}`,
  },
  {
    id: 'rejoin', group: 'Recovery', label: 'Bring back as a replica…', care: 'plan',
    unfit: answers,
    shown: isPrimary,
    says: (row) => `${row.Key}, a former primary, follows the one that replaced it, if it has nothing of its own.`,
    path: on('rejoin'),
  },
  // Moving
  {
    id: 'relocate', group: 'Move', label: 'Move below…', care: 'plan', shown: isReplica, fields: [below],
    says: (row) => `${row.Key} replicates from another server.`,
    path: onBelow('relocate'),
  },
  {
    id: 'relocate-replicas', group: 'Move', label: 'Move its replicas below…', care: 'plan', fields: [below, pattern], unfit: feeds,
    shown: (row) => replicasOf(row).length > 0,
    says: (row) => `The replicas of ${row.Key} replicate from another server.`,
    path: onBelow('relocate-replicas'), query: (values) => ({ pattern: values.pattern ?? '' }),
  },
  {
    id: 'move-up', group: 'Move', label: 'Move up one level', care: 'plan', shown: (row) => row.Depth > 1,
    says: (row) => `${row.Key} replicates from the source of its source.`, path: on('move-up'),
  },
  {
    id: 'move-up-replicas', group: 'Move', label: 'Move its replicas up one level', care: 'plan',
    shown: (row) => row.Depth > 0 && replicasOf(row).length > 0,
    says: (row) => `The replicas of ${row.Key} become its siblings.`, path: on('move-up-replicas'),
  },
  {
    id: 'take-siblings', group: 'Move', label: 'Take its siblings', care: 'plan',
    shown: (row) => isReplica(row) && row.Feeds,
    says: (row) => `All siblings of ${row.Key} replicate from it.`, path: on('take-siblings'),
  },
  {
    id: 'take-source', group: 'Move', label: 'Change places with its source', care: 'plan', shown: (row) => row.Depth > 1,
    says: (row) => `${row.Key} and its source change places.`, path: on('take-master'),
  },
  {
    id: 'regroup', group: 'Move', label: 'Regroup its replicas', care: 'plan', shown: (row) => replicasOf(row).length > 1,
    says: (row) => `The replica of ${row.Key} that is furthest takes the others below it.`, path: on('regroup-replicas'),
  },
  {
    id: 'repoint', group: 'Move', label: 'Name its source again', care: 'plan', shown: isReplica,
    says: (row) => `${row.Key} is told again to replicate from ${row.Source}.`,
    path: (row) => `repoint/${at(row.Key)}/${at(row.Source ?? ':')}`,
  },
  {
    id: 'repoint-replicas', group: 'Move', label: 'Have its replicas name it again', care: 'plan', shown: (row) => replicasOf(row).length > 0,
    says: (row) => `All replicas of ${row.Key} are told again to replicate from it.`, path: on('repoint-replicas'),
  },
  {
    id: 'co-primary', group: 'Move', label: 'Make co-primary…', care: 'alias', shown: isReplica,
    says: (row) => `${row.Source} also replicates from ${row.Key}. Nothing is made writable.`, path: on('make-co-master'),
  },
  // Replication
  { id: 'start', group: 'Replication', label: 'Start replication', care: 'none', shown: isReplica, unfit: all(follows, answers), says: (row) => `Both threads of ${row.Key} start.`, path: on('start-replica') },
  { id: 'stop', group: 'Replication', label: 'Stop replication', care: 'plan', shown: isReplica, unfit: all(follows, answers), says: (row) => `Both threads of ${row.Key} stop.`, path: on('stop-replica') },
  { id: 'stop-nice', group: 'Replication', label: 'Stop with everything applied', care: 'plan', shown: isReplica, unfit: all(follows, answers), says: (row) => `${row.Key} applies what it has received, then stops.`, path: on('stop-replica-nice') },
  { id: 'restart', group: 'Replication', label: 'Restart replication', care: 'none', shown: isReplica, unfit: all(follows, answers), says: (row) => `Both threads of ${row.Key} stop and start.`, path: on('restart-replica') },
  { id: 'skip', group: 'Replication', label: 'Skip the failed transaction…', care: 'plan', shown: (row) => row.Replication === 'failed', unfit: answers, says: (row) => `${row.Key} passes over what it failed on. It then differs from its source.`, path: on('skip-query') },
  { id: 'detach', group: 'Replication', label: 'Detach from its source…', care: 'plan', shown: (row) => isReplica(row) && !row.Detached, unfit: answers, says: (row) => `${row.Key} stops replicating, in a way that can be undone.`, path: on('detach-replica-master-host') },
  { id: 'reattach', group: 'Replication', label: 'Reattach to its source', care: 'plan', shown: (row) => Boolean(row.Detached), unfit: answers, says: (row) => `${row.Key} replicates from ${row.Source} again.`, path: on('reattach-replica-master-host') },
  { id: 'reset', group: 'Replication', label: 'Reset replication…', care: 'alias', shown: isReplica, unfit: answers, says: (row) => `${row.Key} forgets its source. That cannot be undone here.`, path: on('reset-replica') },
  {
    id: 'delay', group: 'Replication', label: 'Delay replication…', care: 'plan', shown: isReplica, unfit: answers,
    fields: [{ name: 'seconds', label: 'Seconds', kind: 'number', value: (row) => String(row.Delay ?? 0) }],
    says: (row) => `${row.Key} stays that many seconds behind its source.`,
    path: (row, values) => `delay-replication/${at(row.Key)}/${encodeURIComponent(values.seconds || '0')}`,
  },
  { id: 'gtid-on', group: 'Replication', label: 'Find its place by GTID', care: 'plan', shown: (row) => row.Positioning === 'file', unfit: answers, says: (row) => `${row.Key} finds its place by GTID from now on.`, path: on('enable-gtid') },
  { id: 'gtid-off', group: 'Replication', label: 'Find its place by file and position…', care: 'plan', shown: (row) => row.Positioning === 'gtid', unfit: answers, says: (row) => `${row.Key} finds its place by file and position from now on.`, path: on('disable-gtid') },
  { id: 'errant-inject', group: 'Replication', label: 'Errant transactions: inject empty ones…', care: 'alias', shown: (row) => Boolean(row.Errant), unfit: answers, says: (row) => `Empty transactions of the same names are executed on the primary, so that nobody misses what only ${row.Key} has.`, path: on('gtid-errant-inject-empty') },
  { id: 'errant-reset', group: 'Replication', label: 'Errant transactions: reset its logs…', care: 'alias', shown: (row) => Boolean(row.Errant), unfit: answers, says: (row) => `${row.Key} forgets that it executed them. All its binary logs are dropped; the data stay changed.`, path: on('gtid-errant-reset-master') },
  // Server
  { id: 'read-only', group: 'Server', label: 'Make read-only…', care: 'alias', shown: (row) => !row.ReadOnly, unfit: answers, says: (row) => `${row.Key} refuses writes.`, path: on('set-read-only') },
  { id: 'writable', group: 'Server', label: 'Make writable…', care: 'alias', shown: (row) => row.ReadOnly, unfit: answers, says: (row) => `${row.Key} accepts writes. Two that accept writes in one cluster diverge.`, path: on('set-writeable') },
  { id: 'semi-source-on', group: 'Server', label: 'Wait for acknowledgements', care: 'plan', shown: (row) => !row.SemiSync?.some((it) => it !== 'acknowledges'), unfit: answers, says: (row) => `${row.Key} waits for replicas to acknowledge (semi-sync source).`, path: on('enable-semi-sync-source') },
  { id: 'semi-source-off', group: 'Server', label: 'Wait for acknowledgements no more…', care: 'plan', shown: (row) => Boolean(row.SemiSync?.some((it) => it !== 'acknowledges')), unfit: answers, says: (row) => `${row.Key} commits without waiting for replicas: a failover may lose what was committed.`, path: on('disable-semi-sync-source') },
  { id: 'semi-replica-on', group: 'Server', label: 'Acknowledge what it receives', care: 'plan', shown: (row) => isReplica(row) && !row.SemiSync?.includes('acknowledges'), unfit: answers, says: (row) => `${row.Key} acknowledges (semi-sync replica).`, path: on('enable-semi-sync-replica') },
  { id: 'semi-replica-off', group: 'Server', label: 'Acknowledge no more…', care: 'plan', shown: (row) => Boolean(row.SemiSync?.includes('acknowledges')), unfit: answers, says: (row) => `${row.Key} does not acknowledge any more.`, path: on('disable-semi-sync-replica') },
  { id: 'flush', group: 'Server', label: 'Begin a new binary log', care: 'none', unfit: answers, says: (row) => `${row.Key} begins a new binary log.`, path: on('flush-binary-logs') },
  // Watching
  { id: 'refresh', group: 'Watching', label: 'Look at it now', care: 'none', says: (row) => `baton looks at ${row.Key} now.`, path: on('refresh') },
  {
    id: 'downtime', group: 'Watching', label: 'Begin downtime…', care: 'none',
    fields: [owner, reason, { name: 'duration', label: 'For', kind: 'choice', value: () => '1h', choices: [['10m', '10 minutes'], ['1h', '1 hour'], ['4h', '4 hours'], ['1d', '1 day'], ['1w', '1 week'], ['4w', '4 weeks']] }],
    says: (row) => `Nobody is alarmed because of ${row.Key}, and nothing is done about it by itself.`,
    path: (row, values) => `begin-downtime/${at(row.Key)}/${encodeURIComponent(values.owner || '-')}/${encodeURIComponent(values.reason || '-')}/${values.duration}`,
  },
  { id: 'downtime-end', group: 'Watching', label: 'End downtime', care: 'none', shown: (row) => Boolean(row.Downtime), says: (row) => `${row.Key} counts again.`, path: on('end-downtime') },
  {
    id: 'maintenance', group: 'Watching', label: 'Begin maintenance…', care: 'none', shown: (row) => !row.Maintenance, fields: [owner, reason],
    says: (row) => `Nobody else changes ${row.Key} meanwhile; baton neither. It ends by itself after ten minutes.`,
    path: (row, values) => `begin-maintenance/${at(row.Key)}/${encodeURIComponent(values.owner || '-')}/${encodeURIComponent(values.reason || '-')}`,
  },
  { id: 'maintenance-end', group: 'Watching', label: 'End maintenance', care: 'none', shown: (row) => Boolean(row.Maintenance), says: (row) => `${row.Key} may be changed again.`, path: on('end-maintenance') },
  {
    id: 'rule', group: 'Watching', label: 'Promotion rule…', care: 'none',
    fields: [{ name: 'rule', label: 'As the next primary it is', kind: 'choice', value: (row) => row.Rule || 'neutral', choices: [['prefer', 'preferred'], ['neutral', 'as good as others'], ['prefer_not', 'only if nobody better is there'], ['must_not', 'never promoted']] }],
    says: (row) => `How welcome ${row.Key} is as the next primary. The rule expires by itself.`,
    path: (row, values) => `register-candidate/${at(row.Key)}/${values.rule}`,
  },
  { id: 'tag', group: 'Watching', label: 'Tag…', care: 'none', fields: [tag], says: (row) => `${row.Key} gets a tag.`, path: on('tag'), query: (values) => ({ tag: values.tag ?? '' }) },
  {
    id: 'untag', group: 'Watching', label: 'Remove a tag…', care: 'none', shown: (row) => Object.keys(row.Tags ?? {}).length > 0,
    fields: [{ name: 'tag', label: 'Tag', kind: 'choice', choices: [] }],
    says: (row) => `${row.Key} loses a tag.`, path: on('untag'), query: (values) => ({ tag: values.tag ?? '' }),
  },
  { id: 'forget', group: 'Watching', label: 'Forget…', care: 'alias', says: (row) => `baton forgets ${row.Key}, and does not find it again by itself for a while.`, path: on('forget') },
];

/** The operations that mean something for an instance, by group.
 * @param {Instance} row @returns {[string, Operation[]][]} */
export function offered(row) {
  /** @type {Map<string, Operation[]>} */
  const groups = new Map();
  for (const operation of OPERATIONS) {
    if (operation.shown && !operation.shown(row)) continue;
    groups.set(operation.group, [...(groups.get(operation.group) ?? []), operation]);
  }
  return [...groups];
}

/** @param {string} id @returns {Operation} */
export function operation(id) {
  const found = OPERATIONS.find((it) => it.id === id);
  if (!found) throw new Error(`no operation ${id}`);
  return found;
}
