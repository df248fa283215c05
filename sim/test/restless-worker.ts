// A worker for runner-threads.test.ts in place of seed-worker.ts: some of its seeds never end, some
// end the thread, some throw; all others are well at once.

import { parentPort } from 'node:worker_threads';
import type { SeedOrder, WorkerWord } from '../runner/seed-worker.ts';

const say = (word: WorkerWord): void => parentPort?.postMessage(word);

parentPort?.on('message', ({ seed }: SeedOrder) => {
  if (seed === 3) for (;;);
  if (seed === 5) process.exit(7);
  if (seed === 7) throw new Error('out of order');
  const result = {
    seed,
    violation: undefined,
    hash: 'a',
    events: 1,
    virtualSeconds: 60,
    faults: {},
    marks: {},
  };
  say({ kind: 'answer', answer: { result, differs: seed === 101 ? 'b' : undefined } });
});
say({ kind: 'ready' });
