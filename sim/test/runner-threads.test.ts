// Seeds in worker threads: one that never ends, or ends its thread, is a finding, and the others go
// on; a seed whose second run differs is one too; whoever stops a run is obeyed at once.

import t from 'tap';
import { runSeeds } from '../runner/seeds.ts';
import { reportWords, worstOf } from '../runner/show.ts';

const thread = {
  module: new URL('restless-worker.js', import.meta.url),
  silenceSeconds: 0.5,
};
const wanted = { scenario: 'swarm' };

t.test('a loop, a thread that ends, one that throws, a hash that differs', async (t) => {
  const told: number[] = [];
  const { next, totals } = await runSeeds({
    from: 1,
    count: 120,
    wanted,
    workers: 2,
    thread,
    onFailure: ({ seed }) => told.push(seed),
  });
  t.equal(next, 121);
  t.equal(totals.done, 120);
  t.strictSame(told, [3, 5, 7, 101], 'in the order of the seeds');
  t.strictSame(totals.invariants, { time: 1, process: 2, repeatable: 1 });
  const [loop, ended, thrown, differs] = totals.failures;
  t.match(loop.says, /no event ended .* a loop/);
  t.match(ended.says, /ended with 7/);
  t.match(thrown.says, /out of order/);
  t.match(differs.says, /a and then b/);
  t.equal(totals.runTwice, 2);
  t.equal(worstOf(totals)?.invariant, 'process', 'what fails most is looked at first');
  const words = reportWords(totals, wanted, undefined);
  t.match(words, /^process +2 {2}5, 7$/m);
  t.ok(words.indexOf('process ') < words.indexOf('time  '), 'most failures first');
});

t.test('a run that is stopped ends at once, in the middle of a seed', async (t) => {
  const stop = new AbortController();
  const { next, totals } = await runSeeds({
    from: 1,
    count: 50,
    wanted,
    workers: 1,
    thread: { ...thread, silenceSeconds: 1_000 },
    signal: stop.signal,
    onProgress: ({ next: now }) => {
      if (now === 3) setImmediate(() => stop.abort());
    },
  });
  t.equal(next, 3);
  t.equal(totals.done, 2);
});

t.test('a worker that cannot start is nobody’s seed', async (t) => {
  const module = new URL('there-is-no-such-worker.js', import.meta.url);
  await t.rejects(
    runSeeds({ from: 1, count: 2, wanted, workers: 1, thread: { module } }),
    /there-is-no-such-worker/,
  );
});
