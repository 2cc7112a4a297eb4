// The beginning: what is around every page, and which page is shown.

import { HOME, get } from './api.js';
import { open as openTask, taskDialog } from './dialog.js';
import { ofCluster } from './health.js';
import { run } from './live.js';
import { auditPage, discoverPage, downtimesPage, nodesPage, searchPage } from './pages/others.js';
import { clusterPage } from './pages/cluster.js';
import { aboutPage } from './pages/about.js';
import { detectionsPage, recoveriesPage, recoveryPage } from './pages/recoveries.js';
import { fleetPage } from './pages/fleet.js';
import { instancePage } from './pages/instance.js';
import { problemsPage } from './pages/problems.js';
import { isNameless, mask, toggleNames } from './nameless.js';
import { amend, go, here, queried, start, to } from './router.js';
import { fleet, live, memo, session, update, watch } from './store.js';
import { setRecoveries } from './tasks.js';
import { button, empty, mark, namesButton, noticeBoard, typed } from './ui.js';
import { span } from './words.js';
import { html, nothing, render } from './html.js';

/** @type {[string, string][]} */
const PAGES = [
  ['', 'Fleet'], ['problems', 'Problems'], ['recoveries', 'Recoveries'], ['detections', 'Detections'], ['audit', 'Audit'],
  ['downtimes', 'Downtimes'], ['nodes', 'Nodes'], ['discover', 'Discover'],
];

/** A page is stale when nothing came for so long: the stream says something every five seconds. */
const STALE_AFTER = 2_500;
const began = Date.now();

function page() {
  const segments = here();
  const [first = '', second = ''] = segments;
  switch (first) {
    case '': return fleetPage();
    case 'problems': return problemsPage();
    case 'cluster': return clusterPage(segments.slice(1).join('/'));
    case 'instance': return instancePage(second);
    case 'recoveries': return recoveriesPage();
    case 'recovery': return recoveryPage(second);
    case 'detections': return detectionsPage();
    case 'audit': return auditPage();
    case 'downtimes': return downtimesPage();
    case 'nodes': return nodesPage();
    case 'search': return searchPage();
    case 'discover': return discoverPage();
    case 'about': return aboutPage();
    default: return html`<header class="head"><h1>There is no such page</h1></header>${empty(html`<a href=${HOME}>To the fleet</a>`)}`;
  }
}

function liveView() {
  const silent = Date.now() - (live.heardAt || began);
  if (live.isUp) return html`<span class="live" title="changes are shown as they happen">${mark('ok', 'live')} live</span>`;
  return html`<span class="live stale" title=${live.why}>${mark('warning', 'not live')} ${fleet.isLoaded ? `${span(silent)} old` : 'connecting'}</span>`;
}

function banners() {
  const mayWrite = session.value?.MayWrite ?? false;
  const isStale = !live.isUp && Date.now() - began > STALE_AFTER;
  return html`
    ${isStale && live.isLeaderless ? html`<p class="banner stale" role="alert">${mark('warning')} <span><strong>No leader answers.</strong> This is what the node sees that you are connected to. Until a majority agrees on a leader, nothing is recovered and nothing can be changed. <a href=${to(['nodes'])}>Nodes</a></span></p>`
      : isStale ? html`<p class="banner stale" role="alert">${mark('warning')} <span><strong>${fleet.isLoaded ? 'This page may be out of date.' : 'baton is not reached.'}</strong> ${live.why || 'no answer yet'}; trying again.</span></p>` : nothing}
    ${fleet.state.RecoveriesDisabled ? html`<p class="banner off" role="alert">${mark('critical', 'switched off')} <span><strong>Automated recoveries are switched off everywhere.</strong> Nothing is recovered unless a person does it.</span>
      ${button('Switch on…', () => setRecoveries(false))}</p>` : nothing}
    ${fleet.state.Breaker ? html`<p class="banner off" role="alert">${mark('critical', 'held back')} <span><strong>baton holds back.</strong> ${fleet.state.Breaker}.</span>
      ${button('Let baton act…', () => openTask({ title: 'Let baton act', says: 'For ten minutes baton recovers whatever it finds, however many clusters failed at once.', path: () => 'release-fleet-breaker' }))}</p>` : nothing}
    ${isNameless ? html`<p class="banner"><span><strong>Names are hidden</strong> of hosts, clusters, data centres and people; not in the page’s address, in tags and UUIDs, nor all that people wrote.</span><button type="button" @click=${toggleNames}>Show names</button></p>` : nothing}
    ${session.value?.Message ? html`<p class="banner"><span>${session.value.Message}</span></p>` : nothing}
    ${session.value && !mayWrite ? html`<p class="banner">${mark('muted', 'read-only')} <span><strong>Look, don't touch:</strong> ${session.value.Why}.</span></p>` : nothing}`;
}

