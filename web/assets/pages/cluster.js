// One cluster: its problem in words, its tree, who would take over, what was done to it.

import { at, get, keyOf, known, said } from '../api.js';
import { open as openTask } from '../dialog.js';
import { centerName, centersView, chosenCenter } from '../centers.js';
import { THRONE, begin, dragged, drop, end, over, touch, verdict } from '../drag.js';
import { lag, ofCluster, ofFinding, ofInstance, runningIn, sentence } from '../health.js';
import { instanceMenu } from '../menu.js';
import { maskDrawing } from '../nameless.js';
import { to } from '../router.js';
import { clusterNamed, fleet, membersOf, memo, recoveries, remember, remembered, session, update } from '../store.js';
import { foldOf, lines } from '../tree.js';
import { answered, badge, button, called, copyButton, empty, instanceLink, listed, mark, name, namesButton, notify, when } from '../ui.js';
import { counted, exact, shortVersion, tame } from '../words.js';
import { findingView, findingsOf } from './fleet.js';
import { blockedView, newsView, recoveryLine, stepsView } from './recoveries.js';
import { html, nothing, repeat } from '../html.js';

/** @type {Set<string>} */
const unfolded = new Set();
/** @type {'large' | 'all'} */
let folding = remembered('folding') === 'all' ? 'all' : 'large';

/** The badges of an instance: what sets it apart, and nothing that goes without saying.
 * @param {Instance} row @param {Cluster} cluster */
export function badges(row, cluster) {
  const { pools } = poolsOf(cluster);
  const isHead = row.Role === 'primary' || row.Role === 'co-primary';
  return [
    isHead ? badge(row.Role, 'role') : nothing,
    isHead && row.ReadOnly ? badge('read-only', 'warning', 'it heads the cluster and refuses writes') : nothing,
    !isHead && !row.ReadOnly ? badge('writable', 'warning', 'a replica that accepts writes') : nothing,
    row.Detached ? badge('detached', 'warning', 'its source is set aside, and can be reattached') : nothing,
    row.Errant ? badge(`${row.Errant} errant`, 'warning', 'transactions that its sources do not have') : nothing,
    row.PreparedXa ? badge(`${row.PreparedXa} prepared XA`, '', 'XA transactions that hold locks until somebody commits them or rolls them back') : nothing,
    row.SemiSync?.includes('lapsed') ? badge('semi-sync lapsed', 'warning', 'it commits without waiting for acknowledgements') : nothing,
    row.SemiSync?.includes('waits') ? badge('semi-sync', '', 'commits wait for acknowledgements') : nothing,
    row.SemiSync?.includes('acknowledges') ? badge('acks', '', 'it acknowledges what it receives (semi-sync)') : nothing,
    row.Positioning === 'file' ? badge('file:pos', '', 'it finds its place by file and position') : nothing,
    row.Delay ? badge(`delayed ${row.Delay} s`) : nothing,
    row.Group ? badge(row.Group.toLowerCase(), /ONLINE/.test(row.Group) ? '' : 'warning') : nothing,
    !row.Feeds ? badge('no replicas', '', 'nobody can replicate from it: it does not log what it replicates') : nothing,
    row.Rule ? badge(row.Rule.replace('_', ' '), '', 'promotion rule') : nothing,
    row.Downtime ? badge('downtime', 'muted', `${row.Downtime.Owner}: ${row.Downtime.Reason}, until ${exact(row.Downtime.Until)}`) : nothing,
    row.Maintenance ? badge('maintenance', 'muted', `${row.Maintenance.Owner}: ${row.Maintenance.Reason}`) : nothing,
    ...[...pools].filter(([, members]) => members.has(row.Key)).map(([pool]) => badge(`pool ${pool}`, '', 'clients reach it through this pool')),
    ...Object.entries(row.Tags ?? {}).map(([tag, value]) => badge(value ? `${tag}=${value}` : tag, 'tag')),
    cluster.Findings?.some((it) => it.Key === row.Key && ofFinding(it) === 'critical') ? badge('see above', 'critical') : nothing,
  ];
}

/** The pools of a cluster, and who is in them.
 * @param {Cluster} cluster */
