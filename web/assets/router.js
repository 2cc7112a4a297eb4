// Addresses: which page is shown, and how others are reached.

import { HOME } from './api.js';
import { update } from './store.js';

/** The segments of the address below the dashboard. */
export function here() {
  const path = location.pathname.startsWith(HOME) ? location.pathname.slice(HOME.length) : '';
  return path.split('/').filter((it) => it !== '').map((it) => {
    try {
      return decodeURIComponent(it);
    } catch {
      return it;
    }
  });
}

/** What the query of the address says of something; empty where it says nothing.
 * @param {string} what */
export function queried(what) {
  return new URLSearchParams(location.search).get(what) ?? '';
}

/** The address of a page.
 * @param {string[]} segments @param {Record<string, string>} [query] */
export function to(segments, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== '');
  const text = new URLSearchParams(pairs).toString();
  return HOME + segments.map(encodeURIComponent).join('/') + (text && `?${text}`);
}

/** @param {string} address */
export function go(address) {
  history.pushState(null, '', address);
  scrollTo(0, 0);
  arrived();
}

/** Changes the query of this page, without a new entry in the history.
 * @param {Record<string, string>} query */
export function amend(query) {
  history.replaceState(null, '', to(here(), query));
  update();
}

/** Changes only this in it, also before the last change is drawn.
 * @param {Record<string, string>} query */
export function alter(query) {
  amend({ ...Object.fromEntries(new URLSearchParams(location.search)), ...query });
}

function arrived() {
  update();
  // A screen reader goes on where the new page begins.
  const isTyping = document.activeElement?.matches('input, select, textarea');
  if (!isTyping) requestAnimationFrame(() => document.querySelector('main')?.focus({ preventScroll: true }));
}

/** @param {MouseEvent} event */
function clicked(event) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.origin !== location.origin) return;
  if (!link.pathname.startsWith(HOME)) return;
  event.preventDefault();
  go(link.href);
}

export function start() {
  document.addEventListener('click', clicked);
  addEventListener('popstate', () => update());
}
