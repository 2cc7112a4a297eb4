// What can be done to the whole fleet.

import { open as openTask } from './dialog.js';

/** @param {boolean} disable */
export function setRecoveries(disable) {
  openTask(disable
    ? { title: 'Switch off automated recoveries', says: 'baton recovers from nothing by itself any more, in the whole fleet, until somebody switches it on again. People still can.', path: () => 'disable-global-recoveries', verb: 'Switch off' }
    : { title: 'Switch on automated recoveries', says: 'baton recovers by itself again, wherever the configuration lets it. What is broken now is recovered at once.', path: () => 'enable-global-recoveries', verb: 'Switch on' });
}
