// The one dialog: what would be done, what it would cost, and doing it.

import { Refused, at, change, said } from './api.js';
import { runningIn } from './health.js';
import { cameOf, stepsView } from './pages/recoveries.js';
import { mask } from './nameless.js';
import { clusterLink, name, notify, typed } from './ui.js';
import { fleet, recoveries, remember, session, update, updateNow } from './store.js';
import { tame } from './words.js';
import { html, nothing } from './html.js';

/** @type {Dialog | null} */
let shown = null;
let serial = 0;
/** Milliseconds without another key before what was typed is tried. */
const TYPING = 150;

/** @param {Operation} operation @param {Instance} row @param {Values} [preset] */
export function perform(operation, row, preset = {}) {
  const cluster = fleet.clusters.get(row.Cluster);
  const fields = (operation.fields ?? []).map((field) => {
    if (operation.id !== 'untag') return field;
    return { ...field, choices: Object.keys(row.Tags ?? {}).map((it) => /** @type {[string, string]} */ ([it, it])) };
  });
  open(
    {
      title: operation.label.replace('…', ''),
      says: operation.says.replaceAll('{it}', () => row.Key).replaceAll('{source}', () => row.Source ?? ''),
      care: operation.care ?? 'plan',
      row,
      alias: cluster?.Alias || cluster?.Name || row.Key,
      cluster: row.Cluster,
      fields,
      path: (values) => (typeof operation.path === 'string' ? `${operation.path}/${at(row.Key)}` : operation.path(row, values)),
      query: operation.query,
    },
    preset,
  );
}

/** @param {Wish} wish @param {Values} [preset] */
export function open(wish, preset = {}) {
  /** @type {Task} */
  const task = { care: 'plan', fields: [], ...wish };
  /** @type {Values} */
  const values = {};
  for (const field of task.fields) {
    const first = field.kind === 'choice' ? field.choices?.[0]?.[0] : '';
    values[field.name] = preset[field.name] ?? (task.row && field.value?.(task.row)) ?? first ?? '';
  }
  serial += 1;
  shown = { task, values, typed: '', plan: null, refusal: '', state: 'asking', said: '', serial, rehearsed: '', before: Infinity };
  const isSimple = task.care === 'none' && task.fields.length === 0;
  update();
  if (isSimple) run();
  else {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const dialog = document.querySelector('dialog');
      if (dialog && !dialog.open) dialog.showModal();
    }));
    rehearse();
  }
}

function isComplete() {
  return shown?.task.fields.every((it) => it.optional || shown?.values[it.name]) ?? false;
}

/** Asks what would be done with what is typed now, unless that was asked already: leaving a field to press the button is
 * no reason to ask again, and would take the button away while it is pressed. */
async function rehearse() {
  const mine = shown;
  if (!mine || mine.task.care === 'none' || !isComplete()) return;
  const wanted = JSON.stringify(mine.values);
  if (mine.rehearsed === wanted) return;
  const isFirst = !mine.rehearsed;
  const number = (mine.serial = serial += 1);
  Object.assign(mine, { state: 'planning', plan: null, refusal: '', rehearsed: wanted });
  updateNow();
  if (!isFirst) await new Promise((resolve) => setTimeout(resolve, TYPING));
  if (mine.serial !== number) return;
  try {
    const query = { ...mine.task.query?.(mine.values), dry_run: 'true' };
    const answer = await change(mine.task.path(mine.values), query);
    if (mine.serial !== number) return;
    Object.assign(mine, { plan: answer.Message.split('\n').filter(Boolean) });
  } catch (error) {
    if (mine.serial !== number) return;
    const why = said(error);
    // Some routes have no plan to show: what they do is said in one sentence.
    if (/takes no dry_run/.test(why)) mine.plan = [];
    else mine.refusal = why;
  }
  mine.state = 'asking';
  update();
}

/** Does it, and tells how that went.
 * @param {Dialog} mine @returns {Promise<{state: 'done' | 'failed', said: string}>} */
async function done(mine) {
  try {
    const answer = await change(mine.task.path(mine.values), mine.task.query?.(mine.values));
    return { state: 'done', said: typeof answer === 'object' && answer.Message ? answer.Message : 'done' };
  } catch (error) {
    const why = said(error);
    const isUnknown = error instanceof Refused && (error.status === 0 || error.status === 502);
    const doubt = isUnknown ? ' It may have been done all the same: look before you try again.' : '';
    return { state: 'failed', said: why + doubt };
  }
}

async function run() {
  const mine = shown;
  if (!mine) return;
  if (mine.values.owner) remember('owner', mine.values.owner);
  // A plan that is still on its way comes too late.
  Object.assign(mine, { state: 'running', serial: (serial += 1), before: recoveries()[0]?.Id ?? 0 });
  updateNow();
  const ended = await done(mine);
  Object.assign(mine, ended);
  const dialog = document.querySelector('dialog');
  const isPlain = mine.task.care === 'none';
  if (!dialog?.open || (isPlain && ended.state === 'done')) {
    notify(ended.said, ended.state === 'failed' ? 'critical' : '');
    if (shown === mine) close();
  }
  update();
}

function close() {
  const dialog = document.querySelector('dialog');
  if (dialog?.open) dialog.close();
  shown = null;
  update();
}