function poolsOf(cluster) {
  const answer = known(`cluster-pool-instances/${encodeURIComponent(cluster.Name)}`, fleet.state.LedgerIndex, `pools ${cluster.Id}`);
  /** @type {Map<string, Set<string>>} */
  const pools = memo(`pools ${cluster.Id}`, answer.data, () => new Map(Object.entries(answer.data?.Details ?? {}).map(([pool, members]) => [pool, new Set((members ?? []).map(keyOf))])));
  return { answer, pools };
}

/** The lines that lead from a source down to its replicas.
 * @param {Line} line */
function branches(line) {
  if (!line.level) return nothing;
  return html`${line.rails.map((level) => html`<i class="rail" .style=${`--at:${level}`}></i>`)}<i class="branch ${line.isLast ? 'last' : ''}" .style=${`--at:${line.level}`}></i>`;
}

/** Healthy leaves that stand for themselves only when somebody asks.
 * @param {Line} line */
function foldedRow(line) {
  const { under = '', center = '', folded = [] } = line;
  const show = () => {
    unfolded.add(foldOf(under, center));
    update();
  };
  const mayWrite = session.value?.MayWrite ?? false;
  const isDragged = dragged?.what === 'replicas' && dragged.key === under && (!dragged.only.length || dragged.only[0] === folded[0]?.Key);
  return html`<div role="row" class="node folded ${isDragged ? 'dragged' : ''} ${center && center === chosenCenter() ? 'there' : ''}" aria-level=${line.level + 1} title=${mayWrite ? `drag these replicas of ${under}` : nothing}
      draggable=${mayWrite} @dragstart=${begin(under, 'replicas', folded.map((it) => it.Key))} @dragend=${end}>
    <span role="gridcell" class="n-name" .style=${`--level:${line.level}`}>${branches(line)}<button type="button" class="link" @click=${show}>${counted(folded.length, 'more healthy replica')}${center ? html` in ${centerName(center)}` : nothing}</button></span>
  </div>`;
}

/** @param {Line} line @param {Cluster} cluster */
function treeRow(line, cluster) {
  if (!line.row) return foldedRow(line);
  const { row } = line;
  const head = fleet.instances.get(cluster.Primaries[0] ?? '');
  const health = ofInstance(row);
  const found = dragged ? verdict(row.Key) : null;
  const isOver = dragged?.over === row.Key;
  const drag = found ? (found.Allowed ? 'fits' : 'unfit') : dragged && dragged.key !== row.Key ? 'unknown' : '';
  const mayMove = Boolean(session.value?.MayWrite && (row.Source || line.replicas));
  const told = health === 'ok' || health === 'unseen' ? '' : sentence(row);
  return html`<div role="row" class="node ${health} ${drag} ${isOver ? 'over' : ''} ${dragged?.key === row.Key ? 'dragged' : ''} ${row.DataCenter && row.DataCenter === chosenCenter() ? 'there' : ''}"
      aria-level=${line.level + 1} data-target=${row.Key} draggable=${mayMove}
      @dragstart=${begin(row.Key, 'instance')} @dragend=${end}
      @dragover=${over(row.Key)} @drop=${drop(row.Key)}>
    <span role="gridcell" class="n-name" .style=${`--level:${line.level}`}>
      ${branches(line)}<span class="who">${mark(health)} ${instanceLink(row.Key)}</span> ${row.Alias && row.Alias !== row.Key ? html`<span class="of">${name(row.Alias)}</span>` : nothing}
      <span class="badges">${row.DataCenter ? html`<span class="badge narrow">${centerName(row.DataCenter)}</span>` : nothing}${badges(row, cluster)}</span>
      ${mayMove && line.replicas ? html`<span class="handle" draggable="true" title="drag all its replicas"
        @dragstart=${begin(row.Key, 'replicas')} @dragend=${end}
        @pointerdown=${touch(row.Key, 'replicas')}>⋮⋮ ${line.replicas}</span>` : nothing}
      ${told ? html`<span class="said">${told}</span>` : nothing}
      ${isOver && found?.Why ? html`<span class="said drop ${found.Allowed ? '' : 'no'}" role="status">${tame(found.Why)}</span>` : nothing}
    </span>
    <span role="gridcell" class="n-lag number" title="lag">${row.State === 'ok' ? lag(row) : ''}</span>
    <span role="gridcell" class="n-version">${shortVersion(row.Version)}</span>
    <span role="gridcell" class="n-dc ${row.DataCenter === head?.DataCenter ? '' : 'elsewhere'}">${centerName(row.DataCenter)}</span>
    <span role="gridcell" class="n-menu">${mayMove ? html`<span class="grip" aria-hidden="true" title="move it with a finger"
      @pointerdown=${touch(row.Key, 'instance')}>⠿</span>` : nothing}${instanceMenu(row)}</span>
  </div>`;
}

