// The invariants of consent and of the control plane, each in a file of its own; they share one
// ear for what parties say to one another.

import type { Watcher, World } from '../world.ts';
import { Consent } from './consent.ts';
import { Spoken } from './spoken.ts';

/** Their watchers, for one world. */
export function controlWatchers(world: World): readonly Watcher[] {
  const consent = new Consent(world);
  return [new Spoken([consent]), consent];
}
