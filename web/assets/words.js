// Words and numbers for people.

/** A sentence with names of strangers in it: marks that would turn it around are shown, and do nothing.
 * @param {string | undefined} text */
export function tame(text) {
  return (text ?? '').replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

/** @param {number} milliseconds */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** The API's times are in UTC, with or without saying so.
 * @param {string} text */
export function moment(text) {
  const iso = /^\d{4}-\d\d-\d\d \d/.test(text) ? `${text.replace(' ', 'T')}Z` : text;
  return Date.parse(iso);
}

/** @param {string} text */
export function exact(text) {
  const at = moment(text);
  return Number.isNaN(at) ? text : new Date(at).toISOString().replace('T', ' ').replace('.000', '').replace('Z', ' UTC');
}

/** @param {string} text */
export function ago(text) {
  const at = moment(text);
  if (Number.isNaN(at)) return '';
  const since = Date.now() - at;
  return since >= -1500 ? `${span(since)} ago` : `in ${span(-since)}`;
}

const WHOLE = new Intl.NumberFormat('en');

/** @param {number} number */
export function count(number) {
  return WHOLE.format(number);
}

/** @param {number} number @param {string} one @param {string} [many] */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Codes are what programs know; people read words.
 * @param {string} code */
export function named(code) {
  const known = CODES[code];
  if (known) return known;
  const plain = code.replace(/StructureWarning$/, '').replace(/Master/g, 'Primary').replace(/([a-z])([A-Z])/g, '$1 $2');
  return plain.charAt(0) + plain.slice(1).toLowerCase().replace(/\bgtid\b/g, 'GTID');
}

/** @type {Record<string, string>} */
const CODES = {
  NoProblem: 'No problem',
  DeadMaster: 'The primary is dead',
  DeadMasterWithoutReplicas: 'The primary is dead and has no replicas',
  DeadMasterAndReplicas: 'The primary and all its replicas are out of reach',
  DeadMasterAndSomeReplicas: 'The primary and some replicas are dead',
  InaccessibleMaster: 'The primary is alive, but does not let baton in',
  InaccessibleCoMaster: 'A co-primary is alive, but does not let baton in',
  InaccessibleIntermediateMaster: 'An intermediate source is alive, but does not let baton in',
  MasterCannotWriteBinlog: 'The primary cannot write its binary log: commits wait',
  NeverSeenMaster: 'What replicas call their primary was never seen',
  UnreachableMaster: 'The primary is out of reach, but replicas still hear it',
  UnreachableMasterWithLaggingReplicas: 'The primary is out of reach and its replicas lag',
  UnreachableIntermediateMaster: 'An intermediate source is out of reach, but replicas still hear it',
  DeadIntermediateMaster: 'An intermediate source is dead',
  DeadIntermediateMasterAndReplicas: 'An intermediate source and its replicas are out of reach',
  DeadIntermediateMasterAndSomeReplicas: 'An intermediate source and some of its replicas are dead',
  DeadIntermediateMasterWithSingleReplica: 'An intermediate source with one replica is dead',
  DeadCoMaster: 'A co-primary is dead',
  NoWriteableMasterStructureWarning: 'No primary accepts writes',
  AllMasterReplicasNotReplicating: 'No replica of the primary replicates',
  AllMasterReplicasNotReplicatingOrDead: 'No replica of the primary replicates; some are dead',
  MasterSingleReplicaNotReplicating: 'The only replica of the primary does not replicate',
  MasterSingleReplicaDead: 'The only replica of the primary is dead',
  AllIntermediateMasterReplicasNotReplicating: 'No replica of an intermediate source replicates',
  LockedSemiSyncMaster: 'Writes wait for acknowledgements that do not come',
  LockedSemiSyncMasterHypothesis: 'Writes may be waiting for acknowledgements',
  MasterWithTooManySemiSyncReplicas: 'More replicas acknowledge than should',
  FirstTierReplicaFailingToConnectToMaster: 'A replica cannot connect to the primary',
  ErrantGTIDStructureWarning: 'Errant transactions',
  DifferentGTIDModesStructureWarning: 'Replicas use different GTID modes',
  NoFailoverSupportStructureWarning: 'Nobody could take over',
  NoLoggingReplicasStructureWarning: 'No replica logs what it replicates',
  MultipleMajorVersionsLoggingReplicasStructureWarning: 'Replicas of several major versions',
  NotEnoughValidSemiSyncReplicasStructureWarning: 'Too few replicas can acknowledge',
  ReplicasMayLeaveStructureWarning:
    'Replicas may switch sources: set SOURCE_CONNECTION_AUTO_FAILOVER = 0',
  ReplicasGiveUpStructureWarning: 'Receivers give up soon: set SOURCE_RETRY_COUNT = 86400',
};

/** @type {Record<string, string>} */
const PROBLEMS = {
  last_check_invalid: 'does not answer',
  not_recently_checked: 'not probed recently',
  replication_lag: 'lags',
  errant_gtid: 'errant transactions',
  group_replication_member_not_online: 'group member not online',
  relay_log_disk_full: 'disk of its relay log is full',
  binary_log_cannot_be_written: 'commits wait: binary log cannot be written',
  not_listed_by_its_source: 'its source never listed it: connect it or RESET REPLICA ALL',
  writable_with_only_a_named_channel: 'writable, and its only channel has a name',
};

/** @param {string} problem */
export function problemNamed(problem) {
  return PROBLEMS[problem] ?? problem.replaceAll('_', ' ');
}

/** @type {Record<string, string>} */
const CAUSES = {
  found: 'found by baton',
  hung: 'hung, found by baton',
  asked: 'asked for',
  'forced-failover': 'forced by a person',
  'forced-takeover': 'forced by a person, to a named successor',
  takeover: 'planned takeover',
  'takeover-auto': 'planned takeover',
  rejoin: 'return of a former primary, asked for',
  'rejoin-auto': 'return of a former primary',
  'regroup-auto': 'others still followed a former primary',
};

/** @param {string} cause */
export function causeNamed(cause) {
  return CAUSES[cause] ?? cause;
}

/** What a recovery was: a planned one keeps the code of what it would have been about.
 * @param {string} code @param {string} why its cause, or the old command that asks for it */
export function recoveryNamed(code, why) {
  if (/^re(join|group)/.test(why) || code === 'NoProblem') return 'Return of a former primary';
  return /takeover/.test(why) && !/^force/.test(why) ? 'Planned takeover' : named(code);
}

/** @param {string} version */
export function shortVersion(version) {
  return /^\d+(\.\d+)*/.exec(version)?.[0] ?? version;
}
