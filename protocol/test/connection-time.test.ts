// What only time does to a talk: an end that was suspended past its expiry, and keys that change
// every quarter of an hour while bytes flow over a bad link.

import t from 'tap';
import { CRYPTO_LIMITS } from '../data/limits.ts';
import { keyPhaseOf, packetKind } from '../data/packet.ts';
import { randomBytes } from '../random.ts';
import { type Micros, after, micros, ms } from '../time.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const GRANT = { seconds: 2, bytes: undefined };

t.test(
  'claim 14: what comes to an end that slept past its expiry is not taken any more',
  async (t) => {
    const pair = new Pair({ limits: GRANT }).open();
    pair.pass(1_000);
    pair.filter = () => false;
    const before = pair.sent.length;
    send(pair, pair.caller, randomBytes(pair.rng, 1_000));
    const held = pair.sent.slice(before).filter(({ from }) => from === 'caller');
    t.ok(held.length > 0, 'it was sent in time');
    // The callee is stopped for 3 s; when it goes on, its socket is read before its timer fires.
    const late = after(pair.now, ms(3_000));
    for (const { bytes } of held) {
      pair.callee.connection.handleDatagram(late, pair.caller.path, bytes.slice());
    }
    t.equal(pair.callee.connection.counts(late).receivedBytes, 0);
    pair.now = micros(late);
    pair.drain();
    t.equal(pair.callee.reason, 'time');
  },
);

t.test(
  'claim 14: rubbish that finds an end past its expiry ends it, and is told from idle rubbish',
  async (t) => {
    const pair = new Pair({ limits: GRANT }).open();
    pair.pass(1_000);
    const { connection } = pair.callee;
    const rubbish = (at: Micros): boolean =>
      connection.handleDatagram(at, pair.caller.path, new Uint8Array(100));
    t.notOk(rubbish(pair.now), 'nothing to drain while the talk goes on');
    const late = after(pair.now, ms(3_000));
    t.ok(rubbish(late), 'its end has to be drained');
    pair.now = micros(late);
    pair.drain();
    t.equal(pair.callee.reason, 'time');
    t.notOk(rubbish(pair.now), 'and once only');
  },
);

t.test(
  'claim 14: an end that slept past its expiry sends nothing more but its CLOSE',
  async (t) => {
    const pair = new Pair({ limits: GRANT }).open();
    pair.pass(1_000);
    const { connection } = pair.caller;
    const stream = connection.openStream();
    t.ok(stream !== undefined && connection.write(stream, new Uint8Array(1_000)) === 1_000);
    pair.now = after(pair.now, ms(3_000));
    pair.drain();
    t.equal(pair.caller.reason, 'time');
    t.equal(pair.caller.counts?.sentBytes, 0);
  },
);

t.test(
  'claim 4: an extension that comes to an end that slept past its expiry is late',
  async (t) => {
    const pair = new Pair({ limits: GRANT }).open();
    const message = { expiry: new Uint8Array(60), signature: new Uint8Array(64) };
    const more = { revision: 1, seconds: 60, bytes: undefined, message };
    t.notOk(pair.caller.connection.extend(after(pair.now, ms(3_000)), more));
  },
);

t.test(
  'claim 7: keys change every quarter of an hour, under loss, and no byte is lost',
  async (t) => {
    const faults = { loss: 0.1, burst: 0.3, duplicate: 0.05, delayMs: 40, jitterMs: 30 };
    const pair = new Pair({ faults }).open();
    const sinks = { caller: new Sink(pair.caller), callee: new Sink(pair.callee) };
    const minutes = 34;
    const ends = [pair.caller, pair.callee].map((end) => {
      const stream = send(pair, end, new Uint8Array(1), false);
      return { end, stream };
    });
    const turns = new Map<string, number>();
    const phases = { caller: 0, callee: 0 };
    let total = ends.length;
    for (let second = 0; second < minutes * 60; second += 5) {
      for (const { end, stream } of ends) {
        total += end.connection.write(stream, randomBytes(pair.rng, 3_000));
      }
      pair.drain();
      const before = pair.sent.length;
      pair.pass(5_000);
      for (const { from, bytes } of pair.sent.splice(before)) {
        if (packetKind(bytes) !== 'transport' || keyPhaseOf(bytes) === phases[from]) continue;
        phases[from] = keyPhaseOf(bytes);
        turns.set(from, (turns.get(from) ?? 0) + 1);
      }
    }
    t.equal(turns.get('caller'), 2, `after ${CRYPTO_LIMITS.keyPhaseMs} ms each`);
    t.equal(turns.get('callee'), 2);
    t.equal(sinks.caller.total + sinks.callee.total, total);
    t.equal(total, 2 + 2 * 3_000 * minutes * 12);
    t.equal(pair.caller.ended, undefined);
  },
);
