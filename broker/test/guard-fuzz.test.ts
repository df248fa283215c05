// Any bytes at the broker's door: a ClientHello, a CONNECT, packets of somebody who is let in, each
// bent, cut, split and made up. They are taken or refused, never anything else, and no more than
// 2 KiB of a stranger is ever kept. Seeded: a failing case prints its seed.

import { type Duplex, Duplex as Stream } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { topic } from '../../protocol/control/topics.ts';
import { dose } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { parseConnect } from '../connect-packet.ts';
import { type FirstBytes, judgeClientHello, judgeConnect } from '../first-bytes.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { BrokerShell } from '../shell/broker-shell.ts';
import { makeTerminal } from './parties.ts';
import { connect, packet, publish, subscribe, terminalConnect } from './raw-packets.ts';
import { attend, manager, start } from './real-broker.ts';

const CASES = dose(2_000, 50);
const SEED = 20_261_123;
const TOGETHER = 50;
const MIB = 1024 * 1024;
const TERM1 = makeTerminal(manager, 11);
const TERM3 = makeTerminal(manager, 13);

/** The first flight of Node's own TLS client. */
const realHello = (): Promise<Uint8Array> =>
  new Promise((resolve) => {
    const wire = new Stream({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        resolve(Uint8Array.from(chunk));
        done();
      },
    });
    connectTls({ socket: wire, rejectUnauthorized: false }).on('error', () => {});
  });

/** A good one, or one that was bent: bytes changed, cut off, put in. */
const bent = (good: Uint8Array): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), {
        maxLength: 4,
      }),
      fc.oneof(fc.constant(good.length), fc.nat(good.length)),
      fc.uint8Array({ maxLength: 12 }),
      fc.nat(good.length),
    )
    .map(([changes, cut, put, at]) => {
      const bytes = Uint8Array.from(good);
      for (const [where, value] of changes) bytes[where] = value;
      return Uint8Array.from([...bytes.subarray(0, at), ...put, ...bytes.subarray(at)]).subarray(
        0,
        cut + put.length,
      );
    });

t.test('first bytes: any are taken, waited for or refused, chunk by chunk alike', async (t) => {
  const hello = await realHello();
  const whole = Uint8Array.from(terminalConnect(TERM1));
  t.equal(judgeClientHello(hello), 'whole', 'the control');
  t.equal(judgeConnect(whole), 'whole');
  const table = [
    ['ClientHello', judgeClientHello, hello],
    ['CONNECT', judgeConnect, whole],
  ] as const;
  for (const [what, judge, good] of table) {
    const seen = new Map<FirstBytes, number>();
    const bytes = fc.oneof(
      { weight: 8, arbitrary: bent(good) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 4_000 }) },
    );
    fc.assert(
      fc.property(bytes, fc.nat(4_000), (all, cut) => {
        const verdict = judge(all);
        seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
        const early = judge(all.subarray(0, cut));
        if (
          verdict === 'whole' &&
          judge(all.subarray(0, BROKER_LIMITS.strangerBytesMax)) !== verdict
        )
          return false;
        // Of two refusals the one that shows first is given.
        const isRefusal = verdict === 'malformed' || verdict === 'too-long';
        return early === 'more' || early === verdict || (early !== 'whole' && isRefusal);
      }),
      { numRuns: CASES, seed: SEED },
    );
    t.comment(`${what}: ${[...seen].map(([verdict, n]) => `${verdict} ${n}`).join(', ')}`);
    t.strictSame([...seen.keys()].sort(), ['malformed', 'more', 'too-long', 'whole'], what);
  }
});

t.test('CONNECT: read exactly as it was written, or refused', async (t) => {
  const good = Uint8Array.from(terminalConnect(TERM1));
  t.match(parseConnect(good), { clientId: TERM1.device, username: 'terminal' });
  let read = 0;
  fc.assert(
    fc.property(bent(good), (bytes) => {
      if (judgeConnect(bytes) !== 'whole') return true;
      const login = parseConnect(bytes);
      if (login === undefined) return true;
      read += 1;
      const { clientId, username, password } = login;
      if (username === undefined || password === undefined) return true;
      const again = connect({ clientId, username, password });
      const keepAlive = again.indexOf('MQTT') + 6;
      const same = again.every(
        (byte, at) => at === keepAlive || at === keepAlive + 1 || byte === bytes[at],
      );
      // A length may be written longer than it needs to be; then the bytes are shifted.
      return same || bytes[1] !== again[1] || bytes[2] !== again[2];
    }),
    { numRuns: CASES, seed: SEED },
  );
  t.ok(read > CASES / 20, `${read} of them were read`);
  for (const bytes of [
    packet(1, 0, Buffer.alloc(0)),
    packet(1, 0, Buffer.from([0, 4])),
    packet(1, 0, Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2])),
    packet(1, 0, Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 9, 0x61])),
    packet(1, 0, Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 0])),
    connect({ clientId: Uint8Array.of(0xff), username: 'terminal', password: good }),
    Buffer.concat([packet(1, 0, good.subarray(3, -1)), Buffer.of(0)]),
  ])
    t.equal(parseConnect(bytes), undefined);
});

