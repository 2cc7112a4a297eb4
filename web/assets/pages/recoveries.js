// Recoveries and detections: what was done, step by step, and what is to be acknowledged.

import { get } from '../api.js';
import { open as openTask } from '../dialog.js';
import { here, to } from '../router.js';
import { fleet, loaded, session } from '../store.js';
import { answered, badge, empty, instanceLink, mark, name, when } from '../ui.js';
import { causeNamed, counted, exact, moment, named, recoveryNamed, span } from '../words.js';
import { html, nothing } from '../vendor/lit-html/lit-html.js';

/** @typedef {import('../types').Recovery} Recovery */

/** @param {{Hostname: string, Port: number} | null | undefined} key */
const keyOf = (key) => (key?.Hostname ? `${key.Hostname.includes(':') ? `[${key.Hostname}]` : key.Hostname}:${key.Port}` : '');

/** @param {string} phase @returns {import('../types').Health} */
function ofPhase(phase) {
  if (phase === 'done') return 'ok';
  if (phase === 'stuck') return 'critical';
  return phase === 'rolled back' ? 'warning' : 'busy';
}

/** One recovery in a line.
 * @param {Recovery} it */
export function recoveryLine(it) {
  const took = it.EndedAt ? span2(moment(it.EndedAt) - moment(it.BegunAt)) : '';
  return html`<li class="recovery">${mark(ofPhase(it.Phase), it.Phase)}
    <div><p><a href=${to(['recovery', it.Uid])}>${recoveryNamed(it.Code, it.Cause)}</a> ${it.Acknowledged || !it.EndedAt ? nothing : badge('not acknowledged', 'warning')}</p>
    <p class="of">${instanceLink(it.Failed)}${it.Successor ? html` → ${instanceLink(it.Successor)}` : nothing} · ${when(it.BegunAt)}${took ? ` · took ${took}` : ''} · ${causeNamed(it.Cause)}</p>
    ${it.Errors?.length ? html`<p class="said">${it.Errors[0]}</p>` : nothing}</div></li>`;
}

/** @param {number} milliseconds */
function span2(milliseconds) {
  return milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : span(milliseconds);
}

/** Steps with the time since the beginning.
 * @param {{At: string, Text: string}[]} steps @param {string} begun */
export function stepsView(steps, begun) {
  const zero = moment(begun);
  return html`<ol class="steps">${steps.map((it) => {
    const after = (moment(it.At) - zero) / 1000;
    return html`<li><time class="number" datetime=${it.At} title=${exact(it.At)}>${Number.isNaN(after) ? '' : `+${after.toFixed(after < 10 && it.At.includes('.') ? 2 : 0)} s`}</time><span>${it.Text}</span></li>`;
  })}</ol>`;
}

/** Where there are pages of an answer.
 * @param {string} path @param {number} page @param {number} length @param {Record<string, string>} query */
export function pager(path, page, length, query = {}) {
  const SIZE = 20;
  if (page === 0 && length < SIZE) return nothing;
  return html`<nav class="pager" aria-label="pages">
    ${page > 0 ? html`<a href=${to([path], { ...query, page: page > 1 ? String(page - 1) : '' })}>newer</a>` : nothing}
    <span>page ${page + 1}</span>
    ${length >= SIZE ? html`<a href=${to([path], { ...query, page: String(page + 1) })}>older</a>` : nothing}</nav>`;
}

/** @param {string} path @param {string} what */
function acknowledge(path, what) {
  openTask({
    title: 'Acknowledge', care: 'none', says: `${what} blocks no other recovery any more.`,
    fields: [{ name: 'comment', label: 'Comment', kind: 'text' }],
    path: () => path, query: (values) => ({ comment: values.comment ?? '' }),
  });
}

