// What is known, in one place. Pages only read it; what changes it calls `update`.

export const fleet = {
  /** Anything there at all? */
  isLoaded: false,
  /** Grows with each change. */
  version: 0,
  /** @type {FleetState} */
  state: { LedgerIndex: 0, RecoveriesDisabled: false, Breaker: '', Nodes: 0 },
  /** @type {Map<string, Cluster>} */
  clusters: new Map(),
  /** @type {Map<string, Instance>} */
  instances: new Map(),
  /** Keys of the instances of each cluster.
   * @type {Map<string, Set<string>>} */
  members: new Map(),
  /** How often anything of a cluster changed.
   * @type {Map<string, number>} */
  versions: new Map(),
  /** @type {Map<number, Recovery>} */
  recoveries: new Map(),
};

export const live = {
  isUp: false,
  /** When the last sign of life came. */
  heardAt: 0,
  /** What is shown is what one node sees while none leads. */
  isLeaderless: false,
  why: '',
};

/** @type {{value: Session | null}} */
export const session = { value: null };

/** Older recoveries are asked of the API. */
const RECOVERIES_MAX = 100;

/** @type {(() => void)[]} */
const watchers = [];
let isDue = false;

/** Has pages drawn anew, soon and once. */
export function update() {
  if (isDue) return;
  isDue = true;
  const draw = () => {
    if (isDue) updateNow();
  };
  requestAnimationFrame(draw);
  // Nobody paints a hidden page; its title changes all the same.
  if (document.hidden) setTimeout(draw, 200);
}

/** Draws at once: what can be pressed no more must not be there to be pressed. */
export function updateNow() {
  isDue = false;
  watchers.forEach((watcher) => watcher());
}

/** @param {() => void} watcher */
export function watch(watcher) {
  watchers.push(watcher);
}

/** @param {string} id */
function touch(id) {
  fleet.versions.set(id, (fleet.versions.get(id) ?? 0) + 1);
}

/** @param {string} key */
function drop(key) {
  const known = fleet.instances.get(key);
  if (!known) return;
  fleet.members.get(known.Cluster)?.delete(key);
  fleet.instances.delete(key);
  touch(known.Cluster);
}

/** Takes in rows that are different, or all of them.
 * @param {Rows} rows */
export function apply(rows) {
  fleet.version += 1;
  if (rows.State) fleet.state = rows.State;
  rows.GoneInstances?.forEach(drop);
  for (const id of rows.GoneClusters ?? []) {
    fleet.clusters.delete(id);
    touch(id);
  }
  for (const cluster of rows.Clusters ?? []) {
    fleet.clusters.set(cluster.Id, cluster);
    touch(cluster.Id);
  }
  for (const row of rows.Instances ?? []) {
    const known = fleet.instances.get(row.Key);
    if (known && known.Cluster !== row.Cluster) drop(row.Key);
    fleet.instances.set(row.Key, row);
    const members = fleet.members.get(row.Cluster) ?? new Set();
    members.add(row.Key);
    fleet.members.set(row.Cluster, members);
    touch(row.Cluster);
  }
  for (const recovery of rows.Recoveries ?? []) {
    fleet.recoveries.set(recovery.Id, recovery);
    touch(recovery.Cluster);
  }
  // A page may be open for weeks.
  for (const id of fleet.recoveries.keys()) {
    if (fleet.recoveries.size <= RECOVERIES_MAX) break;
    fleet.recoveries.delete(id);
  }
  update();
}

/** Begins anew with all rows.
 * @param {Whole} rows */
export function replace(rows) {
  fleet.clusters.clear();
  fleet.instances.clear();
  fleet.members.clear();
  fleet.recoveries.clear();
  fleet.isLoaded = true;
  apply(rows);
}

/** The instances of a cluster.
 * @param {string} id @returns {Instance[]} */
export function membersOf(id) {
  const keys = [...(fleet.members.get(id) ?? [])];
  return keys.map((key) => /** @type {Instance} */ (fleet.instances.get(key)));
}

/** The cluster somebody means by an alias, a name, or a member.
 * @param {string} text @returns {Cluster | undefined} */
export function clusterNamed(text) {
  /** @type {Cluster | undefined} */
  let found;
  for (const cluster of fleet.clusters.values()) {
    if (cluster.Alias === text) return cluster;
    if (cluster.Name === text || cluster.Id === text) found = cluster;
  }
  const member = fleet.instances.get(text);
  return found ?? (member && fleet.clusters.get(member.Cluster));
}

/** Recoveries, newest first.
 * @param {(recovery: Recovery) => boolean} [wanted] */
export function recoveries(wanted = () => true) {
  return [...fleet.recoveries.values()].filter(wanted).sort((a, b) => b.Id - a.Id);
}

/** @type {Map<string, {data: any, error: string, version: unknown, at: number, isLoading: boolean}>} */
const asked = new Map();
const ASKED_MAX = 60;
/** No answer is asked for again sooner. */
const PACE = 1000;
/** After an election, say. */
const RETRY_AFTER = 3000;

/** What the API answers to this, as far as that is known; asks again when `version` is another one.
 * @param {string} name @param {unknown} version @param {() => Promise<any>} ask */
export function loaded(name, version, ask) {
  const known = asked.get(name) ?? { data: undefined, error: '', version: {}, at: 0, isLoading: false };
  const isRetried = known.error !== '' && Date.now() - known.at > RETRY_AFTER;
  const isStale = known.version !== version || isRetried;
  const wait = known.at + PACE - Date.now();
  if (isStale && !known.isLoading) {
    if (wait > 0) {
      setTimeout(update, wait);
    } else {
      asked.delete(name);
      asked.set(name, known);
      if (asked.size > ASKED_MAX) asked.delete(/** @type {string} */ (asked.keys().next().value));
      known.isLoading = true;
      known.version = version;
      known.at = Date.now();
      ask()
        .then((data) => Object.assign(known, { data, error: '' }))
        .catch((error) => Object.assign(known, { error: error.message }))
        .finally(() => {
          known.isLoading = false;
          update();
        });
    }
  }
  return known;
}

/** @type {Map<string, {key: unknown, made: any}>} */
const worked = new Map();

/** What was worked out for the same key before.
 * @template T @param {string} name @param {unknown} key @param {() => T} make @returns {T} */
export function memo(name, key, make) {
  const known = worked.get(name);
  if (known && known.key === key) return known.made;
  const made = make();
  worked.set(name, { key, made });
  return made;
}

const COLLATOR = new Intl.Collator('en', { numeric: true });

/** The order of names: db2 comes before db10.
 * @param {string} a @param {string} b */
export function byName(a, b) {
  return COLLATOR.compare(a, b);
}

/** Has everything asked for again that the API answered. */
export function forget() {
  asked.clear();
  update();
}

/** What was remembered; empty when nothing was, or nothing may be.
 * @param {string} what @param {'localStorage' | 'sessionStorage'} [where] the latter for this tab alone */
export function remembered(what, where = 'localStorage') {
  try {
    return window[where].getItem(`baton.${what}`) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} what @param {string} text @param {'localStorage' | 'sessionStorage'} [where] */
export function remember(what, text, where = 'localStorage') {
  try {
    window[where].setItem(`baton.${what}`, text);
  } catch {
    // It is forgotten with the page.
  }
}
