// Recoveries and detections: what was done, step by step, and what is to be acknowledged.

import { get, keyOf, known } from '../api.js';
import { open as openTask, perform } from '../dialog.js';
import { operation } from '../operations.js';
import { amend, go, queried, to } from '../router.js';
import { clusterNamed, fleet, recoveries, session } from '../store.js';
import { answered, answeredAll, badge, button, called, empty, instanceLink, listed, mark, name, typed, when } from '../ui.js';
import { causeNamed, counted, exact, moment, named, recoveryNamed, span, tame } from '../words.js';
import { html, nothing } from '../html.js';

/** @param {string} phase @returns {Health} */
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
    ${it.Errors?.length ? html`<p class="said">${tame(it.Errors[0])}</p>` : nothing}</div></li>`;
}

/** News are shown for so long, unless somebody acknowledges them before. */
const NEWS_MAX = 24 * 3600_000;

/** What came of a recovery, in a sentence.
 * @param {Recovery} it */
export function cameOf(it) {
  const what = recoveryNamed(it.Code, it.Cause);
  if (it.Phase === 'rolled back') return html`${what}: rolled back, so all is as it was`;
  if (it.Phase === 'stuck') return html`${what}: the recovery is stuck, and somebody has to look`;
  const failed = name(it.Failed);
  const successor = name(it.Successor ?? 'nobody');
  switch (it.Kind) {
    case 'primary': case 'co-primary': case 'takeover': return html`${successor} took the place of ${failed}`;
    case 'intermediate-source': case 'group-member': return html`The replicas of ${failed} follow ${successor} now`;
    case 'rejoin': return html`${failed} is back, below ${successor}`;
    default: return html`${what}: done`;
  }
}

/** What baton did by itself, or could not do, and nobody has acknowledged yet.
 * @param {(it: Recovery) => boolean} wanted */
export function newsView(wanted) {
  const isNews = (/** @type {Recovery} */ it) => Boolean(it.EndedAt) && !it.Acknowledged && Date.now() - moment(it.EndedAt ?? '') < NEWS_MAX
    && (it.Phase !== 'done' || it.Cause === 'found' || it.Cause === 'hung');
  const news = recoveries((it) => isNews(it) && wanted(it)).slice(0, 10);
  if (!news.length) return nothing;
  return html`<section aria-labelledby="news-title"><h2 id="news-title">What happened, and nobody has acknowledged</h2><ul class="problems news">${news.map((it) => html`<li class="problem ${ofPhase(it.Phase)}">${mark(ofPhase(it.Phase), it.Phase)}<div>
    <p class="what"><strong>${cameOf(it)}</strong> ${badge(it.Code, 'code')}</p>
    <p>${recoveredIn(it)} · ${when(it.EndedAt)}, within ${span2(moment(it.EndedAt ?? '') - moment(it.BegunAt))} · ${causeNamed(it.Cause)}</p>
    ${it.Errors?.length ? html`<p class="said">${tame(it.Errors[0])}</p>` : nothing}
    ${it.Lost?.length ? html`<p class="loss">Could not come along: ${it.Lost.map((key) => html`${instanceLink(key)} `)}</p>` : nothing}
    <div class="actions"><a href=${to(['recovery', it.Uid])}>Step by step</a> ${button('Acknowledge…', () => acknowledge(`ack-recovery/uid/${encodeURIComponent(it.Uid)}`, 'This recovery'))}${backView(it)}</div></div></li>`)}</ul></section>`;
}

/** What can be done about the one that was replaced.
 * @param {Recovery} it */
function backView(it) {
  const row = fleet.instances.get(it.Failed);
  if (!row || row.Cluster === it.Cluster || row.Role !== 'primary') return nothing;
  if (row.State !== 'ok') return html` <span class="of">${name(it.Failed)} can be brought back as a replica once it answers.</span>`;
  return button(html`Bring ${name(it.Failed)} back…`, () => perform(operation('rejoin'), row));
}

/** The cluster a recovery was in, by what it is called now.
 * @param {Recovery} it */
function recoveredIn(it) {
  const cluster = fleet.clusters.get(it.Cluster);
  const text = cluster ? cluster.Alias || cluster.Name : it.ClusterAlias || it.ClusterName;
  return html`<a href=${to(['cluster', text])}>${name(text)}</a>`;
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
    return html`<li><time class="number" datetime=${it.At} title=${exact(it.At)}>${Number.isNaN(after) ? '' : `+${after.toFixed(after < 10 && it.At.includes('.') ? 2 : 0)} s`}</time><span>${tame(it.Text)}</span></li>`;
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

/** Which page of an answer is looked at. */
export function pageNumber() {
  return Number(queried('page')) || 0;
}

/** What chooses among all of them.
 * @param {string} label @param {string} value @param {(text: string) => void} take */
export function chooser(label, value, take) {
  return html`<label><span class="unseen-text">${label}</span><input type="search" size="28" placeholder=${label} .value=${value} @change=${(/** @type {Event} */ event) => take(typed(event).trim())}></label>`;
}

/** @param {string} text an alias or a name of a cluster, or the number or name of a recovery */
async function chosen(text) {
  const path = `audit-recovery/${/^\d+$/.test(text) ? 'id' : 'uid'}/${encodeURIComponent(text)}`;
  const found = text ? await get(path).catch(() => []) : [];
  if (found.length) go(to(['recovery', text]));
  else amend({ cluster: text });
}

/** @param {string} path @param {string} what */
function acknowledge(path, what) {
  openTask({
    title: 'Acknowledge', care: 'none', says: `${what} blocks no other recovery any more.`,
    fields: [{ name: 'comment', label: 'Comment', kind: 'text' }],
    path: () => path, query: ({ comment }) => ({ comment }),
  });
}

/** Why nothing is recovered from by itself.
 * @param {any} it as the API has it */
export function blockedView(it) {
  const { BlockingRecoveryId: id, Reasons: reasons = [] } = it;
  const uid = fleet.recoveries.get(id)?.Uid;
  const earlier = uid ? html`<a href=${to(['recovery', uid])}>recovery ${id}</a>` : `recovery ${id}`;
  return html`${named(it.Analysis)} on ${instanceLink(keyOf(it.FailedInstanceKey))}: ${id ? html`${earlier} is not long ago, and nobody has acknowledged it. ` : nothing}${tame(reasons.join('; '))}`;
}

/** The hooks that run now, for those who may end them. */
function hooksView() {
  const all = session.value?.MayWrite ? (known('running-hooks', Math.floor(Date.now() / 1000)).data ?? []) : [];
  if (!all.length) return nothing;
  return html`<section class="hooks"><h2>Running hooks</h2><ul class="plain list">${all.map((/** @type {any} */ it) => html`<li class="recovery">${mark('busy', 'running')}<div>
    <p><strong>${it.List}</strong> ${it.Number} of ${it.Of}: <code>${tame(it.Command)}</code></p>
    <p class="of">${tame(it.About)} · started ${when(it.Since)} · limit ${span(it.TimeoutSeconds * 1000)}</p></div>
    ${button('End…', () => openTask({ title: 'End hook', says: `${it.Command} is killed, and counts as failed.`, path: () => `end-hook/${it.Id}` }))}</li>`)}</ul></section>`;
}

export function recoveriesPage() {
  const cluster = queried('cluster');
  const page = pageNumber();
  const path = cluster ? `audit-recovery/cluster/${encodeURIComponent(cluster)}/${page}` : `audit-recovery/${page}`;
  const answer = known(path, fleet.state.LedgerIndex);
  const blocked = known('blocked-recoveries', fleet.state.LedgerIndex).data ?? [];
  return html`<header class="head"><h1>Recoveries${cluster ? html` of ${name(cluster)}` : nothing}</h1>
      <div class="actions">${chooser('Cluster, or id of a recovery', cluster, chosen)}${button('Acknowledge all…', () => acknowledge('ack-all-recoveries', 'Every recovery so far'))}</div></header>
    ${hooksView()}${blocked.length ? html`<section class="trouble"><h2>Blocked</h2><ul>${blocked.map((/** @type {any} */ it) => html`<li>${blockedView(it)}</li>`)}</ul></section>` : nothing}
    ${answeredAll(answer, (all) => html`<ul class="plain list">${all.map((it) => {
          const isRunning = !it.RecoveryEndTimestamp;
          const health = isRunning ? 'busy' : it.IsSuccessful ? 'ok' : 'critical';
          const errors = (it.AllErrors ?? []).filter(Boolean);
          const analysis = it.AnalysisEntry;
          return html`<li class="recovery">${mark(health, isRunning ? 'running' : it.IsSuccessful ? 'successful' : 'failed')}<div>
            <p><a href=${to(['recovery', it.UID])}>${recoveryNamed(analysis.Analysis, analysis.CommandHint)}</a> in <a href=${to(['cluster', analysis.ClusterDetails.ClusterAlias])}>${name(analysis.ClusterDetails.ClusterAlias)}</a>
              ${it.Acknowledged || isRunning ? nothing : badge('not acknowledged', 'warning')}</p>
            <p class="of">${instanceLink(keyOf(analysis.AnalyzedInstanceKey))}${keyOf(it.SuccessorKey) ? html` → ${instanceLink(keyOf(it.SuccessorKey))}` : nothing} · ${when(it.RecoveryStartTimestamp)}</p>
            ${errors.length ? html`<p class="said">${tame(errors[0])}</p>` : nothing}</div></li>`;
        })}</ul>${pager('recoveries', page, all.length, { cluster })}`, 'Nothing was recovered, as far as baton remembers.')}`;
}

/** @param {string} text its name, or its number */
export function recoveryPage(text) {
  const isNumber = /^\d+$/.test(text);
  const answer = known(`audit-recovery/${isNumber ? 'id' : 'uid'}/${encodeURIComponent(text)}`, fleet.state.LedgerIndex);
  const uid = isNumber ? (answer.data?.[0]?.UID ?? '') : text;
  const row = [...fleet.recoveries.values()].find((it) => it.Uid === uid);
  const steps = uid ? known(`audit-recovery-steps/${encodeURIComponent(uid)}`, fleet.state.LedgerIndex) : { data: undefined, error: '' };
  const detections = known('audit-failure-detection', fleet.state.LedgerIndex);
  return answered(answer, (all) => {
    const it = all[0];
    if (!it) return html`<header class="head"><h1>Recovery</h1></header>${empty('baton remembers no such recovery.')}`;
    const analysis = it.AnalysisEntry;
    const errors = (it.AllErrors ?? []).filter(Boolean);
    const isRunning = !it.RecoveryEndTimestamp;
    /** @param {any[]} keys */
    const list = (keys) => (keys?.length ? keys.map((key) => html`${instanceLink(keyOf(key))} `) : '–');
    const detection = (detections.data ?? []).find((/** @type {any} */ one) => one.RelatedRecoveryId === it.Id || one.Id === it.LastDetectionId);
    const phase = row?.Phase ?? (isRunning ? 'running' : it.IsSuccessful ? 'done' : 'failed');
    return html`<header class="head"><h1>${mark(isRunning ? 'busy' : it.IsSuccessful ? 'ok' : 'critical', phase)} ${recoveryNamed(analysis.Analysis, row?.Cause ?? analysis.CommandHint)}</h1>
        <p class="total">in <a href=${to(['cluster', analysis.ClusterDetails.ClusterAlias])}>${name(analysis.ClusterDetails.ClusterAlias)}</a> · ${phase} · begun ${when(row?.BegunAt ?? it.RecoveryStartTimestamp)}</p>
        ${it.Acknowledged || isRunning ? nothing : html`<div class="actions">${button('Acknowledge…', () => acknowledge(`ack-recovery/uid/${encodeURIComponent(uid)}`, 'This recovery'), 'main')}</div>`}</header>
      <dl class="facts">
        <dt>Failed</dt><dd>${instanceLink(keyOf(analysis.AnalyzedInstanceKey))}</dd>
        <dt>Successor</dt><dd>${keyOf(it.SuccessorKey) ? instanceLink(keyOf(it.SuccessorKey)) : 'nobody'}</dd>
        <dt>Why begun</dt><dd>${row ? causeNamed(row.Cause) : analysis.CommandHint || 'found by baton'}</dd>
        ${detection ? html`<dt>Detected</dt><dd>${when(detection.RecoveryStartTimestamp)}: <a href=${to(['detections'], { id: String(detection.Id) })}>${named(detection.AnalysisEntry.Analysis)}</a></dd>` : nothing}
        <dt>Took part</dt><dd>${list(it.ParticipatingInstanceKeys)}</dd>
        <dt>Could not come along</dt><dd>${list(it.LostReplicas)}</dd>
        <dt>Run by</dt><dd>${called('node', it.ProcessingNodeHostname)}</dd>
        ${row?.EndedAt ? html`<dt>Took</dt><dd>${span2(moment(row.EndedAt) - moment(row.BegunAt))}</dd>` : nothing}
        ${it.Acknowledged ? html`<dt>Acknowledged</dt><dd>by ${called('person', it.AcknowledgedBy)}, ${when(it.AcknowledgedAt)}: ${tame(it.AcknowledgedComment)}</dd>` : nothing}
      </dl>
      ${errors.length ? html`<section class="trouble"><h2>What went wrong</h2>${listed(errors)}</section>` : nothing}
      <section><h2>Step by step</h2>${row?.Steps?.length && !row.EndedAt ? stepsView(row.Steps, row.BegunAt)
        : answered(steps, (lines) => stepsView(lines.map((/** @type {any} */ line) => ({ At: line.AuditAt, Text: line.Message })), it.RecoveryStartTimestamp))}</section>
      <section><h2>Findings about ${name(keyOf(analysis.AnalyzedInstanceKey))} over time</h2>${changelogView(keyOf(analysis.AnalyzedInstanceKey))}</section>`;
  });
}

/** The verdicts on an instance, the newest first.
 * @param {string} key @param {number} [version] */
export function changelogView(key, version = fleet.version) {
  return answered(known('replication-analysis-changelog', version), (all) => {
    const log = (all ?? []).find((/** @type {any} */ it) => keyOf(it.AnalyzedInstanceKey) === key);
    const entries = (log?.Changelog ?? []).slice(-12).reverse();
    return entries.length ? html`<ol class="steps">${entries.map((/** @type {string} */ line) => {
      const [time, code] = line.split(';');
      return html`<li>${when(time)}<span>${named((code ?? '').replace(/,$/, ''))}</span></li>`;
    })}</ol>` : empty('Nothing was ever wrong with it, as far as baton remembers.');
  });
}

export function detectionsPage() {
  const page = pageNumber();
  const id = queried('id');
  const cluster = queried('cluster');
  const alias = clusterNamed(cluster)?.Alias || cluster;
  const path = `audit-failure-detection/${id ? `id/${encodeURIComponent(id)}` : alias ? `alias/${encodeURIComponent(alias)}/${page}` : page}`;
  const answer = known(path, fleet.state.LedgerIndex);
  return html`<header class="head"><h1>Detections${alias ? html` of ${name(alias)}` : nothing}</h1><p class="total">failures that baton found, whether or not anything was to be done about them</p>
      <div class="actions">${chooser('Cluster, or id of a detection', cluster || id, (text) => amend(/^\d+$/.test(text) ? { id: text } : { cluster: text }))}</div></header>
    ${answeredAll(answer, (all) => html`<ul class="plain list">${all.map((it) => {
          const analysis = it.AnalysisEntry;
          const alias = analysis.ClusterDetails?.ClusterAlias ?? '';
          return html`<li class="recovery">${mark('warning', 'detected')}<div><p><strong>${named(analysis.Analysis)}</strong> ${badge(analysis.Analysis, 'code')}</p>
            <p class="of">${instanceLink(keyOf(analysis.AnalyzedInstanceKey))} in <a href=${to(['cluster', alias])}>${name(alias)}</a> · ${when(it.RecoveryStartTimestamp)} · ${counted(analysis.CountReplicas ?? 0, 'replica')}${it.ProcessingNodeHostname ? html` · seen by ${called('node', it.ProcessingNodeHostname)}` : nothing}${it.RelatedRecoveryId ? html` · <a href=${to(['recovery', String(it.RelatedRecoveryId)])}>recovered from</a>` : nothing}</p>
            <details ?open=${Boolean(id)}><summary>Findings about it over time</summary>${changelogView(keyOf(analysis.AnalyzedInstanceKey))}</details></div></li>`;
        })}</ul>${id ? nothing : pager('detections', page, all.length, { cluster })}`, 'No failure was detected, as far as baton remembers.')}`;
}
