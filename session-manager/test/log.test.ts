// The log as the manager writes it [S6001]: what stands in it, what its end costs, and that a
// whole story verifies.

import t from 'tap';
import type { SigningKey } from '../../protocol/crypto.ts';
import { openReceipt } from '../../protocol/identity/receipt.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { micros } from '../../protocol/time.ts';
import { HEAD_KEY, decodeSpan, isCheckpointOf } from '../log-head.ts';
import { decodeLogEntry } from '../log.ts';
import { World, allow, holds, CALLEE_ADDRESS, CALLER_ADDRESS } from './virtual-manager.ts';
import { type Part, WrittenLog, verify } from './written-log.ts';

function story(): { readonly world: World; readonly part: Part } {
  const world = new World();
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const { session } = world.introduce(one, three);
  world.connect(one, 'NOBODY', { waitMs: 1 });
  world.advance(1);
  world.end(one, session, 'done', { sentBytes: 5 });
  world.end(three, session, 'done', { receivedBytes: 5 });
  const head = world.table('meta').get(HEAD_KEY);
  if (head === undefined) throw new Error('no head was stored');
  return { world, part: { head, entries: world.logBytes() } };
}

t.test('S6001: a whole story verifies with public keys, terminals’ signatures too', async (t) => {
  const { world, part } = story();
  const verdict = verify(world.key.publicKey, [part]);
  t.match(verdict, { ok: true, entries: part.entries.length });
  t.ok(part.entries.length >= 9);
  t.ok(verdict.ok && verdict.statements.checked === 2, 'the request and the verdict');
});

t.test('S6003: extensions that either end asked for verify by the terminals’ word', async (t) => {
  const world = new World();
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const { session } = world.introduce(one, three, {
    want: { seconds: 60 },
    entry: { seconds: 600 },
  });
  for (const [revision, asker] of [one, three].entries()) {
    world.extend(asker, session, revision + 1, { seconds: 120 * (revision + 1) });
    const { request } = world.asked(three, 'askExtend');
    world.answerList(three, request, [allow('TERM1', { seconds: 600, extend: true })]);
  }
  t.equal(world.logged('extended').length, 2);
  const head = world.table('meta').get(HEAD_KEY) ?? new Uint8Array();
  const verdict = verify(world.key.publicKey, [{ head, entries: world.logBytes() }]);
  t.match(verdict, { ok: true, statements: { checked: 6, unknown: 0 } });
});

t.test('S6001: an end is acknowledged with a receipt for the log as it is on disk', async (t) => {
  const { world, part } = story();
  const bytes = world.last('ended').receipt;
  const receipt = bytes && openReceipt(nodeSuite, world.key.publicKey, bytes);
  const span = decodeSpan(part.head);
  t.strictSame(receipt?.hash, span?.head.hash);
  t.equal(receipt?.sequence, part.entries.length);
});

t.test('S6001: the log holds no address', async (t) => {
  const { entries } = story().part;
  for (const address of [CALLER_ADDRESS, CALLEE_ADDRESS]) {
    t.notOk(entries.some((entry) => holds(entry, address)));
  }
  t.ok(
    entries.some((entry) => holds(entry, Buffer.from('TERM3'))),
    'positive control: names',
  );
});

/** Counts what a log's manager signs. */
function counted(log: WrittenLog): { signatures: number } {
  const count = { signatures: 0 };
  const { key } = log;
  const counting: SigningKey = {
    publicKey: key.publicKey,
    sign(message) {
      count.signatures += 1;
      return key.sign(message);
    },
  };
  log.key = counting;
  log.restart();
  return count;
}

t.test('S6001: one signature a batch, however many entries it has', async (t) => {
  const log = new WrittenLog();
  const count = counted(log);
  for (let entry = 0; entry < 100; entry++) log.enter({ kind: 'refused', times: 1 });
  t.equal(count.signatures, 100, 'a batch for each, as the disk was free');
  log.works = false;
  log.ledger.add(micros(0), { entries: [], writes: () => [], persisted: () => {} });
  log.works = true;
  const many = Array.from({ length: 50 }, () => ({ kind: 'refused', times: 1 }) as const);
  log.enter(...many);
  t.equal(count.signatures, 101, 'one for fifty');
  log.receipt();
  t.equal(log.receipt(), log.receipt());
  t.equal(count.signatures, 102, 'one receipt for all who are answered behind a batch');
  log.enter({ kind: 'refused', times: 1 });
  log.receipt();
  t.equal(count.signatures, 104);
});

t.test('S6001: a checkpoint at each start and every 256 entries, none without need', async (t) => {
  const log = new WrittenLog();
  const checkpoints = (): readonly number[] =>
    log
      .part()
      .entries.flatMap((entry, at) =>
        decodeLogEntry(entry)?.kind === 'checkpoint' ? [at + 1] : [],
      );
  const enter = (times: number): void => {
    for (let entry = 0; entry < times; entry++) log.enter({ kind: 'refused', times: 1 });
  };
  enter(256);
  t.strictSame(checkpoints(), [], 'nothing stands before the first entry');
  enter(1);
  t.strictSame(checkpoints(), [257]);
  log.restart();
  t.strictSame(checkpoints(), [257], 'a start alone writes nothing');
  enter(256);
  t.strictSame(checkpoints(), [257, 259]);
  enter(1);
  t.strictSame(checkpoints(), [257, 259, 516]);
  const { entries } = log.part();
  const checkpoint = decodeLogEntry(entries[256]);
  const before = { sequence: 256, hash: nodeSuite.blake2s(entries[255]) };
  const key = log.key.publicKey;
  t.ok(
    checkpoint?.kind === 'checkpoint' &&
      isCheckpointOf(nodeSuite, key, before, checkpoint.signature),
  );
  t.match(verify(key, [log.part()]), { ok: true, checkpoints: 3 });
});

t.test('S6001: a batch that was not written leaves chain and receipts as they were', async (t) => {
  const log = new WrittenLog();
  log.fill(300);
  const before = log.part();
  const receipt = log.receipt();
  log.works = false;
  log.enter({ kind: 'refused', times: 1 });
  t.strictSame(log.part(), before);
  t.equal(log.receipt(), receipt);
  log.works = true;
  log.enter({ kind: 'refused', times: 2 });
  t.match(verify(log.key.publicKey, [log.part()]), { ok: true });
  t.match(decodeLogEntry(log.part().entries.at(-1) ?? new Uint8Array()), { times: 2 });
});

t.test('S6001: bytes that are not exactly one entry are none', async (t) => {
  const log = new WrittenLog();
  log.fill(40);
  for (const entry of log.part().entries) {
    t.ok(decodeLogEntry(entry) !== undefined);
    t.equal(decodeLogEntry(Uint8Array.from([...entry, 0])), undefined, 'a byte more');
    for (let length = 0; length < entry.length; length++) {
      if (decodeLogEntry(entry.subarray(0, length)) !== undefined) t.fail(`cut to ${length}`);
    }
  }
});
