// The fleet: what is wrong first, then all clusters.

import { ofCluster, ofFinding, ofInstance, rank, runningIn, sentence } from '../health.js';
import { alter, queried, to } from '../router.js';
import { get } from '../api.js';
import { shapeOf } from '../centers.js';
import { byName, fleet, live, loaded, membersOf, memo, remember, remembered } from '../store.js';
import { perform } from '../dialog.js';
import { operation } from '../operations.js';
import { badge, button, clusterAddress, clusterLink, empty, instanceLink, lasting, listed, mark, name, select, set, shortKey, virtual, when } from '../ui.js';
import { counted, named, problemNamed, shortVersion, span, tame } from '../words.js';
import { newsView } from './recoveries.js';
import { html, nothing, repeat } from '../html.js';

/** @type {Map<string, Summary>} */
const summaries = new Map();

/** @param {Cluster} cluster @returns {Summary} */
function summary(cluster) {
  const version = fleet.versions.get(cluster.Id) ?? 0;
  const known = summaries.get(cluster.Id);
  if (known && known.version === version && known.cluster === cluster) return known;
  const members = membersOf(cluster.Id);
  /** @param {(string | undefined)[]} all */
  const distinct = (all) => [...new Set(/** @type {string[]} */ (all.filter(Boolean)))].sort();
  const lags = members.map((it) => it.Lag).filter((it) => it !== null && it !== undefined);
  const tags = members.flatMap((it) => Object.entries(it.Tags ?? {}).flatMap(([tag, value]) => [tag, `${tag}=${value}`]));
  const made = {
    cluster, version, members,
    health: ofCluster(cluster),
    centers: distinct(members.map((it) => it.DataCenter)),
    versions: distinct(members.map((it) => shortVersion(it.Version))),
    problems: distinct(members.flatMap((it) => it.Problems ?? [])),
    lag: lags.length ? Math.max(.../** @type {number[]} */ (lags)) : null,
    text: [cluster.Alias, cluster.Name, cluster.Domain ?? '', ...distinct(tags), ...members.map((it) => `${it.Key} ${it.Alias ?? ''}`)].join(' ').toLowerCase(),
  };
  summaries.set(cluster.Id, made);
  return made;
}

/** @returns {Summary[]} */
function all() {
  for (const id of summaries.keys()) if (!fleet.clusters.has(id)) summaries.delete(id);
  return [...fleet.clusters.values()].map(summary);
}

/** @param {Summary} it @param {Record<string, string>} wanted */
function matches(it, wanted) {
  const words = wanted.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => it.text.includes(word))
    && (!wanted.dc || it.centers.includes(wanted.dc))
    && (!wanted.version || it.versions.includes(wanted.version))
    && (!wanted.problem || it.problems.includes(wanted.problem));
}

/** The nodes that something is to be said of.
 * @param {(it: any) => boolean} is */
function nodesThat(is) {
  if (fleet.state.Nodes < 2) return [];
  const answer = loaded('nodes', Math.floor(Date.now() / 5000), () => get('raft-nodes'));
  return (answer.data ?? []).filter(is).map((/** @type {any} */ it) => it.Seat);
}

/** @param {Summary[]} found */
function headline(found) {
  const ill = found.filter((it) => it.health === 'critical' || it.health === 'busy');
  const worried = found.filter((it) => it.health === 'warning');
  const total = `${counted(fleet.clusters.size, 'cluster')}, ${counted(fleet.instances.size, 'instance')}`;
  if (!fleet.isLoaded) return html`<h1>Fleet</h1>`;
  if (ill.length) return html`<h1>${mark('critical')} ${counted(ill.length, 'cluster needs', 'clusters need')} attention</h1><p class="total">of ${total}</p>`;
  if (worried.length) return html`<h1>${mark('warning')} ${counted(worried.length, 'cluster has', 'clusters have')} warnings</h1><p class="total">of ${total}; no primary is down</p>`;
  // With one less, another failure may leave nobody who recovers.
  const missing = nodesThat((it) => !it.Answers);
  const troubled = nodesThat((it) => it.Findings?.length);
  if (missing.length) return html`<h1>${mark('warning')} ${counted(missing.length, 'node')} of baton missing</h1><p class="total">${missing.join(', ')}; ${total}, none with warnings</p>`;
  if (troubled.length) return html`<h1>${mark('warning')} Something is wrong between the nodes of baton</h1><p class="total"><a href=${to(['nodes'])}>${troubled.join(', ')}</a>; ${total}, none with warnings</p>`;
  return html`<h1>${mark('ok')} All is well</h1><p class="total">${total}</p>`;
}

