// Pages of other sites, in a browser that reaches baton by a name and without TLS: there it says least of itself.

import { createServer } from 'node:http';

import { BASE, browse, check, playEach, same, until } from './lib.mjs';

const PORT = new URL(BASE).port;
/** What baton is called, and what it is not. */
const OURS = `http://baton.test:${PORT}`;
const THEIRS = `http://evil.test:${PORT}`;
const TAG = '/api/tag/h/1?tag=stolen';

const rules = ['baton.test', 'evil.test'].map((it) => `MAP ${it} 127.0.0.1`).join(', ');
const { browser, visit } = await browse([`--host-resolver-rules=${rules}`]);

/** How many requests for the tag were refused, and how many were not. */
async function counted() {
  const text = await (await fetch(`${BASE}/metrics`)).text();
  const of = (status) => [...text.matchAll(/^baton_http_requests_total\{route="tag\/:host\/:port",.*status="(.)xx"\} (\d+)$/gm)]
    .filter((it) => status.includes(it[1]))
    .reduce((sum, it) => sum + Number(it[2]), 0);
  return { refused: of('4'), done: of('235') };
}

const target = `${OURS}${TAG}`;
/** What a page can have a browser send, as markup or as a script. */
const WAYS = {
  'an image': `<img src="${target}">`,
  'an image without referrer': `<img referrerpolicy="no-referrer" src="${target}">`,
  'a script': `<script src="${target}"></script>`,
  'a style sheet': `<link rel="stylesheet" href="${target}">`,
  'a frame': `<iframe src="${target}"></iframe>`,
  'a form that gets': `<form action="${OURS}/api/tag/h/1"><input name="tag" value="stolen"></form><script>document.forms[0].submit()</script>`,
  'a form that posts': `<form method="post" action="${target}"></form><script>document.forms[0].submit()</script>`,
  'a way out': `<meta name="referrer" content="no-referrer"><script>location = '${target}'</script>`,
  'a fetch': `<script>fetch('${target}', { mode: 'no-cors', referrerPolicy: 'no-referrer', headers: { 'Accept-Language': '' } })</script>`,
  'a fetch that posts': `<script>fetch('${target}', { method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer' })</script>`,
  'a beacon': `<script>navigator.sendBeacon('${target}')</script>`,
};

const scenes = {
  'no page of another site changes anything': async () => {
    let served = '';
    const site = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end(served));
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
    for (const [way, markup] of Object.entries(WAYS)) {
      const before = (await counted()).refused;
      served = `<!doctype html><body>${markup}</body>`;
      const page = await visit();
      await page.goto(`http://evil.test:${site.address().port}/`, { waitUntil: 'commit' });
      await until(`${way} was refused`, async () => (await counted()).refused > before);
      await page.context().close();
    }
    site.close();
    same((await counted()).done, 0, 'nothing was let through');
    same(await (await fetch(`${BASE}/api/tags/h/1`)).json(), [], 'no tag was set');
  },
  'no page reads anything under a name of its own': async () => {
    const page = await visit();
    const answer = await page.goto(`${THEIRS}/ui/`);
    same(answer.status(), 421, 'the dashboard under a stranger\'s name');
    check((await page.textContent('body')).includes('add the name to HTTPHostNames'), 'it says what to do');
    const read = await page.evaluate(async () => (await fetch('/api/clusters-info')).status);
    same(read, 421, 'the API under it');
    await page.context().close();
  },
  'its own pages do both': async () => {
    const page = await visit();
    const answer = await page.goto(`${OURS}/ui/`);
    same(answer.status(), 200, 'the dashboard under its own name');
    const status = await page.evaluate(async (path) => (await fetch(path, { method: 'POST' })).status, TAG);
    same(status, 200, 'a change by its own page');
    same(await (await fetch(`${BASE}/api/tags/h/1`)).json(), ['stolen='], 'it was made');
    await page.context().close();
  },
};

const failed = await playEach(browser, 'strangers', scenes);
console.log(failed.join('\n'));
process.exit(failed.length ? 1 : 0);
