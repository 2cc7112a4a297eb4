// Menus of operations: everything the mouse can drag can be done from here as well.

import { perform } from './dialog.js';
import { offered } from './operations.js';
import { session, update } from './store.js';
import { tame } from './words.js';
import { html, nothing } from './html.js';

let openFor = '';

function close() {
  if (!openFor) return;
  openFor = '';
  update();
}

document.addEventListener('click', (event) => {
  if (!(event.target instanceof Element && event.target.closest('.menu'))) close();
});
document.addEventListener('keydown', (event) => {
  const menu = openFor && document.querySelector('.menu [role=menu]');
  if (!menu) return;
  const items = [.../** @type {NodeListOf<HTMLElement>} */ (menu.querySelectorAll('[role=menuitem]'))];
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (event.key === 'Escape') {
    const button = menu.parentElement?.querySelector('button');
    close();
    button?.focus();
  } else if (event.key === 'Tab') {
    close();
  } else if (next !== undefined) {
    event.preventDefault();
    items[(next + items.length) % items.length]?.focus();
  }
});

/** The button, and the menu while it is open.
 * @param {Instance} row @param {string} [label] */
export function instanceMenu(row, label = '') {
  // A primary has two: one in its row, one at the head of the page.
  const id = `${label} ${row.Key}`;
  const isOpen = openFor === id;
  /** @param {Event} event */
  const toggle = (event) => {
    const menu = /** @type {HTMLElement} */ (event.currentTarget).parentElement;
    openFor = isOpen ? '' : id;
    update();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const list = /** @type {HTMLElement | null} */ (menu?.querySelector('[role=menu]') ?? null);
      if (!list) return;
      place(list, /** @type {HTMLElement} */ (menu));
      /** @type {HTMLElement | null} */ (list.querySelector('[role=menuitem]'))?.focus();
    }));
  };
  return html`<span class="menu">
    <button type="button" class=${label ? '' : 'dots'} aria-haspopup="menu" aria-expanded=${isOpen}
      aria-label=${label ? nothing : `actions on ${row.Key}`} @click=${toggle}>${label || '⋯'}</button>
    ${isOpen ? items(row) : nothing}
  </span>`;
}

/** Keeps a menu inside of what can be seen.
 * @param {HTMLElement} list @param {HTMLElement} menu */
function place(list, menu) {
  const button = menu.getBoundingClientRect();
  const height = Math.min(list.scrollHeight, innerHeight - 16);
  const top = Math.max(8, Math.min(button.bottom + 4, innerHeight - height - 8));
  const left = Math.max(8, Math.min(button.right - list.offsetWidth, innerWidth - list.offsetWidth - 8));
  list.style.top = `${top}px`;
  list.style.left = `${left}px`;
}

/** @param {Instance} row */
function items(row) {
  const mayWrite = session.value?.MayWrite ?? false;
  const why = session.value?.Why ?? '';
  return html`<div role="menu" aria-label=${`actions on ${row.Key}`}>
    ${mayWrite ? nothing : html`<p class="why">${why}</p>`}
    ${offered(row).map(([group, operations]) => html`<div role="group" aria-label=${group}>
      <p class="group" aria-hidden="true">${group}</p>
      ${operations.map((operation) => {
        const unfit = mayWrite ? (operation.unfit?.(row) ?? '') : why;
        const act = () => {
          if (unfit) return;
          close();
          perform(operation, row);
        };
        return html`<button type="button" role="menuitem" tabindex="-1" aria-disabled=${Boolean(unfit)}
          class=${operation.care === 'alias' ? 'grave' : nothing} title=${unfit || nothing} @click=${act}>${operation.label}
          ${unfit && mayWrite ? html`<small>${tame(unfit)}</small>` : nothing}</button>`;
      })}</div>`)}
  </div>`;
}