/** @param {Cluster} cluster */
function treeView(cluster) {
  const members = membersOf(cluster.Id);
  const drawn = lines(members, unfolded, folding);
  const chosen = chosenCenter();
  const mayFold = folding === 'all' || lines(members, new Set(), 'all').some((it) => it.folded);
  const fold = () => {
    folding = folding === 'all' ? 'large' : 'all';
    remember('folding', folding);
    unfolded.clear();
    update();
  };
  const throne = dragged ? verdict(THRONE) : null;
  const moved = dragged?.what === 'instance' ? fleet.instances.get(dragged.key) : undefined;
  const isDeep = Boolean(moved && moved.Depth > 1);
  return html`<section class="topology" aria-labelledby="tree-title"><div class="bar"><h2 id="tree-title">Topology</h2>
      <button type="button" @click=${() => copyDrawing(cluster)}>Copy as text</button>
      ${namesButton()}
      ${mayFold ? html`<button type="button" aria-pressed=${folding === 'all'} title="healthy replicas that nobody replicates from become one row for each data centre" @click=${fold}>Fold the healthy</button>` : nothing}
      ${session.value?.MayWrite ? html`<span class="of wide">Drag a replica onto its next source, or use ⋯</span>` : nothing}</div>
    ${centersView(members)}
    ${moved?.Source && dragged ? html`<div data-target=${THRONE} class="throne ${throne?.Allowed ? 'fits' : 'unfit'} ${dragged.over === THRONE ? 'over' : ''}"
        @dragover=${over(THRONE)} @drop=${drop(THRONE)}>
        ${tame(throne?.Allowed ? `Drop here to ${isDeep ? `have ${moved.Key} change places with ${moved.Source}` : `promote ${moved.Key}`}` : `It cannot ${isDeep ? 'change places with its source' : 'be promoted'}: ${throne?.Why ?? 'looking…'}`)}</div>` : nothing}
    <div role="treegrid" aria-label="instances of the cluster" class="tree ${dragged ? 'dragging' : ''} ${members.some((it) => chosen && it.DataCenter === chosen) ? 'choosing' : ''}">
      <div role="rowgroup"><div role="row" class="node titles"><span role="columnheader" class="n-name">Instance</span><span role="columnheader" class="n-lag number">Lag</span>
        <span role="columnheader" class="n-version">Version</span><span role="columnheader" class="n-dc">Data centre</span><span role="columnheader" class="n-menu"><span class="unseen-text">Actions</span></span></div></div>
      <div role="rowgroup">${repeat(drawn, (it) => it.row?.Key ?? `fold ${it.under} ${it.center}`, (it) => treeRow(it, cluster))}</div>
    </div></section>`;
}

/** @param {Cluster} cluster */
async function copyDrawing(cluster) {
  try {
    const answer = await get(`topology-tabulated/${encodeURIComponent(cluster.Name)}`);
    try {
      await navigator.clipboard.writeText(maskDrawing(answer.Details));
      notify('the topology is in the clipboard');
    } catch {
      drawing = answer.Details;
      update();
    }
  } catch (error) {
    notify(said(error), 'critical');
  }
}

let drawing = '';

