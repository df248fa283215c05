// Runs seeds in a thread of its own, one after the other, as it is told.

import { parentPort, workerData } from 'node:worker_threads';
import { type SeedResult, runSeed } from '../seed-run.ts';
import { type Wanted, planOf } from './plan.ts';

/** What a worker is told: a seed, and whether its hash is to be compared with a second run. */
export interface SeedOrder {
  readonly seed: number;
  readonly isTwice: boolean;
}

/** What it answers; `differs`: the hash of the second run, where it is not the same. */
export interface SeedAnswer {
  readonly result: SeedResult;
  readonly differs: string | undefined;
}

const wanted = workerData as Wanted;

parentPort?.on('message', ({ seed, isTwice }: SeedOrder) => {
  const result = runSeed(planOf(seed, wanted));
  const again = isTwice ? runSeed(planOf(seed, wanted)).hash : result.hash;
  const answer: SeedAnswer = { result, differs: again === result.hash ? undefined : again };
  parentPort?.postMessage(answer);
});