export function recoveriesPage() {
  const { query } = here();
  const cluster = query.get('cluster') ?? '';
  const page = Number(query.get('page') ?? 0) || 0;
  const path = cluster ? `audit-recovery/cluster/${encodeURIComponent(cluster)}/${page}` : `audit-recovery/${page}`;
  const answer = loaded(`recoveries ${path}`, fleet.state.LedgerIndex, () => get(path));
  const blocked = loaded('blocked', fleet.state.LedgerIndex, () => get('blocked-recoveries')).data ?? [];
  const mayWrite = session.value?.MayWrite;
  return html`<header class="head"><h1>Recoveries${cluster ? html` of ${name(cluster)}` : nothing}</h1>
      <div class="actions"><button type="button" ?disabled=${!mayWrite} title=${mayWrite ? nothing : session.value?.Why ?? ''}
        @click=${() => acknowledge('ack-all-recoveries', 'Every recovery so far')}>Acknowledge all…</button></div></header>
    ${blocked.length ? html`<section class="trouble"><h2>Blocked</h2><ul>${blocked.map((/** @type {any} */ it) => html`<li>${named(it.Analysis)} on ${instanceLink(keyOf(it.FailedInstanceKey))}: an earlier recovery of ${name(it.ClusterName)} is not acknowledged yet.</li>`)}</ul></section>` : nothing}
    ${answered(answer, (all) => all.length
      ? html`<ul class="plain list">${all.map((/** @type {any} */ it) => {
          const isRunning = !it.RecoveryEndTimestamp;
          const health = isRunning ? 'busy' : it.IsSuccessful ? 'ok' : 'critical';
          const errors = (it.AllErrors ?? []).filter(Boolean);
          const analysis = it.AnalysisEntry;
          return html`<li class="recovery">${mark(health, isRunning ? 'running' : it.IsSuccessful ? 'successful' : 'failed')}<div>
            <p><a href=${to(['recovery', it.UID])}>${recoveryNamed(analysis.Analysis, analysis.CommandHint)}</a> in <a href=${to(['cluster', analysis.ClusterDetails.ClusterAlias])}>${name(analysis.ClusterDetails.ClusterAlias)}</a>
              ${it.Acknowledged || isRunning ? nothing : badge('not acknowledged', 'warning')}</p>
            <p class="of">${instanceLink(keyOf(analysis.AnalyzedInstanceKey))}${keyOf(it.SuccessorKey) ? html` → ${instanceLink(keyOf(it.SuccessorKey))}` : nothing} · ${when(it.RecoveryStartTimestamp)}</p>
            ${errors.length ? html`<p class="said">${errors[0]}</p>` : nothing}</div></li>`;
        })}</ul>${pager('recoveries', page, all.length, { cluster })}`
      : empty('Nothing was recovered, as far as baton remembers.'))}`;
}