/** @param {Cluster} cluster */
function readinessView(cluster) {
  const version = fleet.versions.get(cluster.Id);
  const isDown = fleet.instances.get(cluster.Primaries[0] ?? '')?.State === 'down';
  const answer = known(`failover-readiness/${encodeURIComponent(cluster.Name)}`, version, `readiness ${cluster.Id}`);
  return html`<section class="card" aria-labelledby="ready-title"><h2 id="ready-title">${isDown ? 'Who would take over' : 'If the primary died now'}</h2>
    ${answered(answer, ({ Details: it }) => html`
      ${it.Successor ? html`<p class="strong">${mark('ok', 'ready')} ${instanceLink(it.Successor)} would take over.</p>`
        : html`<p class="strong">${mark('critical', 'nobody could take over')} Nobody could take over.</p>`}
      ${it.PossibleLoss ? html`<p class="loss">${counted(it.PossibleLoss, 'transaction')} could be lost: <code class="gtid">${it.PossibleLossGtids}</code></p>`
        : it.Successor ? html`<p>Nothing that is known of would be lost.</p>` : nothing}
      ${it.HeldBackBy.length ? html`<p class="strong">${mark('warning', 'held back')} baton would not act by itself:</p>${listed(it.HeldBackBy)}` : nothing}
      ${it.Obstacles.length ? listed(it.Obstacles) : nothing}
      ${it.Why.length + it.Lost.length ? html`<details><summary>Why</summary>${listed([...it.Why, ...it.Lost])}</details>` : nothing}`)}
  </section>`;
}

/** Who was replaced is in a cluster of its own afterwards.
 * @param {Cluster} cluster @param {Recovery} it */
function isAbout(cluster, it) {
  return it.Cluster === cluster.Id || fleet.instances.get(it.Failed)?.Cluster === cluster.Id;
}

/** @param {Cluster} cluster */
function pastView(cluster) {
  const past = recoveries((it) => isAbout(cluster, it) && Boolean(it.EndedAt)).slice(0, 8);
  return html`<section class="card" aria-labelledby="past-title"><h2 id="past-title">Recoveries</h2>
    ${past.length ? html`<ul class="plain">${past.map(recoveryLine)}</ul>
      <p><a href=${to(['recoveries'], { cluster: cluster.Alias || cluster.Name })}>all of this cluster</a></p>` : empty('None that baton remembers.')}
  </section>`;
}

/** @param {Cluster} cluster */
function poolsView(cluster) {
  const { answer, pools } = poolsOf(cluster);
  const osc = known(`cluster-osc-replicas/${encodeURIComponent(cluster.Name)}`, cluster.Size, `osc ${cluster.Id}`).data ?? [];
  const submit = () => openTask({
    title: 'Submit a pool', care: 'none', verb: 'Submit', cluster: cluster.Id, row: fleet.instances.get(cluster.Primaries[0] ?? ''),
    says: 'A pool is a named set of instances, such as those behind one address. What is submitted replaces what was there.',
    fields: [{ name: 'pool', label: 'Pool', kind: 'text' }, { name: 'instances', label: 'Instances (host:port, …)', kind: 'text', value: () => membersOf(cluster.Id).map((it) => it.Key).join(',') }],
    path: (values) => `submit-pool-instances/${encodeURIComponent(values.pool)}`, query: ({ instances }) => ({ instances }),
  });
  return html`<section class="card" aria-labelledby="pools-title"><h2 id="pools-title">Pools</h2>
    ${answered(answer, () => (pools.size ? html`<dl>${[...pools].map(([pool, members]) => html`<dt>${name(pool)}</dt><dd>${[...members].map((it) => html`${instanceLink(it)} `)}</dd>`)}</dl>` : empty('None.')))}
    ${osc.length ? html`<dl><dt title="representative replicas, for tools that change tables while clients go on">Throttle by</dt><dd>${osc.map((/** @type {any} */ it) => html`${instanceLink(keyOf(it.Key))} `)}</dd></dl>` : nothing}
    ${button('Submit a pool…', submit)}</section>`;
}

