// Drag and drop: what may go where is known before anything is dropped.

import { at, get } from './api.js';
import { perform } from './dialog.js';
import { operation } from './operations.js';
import { fleet, session, update } from './store.js';
import { notify } from './ui.js';

/** @typedef {{Allowed: boolean, Why: string}} Verdict */

/** What is being dragged: an instance, or all its replicas; and where it may go.
 * @type {{key: string, what: 'instance' | 'replicas', targets: Map<string, Verdict> | null, promote: Verdict | null, over: string} | null} */
export let dragged = null;

/** Where the place of the primary is dropped on. */
export const THRONE = ':primary';

/** Begins, and asks where it may go; nothing where nobody may move anything.
 * @param {string} key @param {'instance' | 'replicas'} what */
function picked(key, what) {
  if (!session.value?.MayWrite) {
    notify(session.value?.Why ?? 'you may not move anything');
    return null;
  }
  const mine = { key, what, targets: /** @type {Map<string, Verdict> | null} */ (null), promote: /** @type {Verdict | null} */ (null), over: '' };
  get(`move-targets/${at(key)}`, { what })
    .then((answer) => {
      mine.targets = new Map(answer.Targets.map((/** @type {Verdict & {Key: string}} */ it) => [it.Key, it]));
      mine.promote = answer.Promote;
    })
    .catch((error) => notify(error.message, 'critical'))
    .finally(update);
  return mine;
}

/** @param {DragEvent} event @param {string} key @param {'instance' | 'replicas'} what */
export function begin(event, key, what) {
  const mine = event.dataTransfer && picked(key, what);
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
}

/** So near to an edge of the window, in pixels, a finger scrolls. */
const EDGE = 70;

/** The same with a finger, by a grip: everywhere else it scrolls.
 * @param {PointerEvent} event @param {string} key @param {'instance' | 'replicas'} what */
export function touch(event, key, what) {
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
    over(now, below(now));
  }, how);
  grip.addEventListener('pointerup', (now) => {
    stop.abort();
    drop(now, below(now));
  }, how);
  grip.addEventListener('pointercancel', () => {
    stop.abort();
    if (dragged === mine) end();
  }, how);
  update();
}

/** What is to be said of a target, while something is dragged.
 * @param {string} key @returns {Verdict | null} */
export function verdict(key) {
  if (!dragged) return null;
  if (key === THRONE) return dragged.what === 'instance' ? dragged.promote : { Allowed: false, Why: 'only one can be promoted' };
  if (key === dragged.key && dragged.what === 'instance') return { Allowed: false, Why: 'this is what you are moving' };
  return dragged.targets?.get(key) ?? null;
}

/** @param {DragEvent | PointerEvent} event @param {string} key */
export function over(event, key) {
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
}

/** @param {DragEvent | PointerEvent} event @param {string} key */
export function drop(event, key) {
  const mine = dragged;
  const found = verdict(key);
  end();
  if (!mine || !found?.Allowed) return;
  event.preventDefault();
  const row = fleet.instances.get(mine.key);
  if (!row) return;
  if (key === THRONE) perform(operation('promote'), row);
  else perform(operation(mine.what === 'replicas' ? 'relocate-replicas' : 'relocate'), row, { below: key });
}

export function end() {
  dragged = null;
  update();
}
