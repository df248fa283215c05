// The broker behind TLS 1.3 on real sockets: who gets in, what a stranger may say and for how long,
// and that memberships and revocations end real connections.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { REVOKED_TOPIC, topic } from '../../protocol/control/topics.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { until } from '../../protocol/test/until.ts';
import type { BrokerShell } from '../shell/broker-shell.ts';
import { makeTerminal } from './parties.ts';
import {
  Wire,
  attend,
  connectTcp,
  loginOf,
  manage,
  manager,
  nowSeconds,
  serverTls,
  start,
  startUntold,
} from './real-broker.ts';
import { recordOf } from './virtual-broker.ts';

const TERM1 = makeTerminal(manager, 11);
const TERM3 = makeTerminal(manager, 13);

/** Resolves when a connection is over, however. */
function ended(socket: Socket): Promise<void> {
  socket.on('error', () => {});
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

t.test('S3000: a terminal is served over TLS 1.3 and shown the pinned key', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls });
  t.teardown(() => broker.close());
  t.equal(broker.url, `mqtts://127.0.0.1:${broker.port}`);
  const wire = await attend(broker.port, TERM1, tls.pin);
  const name = topic('address', TERM1.device);
  wire.say(name, { kind: 'address', record: recordOf(1), candidates: [] });
  t.equal((await wire.next('addressRecorded')).record, recordOf(1));
  const bare = connectTls({ host: '127.0.0.1', port: broker.port, rejectUnauthorized: false });
  t.teardown(() => bare.destroy());
  await once(bare, 'secureConnect');
  t.equal(bare.getProtocol(), 'TLSv1.3');
  t.equal(bare.getPeerX509Certificate()?.toString().trim(), tls.cert.trim());
  t.equal(broker.stats().strangers, 1, 'who said nothing yet is a stranger');
});

t.test('a token is of use at the server only whose key it names', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls });
  t.teardown(() => broker.close());
  const foreign = new Uint8Array(NO_PIN.length).fill(9);
  for (const pin of [NO_PIN, foreign]) {
    const wire = await new Wire(broker.port, loginOf(TERM1, pin), true).settled();
    t.ok(await wire.isClosed());
    t.equal(wire.refusedCode, 4);
  }
  const plain = await start();
  t.teardown(() => plain.close());
  const wire = await new Wire(plain.port, loginOf(TERM1, tls.pin)).settled();
  t.equal(wire.refusedCode, 4, 'nor without TLS');
  t.ok((await new Wire(broker.port, loginOf(TERM1, tls.pin), true).settled()).up);
});

t.test('nothing but a TLS 1.3 hello gets as far as TLS', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls });
  t.teardown(() => broker.close());
  const mqtt = await new Wire(broker.port, loginOf(TERM1)).settled();
  t.ok(await mqtt.isClosed(), 'MQTT without TLS');
  const { port } = broker;
  for (const version of ['TLSv1.2', 'TLSv1.1'] as const) {
    const old = connectTls({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      maxVersion: version,
      minVersion: version,
    });
    await ended(old);
    t.equal(old.getPeerX509Certificate(), undefined, version);
  }
  const curve = { ecdhCurve: 'P-384', minVersion: 'TLSv1.3' } as const;
  const slow = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...curve });
  await ended(slow);
  t.equal(slow.getPeerX509Certificate(), undefined, 'no key for X25519, no second hello');
  const wire = await attend(port, TERM1, tls.pin);
  t.ok(wire.up, 'the control is let in');
  t.match(broker.stats(), { connections: 1, strangers: 0, badFirstBytes: 4 });
});

t.test('TLS handshake and login share one deadline', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls, loginMs: 150 });
  t.teardown(() => broker.close());
  const { port } = broker;
  const silent = await connectTcp(port);
  const drip = await connectTcp(port);
  drip.write(Uint8Array.of(22, 3, 1, 1, 0, 1, 0));
  const quiet = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(quiet, 'secureConnect');
  quiet.on('error', () => {});
  quiet.write(Uint8Array.of(0x10, 0x20, 0x00));
  t.equal(broker.stats().strangers, 3);
  await until(() => [silent, drip, quiet].every((each) => each.destroyed), 'all to be dropped');
  t.match(broker.stats(), { lateLogins: 3, strangers: 0, connections: 0 });
});

t.test('of strangers at the bound the oldest goes before TLS is spent on it', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls });
  t.teardown(() => broker.close());
  const half = 512;
  const crowd = await Promise.all(Array.from({ length: half }, () => connectTcp(broker.port)));
  t.teardown(() => crowd.forEach((each) => each.destroy()));
  await until(() => broker.stats().strangers === half, 'all to be counted');
  const wire = await attend(broker.port, TERM1, tls.pin);
  t.ok(wire.up, 'the newcomer gets in');
  t.equal(broker.stats().strangersDropped, 1);
});

