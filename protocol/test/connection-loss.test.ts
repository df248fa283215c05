// A talk over bad links: whatever the link does to datagrams, every transfer completes, byte for
// byte, and both ends count the same. Doses here are small; the full ones belong to `make prove`.

import t from 'tap';
import { randomBytes } from '../random.ts';
import type { Faults } from '../../sim/link.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const FORWARD_BYTES = 400_000;
const BACK_BYTES = 150_000;

const LINKS: Readonly<Record<string, Partial<Faults>>> = {
  '1 % loss': { loss: 0.01 },
  '10 % loss': { loss: 0.1 },
  '30 % loss': { loss: 0.3 },
  'bursts of loss': { loss: 0.02, burst: 0.7 },
  'reordering by 20 ms': { jitterMs: 20 },
  '30 % doubled': { duplicate: 0.3 },
  '10 % with a flipped bit': { corrupt: 0.1 },
  'a full queue at 1 MB/s': { bytesPerSecond: 1_000_000, delayMs: 25, queueBytes: 20_000 },
  'everything at once': { loss: 0.1, jitterMs: 10, duplicate: 0.1, corrupt: 0.05 },
};

for (const [name, faults] of Object.entries(LINKS)) {
  t.test(`S1006, S4006: both ways over ${name}`, async (t) => {
    for (const seed of [1, 2]) {
      const pair = new Pair({ faults, seed }).open();
      const [there, here] = [new Sink(pair.callee), new Sink(pair.caller)];
      const forward = randomBytes(pair.rng, FORWARD_BYTES);
      const back = randomBytes(pair.rng, BACK_BYTES);
      const forth = send(pair, pair.caller, forward);
      const answer = send(pair, pair.callee, back);
      const delivered = (): boolean => pair.caller.has('delivered') && pair.callee.has('delivered');
      t.ok(pair.run(delivered, 120_000), `seed ${seed}`);
      pair.caller.connection.close(pair.now, 'done');
      t.ok(pair.runToEnd());
      t.ok(Buffer.from(forward).equals(there.bytes(forth)));
      t.ok(Buffer.from(back).equals(here.bytes(answer)));
      t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
      t.equal(pair.caller.counts?.sentBytes, pair.callee.counts?.receivedBytes);
      t.equal(pair.callee.counts?.sentBytes, pair.caller.counts?.receivedBytes);
    }
  });
}

t.test('claim 15: the quota is exact over a link that loses, doubles and reorders', async (t) => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const bytes = 250_007;
    const faults = { loss: 0.1, jitterMs: 10, duplicate: 0.1 };
    const pair = new Pair({ seed, faults, limits: { seconds: 3600, bytes } }).open();
    const sinks = [new Sink(pair.caller), new Sink(pair.callee)];
    send(pair, pair.caller, new Uint8Array(bytes));
    send(pair, pair.callee, new Uint8Array(bytes));
    t.ok(pair.runToEnd());
    const [a, b] = [pair.caller.counts, pair.callee.counts];
    t.strictSame([pair.caller.reason, pair.callee.reason], ['quota', 'quota'], `seed ${seed}`);
    t.equal((a?.sentBytes ?? 0) + (b?.sentBytes ?? 0), bytes);
    t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0));
    t.equal(b?.sentBytes, (a?.receivedBytes ?? 0) + (b?.lostBytes ?? 0));
    t.equal(a?.lostBytes, 0, 'streams lose nothing');
    t.equal(b?.lostBytes, 0);
    t.ok(sinks[0].total + sinks[1].total <= bytes);
  }
});

t.test('S5007: lost messages are counted by their sender', async (t) => {
  for (const seed of [1, 2, 3]) {
    const pair = new Pair({ seed, faults: { loss: 0.2 } }).open();
    let received = 0;
    pair.callee.onEvent = (event) => {
      if (event.kind !== 'datagram') return;
      while (pair.callee.connection.readDatagram() !== undefined) received++;
    };
    for (let i = 0; i < 200; i++) {
      t.ok(pair.caller.connection.sendDatagram(new Uint8Array(160)));
      pair.pass(20);
    }
    pair.caller.connection.close(pair.now, 'done');
    t.ok(pair.runToEnd());
    const [a, b] = [pair.caller.counts, pair.callee.counts];
    t.equal(a?.sentBytes, 32_000);
    t.ok((a?.lostBytes ?? 0) > 0);
    t.equal(b?.receivedBytes, received * 160);
    t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0));
  }
});

t.test('a black hole of 5 s costs its length and a little', async (t) => {
  const pair = new Pair().open();
  const sink = new Sink(pair.callee);
  const data = randomBytes(pair.rng, 1_000_000);
  const stream = send(pair, pair.caller, data);
  pair.pass(30);
  pair.filter = () => false;
  pair.pass(5_000);
  pair.filter = () => true;
  t.ok(pair.run(() => sink.finished.has(stream), 6_000));
  t.ok(Buffer.from(data).equals(sink.bytes(stream)));
});

t.test('S5005: a new expiry reaches the peer through loss', async (t) => {
  const pair = new Pair({ seed: 5, faults: { loss: 0.3 } }).open();
  const message = { expiry: new Uint8Array(90).fill(1), signature: new Uint8Array(64).fill(2) };
  pair.caller.connection.extend(pair.now, {
    revision: 1,
    seconds: 7200,
    bytes: undefined,
    message,
  });
  pair.drain();
  t.ok(pair.run(() => pair.callee.has('expiry'), 10_000));
  const event = pair.callee.events.find(({ kind }) => kind === 'expiry');
  t.same(event, { kind: 'expiry', ...message });
});

t.test('S5007: a CLOSE that is lost is said again', async (t) => {
  for (const seed of [1, 2, 3, 4]) {
    const pair = new Pair({ seed }).open();
    pair.pass(500);
    pair.faults = { ...pair.faults, loss: 0.5 };
    pair.caller.connection.close(pair.now, 'operator');
    t.ok(pair.runToEnd(10_000), `seed ${seed}`);
    t.equal(pair.callee.reason, 'operator');
  }
});

t.test('a late acknowledgement of what was declared lost is noticed', async (t) => {
  const pair = new Pair({ faults: { jitterMs: 20 } }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(200_000));
  t.ok(pair.run(() => pair.caller.has('delivered')));
  const { spuriousLosses } = pair.caller.connection.statistics();
  const { lostPackets } = pair.caller.connection.state(pair.now).transport;
  t.ok(lostPackets > 0);
  t.ok(spuriousLosses > lostPackets / 2, `${spuriousLosses} of ${lostPackets}`);
});

t.test('claim 7: an initiation with another receiver index is nothing of ours', async (t) => {
  const pair = new Pair();
  let knocks = 0;
  let answers = 0;
  // A bit of the index flips on the way of the first knock, and the first answer is lost: whoever
  // took that knock for genuine would take none of the true ones that follow.
  pair.filter = (from, bytes) => {
    if (from === 'caller' && knocks++ === 0) bytes[2] ^= 1;
    return from === 'caller' || answers++ > 0;
  };
  pair.open();
  t.ok(pair.callee.has('established'));
  t.equal(knocks > 1, true);
});

t.test('claim 7: a response with another receiver index is nothing of ours', async (t) => {
  const pair = new Pair();
  let answers = 0;
  let established = 0;
  pair.caller.onEvent = ({ kind }) => {
    if (kind === 'established') established = answers;
  };
  pair.filter = (from, bytes) => {
    if (from === 'callee' && ++answers === 1) bytes[2] ^= 1;
    return true;
  };
  pair.open();
  t.ok(established > 1, 'the caller waits for the true one');
});
