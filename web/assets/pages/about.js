// What this is, what its marks mean, and what people look for who know orchestrator's page.

import { MARKS } from '../health.js';
import { queried, to } from '../router.js';
import { session } from '../store.js';
import { called, mark } from '../ui.js';
import { html, nothing } from '../html.js';

/** What orchestrator had and baton has not, and why.
 * @type {Record<string, [string, string]>} */
const GONE = {
  agents: ['Agents and seeds', 'baton copies no data. Have a replica made from a backup, or by the clone plugin; then discover it.'],
  tokens: ['Access tokens', 'Nobody signs in by a link. Who may do what is decided by AuthenticationMethod: basic, multi or proxy.'],
  pseudo: ['Pseudo-GTID', 'Replicas are moved by GTID, or by file and position where that is certain.'],
};

export function aboutPage() {
  const asked = GONE[queried('of')];
  return html`<header class="head"><h1>${asked ? `${asked[0]}: not in baton` : 'About baton'}</h1>
      ${asked ? html`<p class="strong">${asked[1]}</p>` : nothing}
      <p class="total">baton ${session.value?.Version ?? ''} on ${called('node', session.value?.Node ?? '')}.</p></header>
    <div class="cards">
      <section class="card"><h2>Keep calm</h2><p><a href=${to([])}>Fleet</a> says what is broken, what baton did about it or why it does nothing, and what you can do. <a href=${to(['recoveries'])}>Recoveries</a> have every step. What is dangerous shows its plan first, and asks for the cluster’s alias.</p></section>
      <section class="card"><h2>What the marks mean</h2><ul class="plain">${Object.entries(MARKS).map(([health, [, word]]) => html`<li>${mark(/** @type {any} */ (health))} ${word}</li>`)}</ul></section>
      <section class="card"><h2>Not carried over from orchestrator</h2><dl>${Object.values(GONE).map(([what, why]) => html`<dt>${what}</dt><dd>${why}</dd>`)}</dl></section>
    </div>`;
}