/** @param {Cluster} cluster @param {Finding} finding */
export function findingView(cluster, finding) {
  const affected = membersOf(cluster.Id).filter((it) => it.Key !== finding.Key && ['critical', 'warning'].includes(ofInstance(it))).length;
  const health = ofFinding(finding);
  const running = runningIn(cluster.Id);
  const structure = (finding.Structure ?? []).map(named);
  const title = finding.Code === 'NoProblem' ? structure.join(', ') : named(finding.Code);
  return html`<li class="problem ${health}">
    ${mark(running && health === 'critical' ? 'busy' : health)}
    <div>
      <p class="what"><strong>${title}</strong> ${badge(finding.Code === 'NoProblem' ? 'structure' : finding.Code, 'code')}</p>
      <p>${clusterLink(cluster)} · ${instanceLink(finding.Key)} · for ${lasting(finding.Since)}</p>
      ${finding.Evidence ? html`<p class="evidence">${tame(finding.Evidence)}.</p>` : nothing}
      ${finding.Code !== 'NoProblem' && structure.length ? html`<p class="evidence">Also: ${structure.join(', ')}.</p>` : nothing}
      ${finding.Severity === 'critical' && affected ? html`<p class="evidence">${counted(affected, 'other instance is', 'other instances are')} affected.</p>` : nothing}
      ${running || health === 'muted' ? nothing : verdictView(finding)}
      ${running ? html`<p class="evidence busy">Being recovered: ${running.Phase}${running.Successor ? html`, ${name(running.Successor)} succeeds` : nothing}.</p>` : nothing}
      ${finding.DowntimeUntil ? html`<p class="evidence">In downtime, which ends ${when(finding.DowntimeUntil)}.</p>` : nothing}
    </div>
  </li>`;
}

/** More reasons are shown when somebody wants to see them. */
const REASONS_MAX = 3;

/** What baton does about it, or why it does not; and what people can do.
 * @param {Finding} finding */
function verdictView(finding) {
  if (live.isLeaderless) return html`<div class="verdict"><strong>baton does nothing:</strong> no node leads.</div>`;
  const [would, ...how] = finding.Would ?? [];
  if (would) return html`<div class="verdict"><strong>baton acts:</strong> ${tame(would)}.${how.length ? html` <details><summary>how</summary>${listed(how)}</details>` : nothing}</div>`;
  const reasons = finding.HeldBackBy ?? [];
  if (!reasons.length) return nothing;
  const rest = reasons.slice(REASONS_MAX);
  return html`<div class="verdict"><strong>baton does nothing by itself:</strong> ${reasons.length === 1 ? html`${tame(reasons[0])}.` : listed(reasons.slice(0, REASONS_MAX))}
      ${rest.length ? html`<details><summary>${counted(rest.length, 'more reason')}</summary>${listed(rest)}</details>` : nothing}</div>
    ${finding.Next?.length ? html`<div class="next"><strong>What you can do:</strong>${listed(finding.Next)}${finding.ByHand ? recoverButton(finding.Key) : nothing}</div>` : nothing}`;
}

/** @param {string} key */
function recoverButton(key) {
  const row = fleet.instances.get(key);
  return row ? button('Recover…', () => perform(operation('recover'), row), 'main') : nothing;
}

/** What follows from a dead primary is no problem of its own.
 * @param {Cluster} cluster @param {Finding} finding */
function followsFromAnother(cluster, finding) {
  const isCause = (/** @type {Finding} */ it) => it !== finding && it.Severity === 'critical' && ofFinding(it) === 'critical';
  return finding.Severity !== 'critical' && (cluster.Findings ?? []).some(isCause);
}

/** The findings of a cluster that people have to look at, and how many follow from them.
 * @param {Cluster} cluster */
export function findingsOf(cluster) {
  const all = cluster.Findings ?? [];
  const shown = all.filter((it) => !followsFromAnother(cluster, it));
  return { shown, following: all.length - shown.length };
}

