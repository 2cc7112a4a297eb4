// Follows what changes: one load, the stream from there on, and the stream again where it broke off.

import { API, Refused, get } from './api.js';
import { apply, forget, live, replace, update } from './store.js';

/** baton says something at least every five seconds. */
const SILENCE_MAX = 12_000;
/** All rows of a large fleet, through a thin line. */
const LOADING_MAX = 60_000;
const PAUSE_MIN = 250;
const PAUSE_MAX = 5_000;
/** Browsers allow few connections to one host: a page nobody sees gives its own back. */
const HIDDEN_MAX = 60_000;

let lastEvent = '';
/** @type {AbortController | null} */
let open = null;
let pause = PAUSE_MIN;
/** @type {(() => void) | null} */
let wake = null;

/** The events in a stream of bytes.
 * @param {ReadableStream<Uint8Array>} body */
async function* events(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    live.heardAt = Date.now();
    text += value;
    const pieces = text.split('\n\n');
    text = /** @type {string} */ (pieces.pop());
    for (const piece of pieces) {
      const event = { id: '', kind: '', data: '' };
      for (const line of piece.split('\n')) {
        if (line.startsWith('id: ')) event.id = line.slice(4);
        if (line.startsWith('event: ')) event.kind = line.slice(7);
        if (line.startsWith('data: ')) event.data += line.slice(6);
      }
      if (event.kind) yield event;
    }
  }
}

/** Loads everything, and where the stream goes on from there.
 * @param {AbortSignal} signal */
async function load(signal) {
  const rows = await get('fleet', { local: '' }, AbortSignal.any([signal, AbortSignal.timeout(LOADING_MAX)]));
  replace(rows);
  forget();
  lastEvent = rows.Event;
}

/** What this node alone sees, while no node leads: better than nothing, and no beginning of a stream. */
async function loadLocally() {
  lastEvent = '';
  try {
    replace(await get('fleet', { local: 'true' }, AbortSignal.timeout(LOADING_MAX)));
    forget();
    live.heardAt = Date.now();
    live.isLeaderless = true;
  } catch {
    // It is tried again together with everything else.
  }
}

async function follow() {
  open = new AbortController();
  const signal = open.signal;
  if (!lastEvent) await load(signal);
  live.heardAt = Date.now();
  const response = await fetch(`${API}events`, { headers: { 'Last-Event-ID': lastEvent }, signal, cache: 'no-store' });
  if (!response.ok || !response.body) {
    const said = await response.json().catch(() => null);
    throw new Refused(said?.Message ?? `no events: ${response.status} ${response.statusText}`, response.status);
  }
  for await (const event of events(response.body)) {
    const data = JSON.parse(event.data);
    lastEvent = event.id;
    if (event.kind === 'change') {
      apply(data);
      continue;
    }
    // Something was missed, or another node leads. What changes meanwhile comes after, once more maybe.
    if (!data.Resumed) await load(signal);
    up();
  }
}

function up() {
  live.isUp = true;
  live.isLeaderless = false;
  live.why = '';
  pause = PAUSE_MIN;
  update();
}

/** @param {string} why */
function down(why) {
  live.isUp = false;
  live.why = why;
  update();
}

/** Follows for as long as the page is there. */
export async function run() {
  setInterval(check, 1000);
  document.addEventListener('visibilitychange', seen);
  for (;;) {
    try {
      await follow();
      down('the connection ended');
    } catch (error) {
      const refused = error instanceof Refused ? error.message : 'baton does not answer';
      down(refused);
      if (error instanceof Refused && error.status >= 502 && /leader/.test(error.message)) await loadLocally();
      else live.isLeaderless = false;
    }
    if (document.hidden && hiddenAt && Date.now() - hiddenAt >= HIDDEN_MAX) {
      await new Promise((resolve) => (wake = () => resolve(undefined)));
      continue;
    }
    const wait = pause * (0.75 + Math.random() / 2);
    pause = Math.min(2 * pause, PAUSE_MAX);
    await new Promise((resolve) => {
      wake = () => resolve(undefined);
      setTimeout(resolve, wait);
    });
  }
}

let hiddenAt = 0;

function seen() {
  hiddenAt = document.hidden ? Date.now() : 0;
  if (!document.hidden) wake?.();
}

function check() {
  if (live.isUp && Date.now() - live.heardAt > SILENCE_MAX) open?.abort();
  if (hiddenAt && Date.now() - hiddenAt > HIDDEN_MAX) open?.abort();
  // Relative times go on.
  update();
}
