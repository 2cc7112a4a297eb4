// Follows what changes: one stream, one load, and the stream again where it broke off.

import { API, Refused, get } from './api.js';
import { apply, fleet, forget, live, replace, update } from './store.js';

/** baton says something at least every five seconds. */
const SILENCE_MAX = 12_000;
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

/** Loads everything; what changes meanwhile waits.
 * @param {string} token @param {import('./types').Rows[]} waiting */
async function load(token, waiting) {
  const rows = await get('fleet');
  if (rows.Token !== token) throw new Refused('another node leads now', 0);
  replace(rows);
  waiting.filter((it) => it.Generation > rows.Generation).forEach(apply);
  forget();
}

async function follow() {
  open = new AbortController();
  const signal = open.signal;
  live.heardAt = Date.now();
  /** @type {Record<string, string>} */
  const headers = lastEvent && fleet.isLoaded ? { 'Last-Event-ID': lastEvent } : {};
  const response = await fetch(`${API}events`, { headers, signal, cache: 'no-store' });
  if (!response.ok || !response.body) {
    throw new Refused(`no events: ${response.status} ${response.statusText}`, response.status);
  }
  /** @type {import('./types').Rows[] | null} */
  let waiting = null;
  for await (const event of events(response.body)) {
    const data = JSON.parse(event.data);
    if (event.kind === 'change') {
      if (waiting) waiting.push(data);
      else if (data.Generation > fleet.generation) apply(data);
    } else if (!data.Resumed) {
      /** @type {import('./types').Rows[]} */
      const held = [];
      waiting = held;
      load(data.Token, held)
        .then(() => {
          if (waiting === held) waiting = null;
          up();
        })
        .catch(() => {
          lastEvent = '';
          open?.abort();
        });
    } else {
      up();
    }
    lastEvent = event.id;
  }
}

function up() {
  live.isUp = true;
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
