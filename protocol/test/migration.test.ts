// The talk goes on when the peer's address changes (RFC 9000 §9), and follows nobody else: neither
// who copies packets, nor who forwards them faster, nor a thousand of them.

import t, { type Test } from 'tap';
import type { Path } from '../core.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { Role } from '../data/connection-types.ts';
import { randomBytes } from '../random.ts';
import { after, ms } from '../time.ts';
import type { TraceEvent } from '../trace/trace-event.ts';
import { dose } from './dose.ts';
import type { End, PairOptions } from '../../sim/pair.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const NEW_PORT: Path = { host: '192.0.2.1', port: 40_001 };
const NEW_HOST: Path = { host: '198.51.100.9', port: 1000 };
const ATTACKER: Path = { host: '203.0.113.66', port: 666 };
const FAULTS = { delayMs: 10, bytesPerSecond: 2_000_000, queueBytes: 100_000 };

const same = (a: Path | undefined, b: Path): boolean => a?.host === b.host && a.port === b.port;
const pathOf = (pair: Pair, end: End): Path | undefined => end.connection.state(pair.now).path;
const movesOf = (end: End): number => end.connection.statistics().moves;

/** Both ends send `bytes`, `meanwhile` happens once a fifth is through; everything must arrive. */
function transfer(
  pair: Pair,
  t: Test,
  { bytes, limitMs, meanwhile }: { bytes: number; limitMs: number; meanwhile: () => void },
): void {
  const sinks = [new Sink(pair.callee), new Sink(pair.caller)] as const;
  const data = [randomBytes(pair.rng, bytes), randomBytes(pair.rng, bytes / 4)] as const;
  const forth = send(pair, pair.caller, data[0]);
  const back = send(pair, pair.callee, data[1]);
  t.ok(pair.run(() => sinks[0].total > bytes / 5, 30_000));
  meanwhile();
  const since = pair.now;
  t.ok(pair.run(() => sinks[0].finished.has(forth) && sinks[1].finished.has(back), limitMs));
  t.comment(`${(pair.now - since) / 1000} ms`);
  t.ok(Buffer.from(data[0]).equals(sinks[0].bytes(forth)));
  t.ok(Buffer.from(data[1]).equals(sinks[1].bytes(back)));
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
  const [a, b] = [pair.caller.counts, pair.callee.counts];
  t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0));
  t.equal(b?.sentBytes, (a?.receivedBytes ?? 0) + (b?.lostBytes ?? 0));
}

for (const [name, to] of [
  ['another port', NEW_PORT],
  ['another host', NEW_HOST],
] as const) {
  t.test(`S1006, S4006: ${name} for either end in mid-transfer costs no byte`, async (t) => {
    for (const mover of ['caller', 'callee'] as const) {
      for (const loss of [0, 0.05]) {
        const pair = new Pair({ faults: { ...FAULTS, loss } }).open();
        const other = pair.end(mover === 'caller' ? 'callee' : 'caller');
        transfer(pair, t, {
          bytes: 600_000,
          limitMs: 60_000,
          meanwhile: () => pair.end(mover).move(to),
        });
        t.ok(same(pathOf(pair, other), to), 'followed');
        t.equal(movesOf(other), 1);
        t.equal(movesOf(pair.end(mover)), 0);
        const event = other.events.find(({ kind }) => kind === 'path');
        t.same(event, { kind: 'path', path: to });
      }
    }
  });
}

t.test('a peer that moves is heard again within a few round trips', async (t) => {
  const pair = new Pair({ faults: FAULTS }).open();
  const sink = new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(3_000_000));
  pair.pass(500);
  pair.caller.move(NEW_HOST);
  const since = pair.now;
  t.ok(pair.run(() => same(pathOf(pair, pair.callee), NEW_HOST), 5_000));
  t.ok(pair.now - since < ms(200), `${pair.now - since} us`);
  const before = sink.total;
  pair.pass(1_000);
  t.ok(sink.total - before > 1_000_000, `${sink.total - before} bytes in the second after`);
});

