// Addresses: which page is shown, and how others are reached.

import { HOME } from './api.js';
import { update } from './store.js';

/** The address now: segments below the dashboard, and the query. */
export function here() {
  const path = location.pathname.startsWith(HOME) ? location.pathname.slice(HOME.length) : '';
  const decoded = path.split('/').filter((it) => it !== '').map((it) => {
    try {
      return decodeURIComponent(it);
    } catch {
      return it;
    }
  });
  return { segments: decoded, query: new URLSearchParams(location.search) };
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
  history.replaceState(null, '', to(here().segments, query));
  update();
}

function arrived() {
  update();
  // Whoever cannot see goes on where the new page begins, unless he is typing.
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
