// What people can do, as a table: when it makes sense, what it says, what it asks of the API.

import { at } from './api.js';
import { fleet, membersOf, remembered } from './store.js';

/** @param {Instance} row */
const isReplica = (row) => row.Source;
/** @param {Instance} row */
const isPrimary = (row) => row.Role === 'primary' || row.Role === 'co-primary';
/** @param {Instance} row */
const isDown = (row) => row.State === 'down';
/** @param {Instance} row */
const answers = (row) => (isDown(row) ? `${row.Key} does not answer` : '');
/** @param {Instance} row */
const replicasOf = (row) => membersOf(row.Cluster).filter((it) => it.Source === row.Key);
/** @param {Instance} row */
const isSource = (row) => replicasOf(row).length > 0;
/** @param {Instance} row */
const feeds = (row) => (isSource(row) ? '' : `${row.Key} has no replicas`);
/** @param {Instance} row */
const others = (row) => membersOf(row.Cluster).filter((it) => it.Key !== row.Key);

/** @type {Field} */
const owner = { name: 'owner', label: 'Who', kind: 'text', value: () => remembered('owner') };
/** @type {Field} */
const reason = { name: 'reason', label: 'Why', kind: 'text' };
/** @type {Field} */
const successor = { name: 'successor', label: 'Successor', kind: 'instance', instances: replicasOf };
/** @type {Field} */
const below = { name: 'below', label: 'Below', kind: 'instance', instances: others };
/** By which means somebody wants a move done: the names of the routes, and what they are called.
 * @type {[string, string][]} */
const MEANS = [['', 'whatever is certain'], ['move-below-gtid', 'GTID'], ['move-below', 'file and position, as a sibling'], ['move-equivalent', 'equivalent positions that baton knows']];
/** @param {[string, string][]} choices @returns {Field} */
const by = (choices) => ({ name: 'by', label: 'By', kind: 'choice', choices, optional: true });
/** @type {Field} */
const pattern = { name: 'pattern', label: 'Only those that match', kind: 'text', optional: true };
/** @type {Field} */
const tag = { name: 'tag', label: 'Tag (name, or name=value)', kind: 'text' };

/** @param {string} name @returns {(row: Instance, values: Values) => string} */
const onBelow = (name) => (row, values) => `${name}/${at(row.Key)}/${at(values.below)}`;

/** What is the same for all of a group, unless one says something else.
 * @param {Partial<Operation> & {group: string}} same @param {Omit<Operation, 'group'>[]} all @returns {Operation[]} */
const grouped = (same, all) => all.map((it) => ({ ...same, ...it }));

