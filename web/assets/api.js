// Asks the API. Everything it answers is text of strangers: it is shown, never run.

import { live, loaded } from './store.js';

/** Where the dashboard and the API are: below whatever prefix this file was loaded from. */
export const HOME = new URL('../../', import.meta.url).pathname;
export const API = new URL('../../../api/', import.meta.url).pathname;

/** What went wrong, in the words of whoever knows best. */
export class Refused extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @param {unknown} error */
export function said(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Host and port of `host:port`, or of `[v6]:port`.
 * @param {string} key @returns {[string, string]} */
export function split(key) {
  const at = key.lastIndexOf(':');
  return [key.slice(0, at).replace(/^\[|\]$/g, ''), key.slice(at + 1)];
}

/** The name of an instance as the API has it; empty where there is none.
 * @param {{Hostname: string, Port: number} | null | undefined} key */
export function keyOf(key) {
  if (!key?.Hostname) return '';
  return `${key.Hostname.includes(':') ? `[${key.Hostname}]` : key.Hostname}:${key.Port}`;
}

/** Host and port as two segments of a path.
 * @param {string} key */
export function at(key) {
  return split(key).map(encodeURIComponent).join('/');
}

/** @param {Record<string, string | undefined>} query */
function written(query) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(/** @type {[string, string][]} */ (pairs)).toString();
  return text && `?${text}`;
}

/** @param {Response} response */
async function told(response) {
  const text = await response.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    const said = text.trim().slice(0, 300) || response.statusText;
    throw new Refused(response.ok ? `unreadable answer: ${said}` : said, response.status);
  }
  if (!response.ok || body?.Code === 'ERROR') {
    const why = body?.Message === 'Unauthorized' && typeof body.Details === 'string' ? `: ${body.Details}` : '';
    const message = body?.Message || response.statusText || 'no reason given';
    throw new Refused(message + why, response.status);
  }
  return body;
}

/** @param {() => Promise<Response>} ask */
async function asked(ask) {
  try {
    return await ask();
  } catch {
    throw new Refused('baton does not answer', 0);
  }
}

/** Reads; while no node leads what the asked one knows.
 * @param {string} path @param {Record<string, string | undefined>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, query = {}, signal) {
  const url = API + path + written({ local: live.isLeaderless ? 'true' : '', ...query });
  return told(await asked(() => fetch(url, { cache: 'no-store', signal })));
}

/** Changes something.
 * @param {string} path @param {Record<string, string | undefined>} [query]
 * @returns {Promise<Wrapped>} */
export async function change(path, query = {}) {
  const url = API + path + written(query);
  return told(await asked(() => fetch(url, { method: 'POST', cache: 'no-store' })));
}

/** What is known of the answer to a path, for a version. Where the path may become another one, the last answer is kept
 * under a name.
 * @param {string} path @param {unknown} version @param {string} [name] */
export function known(path, version, name = path) {
  return loaded(name, version, () => get(path));
}
