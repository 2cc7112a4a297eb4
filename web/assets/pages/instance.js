// One instance: everything that is known, what follows from it, what was done to it.

import { at, keyOf, known } from '../api.js';
import { perform } from '../dialog.js';
import { ofInstance, sentence } from '../health.js';
import { instanceMenu } from '../menu.js';
import { operation } from '../operations.js';
import { to } from '../router.js';
import { fleet, session } from '../store.js';
import { answered, answeredAll, button, called, clusterLink, copyButton, empty, instanceLink, listed, mark, name, when } from '../ui.js';
import { exact, named, tame } from '../words.js';
import { badges } from './cluster.js';
import { changelogView } from './recoveries.js';
import { html, nothing } from '../html.js';

/** @param {unknown} value @returns {unknown} */
function shown(value) {
  if (value === true) return 'yes';
  if (value === false) return 'no';
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'object') {
    const it = /** @type {any} */ (value);
    if ('Valid' in it) return it.Valid ? String(it.Int64 ?? it.Bool) : 'unknown';
    if ('LogFile' in it) return it.LogFile ? `${it.LogFile}:${it.LogPos}` : '–';
    if ('Hostname' in it) return keyOf(it) ? instanceLink(keyOf(it)) : '–';
    if (Array.isArray(it)) return it.length ? it.map((one) => html`${shown(one)} `) : '–';
    return JSON.stringify(it);
  }
  return typeof value === 'string' ? name(value) : String(value);
}

/** @type {[string, [string, string][]][]} */
const SECTIONS = [
  ['Server', [['Version', 'Version'], ['VersionComment', 'Build'], ['FlavorName', 'Flavour'], ['ServerID', 'Server id'], ['ServerUUID', 'UUID'], ['Uptime', 'Up for (s)'], ['ReadOnly', 'Read-only'], ['DataCenter', 'Data centre'], ['Region', 'Region'], ['PhysicalEnvironment', 'Environment'], ['PromotionRule', 'Promotion rule']]],
  ['Replication', [['MasterKey', 'Source'], ['Replicas', 'Replicas'], ['ReplicationIOThreadRuning', 'Receiver runs'], ['ReplicationSQLThreadRuning', 'Applier runs'], ['LastIOError', 'Receiver error'], ['LastSQLError', 'Applier error'], ['ReplicationLagSeconds', 'Lag (s)'], ['SQLDelay', 'Delay (s)'], ['HasReplicationFilters', 'Filters'], ['AllowTLS', 'TLS'], ['ReplicationDepth', 'Depth']]],
  ['Binary log', [['LogBinEnabled', 'Enabled'], ['LogReplicationUpdatesEnabled', 'Logs what it replicates'], ['Binlog_format', 'Format'], ['BinlogRowImage', 'Row image'], ['SelfBinlogCoordinates', 'Own position'], ['ReadBinlogCoordinates', 'Received up to'], ['ExecBinlogCoordinates', 'Applied up to'], ['RelaylogCoordinates', 'Relay log']]],
  ['Semi-sync', [['SemiSyncMasterEnabled', 'Waits (enabled)'], ['SemiSyncMasterStatus', 'Waits (active)'], ['SemiSyncMasterClients', 'Who acknowledge'], ['SemiSyncMasterWaitForReplicaCount', 'Waits for'], ['SemiSyncMasterTimeout', 'Gives up after (ms)'], ['SemiSyncReplicaEnabled', 'Acknowledges (enabled)'], ['SemiSyncReplicaStatus', 'Acknowledges (active)']]],
];

/** @param {string} label @param {string} set */
function gtidSet(label, set) {
  if (!set) return nothing;
  return html`<dt>${label}</dt><dd><details ?open=${set.length < 120}><summary class="gtid">${set.length < 120 ? 'set' : `${set.slice(0, 60)}…`}</summary><code class="gtid">${set}</code></details></dd>`;
}

/** Where else it could go on from what it has applied, as baton knows from earlier moves: for whoever knows no GTID.
 * @param {Instance} row @param {any} facts */
function equivalentsView(row, facts) {
  const { LogFile: file, LogPos: position } = facts.ExecBinlogCoordinates ?? {};
  if (row.Positioning !== 'file' || !row.Source || !file || !session.value?.MayWrite) return nothing;
  const path = `master-equivalent/${at(row.Source)}/${encodeURIComponent(file)}/${position}`;
  const answer = known(path, fleet.versions.get(row.Cluster));
  return html`<section class="card"><h2>Equivalent positions</h2>${answered(answer, ({ Details: all }) => {
    const others = (all ?? []).filter((/** @type {any} */ it) => keyOf(it.Key) !== row.Source);
    return others.length ? html`<ul class="plain">${others.map((/** @type {any} */ it) => html`<li>${instanceLink(keyOf(it.Key))} ${shown(it.Coordinates)}
      ${button('Move below…', () => perform(operation('relocate'), row, { below: keyOf(it.Key), by: 'move-equivalent' }))}</li>`)}</ul>` : empty('None that baton knows.');
  })}</section>`;
}