/** @param {string} uid */
export function recoveryPage(uid) {
  const row = [...fleet.recoveries.values()].find((it) => it.Uid === uid);
  const answer = loaded(`recovery ${uid}`, fleet.state.LedgerIndex, () => get(`audit-recovery/uid/${encodeURIComponent(uid)}`));
  const steps = loaded(`steps ${uid}`, fleet.state.LedgerIndex, () => get(`audit-recovery-steps/${encodeURIComponent(uid)}`));
  const mayWrite = session.value?.MayWrite;
  return answered(answer, (all) => {
    const it = all[0];
    if (!it) return html`<header class="head"><h1>Recovery</h1></header>${empty('baton remembers no such recovery.')}`;
    const analysis = it.AnalysisEntry;
    const errors = (it.AllErrors ?? []).filter(Boolean);
    const isRunning = !it.RecoveryEndTimestamp;
    /** @param {any[]} keys */
    const list = (keys) => (keys?.length ? keys.map((key) => html`${instanceLink(keyOf(key))} `) : '–');
    const phase = row?.Phase ?? (isRunning ? 'running' : it.IsSuccessful ? 'done' : 'failed');
    return html`<header class="head"><h1>${mark(isRunning ? 'busy' : it.IsSuccessful ? 'ok' : 'critical', phase)} ${recoveryNamed(analysis.Analysis, row?.Cause ?? analysis.CommandHint)}</h1>
        <p class="total">in <a href=${to(['cluster', analysis.ClusterDetails.ClusterAlias])}>${name(analysis.ClusterDetails.ClusterAlias)}</a> · ${phase} · begun ${when(row?.BegunAt ?? it.RecoveryStartTimestamp)}</p>
        ${it.Acknowledged || isRunning ? nothing : html`<div class="actions"><button type="button" class="main" ?disabled=${!mayWrite} title=${mayWrite ? nothing : session.value?.Why ?? ''} @click=${() => acknowledge(`ack-recovery/uid/${encodeURIComponent(uid)}`, 'This recovery')}>Acknowledge…</button></div>`}</header>
      <dl class="facts">
        <dt>Failed</dt><dd>${instanceLink(keyOf(analysis.AnalyzedInstanceKey))}</dd>
        <dt>Successor</dt><dd>${keyOf(it.SuccessorKey) ? instanceLink(keyOf(it.SuccessorKey)) : 'nobody'}</dd>
        <dt>Why begun</dt><dd>${row ? causeNamed(row.Cause) : analysis.CommandHint || 'found by baton'}</dd>
        <dt>Took part</dt><dd>${list(it.ParticipatingInstanceKeys)}</dd>
        <dt>Could not come along</dt><dd>${list(it.LostReplicas)}</dd>
        <dt>Run by</dt><dd>${name(it.ProcessingNodeHostname)}</dd>
        ${row?.EndedAt ? html`<dt>Took</dt><dd>${span2(moment(row.EndedAt) - moment(row.BegunAt))}</dd>` : nothing}
        ${it.Acknowledged ? html`<dt>Acknowledged</dt><dd>by ${name(it.AcknowledgedBy)}, ${when(it.AcknowledgedAt)}: ${it.AcknowledgedComment}</dd>` : nothing}
      </dl>
      ${errors.length ? html`<section class="trouble"><h2>What went wrong</h2><ul>${errors.map((/** @type {string} */ text) => html`<li>${text}</li>`)}</ul></section>` : nothing}
      <section><h2>Step by step</h2>${row?.Steps?.length ? stepsView(row.Steps, row.BegunAt)
        : answered(steps, (lines) => stepsView(lines.map((/** @type {any} */ line) => ({ At: line.AuditAt, Text: line.Message })), it.RecoveryStartTimestamp))}</section>`;
  });
}

export function detectionsPage() {
  const { query } = here();
  const page = Number(query.get('page') ?? 0) || 0;
  const answer = loaded(`detections ${page}`, fleet.state.LedgerIndex, () => get(`audit-failure-detection/${page}`));
  return html`<header class="head"><h1>Detections</h1><p class="total">failures that baton found, whether or not anything was to be done about them</p></header>
    ${answered(answer, (all) => all.length
      ? html`<ul class="plain list">${all.map((/** @type {any} */ it) => {
          const analysis = it.AnalysisEntry;
          const alias = analysis.ClusterDetails?.ClusterAlias ?? '';
          return html`<li class="recovery">${mark('warning', 'detected')}<div><p><strong>${named(analysis.Analysis)}</strong> ${badge(analysis.Analysis, 'code')}</p>
            <p class="of">${instanceLink(keyOf(analysis.AnalyzedInstanceKey))} in <a href=${to(['cluster', alias])}>${name(alias)}</a> · ${when(it.RecoveryStartTimestamp)} · ${counted(analysis.CountReplicas ?? 0, 'replica')}${it.ProcessingNodeHostname ? html` · seen by ${name(it.ProcessingNodeHostname)}` : nothing}</p></div></li>`;
        })}</ul>${pager('detections', page, all.length)}`
      : empty('No failure was detected, as far as baton remembers.'))}`;
}
