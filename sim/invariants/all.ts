// Every invariant that is checked in every world, in the order in which they hear what happens.
// docs/simulator.md says how to add one.

import type { Watcher, World } from '../world.ts';
import { controlWatchers } from './control-plane.ts';
import { dataPlane } from './data-plane.ts';
import { Hostile } from './hostile.ts';

/** One watcher for each invariant, for one world. */
export const watchersOf = (world: World): readonly Watcher[] => [
  ...controlWatchers(world),
  ...dataPlane(world),
  new Hostile(world),
];
