// A contest in a place, in interleaved rounds: each contestant once, then each once more, so that
// whatever else the machine does meets all alike. What counts is the median, and of ratios the
// median of those within one round.

import { median } from '../figures.ts';
import type { Contest, Contestant } from './contest.ts';
import { type FlowFigures, type Wanted, steady, whole } from './flow.ts';
import type { Place } from './places.ts';

/** What one contestant reached in a place. */
export interface Entry {
  readonly place: string;
  readonly contestant: Contestant;
  /** One for each round; undefined where it failed. */
  readonly rounds: readonly (FlowFigures | undefined)[];
  /** Why it failed, the last time. */
  readonly failure: string | undefined;
}

/** How long is measured in a place. */
export interface Doses {
  readonly wanted: Wanted;
  /** Bytes of the transfer that stands for the steady state of who cannot be watched. */
  readonly wholeBytes: number;
}

/** For places that carry hundreds of MB/s: two seconds are enough. */
export const FAST: Doses = {
  wanted: { skipMs: 800, skipBytes: 16_000_000, measureMs: 2_000 },
  wholeBytes: 256_000_000,
};
/** On a link of 100 Mbit/s the start-up takes up to two seconds. */
export const SLOW: Doses = {
  wanted: { skipMs: 2_500, skipBytes: 0, measureMs: 4_000 },
  wholeBytes: 50_000_000,
};

/** Measures all, `rounds` times; `wholeBytes`: a transfer of these each, in place of the doses. */
export async function contend(
  place: Place,
  contest: Contest,
  how: { readonly rounds: number; readonly doses: Doses; readonly wholeBytes?: number },
  tell: (line: string) => void,
): Promise<readonly Entry[]> {
  const measured = new Map<Contestant, (FlowFigures | undefined)[]>();
  const failures = new Map<Contestant, string>();
  for (let round = 0; round < how.rounds; round++) {
    for (const [name, kind] of contest.kinds) {
      const figures = measured.get(name) ?? [];
      measured.set(name, figures);
      const bytes = how.wholeBytes ?? (kind.isWhole === true ? how.doses.wholeBytes : undefined);
      try {
        const one =
          bytes === undefined
            ? await steady(place, kind, how.doses.wanted)
            : await whole(place, kind, bytes);
        figures.push(one);
        tell(`${place.name} ${name} ${one.mbPerSecond.toFixed(1)} MB/s`);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        figures.push(undefined);
        failures.set(name, why);
        tell(`${place.name} ${name} failed: ${why}`);
      }
    }
  }
  return [...measured].map(([contestant, rounds]) => ({
    place: how.wholeBytes === undefined ? place.name : `${place.name}, 16 MB`,
    contestant,
    rounds,
    failure: failures.get(contestant),
  }));
}

/** The median of one figure over the rounds that did not fail; undefined: none. */
export function medianOf(
  entry: Entry | undefined,
  of: (figures: FlowFigures) => number | undefined,
): number | undefined {
  const values = (entry?.rounds ?? [])
    .map((figures) => (figures === undefined ? undefined : of(figures)))
    .filter((value) => value !== undefined);
  return values.length === 0 ? undefined : median(values);
}

/** The median over the rounds of `one` over `other` in the same round; undefined: none. */
export function ratioOf(
  one: Entry | undefined,
  other: Entry | undefined,
  of: (figures: FlowFigures) => number,
): number | undefined {
  const ratios = (one?.rounds ?? [])
    .map((figures, at) => {
      const beside = other?.rounds[at];
      return figures === undefined || beside === undefined ? undefined : of(figures) / of(beside);
    })
    .filter((value) => value !== undefined);
  return ratios.length === 0 ? undefined : median(ratios);
}