/** @param {Event} event */
function search(event) {
  const text = typed(event);
  if (here()[0] === 'search') amend({ s: text });
  else if (text) go(to(['search'], { s: text }));
}

function top() {
  const [at = ''] = here();
  const text = at === 'search' ? queried('s') : '';
  return html`<a class="skip" href="#main">To the content</a>
    <header class="top">
      <a class="brand" href=${HOME} aria-label="baton, to the fleet"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 13 13 3"></path><circle cx="13" cy="3" r="2"></circle></svg>baton</a>
      <nav aria-label="pages"><ul>${PAGES.map(([path, label]) => html`<li><a href=${to(path ? [path] : [])} aria-current=${at === path || (path === '' && at === 'cluster') || (path === 'recoveries' && at === 'recovery') ? 'page' : nothing}>${label}</a></li>`)}</ul></nav>
      <label class="find"><span class="unseen-text">Search instances</span><input id="find" type="search" placeholder="Search  /" .value=${text} @input=${search}></label>
      ${fleet.state.RecoveriesDisabled ? nothing : html`<button type="button" class="quiet" ?disabled=${!session.value?.MayWrite} title=${session.value?.MayWrite ? 'recoveries are on: switch them off everywhere' : (session.value?.Why ?? '')} @click=${() => setRecoveries(true)}>Recoveries on</button>`}
      ${liveView()}
      ${session.value?.User ? html`<span class="user">${session.value.User}</span>` : nothing}
    </header>`;
}

function footer() {
  return html`<footer>baton ${session.value?.Version ?? ''} · <a href=${to(['about'])}>About</a> · ${namesButton()}</footer>`;
}

let reached = '';

/** Goes to the part of a page that its address names, once that is there. */
function arrive() {
  const part = document.getElementById(location.hash.slice(1));
  if (location.hash && !part) return;
  reached = location.hash;
  part?.scrollIntoView();
}

function draw() {
  const ill = memo('ill', fleet.version, () => [...fleet.clusters.values()].filter((it) => ofCluster(it) === 'critical').length);
  const title = `${ill ? `(${ill}) ` : ''}${here().slice(0, 2).map((it) => mask(it).slice(0, 60)).join(' ') || 'fleet'} – baton`;
  if (document.title !== title) document.title = title;
  document.documentElement.classList.toggle('nameless', isNameless);
  const body = html`${top()}${banners()}<main id="main" tabindex="-1">${page()}</main>${footer()}${taskDialog()}${noticeBoard()}`;
  render(body, document.body);
  if (location.hash !== reached) arrive();
}

/** @param {KeyboardEvent} event */
function keyed(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest('input, select, textarea, dialog')) return;
  event.preventDefault();
  document.getElementById('find')?.focus();
}

async function askWho() {
  try {
    session.value = await get('session');
    setTimeout(askWho, 60_000);
  } catch {
    setTimeout(askWho, 2_000);
  }
  update();
}

// A page that cannot be drawn says so instead of standing still.
watch(() => {
  try {
    draw();
  } catch (error) {
    console.error(error);
  }
});
document.body.replaceChildren();
document.addEventListener('keydown', keyed);
start();
askWho();
run();
update();
