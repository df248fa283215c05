// A long run is cut in the middle and goes on: all seeds are run, the report is that of one run. A
// file that says something else is refused before anything starts. The list of failing seeds.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { FailureList } from '../runner/failure-list.ts';
import { NightFile } from '../runner/night.ts';
import { type Progress, type Totals, runSeeds } from '../runner/seeds.ts';

const SEEDS = 12;
const wanted = { scenario: 'swarm', seconds: 2, terminals: 3, only: [] };
const which = { wanted: '--terminals 3 --until 2s --only none', from: 1 };

async function folder(t: { teardown(clear: () => unknown): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nakodo-night-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

const timeless = ({ next, totals }: Progress): unknown => {
  const { realSeconds, ...rest } = totals;
  return { next, rest, isTimed: realSeconds > 0 };
};

t.test('cut in the middle and resumed: the same as in one go', async (t) => {
  const path = join(await folder(t), 'night.json');
  const whole = await runSeeds({ from: 1, count: SEEDS, wanted, workers: 1 });
  t.equal(whole.next, SEEDS + 1);

  const stop = new AbortController();
  const [file, none] = await NightFile.open(path, which);
  t.equal(none, undefined);
  const half = await runSeeds({
    from: 1,
    count: SEEDS,
    wanted,
    workers: 2,
    signal: stop.signal,
    onProgress: (now) => {
      file.soon(now);
      if (now.next === 6) stop.abort();
    },
  });
  t.ok(half.next >= 6 && half.next <= SEEDS, `cut at ${half.next}`);
  await file.save(half);

  const [again, night] = await NightFile.open(path, which);
  t.equal(night?.next, half.next);
  const from = night?.next ?? 0;
  const before: Totals | undefined = night?.totals;
  const rest = await runSeeds({ from, count: SEEDS + 1 - from, wanted, workers: 2, before });
  t.strictSame(timeless(rest), timeless(whole));
  await again.save(rest);
  const [, done] = await NightFile.open(path, which);
  t.equal(done?.next, SEEDS + 1);
});

t.test('a file that is damaged or belongs to another run is refused and kept', async (t) => {
  const path = join(await folder(t), 'night.json');
  const [file] = await NightFile.open(path, which);
  await file.save(await runSeeds({ from: 1, count: 1, wanted, workers: 1 }));
  const good = await readFile(path, 'utf8');
  await t.rejects(NightFile.open(path, { ...which, from: 2 }), {
    code: 'usage',
    next: /--from 1 --terminals 3 --until 2s --only none/,
  });
  await t.rejects(NightFile.open(path, { ...which, wanted: '' }), { code: 'usage' });
  const parts = JSON.parse(good);
  const bad: readonly string[] = [
    '',
    '{}',
    'null',
    good.slice(0, -9),
    JSON.stringify({ ...parts, version: 2 }),
    JSON.stringify({ ...parts, next: 5 }),
    JSON.stringify({ ...parts, next: -1 }),
    JSON.stringify({ ...parts, further: 1 }),
    JSON.stringify({ ...parts, totals: { ...parts.totals, failures: [{ seed: 'one' }] } }),
    JSON.stringify({ ...parts, totals: { ...parts.totals, events: 0.5 } }),
  ];
  for (const text of bad) {
    await writeFile(path, text);
    await t.rejects(NightFile.open(path, which), { code: 'file-damaged' }, text.slice(0, 40));
    t.equal(await readFile(path, 'utf8'), text, 'it is left as it was');
  }
  await t.rejects(NightFile.open(tmpdir(), which), { code: 'file-damaged' });
  const nowhere = await NightFile.open(join(path, 'x', 'night.json'), which).catch(
    (error: unknown) => error,
  );
  t.match(nowhere, { code: 'file-damaged' });
});

t.test('failing seeds are listed once, with the command that runs them again', async (t) => {
  const path = join(await folder(t), 'failures.txt');
  const failure = { seed: 17, invariant: 'consent', says: 'two\nlines', at: 3 };
  const list = new FailureList(path, wanted);
  t.equal(list.add(failure), true);
  t.equal(list.add(failure), false);
  const line = (await readFile(path, 'utf8')).trimEnd();
  const command = 'nakodo sim --seed 17 --terminals 3 --until 2s --only none --trace';
  t.equal(line, `seed 17 | consent | two lines | ${command}`);
  await writeFile(path, `${line} # the list was read twice\n`);
  const next = new FailureList(path, wanted);
  t.equal(next.add(failure), false, 'who found the cause wrote it behind');
  t.equal(next.add({ ...failure, seed: 18 }), true);
  t.equal((await readFile(path, 'utf8')).split('\n').length, 3);
  t.throws(() => new FailureList(join(path, 'x'), wanted), { code: 'file-unusable' });
});
