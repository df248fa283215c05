// What a stranger costs the broker, measured in a process of its own: memory of a connection that
// never proves anything, time of one that is refused, and a packet of 256 MiB that is announced.
// Figures decide in a proof; memory always, since it does not depend on who else uses the machine.

import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t, { type Test } from 'tap';
import { IS_PROOF, dose } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { TlsOptions } from '../shell/listener.ts';
import { Attacker, startApart } from './broker-child.ts';
import { makeTerminal } from './parties.ts';
import { terminalConnect } from './raw-packets.ts';
import { attend, manager, serverTls } from './real-broker.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const COST_BYTES_MAX = 64 * KIB;
const COST_MICROS_MAX = 1_000;
/** Below the bound at which the oldest goes. */
const CROWD = Math.min(dose(200, 5), BROKER_LIMITS.strangersMax - 24);
const PATIENCE_MS = 60_000;
const ROUNDS = 4;

const TERM1 = makeTerminal(manager, 11);
const HALF_CONNECT = [0x10, 0xf0, 0x0f, ...new Uint8Array(1_900)];
/** CONNECT with a remaining length of 256 MiB − 1, MQTT 3.1.1’s longest. */
const ANNOUNCED = Buffer.of(0x10, 0xff, 0xff, 0xff, 0x7f);
/** A record of a ClientHello that is 128 KiB long. */
const LONG_HELLO = Buffer.of(22, 3, 1, 0x40, 0, 1, 1, 0xff, 0xff, 3, 3);

async function memoryOf(
  t: Test,
  order: { readonly isTls: boolean; readonly bytes: number[] },
  tls: TlsOptions | undefined,
): Promise<number> {
  const { port, gauges } = await startApart(t, { ...(tls && { tls }), loginMs: PATIENCE_MS });
  const attacker = new Attacker(t, port);
  // What the first ones load stays for all: it is no cost of the next.
  await attacker.flood({ count: 20, ...order });
  const before = await gauges();
  await attacker.flood({ count: CROWD, ...order });
  const all = CROWD + 20;
  let after = await gauges();
  const wanted = order.bytes.length * all;
  await until(async () => {
    after = await gauges();
    return after.stats?.strangers === all && after.stats.strangerBytesHeld === wanted;
  }, 'all to stand half open');
  t.ok((after.stats?.strangerBytesHeldMost ?? Infinity) <= BROKER_LIMITS.strangerBytesMax);
  return (after.rssBytes - before.rssBytes) / CROWD;
}

t.test('a half-open connection costs at most 64 KiB', async (t) => {
  const tls = await serverTls(t);
  const whole = [
    ['TCP, silent', { isTls: false, bytes: [] }, undefined],
    ['half a CONNECT', { isTls: false, bytes: HALF_CONNECT }, undefined],
    ['half a ClientHello', { isTls: false, bytes: [22, 3, 1, 1, 0, 1, 0] }, tls],
    ['TLS, silent', { isTls: true, bytes: [] }, tls],
    ['TLS and half a CONNECT', { isTls: true, bytes: HALF_CONNECT }, tls],
  ] as const;
  const table = IS_PROOF ? whole : whole.slice(-1);
  for (const [what, order, with_] of table) {
    const cost = await memoryOf(t, { ...order, bytes: [...order.bytes] }, with_);
    t.comment(`${what}: ${(cost / KIB).toFixed(1)} KiB of ${CROWD} each`);
    t.ok(cost <= COST_BYTES_MAX, `${what}: ${Math.round(cost / KIB)} KiB`);
  }
});

/** Processor time that a process spends on each of so many connections. */
async function timeOf(
  t: Test,
  order: { readonly isTls: boolean; readonly bytes: number[] },
  options: { readonly tls?: TlsOptions; readonly isBare?: boolean },
): Promise<number> {
  const { port, gauges } = await startApart(t, options);
  const attacker = new Attacker(t, port);
  const perAddress = 20;
  const mustEnd = options.isBare !== true;
  let best = Infinity;
  // The first round is for the compiler; of the others the one that was disturbed least counts.
  for (let round = 0; round < ROUNDS; round++) {
    const before = await gauges();
    const { ended } = await attacker.state();
    await attacker.flood({ count: CROWD, perAddress, ...order });
    await until(
      async () => !mustEnd || (await attacker.state()).ended >= ended + CROWD,
      'all to be refused',
    );
    const after = await gauges();
    best = Math.min(best, (after.cpuMicros - before.cpuMicros) / CROWD);
  }
  return best;
}

const timing = IS_PROOF ? {} : { skip: 'timing decides in make prove' };
t.test('a refused connection costs at most 1 ms beside its handshake', timing, async (t) => {
  const tls = await serverTls(t);
  // A real CONNECT whose token is another server's; then one that is none.
  const bad = [...terminalConnect(TERM1)];
  const flipped = bad.map((byte, at) => (at === bad.length - 1 ? byte ^ 1 : byte));
  const table = [
    ['no MQTT at all', { isTls: false, bytes: [1, 2, 3] }, {}],
    ['a forged token', { isTls: false, bytes: flipped }, {}],
    ['no TLS at all', { isTls: false, bytes: [1, 2, 3] }, { tls }],
    ['TLS, then no MQTT', { isTls: true, bytes: [1, 2, 3] }, { tls }],
    ['TLS, then a token for another server', { isTls: true, bytes: bad }, { tls }],
  ] as const;
  const handshake = await timeOf(t, { isTls: true, bytes: [] }, { tls, isBare: true });
  t.comment(`a TLS handshake alone: ${Math.round(handshake)} µs`);
  for (const [what, order, options] of table) {
    const cost = await timeOf(t, { ...order, bytes: [...order.bytes] }, options);
    const own = order.isTls ? cost - handshake : cost;
    t.comment(`${what}: ${Math.round(own)} µs`);
    t.ok(own <= COST_MICROS_MAX, `${what}: ${Math.round(own)} µs`);
  }
});

t.test('one connection that announces 256 MiB is not believed', async (t) => {
  const tls = await serverTls(t);
  const table = [
    ['CONNECT', ANNOUNCED, false, undefined],
    ['CONNECT in TLS', ANNOUNCED, true, tls],
    ['a ClientHello', LONG_HELLO, false, tls],
  ] as const;
  for (const [what, head, isTls, with_] of table) {
    const { port, gauges } = await startApart(t, { ...(with_ && { tls: with_ }) });
    const before = await gauges();
    const where = { host: '127.0.0.1', port };
    const socket = isTls
      ? connectTls({ ...where, rejectUnauthorized: false })
      : createConnection(where);
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once(isTls ? 'secureConnect' : 'connect', resolve));
    socket.write(head);
    const chunk = Buffer.alloc(64 * KIB);
    let sent = 0;
    while (!socket.destroyed && sent < 256 * MIB) {
      sent += chunk.length;
      if (socket.write(chunk)) continue;
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
    }
    await closed;
    const after = await gauges();
    const upMib = (after.rssBytes - before.rssBytes) / MIB;
    const held = after.stats?.strangerBytesHeldMost ?? Infinity;
    t.comment(`${what}: held ${held} bytes, RSS up ${upMib.toFixed(1)} MiB`);
    t.ok(held <= BROKER_LIMITS.strangerBytesMax, `${what}: the guard held ${held} bytes`);
    t.ok(upMib < 8, `${what}: RSS up ${upMib.toFixed(1)} MiB`);
    t.match(after.stats, { badFirstBytes: 1, connections: 0, strangerBytesHeld: 0 });
    t.ok((await attend(port, TERM1, with_?.pin)).up, 'an honest terminal is served');
  }
});
