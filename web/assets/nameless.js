// Names hidden, for a picture that strangers may see: each is another one, the same wherever it is shown.

import { split } from './api.js';
import { here } from './router.js';
import { byName, fleet, remember, remembered, session, update } from './store.js';

/** A tab remembers it. */
export let isNameless = remembered('nameless', 'sessionStorage') === 'yes';

export function toggleNames() {
  isNameless = !isNameless;
  remember('nameless', isNameless ? 'yes' : '', 'sessionStorage');
  update();
}

/** What is shown instead of a name, which is in small letters here.
 * @type {Map<string, string>} */
const instead = new Map();
/** What was shown instead of anything. */
const given = new Set();
/** Names that are more than one word to `WORD`, the longest first.
 * @type {[string, string][]} */
let odd = [];
/** @type {Record<string, number>} */
const counts = {};
let learned = -1;

const WORD = /[\p{L}\p{N}_][\p{L}\p{N}_.-]*/gu;
const IS_WORD = /^[\p{L}\p{N}_][\p{L}\p{N}_.-]*$/u;
/** So short, or a number: it is a name only where it stands alone. */
const FAINT = /^(.{1,2}|[\d.]+)$/u;
const IPV4 = /^\d+(\.\d+){3}$/;

/** @param {string} name @param {string} made */
function call(name, made) {
  const low = name.toLowerCase();
  if (!low || instead.has(low) || given.has(low)) return;
  instead.set(low, made);
  if (!IS_WORD.test(name)) odd = [...odd, /** @type {[string, string]} */ ([name, made])].sort(([a], [b]) => b.length - a.length);
}

/** Has a name shown as another one from now on.
 * @param {string} kind @param {string | undefined} name */
export function note(kind, name = '') {
  const low = name.toLowerCase();
  if (!low || instead.has(low) || given.has(low)) return;
  do counts[kind] = (counts[kind] ?? 0) + 1; while (instead.has(`${kind}-${counts[kind]}`));
  const made = `${kind}-${counts[kind]}`;
  call(name, made);
  given.add(made);
}

/** A host, and what else it is called.
 * @param {string} host @param {string} [alias] */
function noteHost(host, alias = '') {
  note('host', host);
  const made = instead.get(host.toLowerCase()) ?? host;
  if (session.value?.LeftOutOfNames) call(host.replace(session.value.LeftOutOfNames, ''), made);
  const [first] = host.split('.');
  // Several may be called so: who of them is meant nobody knows.
  if (first !== host && !IPV4.test(host) && /[\d-]/.test(first)) instead.set(first.toLowerCase(), [undefined, made].includes(instead.get(first.toLowerCase())) ? made : 'host');
  if (!alias.includes(':')) call(alias, made);
}

/** Learns all names there are now. */
function learn() {
  if (learned === fleet.version || !fleet.isLoaded) return;
  const rows = [...fleet.instances.values()];
  if (learned < 0) rows.sort((a, b) => byName(a.Cluster, b.Cluster) || byName(a.Key, b.Key));
  learned = fleet.version;
  for (const row of rows) {
    noteHost(split(row.Key)[0], row.Alias);
    if (row.Source) noteHost(split(row.Source)[0]);
    note('dc', row.DataCenter);
    note('region', row.Region);
    note('person', row.Downtime?.Owner);
    note('person', row.Maintenance?.Owner);
  }
  for (const it of fleet.recoveries.values()) {
    for (const key of [it.Failed, it.Successor ?? '', it.ClusterName]) if (key) noteHost(split(key)[0]);
    if (!it.ClusterAlias.includes(':')) note('cluster', it.ClusterAlias);
    note('node', it.Node);
  }
  for (const it of fleet.clusters.values()) {
    if (it.Alias !== it.Name) note('cluster', it.Alias);
    note('domain', it.Domain);
  }
  note('person', session.value?.User);
  note('node', session.value?.Node);
}

/** A word that nobody named, but that can only be a host.
 * @param {string} word @param {string} before @param {string} after */
function isHost(word, before, after) {
  if (IPV4.test(word) || /^[\w-]+(\.[\w-]+)+\.[a-z]{2,}$/i.test(word)) return true;
  // Neither a version, nor a time, nor a UUID, nor a binary log, nor a tag of a GTID.
  if (before === ':' || /^\d+[.-]\d|^[\da-f]{8}-[\da-f]{4}-|\.\d{6}$/i.test(word)) return false;
  return /[a-z]/i.test(word) && /^:\d{2,5}(?![\d:])/.test(after);
}

/** What is shown instead of a text, while names are hidden.
 * @param {string} text */
export function mask(text) {
  if (!isNameless || !text) return text;
  // What the address names is known before anything else.
  if (!fleet.isLoaded && here().includes(text)) return '…';
  learn();
  for (const [, who] of text.matchAll(/\bowner: ([^,\s]+)/g)) note('person', who);
  const exact = instead.get(text.toLowerCase());
  if (exact) return exact;
  const plain = odd.reduce((all, [name, made]) => all.replaceAll(name, made), text);
  return plain.replace(WORD, (found, at) => {
    const word = found.replace(/[.-]+$/, '');
    const rest = found.slice(word.length);
    const low = word.toLowerCase();
    if (given.has(low)) return found;
    if (!instead.has(low) && isHost(word, plain[at - 1] ?? '', plain.slice(at + found.length, at + found.length + 7))) noteHost(word);
    const made = FAINT.test(low) && !IPV4.test(low) ? undefined : instead.get(low);
    if (made) return made + rest;
    return word.split('.').map((part) => (FAINT.test(part) ? part : (instead.get(part.toLowerCase()) ?? part))).join('.') + rest;
  });
}

/** The same for a drawing, whose columns stay below each other.
 * @param {string} drawing */
export function maskDrawing(drawing) {
  if (!isNameless) return drawing;
  const lines = drawing.split('\n').map((line) => line.split('|'));
  const first = lines.map(([head]) => mask(head.trimEnd()));
  const width = Math.max(...first.map((it) => it.length)) + 1;
  return lines.map(([, ...rest], at) => [rest.length ? first[at].padEnd(width) : first[at], ...rest.map(mask)].join('|')).join('\n');
}
