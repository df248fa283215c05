// The invariants of consent and of the control plane, each in a file of its own; they share one
// ear for what parties say to one another.

import type { Watcher, World } from '../world.ts';
import { Addresses } from './addresses.ts';
import { Consent } from './consent.ts';
import { Refusals } from './refusals.ts';
import { Spoken } from './spoken.ts';

/** Their watchers, for one world. */
export function controlWatchers(world: World): readonly Watcher[] {
  const consent = new Consent(world);
  const addresses = new Addresses(world);
  const refusals = new Refusals(world);
  return [new Spoken([consent, addresses, refusals]), consent, addresses, refusals];
}
