// The tree of a cluster as rows: who is below whom, and which healthy leaves are folded.

import { ofInstance } from './health.js';
import { byName } from './store.js';

/** @typedef {import('./types').Instance} Instance */

/**
 * A row of the drawing: an instance, or how many are folded here.
 * @typedef {object} Line
 * @property {Instance} [row]
 * @property {number} level
 * @property {number} replicas how many it has
 * @property {string} [under] whose replicas are folded
 * @property {Instance[]} [folded]
 * @property {boolean} isLast among its siblings
 * @property {number[]} rails levels of those above it that have siblings below this row
 */

/** From so many healthy leaves of one source on, they are folded. */
export const FOLD_FROM = 12;

/** @param {Instance} a @param {Instance} b */
function order(a, b) {
  return byName(a.Key, b.Key);
}

/** @param {Instance[]} members @param {Set<string>} unfolded sources whose leaves are all shown
 * @returns {Line[]} */
export function lines(members, unfolded) {
  const known = new Map(members.map((row) => [row.Key, row]));
  /** @type {Map<string, Instance[]>} */
  const below = new Map();
  /** @type {Instance[]} */
  const heads = [];
  for (const row of members) {
    const source = row.Source && !row.Detached ? known.get(row.Source) : undefined;
    // Two that replicate from each other both stand at the top.
    if (!source || row.Depth === 0 || row.Role === 'co-primary') heads.push(row);
    else below.set(source.Key, [...(below.get(source.Key) ?? []), row]);
  }
  /** @type {Line[]} */
  const drawn = [];
  const seen = new Set();
  /** @param {Instance} row @param {number} level @param {boolean} isLast @param {number[]} rails */
  const draw = (row, level, isLast, rails) => {
    if (seen.has(row.Key)) return;
    seen.add(row.Key);
    const replicas = (below.get(row.Key) ?? []).sort(order);
    drawn.push({ row, level, replicas: replicas.length, isLast, rails });
    const inner = isLast || level === 0 ? rails : [...rails, level];
    const isQuiet = (/** @type {Instance} */ it) => !below.has(it.Key) && ofInstance(it) === 'ok' && !it.Maintenance;
    const quiet = replicas.filter(isQuiet);
    const folds = quiet.length >= FOLD_FROM && !unfolded.has(row.Key);
    const shown = folds ? replicas.filter((it) => !isQuiet(it)) : replicas;
    shown.forEach((it, index) => draw(it, level + 1, !folds && index === shown.length - 1, inner));
    if (folds) quiet.forEach((it) => seen.add(it.Key));
    if (folds) drawn.push({ level: level + 1, replicas: 0, under: row.Key, folded: quiet, isLast: true, rails: inner });
  };
  heads.sort((a, b) => a.Depth - b.Depth || order(a, b)).forEach((it) => draw(it, 0, true, []));
  // Whoever is in a ring is below nobody.
  members.filter((row) => !seen.has(row.Key)).sort(order).forEach((it) => draw(it, 0, true, []));
  return drawn;
}
