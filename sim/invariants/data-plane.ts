// The invariants of the data plane, each in a file of its own, and the book of talks that they
// share: it hears first.

import type { Watcher, World } from '../world.ts';
import { amplificationIsBounded } from './amplification.ts';
import { countsAgree } from './counts.ts';
import { nobodyWaitsForNothing } from './deadlock.ts';
import { limitsHold } from './limits-hold.ts';
import { movesAreAsked } from './moves.ts';
import { progressIsMade } from './progress.ts';
import { RecoveryIsSound } from './recovery.ts';
import { silenceIsKept } from './silence.ts';
import { sometimesInTalks } from './sometimes.ts';
import { streamsDeliver } from './streams.ts';
import { TalkBook } from './talk-book.ts';
import { workIsBounded } from './work.ts';

/** Watchers of one world, in the order in which they hear. */
export function dataPlane(world: World): readonly Watcher[] {
  const book = new TalkBook(world);
  const recovery = new RecoveryIsSound(world, book);
  return [
    book,
    streamsDeliver(world, book),
    limitsHold(world, book),
    nobodyWaitsForNothing(world, book, recovery),
    recovery,
    amplificationIsBounded(world, book),
    silenceIsKept(world, book),
    countsAgree(world, book, recovery),
    workIsBounded(world, book),
    movesAreAsked(world, book),
    progressIsMade(world, book),
    sometimesInTalks(world, book),
  ];
}