/** @param {Cluster} cluster */
function clusterActions(cluster) {
  const primary = cluster.Primaries[0] ? fleet.instances.get(cluster.Primaries[0]) : undefined;
  const hint = encodeURIComponent(cluster.Name);
  const alias = cluster.Alias || cluster.Name;
  const plan = { row: primary, cluster: cluster.Id, alias };
  return html`<div class="actions">
    ${primary && primary.State !== 'down' ? button('Switch over…', () => openTask({
      ...plan, title: 'Switch over', care: 'alias',
      says: `A replica takes the place of ${primary.Key}, which then replicates from it. Writes stop for a moment and none is lost.`,
      fields: [{ name: 'successor', label: 'To', kind: 'choice', choices: [['', 'whoever suits best'], ...membersOf(cluster.Id).filter((it) => it.Source === primary.Key).map((it) => /** @type {[string, string]} */ ([it.Key, it.Key]))], optional: true }],
      path: (values) => `graceful-master-takeover-auto/${hint}${values.successor ? `/${at(values.successor)}` : ''}`,
    })) : nothing}
    ${button('Rename…', () => openTask({
      ...plan, title: 'Rename', care: 'none', says: `People call ${cluster.Name} by this alias. An empty one takes it back.`,
      fields: [{ name: 'alias', label: 'Alias', kind: 'text', value: () => cluster.Alias, optional: true }],
      path: () => `set-cluster-alias/${hint}`, query: ({ alias }) => ({ alias }),
    }))}
    ${button('Forget…', () => openTask({
      ...plan, row: undefined, title: 'Forget the cluster', care: 'alias', says: `baton forgets all ${cluster.Size} instances of ${alias}, and does not find them again by itself for a while.`,
      path: () => `forget-cluster/${hint}`,
    }))}
    ${primary ? instanceMenu(primary, 'Primary ⋯') : nothing}
  </div>`;
}

/** @param {Cluster} cluster */
function recoveryOf(cluster) {
  if (fleet.state.RecoveriesDisabled) return 'whoever dies is replaced by hand while recoveries are switched off';
  const primary = `a dead primary is replaced ${cluster.RecoversPrimary ? 'automatically' : 'by hand'}`;
  return cluster.RecoversIntermediate ? `${primary}, ${cluster.RecoversPrimary ? 'so are intermediate sources' : 'intermediate sources automatically'}` : primary;
}

/** @param {string} text */
export function clusterPage(text) {
  const cluster = clusterNamed(text);
  if (!cluster) return html`<header class="head"><h1>${name(text)}</h1></header>${fleet.isLoaded ? empty(html`baton knows no cluster of that name. <a href=${to(['search'], { s: text })}>Search for it.</a>`) : nothing}`;
  const { shown: findings, following } = findingsOf(cluster);
  const running = runningIn(cluster.Id);
  const health = ofCluster(cluster);
  const blocked = known(`blocked-recoveries/cluster/${encodeURIComponent(cluster.Name)}`, fleet.versions.get(cluster.Id), `blocked ${cluster.Id}`).data ?? [];
  return html`
    <header class="head"><h1>${mark(health)} ${name(cluster.Alias || cluster.Name)}</h1>
      <p class="total">${cluster.Alias !== cluster.Name ? html`<span class="key">${name(cluster.Name)}</span> · ` : nothing}${counted(cluster.Size, 'instance')} ·
        ${recoveryOf(cluster)}${cluster.Domain ? html` · ${name(cluster.Domain)}` : nothing}</p>
      ${clusterActions(cluster)}</header>
    ${running ? html`<section class="running" aria-labelledby="running-title"><h2 id="running-title">${mark('busy')} ${running.Kind === 'takeover' ? 'Planned takeover' : 'Being recovered'}: ${running.Phase}</h2>
      <p>${instanceLink(running.Failed)}${running.Successor ? html` is succeeded by ${instanceLink(running.Successor)}` : nothing}; begun ${when(running.BegunAt)} on ${called('node', running.Node)}.</p>
      ${running.Why?.length ? listed(running.Why) : nothing}
      ${stepsView(running.Steps ?? [], running.BegunAt)}</section>` : nothing}
    ${newsView((it) => isAbout(cluster, it))}
    ${findings.length ? html`<section aria-label="problems"><ul class="problems">${findings.map((it) => findingView(cluster, it))}</ul>${following ? html`<p class="more of">${counted(following, 'more finding follows', 'more findings follow')} from this: see the instances below.</p>` : nothing}
      ${blocked.map((/** @type {any} */ it) => html`<p class="trouble">${blockedView(it)}</p>`)}</section>` : nothing}
    ${drawing ? html`<section class="card"><h2>As text</h2><pre>${maskDrawing(drawing)}</pre>${copyButton(maskDrawing(drawing))} <button type="button" @click=${() => { drawing = ''; update(); }}>Close</button></section>` : nothing}
    ${treeView(cluster)}
    <div class="cards">${readinessView(cluster)}${pastView(cluster)}${poolsView(cluster)}</div>`;
}