t.test('a path that stood still for seconds does not hold a move up for as long', async (t) => {
  const pair = new Pair({ faults: { ...FAULTS, delayMs: 50 } }).open();
  pair.callee.connection.sendDatagram(new Uint8Array(32));
  pair.pass(1_000);
  const held: Uint8Array[] = [];
  pair.filter = (from, bytes) => {
    if (from === 'caller') held.push(bytes);
    return from === 'callee';
  };
  const say = (end: End): void => {
    end.connection.sendDatagram(new Uint8Array(32));
    pair.drain();
    pair.pass(200);
  };
  for (let time = 0; time < 4_500; time += 400) {
    say(pair.callee);
    say(pair.caller);
  }
  // A relay that was stopped, say, hands on what it holds: round trips of seconds, truly measured.
  pair.filter = () => true;
  for (const bytes of held) pair.fly('callee', pair.caller.path, bytes, 0);
  pair.pass(300);
  t.ok((pair.callee.connection.state(pair.now).rttMs ?? 0) > 500, 'as measured');
  pair.caller.move(NEW_HOST);
  const since = pair.now;
  while (movesOf(pair.callee) === 0 && pair.now < after(since, ms(10_000))) say(pair.caller);
  t.ok(pair.now - since <= ms(2_000), `${pair.now - since} us`);
});

t.test('both ends get another address at once, and the old ones go one by one', async (t) => {
  const pair = new Pair({ faults: FAULTS }).open();
  const calleeToo = { host: '192.0.2.200', port: 77 };
  transfer(pair, t, {
    bytes: 4_000_000,
    limitMs: 60_000,
    meanwhile: () => {
      pair.caller.move(NEW_PORT, true);
      pair.callee.move(calleeToo, true);
      pair.pass(100);
      t.equal(movesOf(pair.callee), 0, 'an address that still works is kept');
      pair.caller.move(NEW_PORT);
      const isFollowed = (): boolean => same(pathOf(pair, pair.callee), NEW_PORT);
      t.ok(pair.run(isFollowed, 4_000));
      pair.callee.move(calleeToo);
    },
  });
  t.ok(same(pathOf(pair, pair.caller), calleeToo));
});

t.test('who only receives and gets another address is soon found again', async (t) => {
  for (const mover of ['caller', 'callee'] as const) {
    const pair = new Pair({ faults: FAULTS }).open();
    const [end, other] = [pair.end(mover), mover === 'caller' ? pair.callee : pair.caller];
    const sink = new Sink(end);
    const stream = send(pair, other, new Uint8Array(3_000_000));
    pair.pass(300);
    end.move(NEW_HOST);
    t.ok(pair.run(() => sink.finished.has(stream), 8_000));
    t.equal(movesOf(other), 1);
  }
});

t.test('a talk that has become quiet comes back to its keep-alive', async (t) => {
  const pair = new Pair().open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(100_000));
  pair.pass(60_000);
  const before = pair.sent.length;
  pair.pass(200_000);
  const datagrams = pair.sent.length - before;
  t.ok(datagrams >= 20 && datagrams <= 44, `${datagrams} in 200 s, PINGs and their ACKs`);
});

t.test('an address a second: the talk keeps up', async (t) => {
  const pair = new Pair({ faults: FAULTS }).open();
  const sink = new Sink(pair.callee);
  const data = randomBytes(pair.rng, 3_000_000);
  const stream = send(pair, pair.caller, data);
  for (let turn = 0; turn < 5 && !sink.finished.has(stream); turn++) {
    pair.pass(1_500);
    pair.caller.move({ host: `198.51.100.${turn}`, port: 1000 + turn });
  }
  t.ok(pair.run(() => sink.finished.has(stream), 60_000));
  t.ok(Buffer.from(data).equals(sink.bytes(stream)));
});

t.test('only another port keeps what is known of the path; another host does not', async (t) => {
  for (const [to, keeps] of [
    [NEW_PORT, true],
    [NEW_HOST, false],
  ] as const) {
    const pair = new Pair({
      faults: { delayMs: 20 },
      config: { datagramBytesProbes: [1452, 1472], congestionControl: 'cubic' },
    }).open();
    new Sink(pair.caller);
    send(pair, pair.callee, new Uint8Array(600_000));
    pair.pass(2_000);
    const before = pair.callee.connection.state(pair.now).transport.congestionWindow;
    t.equal(pair.callee.connection.state(pair.now).transport.datagramBytes, 1472);
    pair.caller.move(to);
    pair.caller.connection.sendDatagram(new Uint8Array(10));
    pair.drain();
    t.ok(pair.run(() => movesOf(pair.callee) === 1, 5_000));
    const { transport, rttMs } = pair.callee.connection.state(pair.now);
    t.equal(transport.congestionWindow === before, keeps, `${transport.congestionWindow}`);
    t.ok(rttMs !== undefined && Math.abs(rttMs - 40) < 10, `${rttMs} ms`);
    t.equal(transport.datagramBytes, keeps ? 1472 : DATA_LIMITS.datagramBytesMin);
    pair.pass(2_000);
    t.equal(pair.callee.connection.state(pair.now).transport.datagramBytes, 1472, 'found again');
  }
});

