// The smaller pages: audit, downtimes, nodes, search, discover.

import { at, get, keyOf, known, split } from '../api.js';
import { centerName } from '../centers.js';
import { open as openTask, perform } from '../dialog.js';
import { ofInstance, rank, sentence } from '../health.js';
import { operation } from '../operations.js';
import { setRecoveries } from '../tasks.js';
import { amend, queried } from '../router.js';
import { byName, fleet, loaded, memo } from '../store.js';
import { answered, answeredAll, button, called, clusterLink, empty, instanceLink, locked, mark, name, titles, typed, virtual, when } from '../ui.js';
import { counted, shortVersion, tame } from '../words.js';
import { chooser, pageNumber, pager } from './recoveries.js';
import { html, nothing } from '../html.js';

/** The instance that somebody means by a part of its name, or else just what he says.
 * @param {string} text */
function meant(text) {
  if (!text || fleet.instances.has(text)) return text;
  return [...fleet.instances.keys()].find((it) => it.includes(text)) ?? (/:\d+$/.test(text) ? text : `${text}:3306`);
}

export function auditPage() {
  const page = pageNumber();
  const instance = queried('instance');
  const path = instance ? `audit/instance/${at(instance)}/${page}` : `audit/${page}`;
  const answer = known(path, fleet.state.LedgerIndex);
  return html`<header class="head"><h1>Audit${instance ? html` of ${instanceLink(instance)}` : nothing}</h1>
      <div class="actions">${chooser('Instance (host:port)', instance, (text) => amend({ instance: meant(text) }))}</div></header>
    ${answeredAll(answer, (all) => html`<div role="table" class="table audit" aria-label="audit log">
      ${titles([['', 'When'], ['', 'What'], ['', 'Instance'], ['', 'More']])}
      <div role="rowgroup">${all.map((it) => html`<div role="row" class="row">
        <span role="cell">${when(it.AuditTimestamp)}</span><span role="cell">${it.AuditType}</span>
        <span role="cell">${it.AuditInstanceKey.Hostname ? instanceLink(keyOf(it.AuditInstanceKey)) : '–'}</span><span role="cell" class="text">${tame(it.Message)}</span></div>`)}</div>
      </div>${pager('audit', page, all.length, { instance })}`, 'Nothing was done, as far as baton remembers.')}`;
}

/** @param {'Downtime' | 'Maintenance'} kind @param {Instance[]} rows */
function reservations(kind, rows) {
  return html`<section><h2>${kind}</h2>${rows.length ? html`<ul class="plain list">${rows.map((it) => reservation(it, kind))}</ul>` : empty('None.')}</section>`;
}

/** @param {Instance} row @param {'Downtime' | 'Maintenance'} kind */
function reservation(row, kind) {
  const cluster = fleet.clusters.get(row.Cluster);
  const it = /** @type {Reservation} */ (row[kind]);
  return html`<li class="recovery">${mark(ofInstance(row))}<div><p>${instanceLink(row.Key)}${cluster ? html` in ${clusterLink(cluster)}` : nothing}</p>
    <p class="of">${called('person', it.Owner)}: ${tame(it.Reason)} · ends ${when(it.Until)}</p></div>
    ${button('End', () => perform(operation(`${kind.toLowerCase()}-end`), row))}</li>`;
}

export function downtimesPage() {
  const rows = [...fleet.instances.values()];
  const downtimes = rows.filter((it) => it.Downtime).sort((a, b) => (a.Downtime?.Until ?? '').localeCompare(b.Downtime?.Until ?? ''));
  const maintenances = rows.filter((it) => it.Maintenance);
  return html`<header class="head"><h1>Downtimes</h1><p class="total">${counted(downtimes.length, 'instance')} in downtime, ${maintenances.length} in maintenance</p></header>
    ${reservations('Downtime', downtimes)}${reservations('Maintenance', maintenances)}`;
}

/** Asks for something that is done to the node, with a sentence first.
 * @param {string} title @param {string} says @param {string} path */
function nodeTask(title, says, path) {
  openTask({ title, says, path: () => path });
}