/** @type {Operation[]} */
export const OPERATIONS = [
  ...grouped({ group: 'Recovery', care: 'alias' }, [
  {
    id: 'promote', label: 'Promote in place of its source…',
    shown: isReplica,
    unfit: (row) => {
      const source = fleet.instances.get(row.Source ?? '');
      if (!source) return 'its source is not known';
      if (!isPrimary(source)) return `its source ${source.Key} is not the primary`;
      return isDown(source) ? `${source.Key} does not answer: recover it instead` : answers(row);
    },
    says: '{it} becomes the primary in a planned takeover; {source} then replicates from it. Writes stop for a moment and none is lost.',
    path: (row) => `graceful-master-takeover-auto/${at(row.Source ?? '')}/${at(row.Key)}`,
  },
  {
    id: 'recover', label: 'Recover from its failure…', shown: isDown,
    unfit: feeds,
    says: 'baton recovers from the failure of {it} now, even where it would not by itself.',
    path: 'recover',
  },
  {
    id: 'recover-to', label: 'Recover, to a named successor…', shown: isDown,
    unfit: feeds,
    fields: [successor],
    says: 'baton recovers from the failure of {it}, and opens the successor you name if that is safe.',
    path: (row, values) => `recover/${at(row.Key)}/${at(values.successor)}`,
  },
  {
    id: 'force', label: 'Force a failover…',
    shown: isPrimary, unfit: feeds,
    says: '{it} is given up and replaced, whatever baton sees of it. What only it has is lost.',
    path: 'force-master-failover',
  },
  {
    id: 'force-to', label: 'Force a takeover by a named replica…',
    shown: isPrimary, unfit: feeds,
    fields: [successor],
    says: '{it} is given up and the replica you name takes over. What only {it} or a broken replica has is lost.',
    path: (row, values) => `force-master-takeover/${at(row.Key)}/${at(values.successor)}`,
  },
  {
    id: 'rejoin', label: 'Bring back as a replica…', care: 'plan',
    unfit: answers,
    shown: isPrimary,
    says: '{it}, a former primary, follows the one that replaced it, if it has nothing of its own.',
    path: 'rejoin',
  },
  ]),
  ...grouped({ group: 'Move' }, [
  {
    id: 'relocate', label: 'Move below…', shown: isReplica, fields: [below, by(MEANS)],
    says: '{it} replicates from another server.',
    path: (row, values) => onBelow(values.by || 'relocate')(row, values),
  },
  {
    id: 'relocate-replicas', label: 'Move its replicas below…', fields: [below, pattern, by([MEANS[0], ['move-replicas-gtid', 'GTID']])],
    shown: isSource,
    says: 'The replicas of {it} replicate from another server.',
    path: (row, values) => onBelow(values.by || 'relocate-replicas')(row, values), query: ({ pattern }) => ({ pattern }),
  },
  {
    id: 'move-up', label: 'Move up one level', shown: (row) => row.Depth > 1,
    says: '{it} replicates from the source of its source.', path: 'move-up',
  },
  {
    id: 'move-up-replicas', label: 'Move its replicas up one level',
    shown: (row) => row.Depth > 0 && isSource(row),
    says: 'The replicas of {it} become its siblings.', path: 'move-up-replicas',
  },
  {
    id: 'take-siblings', label: 'Take its siblings',
    shown: (row) => isReplica(row) && row.Feeds,
    says: 'All siblings of {it} replicate from it.', path: 'take-siblings',
  },
  {
    id: 'take-source', label: 'Change places with its source', shown: (row) => row.Depth > 1,
    says: '{it} and its source change places.', path: 'take-master',
  },
  {
    id: 'regroup', label: 'Regroup its replicas', shown: (row) => replicasOf(row).length > 1,
    says: 'The replica of {it} that is furthest takes the others below it.', path: 'regroup-replicas',
  },
  {
    id: 'repoint', label: 'Name its source again', shown: isReplica,
    says: '{it} is told again to replicate from {source}.',
    path: (row) => `repoint/${at(row.Key)}/${at(row.Source ?? '')}`,
  },
  {
    id: 'repoint-replicas', label: 'Have its replicas name it again', shown: isSource,
    says: 'All replicas of {it} are told again to replicate from it.', path: 'repoint-replicas',
  },
  {
    id: 'co-primary', label: 'Make co-primary…', care: 'alias', shown: isReplica,
    says: '{source} also replicates from {it}. Nothing is made writable.', path: 'make-co-master',
  },
  ]),
  ...grouped({ group: 'Replication', unfit: answers }, [
  { id: 'start', label: 'Start replication', care: 'none', shown: isReplica, says: 'Both threads of {it} start.', path: 'start-replica' },
  { id: 'stop', label: 'Stop replication', shown: isReplica, says: 'Both threads of {it} stop.', path: 'stop-replica' },
  { id: 'stop-nice', label: 'Stop with everything applied', shown: isReplica, says: '{it} applies what it has received, then stops.', path: 'stop-replica-nice' },
  { id: 'restart', label: 'Restart replication', care: 'none', shown: isReplica, says: 'Both threads of {it} stop and start.', path: 'restart-replica' },
  { id: 'skip', label: 'Skip the failed transaction…', shown: (row) => row.Replication === 'failed', says: '{it} passes over what it failed on. It then differs from its source.', path: 'skip-query' },
  { id: 'detach', label: 'Detach from its source…', shown: (row) => isReplica(row) && !row.Detached, says: '{it} stops replicating, in a way that can be undone.', path: 'detach-replica-master-host' },
  { id: 'reattach', label: 'Reattach to its source', shown: (row) => row.Detached, says: '{it} replicates from {source} again.', path: 'reattach-replica-master-host' },
  { id: 'reset', label: 'Reset replication…', care: 'alias', shown: isReplica, says: '{it} forgets its source. That cannot be undone here.', path: 'reset-replica' },
  {
    id: 'delay', label: 'Delay replication…', shown: isReplica,
    fields: [{ name: 'seconds', label: 'Seconds', kind: 'number', value: (row) => String(row.Delay ?? 0) }],
    says: '{it} stays that many seconds behind its source.',
    path: (row, values) => `delay-replication/${at(row.Key)}/${encodeURIComponent(values.seconds)}`,
  },
  { id: 'gtid-on', label: 'Find its place by GTID', shown: (row) => row.Positioning === 'file', says: '{it} finds its place by GTID from now on.', path: 'enable-gtid' },
  { id: 'gtid-off', label: 'Find its place by file and position…', shown: (row) => row.Positioning === 'gtid', says: '{it} finds its place by file and position from now on.', path: 'disable-gtid' },
  { id: 'errant-inject', label: 'Errant transactions: inject empty ones…', care: 'alias', shown: (row) => row.Errant, says: 'Empty transactions of the same names are executed on the primary, so that nobody misses what only {it} has.', path: 'gtid-errant-inject-empty' },
  { id: 'errant-reset', label: 'Errant transactions: reset its logs…', care: 'alias', shown: (row) => row.Errant, says: '{it} forgets that it executed them. All its binary logs are dropped; the data stay changed.', path: 'gtid-errant-reset-master' },
  ]),
  ...grouped({ group: 'Server', unfit: answers }, [
  { id: 'read-only', label: 'Make read-only…', care: 'alias', shown: (row) => !row.ReadOnly, says: '{it} refuses writes.', path: 'set-read-only' },
  { id: 'writable', label: 'Make writable…', care: 'alias', shown: (row) => row.ReadOnly, says: '{it} accepts writes. Two that accept writes in one cluster diverge.', path: 'set-writeable' },
  { id: 'semi-source-on', label: 'Wait for acknowledgements', shown: (row) => !row.SemiSync?.some((it) => it !== 'acknowledges'), says: '{it} waits for replicas to acknowledge (semi-sync source).', path: 'enable-semi-sync-source' },
  { id: 'semi-source-off', label: 'Wait for acknowledgements no more…', shown: (row) => row.SemiSync?.some((it) => it !== 'acknowledges'), says: '{it} commits without waiting for replicas: a failover may lose what was committed.', path: 'disable-semi-sync-source' },
  { id: 'semi-replica-on', label: 'Acknowledge what it receives', shown: (row) => isReplica(row) && !row.SemiSync?.includes('acknowledges'), says: '{it} acknowledges (semi-sync replica).', path: 'enable-semi-sync-replica' },
  { id: 'semi-replica-off', label: 'Acknowledge no more…', shown: (row) => row.SemiSync?.includes('acknowledges'), says: '{it} does not acknowledge any more.', path: 'disable-semi-sync-replica' },
  { id: 'flush', label: 'Begin a new binary log', care: 'none', says: '{it} begins a new binary log.', path: 'flush-binary-logs' },
  ]),
  ...grouped({ group: 'Watching', care: 'none' }, [
  { id: 'refresh', label: 'Look at it now', says: 'baton looks at {it} now.', path: 'refresh' },
  {
    id: 'downtime', label: 'Begin downtime…',
    fields: [owner, reason, { name: 'duration', label: 'For', kind: 'choice', value: () => '1h', choices: [['10m', '10 minutes'], ['1h', '1 hour'], ['4h', '4 hours'], ['1d', '1 day'], ['1w', '1 week'], ['4w', '4 weeks']] }],
    says: 'Nobody is alarmed because of {it}, and nothing is done about it by itself.',
    path: (row, values) => `begin-downtime/${at(row.Key)}/${encodeURIComponent(values.owner)}/${encodeURIComponent(values.reason)}/${values.duration}`,
  },
  { id: 'downtime-end', label: 'End downtime', shown: (row) => row.Downtime, says: '{it} counts again.', path: 'end-downtime' },
  {
    id: 'maintenance', label: 'Begin maintenance…', shown: (row) => !row.Maintenance, fields: [owner, reason],
    says: 'Nobody else changes {it} meanwhile; baton neither. It ends by itself after ten minutes.',
    path: (row, values) => `begin-maintenance/${at(row.Key)}/${encodeURIComponent(values.owner)}/${encodeURIComponent(values.reason)}`,
  },
  { id: 'maintenance-end', label: 'End maintenance', shown: (row) => row.Maintenance, says: '{it} may be changed again.', path: 'end-maintenance' },
  {
    id: 'rule', label: 'Promotion rule…',
    fields: [{ name: 'rule', label: 'As the next primary it is', kind: 'choice', value: (row) => row.Rule || 'neutral', choices: [['prefer', 'preferred'], ['neutral', 'as good as others'], ['prefer_not', 'only if nobody better is there'], ['must_not', 'never promoted']] }],
    says: 'How welcome {it} is as the next primary. The rule expires by itself.',
    path: (row, values) => `register-candidate/${at(row.Key)}/${values.rule}`,
  },
  { id: 'tag', label: 'Tag…', fields: [tag], says: '{it} gets a tag.', path: 'tag', query: ({ tag }) => ({ tag }) },
  {
    id: 'untag', label: 'Remove a tag…', shown: (row) => Object.keys(row.Tags ?? {}).length > 0,
    fields: [{ name: 'tag', label: 'Tag', kind: 'choice', choices: [] }],
    says: '{it} loses a tag.', path: 'untag', query: ({ tag }) => ({ tag }),
  },
  { id: 'forget', label: 'Forget…', care: 'alias', says: 'baton forgets {it}, and does not find it again by itself for a while.', path: 'forget' },
  ]),
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
