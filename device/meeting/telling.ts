// What one end tells the other of where it is now [S1005, S4005], through the manager, and when:
// soon, and not more often than the pause of MEETING_LIMITS, as relays and sockets come together.

import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, NEVER, after, earlier, micros, ms } from '../../protocol/time.ts';
import { candidateOf } from '../candidates.ts';
import type { Gathered } from './gathering.ts';
import { MEETING_LIMITS } from './limits.ts';

/** When the peer is to be told. */
export class Telling {
  #at: Micros = NEVER;
  #last: Micros = micros(0);

  /** The next word; NEVER: there is nothing to be said. */
  get at(): Micros {
    return this.#at;
  }

  /** There is news. */
  soon(now: Micros): void {
    const pause = after(this.#last, ms(MEETING_LIMITS.tellPauseMs));
    const at = this.#last > 0 && pause > now ? pause : now;
    this.#at = earlier(this.#at, at);
  }

  /** It is said. */
  onTold(now: Micros): void {
    this.#at = NEVER;
    this.#last = now;
  }
}

/**
 * Where this end is, at most LIMITS.candidatesMax: at its relay, then at its endpoints, the newest
 * first: of many addresses those of the last round have to get through.
 */
export function ownCandidates(
  relayed: readonly Path[],
  gathered: Iterable<Gathered>,
): readonly Candidate[] {
  const atRelay = relayed.flatMap((one) => candidateOf(one, 'relayed') ?? []);
  const own = [...gathered].toReversed().flatMap(({ candidates }) => candidates);
  return [...atRelay, ...own].slice(0, LIMITS.candidatesMax);
}