/** @param {Summary[]} found */
function problemList(found) {
  const { urgent, single } = memo('problems', fleet.version, () => problemsOf(found));
  if (!urgent.length && !single.length) return nothing;
  const MAX = 40;
  return html`<section aria-label="problems">
    <ul class="problems">
      ${repeat(urgent.slice(0, MAX), ({ finding }) => finding.Key + finding.Code, ({ cluster, finding }) => findingView(cluster, finding))}
      ${repeat(single.slice(0, MAX), (it) => it.Key, (it) => {
        const cluster = fleet.clusters.get(it.Cluster);
        const health = ofInstance(it);
        return html`<li class="problem ${health} small">${mark(health)}<div>
          <p>${instanceLink(it.Key)} ${sentence(it)}${cluster ? html` <span class="of">in ${clusterLink(cluster)}</span>` : nothing}</p>
        </div></li>`;
      })}
    </ul>
    ${urgent.length > MAX || single.length > MAX ? html`<p class="more">and ${counted(Math.max(0, urgent.length - MAX) + Math.max(0, single.length - MAX), 'more problem')}; <a href=${to(['problems'])}>all of them</a></p>` : nothing}
  </section>`;
}

/** The worst first: findings about clusters, then instances that are ill on their own.
 * @param {Summary[]} found */
function problemsOf(found) {
  /** @type {{cluster: Cluster, finding: Finding}[]} */
  const findings = found.flatMap(({ cluster }) => findingsOf(cluster).shown.map((finding) => ({ cluster, finding })));
  const urgent = findings
    .filter(({ finding }) => finding.Severity !== 'notice' && ofFinding(finding) !== 'muted')
    .sort((a, b) => rank(ofFinding(a.finding)) - rank(ofFinding(b.finding)) || a.finding.Since.localeCompare(b.finding.Since));
  const covered = new Set(urgent.map(({ finding }) => finding.Key));
  const headless = new Set(urgent.filter(({ finding }) => finding.Severity === 'critical').map(({ cluster }) => cluster.Id));
  const single = found.flatMap((it) => it.members).filter((it) => {
    const health = ofInstance(it);
    return (health === 'critical' || health === 'warning') && !covered.has(it.Key) && !headless.has(it.Cluster);
  }).sort((a, b) => rank(ofInstance(a)) - rank(ofInstance(b)));
  return { urgent, single };
}

/** Who would take over, as of a few seconds ago.
 * @param {Summary} it */
function readyView({ cluster, health }) {
  const beat = Math.floor(Date.now() / 15_000);
  const answer = loaded('fleet-readiness', beat, () => get('fleet-readiness').then((all) => new Map(all.map((/** @type {any} */ it) => [it.Cluster, it]))));
  const found = answer.data?.get(cluster.Id);
  if (!found || (!found.Successor && health === 'muted')) return nothing;
  if (!found.Successor) return html`<span title=${(found.Obstacles ?? []).join('; ')}>${mark('warning', 'nobody could take over')} nobody</span>`;
  const loss = found.PossibleLoss ? `; ${counted(found.PossibleLoss, 'transaction')} could be lost` : '';
  return html`<span class="key" title=${`${found.Successor} would take over${loss}`}>${name(shortKey(found.Successor))}</span>${found.PossibleLoss ? html` ${mark('warning', loss.slice(2))}` : nothing}`;
}

/** @param {Summary} it */
function clusterRow(it) {
  const { cluster } = it;
  const primary = cluster.Primaries[0];
  const row = primary ? fleet.instances.get(primary) : undefined;
  const bad = ailingIn(it);
  const { RecoversPrimary: primaries, RecoversIntermediate: others } = cluster;
  const recovers = primaries ? (others ? 'automatic' : 'primary only') : others ? 'not primary' : 'by hand';
  return html`<a role="row" class="row" href=${clusterAddress(cluster)}>
    <span role="cell" class="c-health">${mark(it.health)}</span>
    <span role="cell" class="c-alias">${name(cluster.Alias || cluster.Name)}</span>
    <span role="cell" class="c-primary key">${primary ? name(shortKey(primary)) : 'no primary'}${row?.ReadOnly ? badge('read-only', 'warning') : nothing}</span>
    <span role="cell" class="c-size number">${it.members.length}</span>
    <span role="cell" class="c-bad number" title=${it.problems.map(problemNamed).join(', ')}>${bad || ''}</span>
    <span role="cell" class="c-lag number">${it.lag === null ? '' : span(it.lag * 1000)}</span>
    <span role="cell" class="c-dc">${it.centers.map((center) => `${shapeOf(center)} ${center}`).join(' ')}</span>
    <span role="cell" class="c-version">${it.versions.join(' ')}</span>
    <span role="cell" class="c-ready">${readyView(it)}</span>
    <span role="cell" class="c-recovery">${recovers}</span>
  </a>`;
}

