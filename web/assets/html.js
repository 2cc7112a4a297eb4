// Templates, as lit-html has them; while names are hidden, what people would see of them is replaced here.

import { isNameless, mask } from './nameless.js';
import { html as plain } from './vendor/lit-html/lit-html.js';

export { nothing, render } from './vendor/lit-html/lit-html.js';
export { repeat } from './vendor/lit-html/directives/repeat.js';

/** @type {WeakMap<TemplateStringsArray, boolean[]>} */
const known = new WeakMap();

/** Which values of a template people see: no addresses, and nothing that is sent.
 * @param {TemplateStringsArray} strings */
function seen(strings) {
  const found = known.get(strings);
  if (found) return found;
  let before = '';
  const made = strings.map((piece) => {
    before += piece;
    const isInside = before.lastIndexOf('<') > before.lastIndexOf('>');
    return !isInside || /\s(title|aria-label|placeholder)=["']?[^"'=]*$/.test(before);
  });
  known.set(strings, made);
  return made;
}

/** @param {unknown} value @returns {unknown} */
function masked(value) {
  if (typeof value === 'string') return mask(value);
  return Array.isArray(value) ? value.map(masked) : value;
}

/** @param {TemplateStringsArray} strings @param {unknown[]} values */
export function html(strings, ...values) {
  if (!isNameless) return plain(strings, ...values);
  const places = seen(strings);
  return plain(strings, ...values.map((value, at) => (places[at] ? masked(value) : value)));
}
