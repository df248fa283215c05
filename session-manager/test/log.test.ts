// The log's chain: whatever is changed,
// missing or moved is found [S6001].

import t from 'tap';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { HEAD_KEY } from '../ledger.ts';
import { type LogHead, decodeLogHead, verifyLog } from '../log.ts';
import { World, holds, CALLEE_ADDRESS, CALLER_ADDRESS } from './virtual-manager.ts';

function story(): { entries: Uint8Array[]; head: LogHead } {
  const world = new World();
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const { session } = world.introduce(one, three);
  world.connect(one, 'NOBODY', { waitMs: 1 });
  world.advance(1);
  world.end(one, session, 'done', { sentBytes: 5 });
  world.end(three, session, 'done', { receivedBytes: 5 });
  const row = world.table('meta').get(HEAD_KEY);
  const head = row && decodeLogHead(row);
  if (head === undefined) throw new Error('no head was stored');
  return { entries: world.logBytes(), head };
}

t.test('S6001: an untouched log verifies up to its head', async (t) => {
  const { entries, head } = story();
  t.match(verifyLog(nodeSuite, entries, head), { ok: true, entries: entries.length });
  t.ok(entries.length >= 9);
});

t.test('S6001: every flipped byte is found', async (t) => {
  const { entries, head } = story();
  let missed = 0;
  entries.forEach((entry, at) => {
    for (let byte = 0; byte < entry.length; byte++) {
      const changed = Uint8Array.from(entry);
      changed[byte] ^= 1 << (byte % 8);
      const log = entries.with(at, changed);
      if (verifyLog(nodeSuite, log, head).ok) missed += 1;
    }
  });
  t.equal(missed, 0);
});

t.test('S6001: every missing, repeated, swapped or cut entry is found', async (t) => {
  const { entries, head } = story();
  entries.forEach((entry, at) => {
    const fault = (log: readonly Uint8Array[]): boolean => !verifyLog(nodeSuite, log, head).ok;
    t.ok(fault(entries.toSpliced(at, 1)), `without ${at + 1}`);
    t.ok(fault(entries.toSpliced(at, 0, entry)), `${at + 1} twice`);
    t.ok(fault(entries.slice(0, at)), `cut before ${at + 1}`);
    if (at > 0) t.ok(fault(entries.with(at, entries[at - 1]).with(at - 1, entry)), `${at} moved`);
  });
});

t.test('S6001: the log holds no address', async (t) => {
  const { entries } = story();
  for (const address of [CALLER_ADDRESS, CALLEE_ADDRESS]) {
    t.notOk(entries.some((entry) => holds(entry, address)));
  }
  t.ok(
    entries.some((entry) => holds(entry, Buffer.from('TERM3'))),
    'positive control: names',
  );
});
