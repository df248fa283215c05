// Terminals that flood the broker, on real sockets: they wait for themselves, and neither the
// session manager nor another terminal pays for it.

import fc from 'fast-check';
import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { topic } from '../../protocol/control/topics.ts';
import { micros } from '../../protocol/time.ts';
import { until } from '../../protocol/test/until.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { Pace, Paces } from '../pace.ts';
import { makeTerminal } from './parties.ts';
import { attend, manage, manager, start } from './real-broker.ts';
import { recordOf } from './virtual-broker.ts';

const PIECE = Buffer.alloc(15_000);
const CROWD = 12;
/** PINGREQ (MQTT 3.1.1 §3.12). */
const PING = Buffer.of(0xc0, 0);

t.test('a pace lets a burst through, and then its rate and no more', async (t) => {
  const reads = fc.array(fc.record({ waitMicros: fc.nat(200_000), bytes: fc.nat(4_000) }));
  fc.assert(
    fc.property(reads, (list) => {
      const pace = new Pace(10_000, 2_000);
      let now = 0;
      let rest = 0;
      let read = 0;
      for (const { waitMicros, bytes } of list) {
        now += rest + waitMicros;
        rest = pace.take(micros(now), bytes);
        read += bytes;
        // What was read is paid for at the latest when the rest is over.
        const paidFor = 2_000 + ((now + rest) / 1_000_000) * 10_000;
        if (read > paidFor + 1) return false;
        if (rest > 0 && bytes === 0) return false;
      }
      return true;
    }),
  );
  const pace = new Pace(10_000, 2_000);
  t.equal(pace.take(micros(0), 2_000), 0, 'the whole burst');
  t.equal(pace.take(micros(0), 1), 100, 'one byte more: its time');
  t.equal(pace.take(micros(1_000_000), 2_000), 0, 'filled again, and not more than full');
  t.equal(pace.take(micros(1_000_000), 10_000), 1_000_000);
  t.equal(pace.take(micros(0), 0), 1_000_000, 'time that steps back fills nothing');
});

t.test('a terminal that floods is read at its pace, and another is heard at once', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const flooder = await attend(broker.port, makeTerminal(manager, 21));
  const quiet = await attend(broker.port, makeTerminal(manager, 22));
  const of = (seed: number): ReturnType<typeof makeTerminal> => makeTerminal(manager, seed);
  const began = performance.now();
  const overBytes = BROKER_LIMITS.terminalBytesPerSecond / 2;
  const pieces = Math.ceil((BROKER_LIMITS.terminalBurstBytes + overBytes) / PIECE.length);
  const up = topic('up', of(21).device);
  for (let at = 0; at < pieces; at++) {
    flooder.client.publish(up, PIECE, { qos: 0 }, () => {});
  }
  flooder.say(topic('address', of(21).device), {
    kind: 'address',
    record: recordOf(1),
    candidates: [],
  });
  quiet.say(topic('address', of(22).device), {
    kind: 'address',
    record: recordOf(2),
    candidates: [],
  });
  await quiet.next('addressRecorded');
  t.notOk(flooder.heard.some(({ message }) => message.kind === 'addressRecorded'));
  await flooder.next('addressRecorded');
  t.ok(performance.now() - began > 400, 'half a second’s worth came after the burst');
  t.notOk(flooder.closed, 'and it was not thrown out');
});

t.test('the shortest packets are paced as well, also by who connects anew', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const terminal = makeTerminal(manager, 23);
  const { terminalBytesPerSecond, terminalBurstBytes, terminalPacketBytes } = BROKER_LIMITS;
  const packets = (terminalBurstBytes + 1.5 * terminalBytesPerSecond) / terminalPacketBytes;
  const flooder = await attend(broker.port, terminal);
  let answered = 0;
  flooder.client.on('packetreceive', ({ cmd }) => {
    if (cmd === 'pingresp') answered += 1;
  });
  const began = performance.now();
  flooder.socket.write(Buffer.alloc(2 * packets, PING));
  // They came in a piece or two; what follows waits for its time, on another connection, too.
  await until(() => answered === packets, 'an answer to each');
  const anew = await attend(broker.port, terminal);
  anew.say(topic('address', terminal.device), {
    kind: 'address',
    record: recordOf(3),
    candidates: [],
  });
  await anew.next('addressRecorded');
  t.ok(performance.now() - began > 1_200, 'what came after the burst has taken its time');
});

t.test('a pace is kept until its burst is whole again, and not longer', async (t) => {
  const paces = new Paces(1_000, 1_000);
  const [one, other, third] = [41, 42, 43].map((seed) => makeTerminal(manager, seed).device);
  const pace = paces.enter(micros(0), one);
  t.equal(pace.take(micros(0), 1_500), 500_000);
  t.equal(paces.enter(micros(0), one), pace, 'a connection that takes over');
  paces.leave(one);
  t.equal(paces.enter(micros(0), other).take(micros(0), 900), 0, 'another has its own');
  paces.leave(one);
  paces.leave(other);
  paces.leave(other);
  t.equal(paces.enter(micros(1_000), one), pace, 'one that comes back');
  paces.leave(one);
  t.equal(paces.size, 2);
  paces.enter(micros(1_499_000), third);
  t.equal(paces.size, 2, 'who owes still, and who came');
  paces.enter(micros(1_500_000), third);
  t.equal(paces.size, 1);
});

t.test('a crowd that floods cannot have a slow session manager thrown out', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const crowd = Array.from({ length: CROWD }, (_, at) => makeTerminal(manager, 30 + at));
  const wires = await Promise.all(crowd.map((terminal) => attend(broker.port, terminal)));
  // MQTT.js resumes what it pipes from.
  operator.socket.unpipe();
  operator.socket.pause();
  const pieces = Math.ceil(BROKER_LIMITS.terminalBurstBytes / PIECE.length);
  for (const [at, wire] of wires.entries()) {
    const up = topic('up', crowd[at].device);
    for (let piece = 0; piece < pieces; piece++) {
      wire.client.publish(up, PIECE, { qos: 0 }, () => {});
    }
  }
  const { slowReaders } = broker.stats();
  await until(() => {
    const now = broker.stats();
    return now.managerBehind > 0 || now.slowReaders > slowReaders;
  }, 'the manager to fall behind');
  t.match(broker.stats(), { slowReaders: 0, connections: CROWD + 1 });
  t.notOk(operator.closed);
  const boot = recordOf(9) as never;
  const register = encodeMessage({
    kind: 'register',
    request: boot,
    name: 'C0' as never,
    boot,
    capabilities: [],
  });
  let isHeard = false;
  operator.socket.on('data', (chunk: Buffer) => {
    isHeard ||= chunk.includes(Buffer.from(register));
  });
  operator.socket.resume();
  await until(() => {
    wires[0].client.publish(topic('up', crowd[0].device), Buffer.from(register), () => {});
    return isHeard;
  }, 'the manager to be heard again');
  t.notOk(operator.closed);
});
