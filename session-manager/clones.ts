// Whether one identity lives twice (design §3): each start of a terminal's process says a random
// `boot` when it registers. One that was never seen is a restart, and takes over; one that comes
// back after another took over lives beside it: two machines hold the same keys. Of the two, the
// one that was there first stays.

import type { RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';

/** The processes of one terminal, in the order of their first registration, the newest last. */
export type Boots = readonly {
  readonly boot: RequestId;
  readonly state: 'current' | 'past' | 'banned';
}[];

/**
 * `same`: in charge already. `restart`: never seen. `returned`: seen before, while another was in
 * charge since: a clone. `banned`: the clone that came later, refused from then on.
 */
interface BootVerdict {
  readonly verdict: 'same' | 'restart' | 'returned' | 'banned';
  /** As it is from now on; at most LIMITS.bootsPerDeviceMax. */
  readonly boots: Boots;
}

/** Judges the boot of a registration by those that came before it. */
export function judgeBoot(boots: Boots, boot: RequestId): BootVerdict {
  const at = boots.findIndex((known) => known.boot === boot);
  if (at < 0) {
    const before = boots.map((known) =>
      known.state === 'current' ? { boot: known.boot, state: 'past' as const } : known,
    );
    const all = [...before, { boot, state: 'current' as const }];
    return { verdict: 'restart', boots: all.slice(-LIMITS.bootsPerDeviceMax) };
  }
  const { state } = boots[at];
  if (state === 'current') return { verdict: 'same', boots };
  if (state === 'banned') return { verdict: 'banned', boots };
  const after = boots.map((known, index) => {
    if (index === at) return { boot, state: 'current' as const };
    return index > at ? { boot: known.boot, state: 'banned' as const } : known;
  });
  return { verdict: 'returned', boots: after };
}
