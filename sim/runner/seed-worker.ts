// Runs seeds in a thread of its own, one after the other, as it is told; tells each line of a story
// as it happens, and how many events are behind it, so that a world that stands still is noticed.

import { parentPort, workerData } from 'node:worker_threads';
import { type SeedResult, runSeed } from '../seed-run.ts';
import type { Watcher, World } from '../world.ts';
import { planOf } from './plan.ts';
import { type TraceLine, tracer } from './trace.ts';
import type { Wanted } from './wanted.ts';

/** What a worker is told. */
export interface SeedOrder {
  readonly seed: number;
  readonly wanted: Wanted;
  /** Run a second time, made in another order, to compare the hashes. */
  readonly isTwice?: boolean;
  /** Every line of its story is told. */
  readonly isTraced?: boolean;
}

/** What it answers; `differs`: the hash of the second run, where it is not the same. */
export interface SeedAnswer {
  readonly result: SeedResult;
  readonly differs: string | undefined;
}

/** What it says: that it is there, a line of a story, an answer. */
export type WorkerWord =
  | { readonly kind: 'ready' }
  | { readonly kind: 'line'; readonly line: TraceLine }
  | { readonly kind: 'answer'; readonly answer: SeedAnswer };

/** Events so far and the world's time: shared with whoever watches. */
export const PULSE_BYTES = 2 * Float64Array.BYTES_PER_ELEMENT;

const say = (word: WorkerWord): void => parentPort?.postMessage(word);

function listen(pulse: Float64Array): void {
  const beat = (world: World): Watcher => ({
    afterEvent: () => {
      pulse[0] += 1;
      pulse[1] = world.now;
    },
  });
  parentPort?.on('message', ({ seed, wanted, isTwice, isTraced }: SeedOrder) => {
    const watch = (world: World): readonly Watcher[] =>
      isTraced === true
        ? [beat(world), tracer(world, (line) => say({ kind: 'line', line }))]
        : [beat(world)];
    const plan = planOf(seed, wanted);
    const result = runSeed({ ...plan, watch });
    const watchAgain = (world: World): readonly Watcher[] => [beat(world)];
    const other = { ...plan, watch: watchAgain, isReversed: true };
    const again = isTwice === true ? runSeed(other).hash : result.hash;
    const differs = again === result.hash ? undefined : again;
    say({ kind: 'answer', answer: { result, differs } });
  });
  say({ kind: 'ready' });
}

if (workerData instanceof SharedArrayBuffer) listen(new Float64Array(workerData));
