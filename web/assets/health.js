// How things are: the one place that turns rows into colours and words.

import { membersOf, recoveries } from './store.js';
import { ago, counted, problemNamed, span, tame } from './words.js';

/** @type {Health[]} */
const WORST_FIRST = ['critical', 'busy', 'warning', 'unseen', 'muted', 'ok'];

/** @param {Health} health */
export function rank(health) {
  return WORST_FIRST.indexOf(health);
}

/** @param {Health[]} all @returns {Health} */
export function worst(all) {
  return WORST_FIRST.find((it) => all.includes(it)) ?? 'ok';
}

/** @param {Instance} row @returns {Health} */
export function ofInstance(row) {
  const isWrong = row.State === 'down' || (row.Problems?.length ?? 0) > 0;
  if (isWrong && row.Downtime) return 'muted';
  if (row.State === 'unseen') return 'unseen';
  if (row.State === 'down') return 'critical';
  return isWrong ? 'warning' : 'ok';
}

/** @param {Finding} finding @returns {Health} */
export function ofFinding(finding) {
  if (finding.DowntimeUntil || finding.Skipped) return 'muted';
  return finding.Severity === 'critical' ? 'critical' : 'warning';
}

/** @param {Cluster} cluster @returns {Health} */
export function ofCluster(cluster) {
  const findings = (cluster.Findings ?? []).filter((it) => it.Severity !== 'notice').map(ofFinding);
  const members = membersOf(cluster.Id).map(ofInstance);
  const running = runningIn(cluster.Id) ? /** @type {Health[]} */ (['busy']) : [];
  // An instance that is down matters as much as what follows from it.
  const fromMembers = members.map((it) => (it === 'critical' ? 'warning' : it));
  const all = [...findings, ...running, ...fromMembers.filter((it) => it !== 'unseen')];
  if (members.length > 0 && members.every((it) => it === 'unseen')) return 'unseen';
  const counting = all.filter((it) => it !== 'muted');
  return worst(counting.length ? counting : all);
}

/** @param {string} id */
export function runningIn(id) {
  return recoveries((it) => it.Cluster === id && !it.EndedAt)[0];
}

/** What is wrong with an instance, in a sentence; empty when nothing is.
 * @param {Instance} row */
export function sentence(row) {
  if (row.State === 'unseen') return 'not looked at yet';
  const said = [];
  if (row.State === 'down') {
    const seen = row.LastSeen ? `, last seen ${ago(row.LastSeen)}` : ', never seen';
    said.push(`does not answer${seen}${row.Failure ? `: ${row.Failure}` : ''}`);
  }
  for (const problem of row.Problems ?? []) {
    if (problem === 'last_check_invalid') continue;
    if (problem === 'replication_lag') said.push(`lags by ${lag(row)}`);
    else if (problem === 'binary_log_cannot_be_written') said.push(`commits wait: ${row.StuckLog}`);
    else if (problem === 'errant_gtid') said.push(row.Errant ? counted(row.Errant, 'errant transaction') : problemNamed(problem));
    else if (problem === 'not_replicating') {
      said.push(`replication ${row.Replication === 'failed' ? 'failed' : `is ${row.Replication ?? 'off'}`}`);
      if (row.ReplicationError) said.push(row.ReplicationError);
    } else said.push(problemNamed(problem));
  }
  return tame(said.join('; '));
}

/** @param {Instance} row */
export function lag(row) {
  if (row.Lag === null || row.Lag === undefined) return row.Source && !row.Detached ? 'unknown' : '';
  return span(row.Lag * 1000);
}

/** Words for each colour: colour alone says nothing.
 * @type {Record<Health, [string, string]>} */
export const MARKS = {
  critical: ['✕', 'critical'],
  warning: ['!', 'warning'],
  busy: ['↻', 'being recovered'],
  ok: ['✓', 'well'],
  muted: ['–', 'in downtime'],
  unseen: ['?', 'not seen yet'],
};
