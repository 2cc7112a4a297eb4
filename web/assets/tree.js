// The tree of a cluster as rows: who is below whom, and which healthy leaves are folded.

import { ofInstance } from './health.js';
import { byName } from './store.js';

/** From so many healthy leaves of one source on, they are folded. */
const FOLD_FROM = 12;
/** The same where people want few rows. */
const FOLD_TIGHT = 2;

/** @param {Instance} a @param {Instance} b */
function order(a, b) {
  return byName(a.Key, b.Key);
}

/** What is folded together: healthy leaves of one source in one data centre.
 * @param {string} source @param {string} center */
export function foldOf(source, center) {
  return `${source} ${center}`;
}

/** @param {Instance[]} members @param {Set<string>} unfolded what is folded nowhere, as `foldOf` names it
 * @param {'large' | 'all'} folding whether large groups are folded, or all there are
 * @returns {Line[]} */
export function lines(members, unfolded, folding = 'large') {
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
    /** @type {Map<string, Instance[]>} */
    const folds = new Map();
    for (const it of quiet.length >= (folding === 'all' ? FOLD_TIGHT : FOLD_FROM) ? quiet : []) {
      const center = it.DataCenter ?? '';
      if (!unfolded.has(foldOf(row.Key, center))) folds.set(center, [...(folds.get(center) ?? []), it]);
    }
    folds.forEach((folded, center) => folded.length < FOLD_TIGHT && folds.delete(center));
    const hidden = new Set([...folds.values()].flat());
    const shown = replicas.filter((it) => !hidden.has(it));
    shown.forEach((it, index) => draw(it, level + 1, !folds.size && index === shown.length - 1, inner));
    hidden.forEach((it) => seen.add(it.Key));
    const groups = [...folds].sort(([a], [b]) => byName(a, b));
    groups.forEach(([center, folded], index) => drawn.push({ level: level + 1, replicas: 0, under: row.Key, center, folded, isLast: index === groups.length - 1, rails: inner }));
  };
  heads.sort((a, b) => a.Depth - b.Depth || order(a, b)).forEach((it) => draw(it, 0, true, []));
  // Whoever is in a ring is below nobody.
  members.filter((row) => !seen.has(row.Key)).sort(order).forEach((it) => draw(it, 0, true, []));
  return drawn;
}
