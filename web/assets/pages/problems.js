// Everything that is wrong anywhere: what baton concluded, then what is the matter with each instance.

import { ofFinding, ofInstance, sentence } from '../health.js';
import { queried } from '../router.js';
import { byName, fleet, memo } from '../store.js';
import { clusterLink, empty, instanceLink, mark, select, set, titles, virtual, when } from '../ui.js';
import { counted, named, problemNamed } from '../words.js';
import { findingView } from './fleet.js';
import { html, nothing, repeat } from '../html.js';

/** From bad to harmless. */
const GRADES = ['critical', 'warning', 'notice', 'in downtime'];
/** What several are called.
 * @type {Record<string, string>} */
const MANY = { critical: 'critical', warning: 'warnings', notice: 'notices', 'in downtime': 'in downtime' };
/** More findings are not drawn at once: whoever has so many has to look for something. */
const FINDINGS_MAX = 100;

/** @param {Finding} finding */
function gradeOf(finding) {
  if (ofFinding(finding) === 'muted') return 'in downtime';
  return finding.Severity;
}

/** @param {Instance} row */
function gradeOfInstance(row) {
  const health = ofInstance(row);
  return health === 'muted' ? 'in downtime' : health;
}

/** @param {Cluster} cluster @param {Instance} row @param {string[]} more */
function textOf(cluster, row, more) {
  return [row.Key, row.Alias ?? '', cluster.Alias, cluster.Name, row.DataCenter ?? '', ...more].join(' ').toLowerCase();
}

/** @returns {Trouble[]} */
function findings() {
  return [...fleet.clusters.values()].flatMap((cluster) => (cluster.Findings ?? []).map((finding) => {
    const row = fleet.instances.get(finding.Key) ?? /** @type {Instance} */ ({ Key: finding.Key, Cluster: cluster.Id });
    const kinds = [...(finding.Code === 'NoProblem' ? [] : [finding.Code]), ...(finding.Structure ?? [])].map(named);
    return { cluster, finding, row, how: gradeOf(finding), kinds, since: finding.Since, text: textOf(cluster, row, [...kinds, finding.Code, finding.Evidence]) };
  }));
}

/** When that began, as far as anything tells: whoever lags has nothing newer than that.
 * @param {Instance} row @param {Cluster} cluster */
function sinceWhen(row, cluster) {
  if (row.LastSeen) return row.LastSeen;
  if (row.Problems?.includes('replication_lag') && row.Lag) return new Date(Date.now() - row.Lag * 1000).toISOString();
  return cluster.Findings?.find((it) => it.Key === row.Key)?.Since ?? '';
}

/** @returns {Trouble[]} */
function ailing() {
  const all = [...fleet.instances.values()].filter((row) => row.State !== 'unseen' && (row.State === 'down' || (row.Problems?.length ?? 0) > 0));
  return all.flatMap((row) => {
    const cluster = fleet.clusters.get(row.Cluster);
    const kinds = (row.Problems ?? []).map(problemNamed);
    return cluster ? [{ cluster, row, how: gradeOfInstance(row), kinds, since: sinceWhen(row, cluster), text: textOf(cluster, row, [...kinds, sentence(row)]) }] : [];
  });
}

/** The worst first, and of what is equally bad what is newest.
 * @param {Trouble[]} all */
function sorted(all) {
  return all.sort((a, b) => GRADES.indexOf(a.how) - GRADES.indexOf(b.how) || b.since.localeCompare(a.since) || byName(a.row.Key, b.row.Key));
}

/** @param {Trouble} it */
function instanceRow(it) {
  const said = sentence(it.row);
  return html`<div role="row" class="row"><span role="cell">${mark(ofInstance(it.row))}</span><span role="cell">${instanceLink(it.row.Key)}</span>
    <span role="cell" class="c-cluster">${clusterLink(it.cluster)}</span><span role="cell" class="c-since">${when(it.since)}</span><span role="cell" class="c-wrong" title=${said}>${said}</span></div>`;
}

export function problemsPage() {
  const wanted = { filter: queried('filter'), how: queried('how'), what: queried('what') };
  const all = memo('all trouble', fleet.version, () => ({ findings: sorted(findings()), ailing: sorted(ailing()) }));
  const found = memo('found trouble', `${fleet.version} ${location.search}`, () => {
    const words = wanted.filter.toLowerCase().split(/\s+/).filter(Boolean);
    /** @param {Trouble} it */
    const fits = (it) => words.every((word) => it.text.includes(word)) && (!wanted.how || it.how === wanted.how) && (!wanted.what || it.kinds.includes(wanted.what));
    return { findings: all.findings.filter(fits), ailing: all.ailing.filter(fits) };
  });
  const every = [...all.findings, ...all.ailing];
  const kinds = memo('kinds of trouble', fleet.version, () => [...new Set(every.flatMap((it) => it.kinds))].sort());
  const total = GRADES.map((how) => ({ how, count: every.filter((it) => it.how === how).length })).filter((it) => it.count);
  return html`<header class="head"><h1>Problems</h1>
      <p class="total">${total.length ? total.map((it) => counted(it.count, it.how, MANY[it.how])).join(', ') : nothing}</p></header>
    ${fleet.isLoaded && !every.length ? empty(html`${mark('ok')} Nothing is wrong anywhere.`) : nothing}
    ${every.length ? html`<div class="bar">
      <label><span class="unseen-text">Filter problems</span><input type="search" placeholder="Filter: host, alias, words…" .value=${wanted.filter} @input=${set('filter')}></label>
      ${select('How bad', wanted.how, GRADES, set('how'))}${select('What', wanted.what, kinds, set('what'))}
      <span class="total" role="status">${found.findings.length + found.ailing.length} of ${every.length}</span></div>` : nothing}
    ${found.findings.length ? html`<section aria-labelledby="concluded"><h2 id="concluded">What baton concluded</h2>
      <ul class="problems">${repeat(found.findings.slice(0, FINDINGS_MAX), (it) => it.row.Key + it.finding?.Code, (it) => findingView(it.cluster, /** @type {Finding} */ (it.finding)))}</ul>
      ${found.findings.length > FINDINGS_MAX ? html`<p class="more">and ${found.findings.length - FINDINGS_MAX} more: filter above</p>` : nothing}</section>` : nothing}
    ${found.ailing.length ? html`<section aria-labelledby="ailing"><h2 id="ailing">${counted(found.ailing.length, 'instance')} with something wrong</h2>
      <div role="table" aria-labelledby="ailing" class="table ailing">
        ${titles([['', '.Health'], ['', 'Instance'], ['c-cluster', 'Cluster'], ['c-since', 'Since'], ['c-wrong', 'What is wrong']])}
        ${virtual('ailing', found.ailing, matchMedia('(max-width: 40rem)').matches ? 58 : 36, (it) => it.row.Key, instanceRow)}</div></section>` : nothing}
    ${every.length && !found.findings.length && !found.ailing.length ? empty('No problem matches.') : nothing}`;
}