/** @param {Field} field */
function fieldView(field) {
  const mine = /** @type {Dialog} */ (shown);
  const id = `field-${field.name}`;
  /** @param {Event} event */
  const set = (event) => {
    mine.values[field.name] = typed(event);
    update();
    rehearse();
  };
  const value = mine.values[field.name] ?? '';
  const isOff = mine.state === 'running' || mine.state === 'done';
  let input;
  if (field.kind === 'choice' || field.kind === 'instance') {
    const instances = mine.task.row ? (field.instances?.(mine.task.row) ?? []) : [];
    const choices = field.kind === 'choice' ? (field.choices ?? []) : instances.map((it) => [it.Key, `${it.Key} (${it.Role}${it.State === 'ok' ? '' : `, ${it.State}`})`]);
    input = html`<select id=${id} @change=${set} ?disabled=${isOff}>
      ${field.kind === 'instance' ? html`<option value="" ?selected=${!value}>choose…</option>` : nothing}
      ${choices.map(([it, label]) => html`<option value=${it} ?selected=${it === value}>${label}</option>`)}
    </select>`;
  } else {
    input = html`<input id=${id} type=${field.kind} min="0" autocomplete="off" .value=${value}
      ?disabled=${isOff} @input=${set} @change=${set}>`;
  }
  return html`<label for=${id}>${field.label}</label>${input}`;
}

/** @param {string} line */
function isLoss(line) {
  return /\b(lost|loss|lose)\b/i.test(line) && !/nothing|none is lost/i.test(line);
}

function planView() {
  const mine = /** @type {Dialog} */ (shown);
  if (mine.task.care === 'none') return nothing;
  if (mine.state === 'planning') return html`<p class="empty" aria-busy="true">working out what would be done…</p>`;
  if (mine.refusal) {
    return html`<div class="trouble" role="alert"><strong>Not possible now.</strong> ${tame(mine.refusal)}</div>`;
  }
  if (!mine.plan) return html`<p class="empty">Choose, and what would be done is shown here.</p>`;
  if (!mine.plan.length) return nothing;
  return html`<h3 id="plan-title">What would be done</h3>
    <ol class="plan" tabindex="0" aria-labelledby="plan-title">${mine.plan.filter((it) => !/^[a-z-]+:$/.test(it)).map((it) => html`<li class=${isLoss(it) ? 'loss' : nothing}>${tame(it.replace(/^\d+\. /, ''))}</li>`)}</ol>`;
}

function progressView() {
  const mine = /** @type {Dialog} */ (shown);
  const running = mine.task.cluster ? runningIn(mine.task.cluster) : undefined;
  return html`<p aria-busy="true" class="busy">${running ? running.Phase : 'under way'}…</p>
    ${running?.Steps ? html`<ol class="steps">${running.Steps.map((it) => html`<li>${tame(it.Text)}</li>`)}</ol>` : nothing}`;
}

/** What came of a recovery that this began; of one that failed what was undone. */
function outcomeView() {
  const mine = /** @type {Dialog} */ (shown);
  const made = recoveries((it) => it.Id > mine.before && it.Cluster === mine.task.cluster && Boolean(it.EndedAt))[0];
  if (!made) return nothing;
  return html`<p class="outcome">${cameOf(made)}.</p><details ?open=${mine.state === 'failed'}><summary>Step by step</summary>${stepsView(made.Steps ?? [], made.BegunAt)}</details>`;
}

/** The dialog, where there is one. */
export function taskDialog() {
  const mine = shown;
  if (!mine || (mine.task.care === 'none' && mine.task.fields.length === 0)) return nothing;
  const { task } = mine;
  const cluster = task.cluster ? fleet.clusters.get(task.cluster) : undefined;
  const mayWrite = session.value?.MayWrite ?? false;
  const needsAlias = task.care === 'alias';
  const isTyped = !needsAlias || [task.alias, mask(task.alias ?? '')].includes(mine.typed.trim());
  const isOver = mine.state === 'done' || mine.state === 'failed';
  const isBegun = isOver || mine.state === 'running';
  const isReady = mayWrite && isTyped && isComplete() && !mine.refusal && mine.state === 'asking' && (task.care === 'none' || mine.plan !== null);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (isReady) run();
  };
  /** @param {Event} event */
  const type = (event) => {
    mine.typed = typed(event);
    update();
  };
  return html`<dialog class="task" aria-labelledby="task-title" @close=${() => shown === mine && close()}>
    <form @submit=${submit}>
      <h2 id="task-title">${task.title}</h2>
      ${cluster ? html`<p class="of">${task.row ? html`${name(task.row.Key)} in ` : nothing}${clusterLink(cluster)}</p>` : nothing}
      <p>${tame(task.says)}</p>
      ${task.fields.length ? html`<div class="fields">${task.fields.map(fieldView)}</div>` : nothing}
      ${mine.state === 'running' ? progressView() : isOver ? nothing : planView()}
      ${isOver ? html`<p class=${mine.state === 'failed' ? 'trouble' : 'fine'} role="alert">${tame(mine.said)}</p>${outcomeView()}` : nothing}
      ${mayWrite || isOver ? nothing : html`<p class="trouble">${session.value?.Why ?? 'you may not do this'}</p>`}
      ${needsAlias && !isBegun && !mine.refusal
        ? html`<div class="fields"><label for="task-alias">Type <strong>${name(task.alias ?? '')}</strong> to confirm</label>
            <input id="task-alias" autocomplete="off" spellcheck="false" .value=${mine.typed} @input=${type}></div>`
        : nothing}
      <div class="buttons">
        <button type="button" @click=${close}>${isBegun ? 'Close' : 'Cancel'}</button>
        ${isBegun
          ? nothing
          : html`<button type="submit" class=${needsAlias ? 'grave' : 'main'} ?disabled=${!isReady}>${task.verb ?? task.title}</button>`}
      </div>
    </form>
  </dialog>`;
}

