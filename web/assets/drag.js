// Drag and drop: what may go where is known before anything is dropped.

import { at, change, get } from './api.js';
import { perform } from './dialog.js';
import { operation } from './operations.js';
import { fleet, membersOf, session, update } from './store.js';
import { notify } from './ui.js';

/** What is being dragged: an instance, or all its replicas, or some of them; and where it may go.
 * @type {Drag | null} */
export let dragged = null;

/** Where the place of the primary is dropped on. */
export const THRONE = ':primary';

/** Begins, and asks where it may go; nothing where nobody may move anything.
 * @param {string} key @param {Drag['what']} what @param {string[]} [only] */
function picked(key, what, only = []) {
  if (!session.value?.MayWrite) {
    notify(session.value?.Why ?? 'you may not move anything');
    return null;
  }
  /** @type {Drag} */
  const mine = { key, what, only, targets: null, promote: null, over: '' };
  const row = fleet.instances.get(key);
  const isHead = what === 'instance' && row && !row.Source;
  // Below an intermediate source its place is the one to have.
  const isDeep = what === 'instance' && row && row.Depth > 1;
  /** @type {Promise<{Targets: (Verdict & {Key: string})[], Promote: Verdict | null}>} */
  const asked = isHead ? coPrimaries(row) : get(`move-targets/${at(key)}`, { what });
  asked
    .then((answer) => {
      mine.targets = new Map(answer.Targets.map((it) => [it.Key, it]));
      mine.promote = answer.Promote;
      return isDeep ? rehearsed(`take-master/${at(key)}`).then((it) => { mine.promote = it; }) : undefined;
    })
    .catch((error) => notify(error.message, 'critical'))
    .finally(update);
  return mine;
}

/** Whether something could be done now.
 * @param {string} path @param {string} [why] what is said when it could @returns {Promise<Verdict>} */
function rehearsed(path, why = '') {
  return change(path, { dry_run: 'true' }).then(() => ({ Allowed: true, Why: why }), (error) => ({ Allowed: false, Why: error.message }));
}

/** Of more replicas nobody asks whether they could be its co-primary. */
const ASKED_MAX = 40;

/** Whoever replicates from nobody can follow one of its own replicas, and both are co-primaries then.
 * @param {Instance} head */
async function coPrimaries(head) {
  const replicas = membersOf(head.Cluster).filter((it) => it.Source === head.Key).slice(0, ASKED_MAX);
  const others = membersOf(head.Cluster).filter((it) => !replicas.includes(it));
  const verdicts = replicas.map((it) => rehearsed(`make-co-master/${at(it.Key)}`, 'Drop here, and they are co-primaries')
    .then((verdict) => ({ Key: it.Key, ...verdict })));
  const refused = others.map((it) => ({ Key: it.Key, Allowed: false, Why: 'the primary can only be made the co-primary of one of its own replicas' }));
  return { Targets: [...(await Promise.all(verdicts)), ...refused], Promote: null };
}

/** What takes something by the mouse.
 * @param {string} key @param {Drag['what']} what @param {string[]} [only] which replicas */
export const begin = (key, what, only) => (/** @type {DragEvent} */ event) => {
  const mine = event.dataTransfer && picked(key, what, only);
  if (!event.dataTransfer || !mine) {
    event.preventDefault();
    return;
  }
  event.stopPropagation();
  event.dataTransfer.effectAllowed = 'move';
  event.dataTransfer.setData('text/plain', key);
  // Changing the page at once would end the drag in some browsers.
  setTimeout(() => {
    dragged = mine;
    update();
  });
};

/** So near to an edge of the window, in pixels, a finger scrolls. */
const EDGE = 70;

/** The same with a finger, by a grip: everywhere else it scrolls.
 * @param {string} key @param {Drag['what']} what */
export const touch = (key, what) => (/** @type {PointerEvent} */ event) => {
  if (event.pointerType === 'mouse') return;
  event.preventDefault();
  event.stopPropagation();
  const grip = /** @type {HTMLElement} */ (event.currentTarget);
  const mine = picked(key, what);
  if (!mine) return;
  dragged = mine;
  const stop = new AbortController();
  const how = { signal: stop.signal };
  /** @param {PointerEvent} now */
  const below = (now) => /** @type {HTMLElement | null | undefined} */ (document.elementFromPoint(now.clientX, now.clientY)?.closest('[data-target]'))?.dataset.target ?? '';
  grip.addEventListener('pointermove', (now) => {
    if (now.clientY < EDGE) scrollBy(0, -12);
    if (now.clientY > innerHeight - EDGE) scrollBy(0, 12);
    over(below(now))(now);
  }, how);
  grip.addEventListener('pointerup', (now) => {
    stop.abort();
    drop(below(now))(now);
  }, how);
  grip.addEventListener('pointercancel', () => {
    stop.abort();
    if (dragged === mine) end();
  }, how);
  update();
};

/** What is to be said of a target, while something is dragged.
 * @param {string} key @returns {Verdict | null} */
export function verdict(key) {
  if (!dragged) return null;
  if (key === THRONE) return dragged.what === 'instance' ? dragged.promote : { Allowed: false, Why: 'only one can be promoted' };
  if (key === dragged.key && dragged.what === 'instance') return { Allowed: false, Why: 'this is what you are moving' };
  return dragged.targets?.get(key) ?? null;
}

/** @param {string} key */
export const over = (key) => (/** @type {DragEvent | PointerEvent} */ event) => {
  if (!dragged) return;
  const found = verdict(key);
  if (found?.Allowed) {
    event.preventDefault();
    if (event instanceof DragEvent && event.dataTransfer) event.dataTransfer.dropEffect = 'move';
  }
  if (dragged.over !== key) {
    dragged.over = key;
    update();
  }
};

/** @param {string} key */
export const drop = (key) => (/** @type {DragEvent | PointerEvent} */ event) => {
  const mine = dragged;
  const found = verdict(key);
  end();
  if (!mine || !found?.Allowed) return;
  event.preventDefault();
  const row = fleet.instances.get(mine.key);
  if (!row) return;
  if (key === THRONE) perform(operation(row.Depth > 1 ? 'take-source' : 'promote'), row);
  else if (mine.what === 'instance' && !row.Source) perform(operation('co-primary'), fleet.instances.get(key) ?? row);
  else if (mine.what === 'instance') perform(operation('relocate'), row, { below: key });
  else moveReplicas(row, key, mine.only);
};

/** A longer address does not pass through every proxy. */
const PATTERN_MAX = 6_000;

/** @param {Instance} row @param {string} below @param {string[]} only */
function moveReplicas(row, below, only) {
  const isAll = !only.length || membersOf(row.Cluster).every((it) => it.Source !== row.Key || only.includes(it.Key));
  const names = only.filter((it) => it !== below).map((it) => it.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = isAll ? '' : `^(${names.join('|')})$`;
  if (pattern.length <= PATTERN_MAX) perform(operation('relocate-replicas'), row, { below, pattern });
  else notify('these are too many to be named one by one: choose “Move its replicas below…” and write a pattern', 'critical');
}

export function end() {
  dragged = null;
  update();
}