/** A CONNECT that says that it is as long as one may be. */
const announced = (body: Uint8Array): Uint8Array => Uint8Array.from([0x10, 0xfd, 0x0f, ...body]);

/** Says the chunks on a connection of its own, and leaves when it was answered or not. */
async function visit(broker: BrokerShell, chunks: readonly Uint8Array[]): Promise<void> {
  const stream: Duplex = broker.connect();
  stream.on('error', () => {});
  const gone = new Promise((resolve) => stream.once('close', resolve));
  stream.resume();
  for (const chunk of chunks) {
    if (stream.destroyed) break;
    stream.write(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  stream.destroy();
  await gone;
}

/** Runs all cases, some together; the broker goes on serving, and its memory with it. */
async function survived(
  t: Test,
  count: number,
  casesOf: (count: number, seed: number) => readonly (readonly Uint8Array[])[],
  broker: BrokerShell,
): Promise<void> {
  const honest = await attend(broker.port, TERM3);
  const before = process.memoryUsage.rss();
  for (let at = 0; at < count; at += TOGETHER)
    await Promise.all(casesOf(TOGETHER, SEED + at).map((chunks) => visit(broker, chunks)));
  await until(() => broker.stats().connections === 1, 'all to be gone');
  const upMib = (process.memoryUsage.rss() - before) / MIB;
  const { strangerBytesHeldMost, strangerBytesHeld } = broker.stats();
  t.comment(`${count} cases, RSS up ${upMib.toFixed(0)} MiB`);
  t.ok(strangerBytesHeldMost <= BROKER_LIMITS.strangerBytesMax, `${strangerBytesHeldMost} bytes`);
  t.equal(strangerBytesHeld, 0);
  t.ok(upMib < 200, 'nothing piles up');
  t.notOk(honest.closed);
  t.ok((await attend(broker.port, TERM1)).up, 'and it serves');
}

/** A seeded row of cases, each cut into chunks. */
const cut = (bytes: fc.Arbitrary<Uint8Array>, count: number, seed: number): Uint8Array[][] =>
  fc.sample(
    fc.tuple(bytes, fc.array(fc.nat(600), { maxLength: 3 })).map(([all, cuts]) => {
      const chunks: Uint8Array[] = [];
      let at = 0;
      for (const cut of cuts) {
        chunks.push(all.subarray(at, at + cut));
        at += cut;
      }
      return [...chunks, all.subarray(at)].filter((chunk) => chunk.length > 0);
    }),
    { numRuns: count, seed },
  );

t.test('strangers that say anything: refused, and at most 2 KiB kept', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const good = Uint8Array.from(terminalConnect(makeTerminal(manager, 15)));
  const bytes = fc.oneof(
    { weight: 6, arbitrary: bent(good) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6_000 }) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 3_000 }).map(announced) },
  );
  await survived(t, CASES, (count, seed) => cut(bytes, count, seed), broker);
  const { badFirstBytes, connectsRefused, loginsRefused } = broker.stats();
  t.ok(badFirstBytes > 0 && connectsRefused > 0 && loginsRefused > 0, 'in each of three ways');
});

t.test('somebody who is let in says anything: nobody else pays', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const crowd = Array.from({ length: TOGETHER }, (_, at) => makeTerminal(manager, 100 + at));
  const own = topic('up', crowd[0].device);
  const bytes = fc.oneof(
    bent(publish(own, Buffer.alloc(30), { qos: 1 })),
    bent(publish(own, Buffer.alloc(3), { qos: 2 })),
    bent(subscribe(3, ['nakodo/1/call/x', own, '#'])),
    bent(packet(10, 2, Buffer.from([0, 1, 0, 1, 0x23]))),
    bent(packet(12, 0, Buffer.alloc(0))),
    bent(Uint8Array.from(terminalConnect(TERM1))),
    fc.uint8Array({ maxLength: 2_000 }),
  );
  const casesOf = (count: number, seed: number): Uint8Array[][] =>
    cut(bytes, count, seed).map((chunks, at) => [terminalConnect(crowd[at % TOGETHER]), ...chunks]);
  await survived(t, dose(400, 10), casesOf, broker);
});