/** @param {string} key */
export function instancePage(key) {
  const row = fleet.instances.get(key);
  const cluster = row && fleet.clusters.get(row.Cluster);
  if (!row || !cluster) {
    return html`<header class="head"><h1>${name(key)}</h1></header>${fleet.isLoaded ? empty(html`baton does not know ${name(key)}. <a href=${to(['discover'], { key })}>Discover it</a>, or <a href=${to(['search'], { s: key })}>search</a>.`) : nothing}`;
  }
  const version = fleet.versions.get(row.Cluster);
  const beat = Math.floor(Date.now() / 5000);
  const facts = known(`instance/${at(key)}`, `${version} ${beat}`);
  const explained = known(`explain/${at(key)}`, `${version} ${beat}`);
  const channels = known(`channels/${at(key)}`, version);
  const audit = known(`audit/instance/${at(key)}`, fleet.state.LedgerIndex);
  const health = ofInstance(row);
  const said = sentence(row);
  const findings = (cluster.Findings ?? []).filter((it) => it.Key === key);
  return html`<header class="head"><h1>${mark(health)} ${name(key)}</h1>
      <p class="total">${row.Role} in ${clusterLink(cluster)}${row.Source ? html`, below ${instanceLink(row.Source)}` : nothing} <span class="badges">${badges(row, cluster)}</span></p>
      ${said ? html`<p class="strong">${said}</p>` : nothing}
      ${findings.filter((it) => it.Code !== 'NoProblem').map((it) => html`<p class="strong">${named(it.Code)}: ${tame(it.Evidence)}.</p>`)}
      <div class="actions">${instanceMenu(row, 'Actions ▾')}</div></header>
    <section class="card" aria-labelledby="explain-title"><h2 id="explain-title">What baton observed and concluded</h2>
      ${answered(explained, (it) => html`${listed(it.Details.Lines)}${copyButton(it.Message)}`)}</section>
    ${answered(facts, (it) => html`<div class="cards">
      ${SECTIONS.map(([title, fields]) => html`<section class="card"><h2>${title}</h2><dl>${fields.map(([field, label]) => html`<dt>${label}</dt><dd>${shown(it[field])}</dd>`)}</dl></section>`)}
      <section class="card"><h2>GTID</h2><dl><dt>Mode</dt><dd>${shown(it.GTIDMode)}</dd>${gtidSet('Errant', it.GtidErrant)}${gtidSet('Executed', it.ExecutedGtidSet)}${gtidSet('Purged', it.GtidPurged)}</dl></section>
      <section class="card"><h2>Looks</h2><dl><dt>Last seen</dt><dd>${when(it.LastSeenTimestamp)}</dd><dt>Newest look</dt><dd>${it.IsLastCheckValid ? 'valid' : 'failed or old'}</dd><dt>It took</dt><dd>${(it.LastDiscoveryLatency / 1e6).toFixed(1)} ms</dd>
        ${it.IsDowntimed ? html`<dt>Downtime</dt><dd>${called('person', it.DowntimeOwner)}: ${tame(it.DowntimeReason)}, until ${exact(it.DowntimeEndTimestamp)}</dd>` : nothing}</dl></section>
      ${equivalentsView(row, it)}
      ${channels.data?.length > 1 ? html`<section class="card"><h2>Channels</h2>${channels.data.map((/** @type {any} */ channel) => html`<h3>${name(channel.Name || 'default')}</h3><dl>${Object.entries(channel).filter(([, value]) => typeof value !== 'object' || value === null || 'Hostname' in value).map(([field, value]) => html`<dt>${field}</dt><dd>${shown(value)}</dd>`)}</dl>`)}</section>` : nothing}
    </div>`)}
    <div class="cards">
      <section class="card"><h2>Findings over time</h2>${changelogView(key, version)}</section>
      <section class="card"><h2>Audit</h2>${answeredAll(audit, (all) => html`<ol class="steps">${all.slice(0, 12).map((it) => html`<li>${when(it.AuditTimestamp)}<span><strong>${it.AuditType}</strong> ${tame(it.Message)}</span></li>`)}</ol><p><a href=${to(['audit'], { instance: key })}>all of it</a></p>`, 'Nothing was done to it, as far as baton remembers.')}</section>
    </div>`;
}