/** Copies each datagram of `victim` and forwards it from elsewhere, before the original arrives. */
function forwardFaster(pair: Pair, victim: Role, from: () => Path, isOn: () => boolean): void {
  const to = victim === 'caller' ? 'callee' : 'caller';
  const before = pair.filter;
  pair.filter = (role, bytes) => {
    if (role === victim && isOn()) pair.fly(to, from(), bytes.slice(), ms(1));
    return before(role, bytes);
  };
}

t.test('who forwards our packets faster is asked and never followed', async (t) => {
  for (const relays of [false, true]) {
    const pair = new Pair({ faults: FAULTS }).open();
    let isOn = false;
    let copiedBytes = 0;
    let strayBytes = 0;
    // It copies every packet of the caller.
    pair.filter = (from, bytes) => {
      if (from !== 'caller' || !isOn) return true;
      copiedBytes += bytes.length;
      pair.fly('callee', ATTACKER, bytes.slice(), ms(1));
      return true;
    };
    pair.onStray = (from, to, bytes) => {
      if (from === 'callee') strayBytes += bytes.length;
      if (!same(to, ATTACKER)) t.fail('sent where nobody is');
      // It even passes questions and answers on, as if they came from itself.
      if (relays) pair.fly(from === 'caller' ? 'callee' : 'caller', ATTACKER, bytes, ms(30));
    };
    transfer(pair, t, { bytes: 1_000_000, limitMs: 4_000, meanwhile: () => (isOn = true) });
    t.ok(same(pathOf(pair, pair.callee), pair.caller.path));
    t.ok(strayBytes > 0, 'it was asked');
    t.ok(strayBytes <= DATA_LIMITS.amplification * copiedBytes);
    t.ok(strayBytes < 20 * DATA_LIMITS.datagramBytesMin, `${strayBytes} bytes in all`);
  }
});

for (const [then, dropsAll] of [
  ['falls silent', true],
  ['passes on nothing but small packets', false],
] as const) {
  t.test(`who alone carries the talk and then ${then} does not keep it`, async (t) => {
    const pair = new Pair({ faults: FAULTS }).open();
    let isRelaying = true;
    pair.filter = (from, bytes) => {
      if (isRelaying && from === 'caller') pair.fly('callee', ATTACKER, bytes, ms(1));
      return !isRelaying;
    };
    pair.onStray = (from, _to, bytes) => {
      const passes = isRelaying || (!dropsAll && bytes.length < 200);
      if (passes) pair.fly(from === 'caller' ? 'callee' : 'caller', ATTACKER, bytes, ms(1));
    };
    const sink = new Sink(pair.callee);
    const data = randomBytes(pair.rng, 1_500_000);
    const stream = send(pair, pair.caller, data.subarray(0, 500_000), false);
    t.ok(
      pair.run(() => same(pathOf(pair, pair.callee), ATTACKER), 10_000),
      'it is on the path',
    );
    isRelaying = false;
    let at = 500_000;
    const pump = (): void => {
      at += pair.caller.connection.write(stream, data.subarray(at));
      if (at === data.length) pair.caller.connection.finish(stream);
    };
    pump();
    const before = pair.caller.onEvent;
    pair.caller.onEvent = (event) => {
      before(event);
      if (event.kind === 'writable') pump();
    };
    t.ok(pair.run(() => sink.finished.has(stream), 30_000));
    t.ok(Buffer.from(data).equals(sink.bytes(stream)));
    t.ok(same(pathOf(pair, pair.callee), pair.caller.path));
    t.ok(same(pathOf(pair, pair.caller), pair.callee.path));
  });
}

t.test('claim 7: copies from a thousand addresses cost a bounded answer and no rate', async (t) => {
  const seconds = (spoof: boolean): number => {
    const pair = new Pair({ faults: FAULTS }).open();
    let turn = 0;
    forwardFaster(
      pair,
      'caller',
      () => ({ host: `203.0.113.${turn % 250}`, port: 1000 + (turn++ % 1000) }),
      () => spoof,
    );
    const sent = new Map<string, number>();
    pair.onStray = (_from, to, bytes) => {
      const key = `${to.host}:${to.port}`;
      sent.set(key, (sent.get(key) ?? 0) + bytes.length);
    };
    const sink = new Sink(pair.callee);
    const since = pair.now;
    const stream = send(pair, pair.caller, new Uint8Array(2_000_000));
    t.ok(pair.run(() => sink.finished.has(stream), 30_000));
    t.equal(movesOf(pair.callee), 0);
    const elapsed = (pair.now - since) / 1e6;
    const attempts = elapsed / (DATA_LIMITS.migrationPauseMs / 1000) + 1;
    t.ok(sent.size <= attempts * DATA_LIMITS.pathCandidatesMax, `${sent.size} addresses asked`);
    for (const bytes of sent.values()) t.ok(bytes <= DATA_LIMITS.amplification * 1500);
    return elapsed;
  };
  const [quiet, noisy] = [seconds(false), seconds(true)];
  t.ok(quiet / noisy >= 0.9, `${quiet} s alone, ${noisy} s among spoofers`);
});

