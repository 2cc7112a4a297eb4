// Leaves everything running, for whoever works on the dashboard: PLAY=stay.mjs, and the address is printed.
// Debug builds read web/assets from the disk, so that a reload shows every change.

import { BASE, SERVERS, ask } from './lib.mjs';
import { existsSync, readFileSync, writeFileSync, unlinkSync } from 'node:fs';

const file = process.env.STAY_FILE;
console.log(`${BASE}/ops/ui/ over ${SERVERS.join(' ')}`);
if (file) writeFileSync(file, JSON.stringify({ url: BASE, servers: SERVERS }));
for (;;) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  if (!file || !existsSync(`${file}.wish`)) continue;
  const wish = JSON.parse(readFileSync(`${file}.wish`, 'utf8'));
  unlinkSync(`${file}.wish`);
  console.log(await ask(wish));
}
