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

/** @param {DragEvent} event @param {string} key @param {'instance' | 'replicas'} what */
export function begin(event, key, what) {
  if (!session.value?.MayWrite || !event.dataTransfer) {
    event.preventDefault();
    notify(session.value?.Why ?? 'you may not move anything');
    return;
  }
  event.stopPropagation();
  event.dataTransfer.effectAllowed = 'move';
  event.dataTransfer.setData('text/plain', key);
  const mine = { key, what, targets: /** @type {Map<string, Verdict> | null} */ (null), promote: /** @type {Verdict | null} */ (null), over: '' };
  // Changing the page at once would end the drag in some browsers.
  setTimeout(() => {
    dragged = mine;
    update();
  });
  get(`move-targets/${at(key)}`, { what })
    .then((answer) => {
      mine.targets = new Map(answer.Targets.map((/** @type {Verdict & {Key: string}} */ it) => [it.Key, it]));
      mine.promote = answer.Promote;
    })
    .catch((error) => notify(error.message, 'critical'))
    .finally(update);
}

/** What is to be said of a target, while something is dragged.
 * @param {string} key @returns {Verdict | null} */
export function verdict(key) {
  if (!dragged) return null;
  if (key === THRONE) return dragged.what === 'instance' ? dragged.promote : { Allowed: false, Why: 'only one can be promoted' };
  if (key === dragged.key && dragged.what === 'instance') return { Allowed: false, Why: 'this is what you are moving' };
  return dragged.targets?.get(key) ?? null;
}

/** @param {DragEvent} event @param {string} key */
export function over(event, key) {
  if (!dragged) return;
  const found = verdict(key);
  if (found?.Allowed) {
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = 'move';
  }
  if (dragged.over !== key) {
    dragged.over = key;
    update();
  }
}

/** @param {DragEvent} event @param {string} key */
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
