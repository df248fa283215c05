// The invariants of the data plane, each in a file of its own, and the book of talks that they
// share: it hears first.

import type { Watcher, World } from '../world.ts';
import { amplificationIsBounded } from './amplification.ts';
import { countsAgree } from './counts.ts';
import { IdleIsSilent } from './idle.ts';
import { nobodyWaitsForNothing } from './deadlock.ts';
import { limitsHold } from './limits-hold.ts';
import { movesAreAsked } from './moves.ts';
import { progressIsMade } from './progress.ts';
import { RecoveryIsSound } from './recovery.ts';
import { Searches } from './searches.ts';
import { SeenFrom } from './seen-from.ts';
import { silenceIsKept } from './silence.ts';
import { sometimesInTalks } from './sometimes.ts';
import type { WordHearer } from './spoken.ts';
import { streamsDeliver } from './streams.ts';
import { TalkBook } from './talk-book.ts';
import { workIsBounded } from './work.ts';

/**
 * Watchers of one world, in the order in which they hear. `seen` hears on its own; those who judge
 * words as well join `hearers`.
 */
export function dataPlane(
  world: World,
  seen = new SeenFrom(),
  hearers: WordHearer[] = [],
): readonly Watcher[] {
  const book = new TalkBook(world);
  const searches = new Searches(world, book, seen);
  const idle = new IdleIsSilent(world, book);
  hearers.push(idle);
  const recovery = new RecoveryIsSound(world, book);
  return [
    book,
    streamsDeliver(world, book),
    limitsHold(world, book),
    nobodyWaitsForNothing(world, book, recovery),
    recovery,
    searches,
    amplificationIsBounded(world, book, searches),
    idle,
    silenceIsKept(world, book),
    countsAgree(world, book, recovery),
    workIsBounded(world, book),
    movesAreAsked(world, book),
    progressIsMade(world, book),
    sometimesInTalks(world, book),
  ];
}
