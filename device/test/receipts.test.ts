// Receipts for the manager's log [S6001 told to a terminal]: only its manager's count, the newest
// lies in the home, and a log that went back is said.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NO_COUNTS } from '../../protocol/ends.ts';
import { makeReceipt, openReceipt } from '../../protocol/identity/receipt.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { type Log, createLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { seededRng } from '../../protocol/random.ts';
import { micros } from '../../protocol/time.ts';
import { Ending } from '../ending.ts';
import { Outbox } from '../outbox.ts';
import { Requests } from '../requests.ts';
import { ReceiptStore } from '../shell/receipt-store.ts';

const manager = nodeSuite.signingKey(new Uint8Array(32).fill(5));
const stranger = nodeSuite.signingKey(new Uint8Array(32).fill(6));
const receipt = (sequence: number, key = manager): Uint8Array =>
  makeReceipt(key, { sequence, hash: new Uint8Array(32).fill(sequence), at: 1_800_000_000_000 });

/** Ends one talk after the other, each acknowledged with a receipt; what came out of it. */
function acknowledged(...receipts: readonly (Uint8Array | undefined)[]): {
  readonly kept: readonly (number | undefined)[];
  readonly bad: number;
  readonly waiting: number;
} {
  const rng = seededRng(3);
  const echo = seededRng(3);
  const outbox = new Outbox();
  const requests = new Requests(outbox, rng);
  const self = { suite: nodeSuite, managerKey: manager.publicKey };
  const ending = new Ending({ self, rng, outbox, requests });
  for (const bytes of receipts) {
    const session = randomSessionId(seededRng(8));
    ending.announce(micros(0), { session, reason: 'done', counts: NO_COUNTS });
    const request = randomRequestId(echo);
    ending.onEnded(micros(0), { kind: 'ended', request, session, receipt: bytes });
  }
  const kept: (number | undefined)[] = [];
  for (let output = outbox.shift(); output !== undefined; output = outbox.shift()) {
    if (output.kind !== 'receipt') continue;
    kept.push(openReceipt(nodeSuite, manager.publicKey, output.bytes)?.sequence);
  }
  return { kept, bad: outbox.counters().badReceipt, waiting: ending.size };
}

t.test('claim 5: an acknowledged end brings a receipt, if the manager signed it', async (t) => {
  t.match(acknowledged(receipt(7), receipt(7), receipt(9)), { kept: [7, 9], waiting: 0 });
  t.match(acknowledged(undefined), { kept: [], bad: 0, waiting: 0 });
  const damaged = receipt(7).with(20, 1);
  const forged = acknowledged(receipt(7, stranger), damaged, new Uint8Array(5), receipt(8));
  t.match(forged, { kept: [8], bad: 3, waiting: 0 }, 'the end is acknowledged all the same');
  t.match(acknowledged(receipt(9), receipt(4)), { kept: [9, 4] }, 'the shell judges which to keep');
});

async function home(t: Test): Promise<{
  readonly path: string;
  readonly said: string[];
  readonly open: (key?: Uint8Array) => ReceiptStore;
  readonly sequence: () => Promise<number | undefined>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-receipt-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'receipt');
  const said: string[] = [];
  const log: Log = createLog({ write: (line) => void said.push(line) });
  const open = (managerKey = manager.publicKey): ReceiptStore =>
    new ReceiptStore({ path, suite: nodeSuite, managerKey, log });
  const sequence = async (): Promise<number | undefined> =>
    openReceipt(nodeSuite, manager.publicKey, await readFile(path))?.sequence;
  return { path, said, open, sequence };
}

/** As the core hands it on. */
const proven = (sequence: number): { bytes: Uint8Array; sequence: number } => ({
  bytes: receipt(sequence),
  sequence,
});

t.test('the newest receipt lies in the home, over restarts', async (t) => {
  const { path, said, open, sequence } = await home(t);
  const first = open();
  for (const number of [3, 9, 5]) first.keep(proven(number));
  await first.settled();
  t.equal(await sequence(), 9);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.match(said, [/manager-log-went-back.*kept=9.*told=5/]);
  const second = open();
  second.keep(proven(9));
  t.equal(said.length, 1, 'the same again is nothing new');
  second.keep(proven(8));
  await second.settled();
  t.equal(await sequence(), 9, 'what would show that the log went back is not given away');
  t.equal(said.length, 2);
  const third = open();
  third.keep(proven(10));
  await third.settled();
  await third.settled();
  t.equal(await sequence(), 10);
});

t.test('a receipt that is damaged, too long or another manager’s counts as none', async (t) => {
  const { path, said, open, sequence } = await home(t);
  for (const content of [new Uint8Array(4), receipt(99, stranger), new Uint8Array(5_000)]) {
    await writeFile(path, content);
    const store = open();
    store.keep(proven(2));
    await store.settled();
    t.equal(await sequence(), 2);
  }
  t.match(said, [/receipt-unreadable/]);
  const store = open();
  await rm(join(path, '..'), { recursive: true });
  store.keep(proven(3));
  await store.settled();
  t.match(said.at(-1), /receipt-not-kept/, 'a disk that fails stops nothing');
});