export function nodesPage() {
  const beat = Math.floor(Date.now() / 5000);
  const health = known('health', beat);
  // Whoever is alone has a ledger of its own, and no raft.
  const raft = loaded('raft', beat, () => get('raft-status').catch((error) => {
    if (/not running with raft/.test(error.message)) return { none: true };
    throw error;
  }));
  const members = loaded('raft nodes', beat, () => (raft.data && !raft.data.none ? get('raft-nodes') : Promise.resolve([])));
  return html`<header class="head"><h1>Nodes</h1><div class="actions">
      ${button('Reload configuration…', () => nodeTask('Reload configuration', 'The node that you are connected to reads its configuration again. An error keeps the old one.', 'reload-configuration'))}
      ${button('Reset host names…', () => nodeTask('Reset host names', 'All resolutions of host names are forgotten and asked for again.', 'reset-hostname-resolve-cache'))}
      ${button(fleet.state.RecoveriesDisabled ? 'Switch recoveries on…' : 'Switch recoveries off…', () => setRecoveries(!fleet.state.RecoveriesDisabled))}</div></header>
    ${answered(health, ({ Details: it }) => html`<section class="card"><h2>This node</h2><dl>
      <dt>Host</dt><dd>${called('node', it.Hostname)}</dd><dt>State</dt><dd>${it.Healthy ? html`${mark('ok')} healthy` : html`${mark('critical')} not healthy`}</dd>
      <dt>Version</dt><dd>${name(it.AvailableNodes?.[0]?.AppVersion ?? '')}</dd><dt>Up since</dt><dd>${when(it.AvailableNodes?.[0]?.FirstSeenActive)}</dd>
      <dt>Keeps its state in</dt><dd>${name(it.AvailableNodes?.[0]?.DBBackend ?? '')}</dd></dl></section>
      ${answered(raft, (status) => html`<section class="card"><h2>Raft</h2>${status.none ? empty('This baton is alone: it takes part in no raft.') : html`
        ${status.Findings?.length ? html`<ul class="plain list" aria-label="what is wrong">${status.Findings.map((/** @type {string} */ text) => html`<li class="recovery">${mark('warning')}<div><p>${tame(text)}</p></div></li>`)}</ul>` : nothing}
        <ul class="plain list">${(members.data ?? []).map((/** @type {any} */ peer) => html`<li class="recovery">${mark(peer.Answers ? 'ok' : 'critical', peer.Answers ? 'answers' : 'does not answer')}<div>
            <p>${name(peer.Seat)} ${peer.Leads ? html`<span class="badge role">leader</span>` : nothing}${peer.Votes ? nothing : html` <span class="badge">no vote</span>`}${peer.IsThisNode ? html` <span class="of">this node</span>` : nothing}</p>
            <p class="of">${peer.Answers ? html`${called('node', peer.Host)} · baton ${name(peer.Version || 'of an older release')}` : 'does not answer'}</p></div>
            ${!peer.Leads && peer.Answers && peer.Votes && status.State === 'Leader' ? button('Hand over…', () => nodeTask(`Have ${peer.Seat} lead`, `This node steps down and ${peer.Seat} leads instead.`, `raft-yield/${encodeURIComponent(peer.Seat)}`)) : nothing}
            ${peer.Leads && status.State === 'Leader' ? button('Step down…', () => nodeTask('Step down', 'Another node leads.', 'reelect')) : nothing}</li>`)}</ul><p class="of">This node is ${/** @type {Record<string, string>} */ ({ Leader: 'the leader', Follower: 'a follower' })[status.State] ?? 'looking for a leader'}; ${status.IsPartOfQuorum ? 'it is part of the majority' : 'it is not part of a majority: it recovers nothing'}.</p>`}</section>`)}`)}`;
}

export function searchPage() {
  const text = queried('s');
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  /** @param {Instance} row */
  const haystack = (row) => {
    const cluster = fleet.clusters.get(row.Cluster);
    const tags = Object.entries(row.Tags ?? {}).map(([tag, value]) => `${tag}=${value}`).join(' ');
    return `${row.Key} ${row.Alias ?? ''} ${cluster?.Alias ?? ''} ${cluster?.Name ?? ''} ${row.Version} ${row.DataCenter ?? ''} ${row.Region ?? ''} ${row.ServerId} ${tags}`.toLowerCase();
  };
  const every = memo('sorted instances', fleet.version, () => [...fleet.instances.values()]
    .sort((a, b) => rank(ofInstance(a)) - rank(ofInstance(b)) || a.Depth - b.Depth || byName(a.Key, b.Key))
    .map((row) => ({ row, text: haystack(row) })));
  const found = memo('found instances', `${fleet.version} ${text}`, () => every
    .filter((it) => words.every((word) => it.text.includes(word)))
    .map((it) => it.row));
  return html`<header class="head"><h1>Search</h1>
      <label class="wide-field"><span class="unseen-text">Search instances</span><input id="search-page" type="search" placeholder="host, alias, version, data centre, tag=value, server id" .value=${text}
        @input=${(/** @type {Event} */ event) => amend({ s: typed(event) })}></label>
      <p class="total" role="status">${counted(found.length, 'instance')}</p></header>
    <div role="table" aria-label="instances" class="table found">
      ${titles([['', '.Health'], ['', 'Instance'], ['', 'Cluster'], ['c-dc', 'Data centre'], ['c-version', 'Version'], ['c-said', 'Problem']])}
      ${virtual('search', found, 36, (it) => it.Key, (it) => {
        const cluster = fleet.clusters.get(it.Cluster);
        return html`<div role="row" class="row"><span role="cell">${mark(ofInstance(it))}</span><span role="cell">${instanceLink(it.Key)}</span><span role="cell">${cluster ? clusterLink(cluster) : nothing}</span>
          <span role="cell" class="c-dc">${centerName(it.DataCenter)}</span><span role="cell" class="c-version">${shortVersion(it.Version)}</span><span role="cell" class="c-said">${sentence(it)}</span></div>`;
      })}</div>
    ${found.length ? nothing : empty('Nothing matches.')}`;
}

export function discoverPage() {
  const { off, why } = locked();
  const [host, port] = split(queried('key') || ':3306');
  /** @param {SubmitEvent} event */
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const key = `${form.get('host')}:${form.get('port')}`;
    openTask({
      title: 'Discover', says: `baton looks at ${key}, and follows what it finds from there.`,
      path: () => `discover/${encodeURIComponent(String(form.get('host')).trim())}/${encodeURIComponent(String(form.get('port')))}`,
    });
  };
  return html`<header class="head"><h1>Discover</h1><p class="total">Name one server: baton finds its source and its replicas from there.</p></header>
    <form class="fields" @submit=${submit}>
      <label for="discover-host">Host</label><input id="discover-host" name="host" required autocomplete="off" spellcheck="false" .value=${host}>
      <label for="discover-port">Port</label><input id="discover-port" name="port" type="number" min="1" max="65535" required .value=${port}>
      <span></span><button type="submit" class="main" ?disabled=${off} title=${why}>Discover…</button>
      ${off ? html`<span></span><p class="trouble">${why}</p>` : nothing}
    </form>`;
}

