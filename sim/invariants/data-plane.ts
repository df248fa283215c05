// The invariants of the data plane, with the book of talks that they share; it comes first.

import type { Watcher, World } from '../world.ts';
import { amplificationIsBounded } from './amplification.ts';
import { countsAgree } from './counts.ts';
import { limitsHold } from './limits-hold.ts';
import { progressIsMade } from './progress.ts';
import { recoveryIsSound } from './recovery.ts';
import { sometimesInTalks } from './sometimes.ts';
import { streamsDeliver } from './streams.ts';
import { TalkBook } from './talk-book.ts';
import { workIsBounded } from './work.ts';

/** Watchers of one world, in the order in which they hear. */
export function dataPlane(world: World): readonly Watcher[] {
  const book = new TalkBook(world);
  return [
    book,
    streamsDeliver(world, book),
    limitsHold(world, book),
    recoveryIsSound(world, book),
    amplificationIsBounded(world, book),
    countsAgree(world, book),
    workIsBounded(world, book),
    progressIsMade(world, book),
    sometimesInTalks(world, book),
  ];
}
