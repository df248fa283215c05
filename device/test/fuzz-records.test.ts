// The files that a terminal writes as it goes, spoiled: records of ends, and the receipt. Neither
// keeps it from starting: an end that cannot be read is reported all the same, and a receipt counts
// only as far as the manager signed it.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { END_REASONS, NO_COUNTS } from '../../protocol/ends.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { makeReceipt } from '../../protocol/identity/receipt.ts';
import type { SessionId } from '../../protocol/ids.ts';
import type { Log } from '../../protocol/io/log.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { fuzzFile } from '../../protocol/test/fuzz.ts';
import { EndsStore } from '../shell/ends-store.ts';
import { ReceiptStore } from '../shell/receipt-store.ts';

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk-fz-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

const text = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

t.test('S5007: any text for a record of an end: an end, or a talk under way', async (t) => {
  const ends = await folder(t);
  const session = 'abcdefghijklmnopqrstuvwxyz' as SessionId;
  const counts = { ...NO_COUNTS, sentBytes: 5, durationMs: 2 ** 40 };
  const reasons: readonly (string | undefined)[] = END_REASONS.map(({ reason }) => reason);
  let damaged = 0;
  const log: Log = { ...silentLog, warn: () => (damaged += 1) };
  await fuzzFile(t, {
    path: join(ends, session),
    valid: [
      { version: 1, counts },
      ...reasons.map((reason) => ({ version: 1, reason, counts })),
    ].map(text),
    read: async () => {
      const before = damaged;
      const [end, more] = await new EndsStore(ends).load(log);
      const isKnown = end.reason === undefined || reasons.includes(end.reason);
      const isCounted = Object.values(end.counts).every((n) => Number.isSafeInteger(n) && n >= 0);
      if (more !== undefined || end.session !== session || !isKnown || !isCounted) {
        throw new Error('what was read is no end');
      }
      if (damaged > before) throw new NakodoError('damaged', session, 'it is reported');
    },
  });
});

t.test('S6001: any bytes for a receipt: what the manager signed, or none', async (t) => {
  const path = join(await folder(t), 'receipt');
  const key = nodeSuite.signingKey(new Uint8Array(32).fill(9));
  const receipts = [3, 700].map((sequence) =>
    makeReceipt(key, { sequence, hash: new Uint8Array(32), at: 1_800_000_000_000 }),
  );
  const oldest = makeReceipt(key, { sequence: 0, hash: new Uint8Array(32), at: 0 });
  await fuzzFile(t, {
    path,
    valid: receipts,
    read: () => {
      let wentBack = 0;
      const log: Log = { ...silentLog, warn: (event) => (wentBack += Number(/back/.test(event))) };
      const store = new ReceiptStore({ path, suite: nodeSuite, managerKey: key.publicKey, log });
      // Older than any: if it went back, what lies there counts.
      store.keep({ bytes: oldest, sequence: 0 });
      if (wentBack === 0) throw new NakodoError('none', path, 'it counts as none');
    },
  });
  await writeFile(path, new Uint8Array(100_000));
  t.ok(new ReceiptStore({ path, suite: nodeSuite, managerKey: key.publicKey, log: silentLog }));
});
