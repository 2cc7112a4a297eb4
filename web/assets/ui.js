// Pieces that all pages are made of.

import { alter, to } from './router.js';
import { isNameless, mask, note, toggleNames } from './nameless.js';
import { session, update } from './store.js';
import { ago, exact, moment, span, tame } from './words.js';
import { MARKS } from './health.js';
import { html, nothing, repeat } from './html.js';

/** @param {Health} health @param {string} [word] */
export function mark(health, word = MARKS[health][1]) {
  return html`<span class="mark ${health}" role="img" aria-label=${word} title=${word}>${MARKS[health][0]}</span>`;
}

/** A name that somebody else chose: it may be long, and it may be written from right to left.
 * @param {string} text */
export function name(text) {
  return html`<bdi class="name" title=${text.length > 30 ? text : nothing}>${text}</bdi>`;
}

/** The name of an instance, without what the configuration leaves out of all of them.
 * @param {string} key */
export function shortKey(key) {
  const text = session.value?.LeftOutOfNames;
  return (text && key.replace(text, '')) || key;
}

/** @param {string} key @param {string} [text] */
export function instanceLink(key, text = shortKey(key)) {
  return html`<a class="key" href=${to(['instance', key])} title=${text === key ? nothing : key}>${name(text)}</a>`;
}

/** @param {{Alias: string, Name: string}} cluster */
export function clusterLink(cluster) {
  return html`<a href=${clusterAddress(cluster)}>${name(cluster.Alias || cluster.Name)}</a>`;
}

/** @param {{Alias: string, Name: string}} cluster */
export function clusterAddress(cluster) {
  return to(['cluster', cluster.Alias || cluster.Name]);
}

/** @param {string | undefined} text */
export function when(text) {
  if (!text) return nothing;
  return html`<time datetime=${text} title=${exact(text)}>${ago(text)}</time>`;
}

/** How long something has been so.
 * @param {string} since */
export function lasting(since) {
  return html`<time datetime=${since} title=${`since ${exact(since)}`}>${span(Date.now() - moment(since))}</time>`;
}

/** @param {string} text @param {string} [kind] @param {string} [title] */
export function badge(text, kind = '', title = '') {
  return html`<span class="badge ${kind}" title=${title || nothing}>${text}</span>`;
}

/** What there is to say when there is nothing to show.
 * @param {unknown} text */
export function empty(text) {
  return html`<p class="empty">${text}</p>`;
}

/** @param {string[]} lines */
export function listed(lines) {
  return html`<ul>${lines.map((it) => html`<li>${tame(it)}</li>`)}</ul>`;
}

/** Whether buttons are locked, and why. */
export function locked() {
  const { MayWrite: may = false, Why: why = '' } = session.value ?? {};
  return { off: !may, why: may ? nothing : why };
}

/** What can be pressed by whoever may.
 * @param {unknown} label @param {() => void} act @param {string} [kind] */
export function button(label, act, kind = '') {
  const { off, why } = locked();
  return html`<button type="button" class=${kind || nothing} ?disabled=${off} title=${why} @click=${act}>${label}</button>`;
}

/** The titles of a table: classes and texts; one that nobody sees begins with a dot.
 * @param {[string, string][]} all */
export function titles(all) {
  return html`<div role="rowgroup"><div role="row" class="row titles">${all.map(([kind, text]) => html`<span role="columnheader" class=${kind || nothing}>${text.startsWith('.') ? html`<span class="unseen-text">${text.slice(1)}</span>` : text}</span>`)}</div></div>`;
}

/** One of several to choose from, or any.
 * @param {string} label @param {string} chosen @param {string[]} options @param {(event: Event) => void} set @param {(text: string) => string} [shown] */
export function select(label, chosen, options, set, shown = (text) => text) {
  return html`<label><span class="unseen-text">${label}</span><select @change=${set}>
    <option value="" ?selected=${!chosen}>${label}: any</option>
    ${[...new Set([...options, ...(chosen ? [chosen] : [])])].map((it) => html`<option value=${it} ?selected=${chosen === it}>${shown(it)}</option>`)}</select></label>`;
}

/** Takes a word of the query from what is typed, or chosen.
 * @param {string} key */