t.test(
  '200,000 datagrams with the peer as sender and nothing genuine change nothing',
  async (t) => {
    const pair = new Pair({ faults: FAULTS }).open();
    new Sink(pair.callee);
    send(pair, pair.caller, new Uint8Array(500_000));
    pair.pass(100);
    const genuine = pair.sent.findLast(({ from }) => from === 'caller')?.bytes ?? new Uint8Array(0);
    const { connection } = pair.callee;
    const dropped = connection.statistics().droppedDatagrams;
    const count = dose(20_000, 10);
    const forged = genuine.slice();
    const due = connection.nextTimeout();
    let drains = 0;
    for (let i = 0; i < count; i++) {
      forged.set(genuine);
      // A packet number far ahead, another place each time.
      forged[6] = 0x7f;
      forged[9] = i >> 8;
      forged[10] = i;
      const from = i % 2 === 0 ? pair.caller.path : ATTACKER;
      if (connection.handleDatagram(pair.now, from, forged)) drains += 1;
    }
    t.equal(drains, 0, 'nothing to drain');
    t.equal(connection.nextTimeout(), due, 'the timer stays as it is');
    t.ok(connection.isDrained);
    t.equal(connection.statistics().droppedDatagrams - dropped, count);
    const before = pair.sent.length;
    pair.onStray = () => t.fail('no answer to what is not genuine');
    pair.drain();
    t.ok(pair.sent.length - before <= 20, 'only what was to be said anyway');
    t.ok(pair.run(() => pair.caller.has('delivered'), 10_000));
    t.equal(movesOf(pair.callee), 0);
  },
);

t.test('a copy that comes late, or twice, moves nothing', async (t) => {
  const pair = new Pair({ faults: FAULTS }).open();
  const { callee } = pair;
  new Sink(callee);
  const seen: Uint8Array[] = [];
  pair.filter = (from, bytes) => {
    if (from === 'caller') seen.push(bytes.slice());
    return true;
  };
  pair.onStray = () => t.fail('nobody is asked');
  send(pair, pair.caller, new Uint8Array(300_000));
  pair.pass(2_000);
  for (const bytes of seen) pair.inject('callee', ATTACKER, bytes);
  // One that was held back: genuine and new to the callee, but older than what it has seen.
  let held: Uint8Array | undefined;
  pair.filter = (from, bytes) => {
    if (from !== 'caller' || held !== undefined) return true;
    held = bytes.slice();
    return false;
  };
  send(pair, pair.caller, new Uint8Array(100_000));
  pair.pass(1_000);
  t.ok(held !== undefined);
  pair.inject('callee', ATTACKER, held ?? new Uint8Array(0));
  pair.pass(3_000);
  t.equal(movesOf(callee), 0);
});

t.test('a new address that does not answer is given up, and the talk stays', async (t) => {
  const events: TraceEvent[] = [];
  const options: PairOptions = { faults: FAULTS, trace: (event) => void events.push(event) };
  const pair = new Pair(options).open();
  new Sink(pair.caller);
  send(pair, pair.callee, new Uint8Array(200_000));
  pair.pass(50);
  // One packet of the callee comes from elsewhere, and its own address then says nothing.
  let isForwarded = false;
  pair.filter = (from, bytes) => {
    if (from !== 'callee') return true;
    if (!isForwarded) pair.fly('caller', ATTACKER, bytes.slice(), ms(1));
    isForwarded = true;
    return false;
  };
  let asked = 0;
  pair.onStray = () => asked++;
  pair.pass(10_000);
  t.ok(asked > 1 && asked <= DATA_LIMITS.pathChallengesMax, `${asked} times`);
  t.equal(movesOf(pair.caller), 0);
  pair.filter = () => true;
  t.ok(pair.run(() => pair.callee.has('delivered'), 20_000));
  const told = events.filter(({ kind }) => kind === 'path');
  t.ok(told.length > 0 && told.every((event) => event.kind === 'path' && !event.isValidated));
});
