// Every invariant that is checked in every world, in the order in which they hear what happens.
// docs/simulator.md says how to add one.

import type { Watcher, World } from '../world.ts';
import { controlWatchers } from './control-plane.ts';
import { dataPlane } from './data-plane.ts';
import { Hostile } from './hostile.ts';
import { SeenFrom } from './seen-from.ts';
import type { WordHearer } from './spoken.ts';

/** One watcher for each invariant, for one world. */
export function watchersOf(world: World): readonly Watcher[] {
  const seen = new SeenFrom();
  const hearers: WordHearer[] = [seen];
  const talks = dataPlane(world, seen, hearers);
  return [seen, ...controlWatchers(world, seen, hearers), ...talks, new Hostile(world)];
}