/** What the list can be sorted by, beside how bad it is.
 * @type {Record<string, (a: Summary, b: Summary) => number>} */
const ORDERS = {
  health: (a, b) => rank(a.health) - rank(b.health),
  alias: () => 0,
  primary: (a, b) => byName(a.cluster.Name, b.cluster.Name),
  size: (a, b) => b.members.length - a.members.length,
  ill: (a, b) => ailingIn(b) - ailingIn(a),
  lag: (a, b) => (b.lag ?? -1) - (a.lag ?? -1),
};

/** @param {Summary} it */
function ailingIn(it) {
  return it.members.filter((member) => (member.Problems?.length ?? 0) > 0).length;
}

export function fleetPage() {
  const wanted = { filter: queried('filter'), dc: queried('dc'), version: queried('version'), problem: queried('problem'), sort: queried('sort') || remembered('sort') };
  const every = memo('clusters', fleet.version, all);
  const by = ORDERS[wanted.sort] ? wanted.sort : 'health';
  const sorted = memo('sorted clusters', `${fleet.version} ${by}`, () => [...every].sort((a, b) => ORDERS[by](a, b) || byName(a.cluster.Alias || a.cluster.Name, b.cluster.Alias || b.cluster.Name)));
  /** @param {string} sort */
  const sortBy = (sort) => {
    remember('sort', sort);
    alter({ sort });
  };
  const direction = /size|ill|lag/.test(by) ? 'descending' : 'ascending';
  /** @param {string} order @param {string} kind @param {unknown} label */
  const title = (order, kind, label) => html`<span role="columnheader" class=${kind} aria-sort=${by === order ? direction : nothing}><button type="button" class="sort" @click=${() => sortBy(order === by || order === 'health' ? '' : order)}>${label}${by === order ? (direction[0] === 'd' ? ' ▾' : ' ▴') : nothing}</button></span>`;
  const found = memo('found clusters', `${fleet.version} ${by} ${location.search}`, () => sorted.filter((it) => matches(it, wanted)));
  /** @param {(it: Summary) => string[]} of */
  const choices = (of) => memo(`choices ${of}`, fleet.version, () => [...new Set(every.flatMap(of))].sort());
  /** @param {'dc' | 'version' | 'problem'} key @param {string} label @param {string[]} options @param {(text: string) => string} [shown] */
  const choice = (key, label, options, shown) => (options.length < (key === 'problem' ? 1 : 2) && !wanted[key] ? nothing : select(label, wanted[key], options, set(key), shown));
  return html`
    <header class="head">${headline(every)}</header>
    ${fleet.isLoaded && !fleet.instances.size ? empty(html`baton knows no server yet. <a href="discover">Discover</a> one: it finds the others from there.`) : nothing}
    ${newsView(() => true)}
    ${problemList(every)}
    <section aria-labelledby="clusters-title">
      <div class="bar"><h2 id="clusters-title">Clusters</h2>
        <label><span class="unseen-text">Filter clusters</span><input type="search" placeholder="Filter: alias, host, tag…" .value=${wanted.filter} @input=${set('filter')}></label>
        ${choice('dc', 'Data centre', choices((it) => it.centers))}
        ${choice('version', 'Version', choices((it) => it.versions))}
        ${choice('problem', 'Problem', choices((it) => it.problems), problemNamed)}
        <span class="total" role="status">${found.length === every.length ? '' : `${found.length} of ${every.length}`}</span>
      </div>
      <div role="table" aria-label="clusters" class="table clusters">
        <div role="rowgroup"><div role="row" class="row titles">
          ${title('health', 'c-health', html`<span class="unseen-text">Health</span>${by === 'health' ? nothing : '▵'}`)}${title('alias', 'c-alias', 'Cluster')}${title('primary', 'c-primary', 'Primary')}
          ${title('size', 'c-size number', 'Size')}${title('ill', 'c-bad number', 'Ill')}${title('lag', 'c-lag number', 'Lag')}
          <span role="columnheader" class="c-dc">Data centres</span><span role="columnheader" class="c-version">Versions</span>
          <span role="columnheader" class="c-ready">Would take over</span><span role="columnheader" class="c-recovery">Recovery</span></div></div>
        ${virtual('clusters', found, 36, (it) => it.cluster.Id, clusterRow)}
      </div>
      ${!found.length && every.length ? empty('No cluster matches.') : nothing}
    </section>`;
}

