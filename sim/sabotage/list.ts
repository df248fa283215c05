// Every deliberate bug. One that the simulator no longer finds is a bug of the simulator; one that
// no longer applies, since the code has changed, is written anew for the code as it is.

import { BROKER_SABOTAGES } from './broker-bugs.ts';
import { DATA_SABOTAGES } from './data-bugs.ts';
import { DEVICE_SABOTAGES } from './device-bugs.ts';
import { MANAGER_SABOTAGES } from './manager-bugs.ts';
import { MEETING_SABOTAGES } from './meeting-bugs.ts';
import type { Sabotage } from './sabotage.ts';
import { STREAM_SABOTAGES } from './stream-bugs.ts';

/** All of them, by core. */
export const SABOTAGES: readonly Sabotage[] = [
  ...DATA_SABOTAGES,
  ...STREAM_SABOTAGES,
  ...DEVICE_SABOTAGES,
  ...BROKER_SABOTAGES,
  ...MANAGER_SABOTAGES,
  ...MEETING_SABOTAGES,
];

/** The one of this name; undefined: there is none. */
export const findSabotage = (name: string): Sabotage | undefined =>
  SABOTAGES.find((sabotage) => sabotage.name === name);