export const set = (key) => (/** @type {Event} */ event) => alter({ [key]: typed(event) });

/** What somebody typed, or chose.
 * @param {Event} event */
export function typed(event) {
  return /** @type {HTMLInputElement} */ (event.currentTarget).value;
}

/** What the API answered, or that it has not, or why it will not.
 * @param {{data: any, error: string}} answer @param {(data: any) => unknown} show */
export function answered(answer, show) {
  const trouble = answer.error ? html`<p class="trouble" role="alert">${tame(answer.error)}</p>` : nothing;
  if (answer.data !== undefined) return html`${trouble}${show(answer.data)}`;
  return answer.error ? trouble : html`<p class="empty" aria-busy="true">asking…</p>`;
}

/** The same for a list, which may be empty.
 * @param {{data: any, error: string}} answer @param {(all: any[]) => unknown} show @param {string} otherwise */
export function answeredAll(answer, show, otherwise) {
  return answered(answer, (all) => (all.length ? show(all) : empty(otherwise)));
}

/** The name of a person or of a node, which only what the API answers has.
 * @param {string} kind @param {string} text */
export function called(kind, text) {
  note(kind, text);
  return name(text);
}

/** Hides all names, or shows them. */
export function namesButton() {
  return html`<button type="button" aria-pressed=${isNameless} title="for a picture of the page that others may see" @click=${toggleNames}>Hide names</button>`;
}

/** @param {string} text @param {string} [label] */
export function copyButton(text, label = 'Copy') {
  /** @param {Event} event */
  const copy = async (event) => {
    const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
    try {
      await navigator.clipboard.writeText(mask(text));
      notify('copied');
    } catch {
      // Without HTTPS there is no clipboard: the text is marked, for people to copy.
      const shown = button.closest('section, dialog')?.querySelector('pre');
      if (shown) getSelection()?.selectAllChildren(shown);
      notify('press Ctrl-C to copy what is marked');
    }
  };
  return html`<button type="button" @click=${copy}>${label}</button>`;
}

/** @type {{id: number, text: string, kind: string}[]} */
const notices = [];
let serial = 0;

/** Says something in passing.
 * @param {string} text @param {'' | 'critical'} [kind] */
export function notify(text, kind = '') {
  const notice = { id: (serial += 1), text, kind };
  notices.push(notice);
  setTimeout(() => dismiss(notice), kind ? 12_000 : 5_000);
  update();
}

/** @param {{id: number}} notice */
function dismiss(notice) {
  const at = notices.findIndex((it) => it.id === notice.id);
  if (at >= 0) notices.splice(at, 1);
  update();
}

export function noticeBoard() {
  return html`<div class="notices" role="status" aria-live="polite">
    ${repeat(notices, (it) => it.id, (it) => html`<p class=${it.kind}>${tame(it.text)}
      <button type="button" aria-label="dismiss" @click=${() => dismiss(it)}>×</button></p>`)}
  </div>`;
}

/** @type {Map<string, number>} */
const scrolled = new Map();

/** A list of any length of which only what can be seen is there.
 * @template T @param {string} id @param {T[]} items @param {number} height of a row, in pixels
 * @param {(item: T, index: number) => string} key @param {(item: T, index: number) => unknown} row */
export function virtual(id, items, height, key, row) {
  const WINDOW = Math.ceil(innerHeight / height) + 12;
  const top = scrolled.get(id) ?? 0;
  const first = Math.max(0, Math.min(Math.floor(top / height) - 6, items.length - WINDOW));
  const shown = items.slice(first, first + WINDOW);
  /** @param {Event} event */
  const onScroll = (event) => {
    const now = /** @type {HTMLElement} */ (event.currentTarget).scrollTop;
    if (Math.abs(now - (scrolled.get(id) ?? 0)) < height) return;
    scrolled.set(id, now);
    update();
  };
  const rows = repeat(shown, (item, at) => key(item, first + at), (item, at) => row(item, first + at));
  return html`<div class="virtual" role="rowgroup" tabindex="0" aria-label="rows" @scroll=${onScroll}>
    <div .style=${`height:${first * height}px`}></div>${rows}
    <div .style=${`height:${Math.max(0, items.length - first - shown.length) * height}px`}></div>
  </div>`;
}
