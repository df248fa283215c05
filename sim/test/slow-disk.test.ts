// A server on a slow disk: a flush holds up its whole process, for seconds on an SD card or beside
// somebody who writes a lot. What was said before the flush must have left by then.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../protocol/test/until.ts';
import { openTown } from '../fleet/town.ts';

/** A flush that is not outlasted by what should have left before it. */
const FLUSH_MS_MAX = 10_000;
const LOOK_EVERY_MS = 5;

t.test('S2010: a refusal does not wait for the flush of its own entry in the log', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-disk-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const flushes: boolean[] = [];
  const heard = join(folder, 'heard');
  let isSlow = false;
  /** Holds up the process until the caller, which is another one, has heard. */
  const flush = (): void => {
    if (!isSlow) return;
    const end = performance.now() + FLUSH_MS_MAX;
    const cell = new Int32Array(new SharedArrayBuffer(4));
    while (!existsSync(heard) && performance.now() < end) Atomics.wait(cell, 0, 0, LOOK_EVERY_MS);
    flushes.push(existsSync(heard));
  };
  const town = await openTown({
    storeOf: (real) => ({
      load: () => real.load(),
      range: (table, range) => real.range(table, range),
      close: () => real.close(),
      write: (writes) => {
        flush();
        return real.write(writes);
      },
    }),
  });
  t.teardown(() => town.close());
  const home = await town.enrol('TERM1', '');
  const caller = fork(new URL('./caller-process.js', import.meta.url), [home, heard]);
  const gone = once(caller, 'exit');
  t.teardown(async () => {
    if (caller.connected) caller.disconnect();
    await gone;
  });
  await once(caller, 'message');
  isSlow = true;
  caller.send('NOBODY');
  await until(() => flushes.length > 0, 'the refusal is entered', 2 * FLUSH_MS_MAX);
  t.strictSame(flushes, [true], 'it was heard before');
});
