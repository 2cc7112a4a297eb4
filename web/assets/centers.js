// Data centres told apart by shape: colours mean health.

import { ofInstance, worst } from './health.js';
import { amend, queried } from './router.js';
import { byName, fleet, memo } from './store.js';
import { mark, name } from './ui.js';
import { count } from './words.js';
import { html, nothing } from './html.js';

/** None of them means anything elsewhere on the pages. */
const SHAPES = ['●', '■', '◆', '★', '○', '□', '◇', '☆'];

/** The same shape on every page, as long as no data centre comes or goes.
 * @param {string} center */
export function shapeOf(center) {
  const all = memo('shapes', fleet.version, () => [...new Set([...fleet.instances.values()].map((it) => it.DataCenter ?? ''))].sort(byName).filter(Boolean));
  return SHAPES[all.indexOf(center) % SHAPES.length] ?? '';
}

/** @param {string | undefined} center */
export function centerName(center) {
  return center ? html`<span class="center"><span aria-hidden="true">${shapeOf(center)}</span> ${name(center)}</span>` : nothing;
}

/** Which one is looked for. */
export function chosenCenter() {
  return queried('dc');
}

/** The data centres of a cluster, how they are, and which of them is looked for.
 * @param {Instance[]} members */
export function centersView(members) {
  const chosen = chosenCenter();
  /** @type {Map<string, Instance[]>} */
  const all = new Map();
  for (const it of members) if (it.DataCenter) all.set(it.DataCenter, [...(all.get(it.DataCenter) ?? []), it]);
  if (all.size < 2 && !all.has(chosen)) return nothing;
  return html`<div class="centers" role="group" aria-label="data centres">${[...all].sort(([a], [b]) => byName(a, b)).map(([center, rows]) => {
    const bad = rows.map(ofInstance).filter((it) => it === 'critical' || it === 'warning');
    return html`<button type="button" aria-pressed=${center === chosen} title=${`mark what is in ${center}`} @click=${() => amend({ dc: center === chosen ? '' : center })}>
      ${centerName(center)} <span class="number">${count(rows.length)}</span>${bad.length ? html` ${mark(worst(bad))} ${bad.length}` : nothing}</button>`;
  })}</div>`;
}