t.test('with TLS any address of this host can be listened on', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls, listen: '0.0.0.0' });
  t.teardown(() => broker.close());
  t.equal(broker.url, `mqtts://0.0.0.0:${broker.port}`);
  t.ok((await attend(broker.port, TERM1, tls.pin)).up);
  const bad = { ...tls, key: 'no key' };
  await t.rejects(start({ tls: bad }), { code: 'tls-unusable', next: /PEM/ });
  await t.rejects(start({ tls, listen: '192.0.2.1' }), { code: 'address-unusable' });
});

t.test('over TLS, too, a reader that does not read is ended, and nobody waits', async (t) => {
  const tls = await serverTls(t);
  const broker = await start({ tls });
  t.teardown(() => broker.close());
  const login = { clientId: manager.id, username: 'manager' };
  const password = Buffer.from(manager.password(nowSeconds()));
  const operator = await new Wire(broker.port, { ...login, password }, true).settled();
  const term1 = await attend(broker.port, TERM1, tls.pin);
  const term3 = await attend(broker.port, TERM3, tls.pin);
  // As it reads nothing, it does not see its own end either.
  t.teardown(() => void term3.socket.destroy());
  term3.socket.unpipe();
  term3.socket.pause();
  const payload = Buffer.alloc(12_000);
  for (let round = 1; broker.stats().slowReaders === 0 && round < 400; round++) {
    for (let at = 0; at < 25; at++)
      operator.client.publish(topic('down', TERM3.device), payload, { qos: 1 }, () => {});
    operator.say(topic('down', TERM1.device), { kind: 'polled', handed: 1 });
    await term1.next('polled');
  }
  t.equal(broker.stats().slowReaders, 1);
  await until(() => broker.stats().connected === 1, 'the slow one to be gone');
  t.notOk(operator.closed);
});

/** What a manager publishes and is acknowledged for. */
async function publish(
  broker: BrokerShell,
  ...list: Parameters<typeof manager.revoked>
): Promise<void> {
  const wire = await manage(broker.port);
  const bytes = Buffer.from(encodeMessage(manager.revoked(...list)));
  await wire.client.publishAsync(REVOKED_TOPIC, bytes, { qos: 1 });
  await wire.leave();
}

t.test('before the first revocation list terminals are asked to come again', async (t) => {
  const broker = await startUntold();
  t.teardown(() => broker.close());
  const early = await new Wire(broker.port, loginOf(TERM1)).settled();
  t.ok(await early.isClosed());
  t.equal(early.refusedCode, 3);
  await publish(broker, nowSeconds());
  t.ok((await new Wire(broker.port, loginOf(TERM1)).settled()).up);
});

t.test('a revoked terminal is thrown out at once, and not let in again', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const wires = [await attend(broker.port, TERM1), await attend(broker.port, TERM3)];
  const began = performance.now();
  await publish(broker, nowSeconds(), { devices: [TERM1.device] });
  t.ok(await wires[0].isClosed());
  t.comment(`thrown out ${Math.round(performance.now() - began)} ms after the list was made`);
  t.notOk(wires[1].closed);
  const again = await new Wire(broker.port, loginOf(TERM1)).settled();
  t.ok(await again.isClosed());
  t.equal(again.refusedCode, 5);
  t.match(broker.stats(), { endedRevoked: 1, connected: 1 });
  await publish(broker, nowSeconds(), { notBefore: nowSeconds() + 1 });
  t.ok(await wires[1].isClosed(), 'and by notBefore all of them');
});

t.test('a token that was used is refused', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const login = loginOf(TERM1);
  const first = await new Wire(broker.port, login).settled();
  t.ok(first.up);
  const second = await new Wire(broker.port, login).settled();
  t.ok(await second.isClosed());
  t.equal(second.refusedCode, 4);
  t.notOk(first.closed, 'and takes over no connection');
});

t.test('a connection ends with its membership unless a newer one was shown', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  // With the clocks' skew it has half a second to a second and a half left.
  const seconds = nowSeconds();
  const expiresAt = seconds - LIMITS.clockSkewSeconds + 2;
  const enter = async (terminal: typeof TERM1): Promise<Wire> => {
    const membership = terminal.membership(seconds - 600, expiresAt);
    const password = Buffer.from(terminal.password(seconds, { membership }));
    return new Wire(broker.port, { ...loginOf(terminal), password }).settled();
  };
  const wires = [await enter(TERM1), await enter(TERM3)];
  wires[1].say(topic('address', TERM3.device), {
    kind: 'address',
    record: recordOf(1),
    candidates: [],
    membership: TERM3.membership(seconds),
  });
  t.ok(await wires[0].isClosed());
  t.match(broker.stats(), { endedExpired: 1, renewed: 1, connected: 1 });
  t.notOk(wires[1].closed);
});
