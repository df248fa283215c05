// The manager's shell on a real broker, real TLS, real HTTPS and a real disk: with its broker in
// one process and apart, over keys that change, and with what keeps it from starting.

import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { type BrokerShell, startBroker } from '../../broker/shell/broker-shell.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { makeEnrolRequest } from '../../protocol/identity/enrolment.ts';
import { openServerKeys } from '../../protocol/identity/server-keys.ts';
import { parseTicket } from '../../protocol/identity/ticket.ts';
import { type Name, randomRequestId } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { requestPinned } from '../../protocol/io/pinned-tls.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { randomBytes } from '../../protocol/random.ts';
import { until } from '../../protocol/test/until.ts';
import type { ManagerEvent } from '../manager-types.ts';
import {
  type ManagerShellOptions,
  managerPublicKey,
  startManager,
} from '../shell/manager-shell.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import type { Store } from '../shell/store.ts';
import { type House, enrolled, introduce, post } from './hand.ts';

const clock = new Clock();
const parts = { suite: nodeSuite, rng: entropy, clock, log: silentLog };

async function temporaryHome(t: Test): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-manager-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  return home;
}

/** Broker and manager in one process, over a stream [¶0028]. */
async function house(t: Test, more: Partial<ManagerShellOptions> = {}): Promise<House> {
  const home = await temporaryHome(t);
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const tls = await loadServerCertificate({ home, clock });
  const broker = await startBroker({ ...parts, managerKeys: [key], tls });
  const connect = (): Duplex => broker.connect();
  const manager = await startManager({
    ...parts,
    home,
    tls,
    broker: { url: broker.url, connect },
    ...more,
  });
  t.teardown(async () => {
    await manager.close();
    await broker.close();
  });
  await manager.ready;
  return { home, broker, manager, tls };
}

/** What the server says about its keys, to whoever asks. */
async function statedKeys({ manager }: House) {
  const url = `https://127.0.0.1:${manager.httpPort}/nakodo/1/server-keys`;
  const options = { isPinned: () => true, timeoutMs: 5_000, bytesMax: 1_024 };
  const { body } = await requestPinned(url, { ...options, method: 'GET' });
  return openServerKeys(nodeSuite, manager.publicKey, body);
}

t.test('claim 9: names, consent and notices over a real broker, thirty times over', async (t) => {
  const there = await house(t);
  const caller = await enrolled(t, there, 'TERM1');
  const callee = await enrolled(t, there, 'TERM3');
  t.equal((await caller.greet()).name, 'TERM1');
  const times: number[] = [];
  for (let call = 0; call < 30; call++) {
    const { notices, tookMs } = await introduce(caller, callee);
    const [first, second] = notices;
    if (call === 0) t.strictSame([first.grant, first.key], [second.grant, second.key]);
    times.push(tookMs);
  }
  const median = times.sort((a, b) => a - b)[15];
  t.comment(`set-up by hand: median ${median.toFixed(2)} ms, flush included`);
  t.equal((await there.manager.operations.sessions({ all: false })).length, 30);
});

t.test('S2008: STUN, relay, and addresses of one machine, over a real broker', async (t) => {
  const turn = { address: Uint8Array.of(192, 0, 2, 80), port: 3_480 };
  const relay = { servers: () => [turn], credentials: (name: string) => `of.${name.slice(-6)}` };
  const there = await house(t, { stun: [{ port: 3_478 }], relay });
  const caller = await enrolled(t, there, 'TERM1');
  const callee = await enrolled(t, there, 'TERM3');
  t.match((await caller.greet()).stun, [{ port: 3_478, address: undefined }]);
  const { notices } = await introduce(caller, callee);
  for (const [at, side] of ['caller', 'callee'].entries()) {
    const { peerCandidates, relay: offered } = notices[at];
    t.strictSame(peerCandidates[0].address, Uint8Array.of(127, 0, 0, 1), 'both are seen there');
    t.match(offered, { servers: [turn], password: `of.${side}` });
    const logged = JSON.stringify(await there.manager.operations.log({}));
    t.notOk(logged.includes(String(offered?.username)), 'of that no log has a word');
  }
});

t.test('claim 12: ends, the operator’s listings and the log, over a real broker', async (t) => {
  const there = await house(t);
  const { operations } = there.manager;
  const caller = await enrolled(t, there, 'TERM1');
  const callee = await enrolled(t, there, 'TERM3');
  const events: ManagerEvent[] = [];
  const stop = operations.watch((event) => events.push(event));
  await introduce(caller, callee);
  const [{ session }] = await operations.sessions({ all: false });
  const ending = operations.end(session);
  for (const hand of [caller, callee]) {
    const payload = await hand.next('endRequest');
    const counts = { sentBytes: 1, receivedBytes: 1, lostBytes: 0, wireBytes: 9, durationMs: 1 };
    hand.send('up', {
      kind: 'endNotice',
      request: randomRequestId(entropy),
      session: payload.session,
      reason: 'operator',
      ...counts,
    });
    await hand.next('ended');
  }
  t.strictSame(await ending, {
    session,
    reason: 'operator',
    confirmed: ['TERM1', 'TERM3'],
    unconfirmed: [],
  });
  stop();
  t.strictSame(
    events.map(({ event }) => event),
    ['begun', 'ending', 'ended'],
  );
  t.strictSame(await operations.sessions({ all: false }), []);
  const [row] = await operations.sessions({ all: true });
  t.match(row, { caller: 'TERM1', callee: 'TERM3', state: 'ended', differenceBytes: 0 });
  t.strictSame(JSON.parse(JSON.stringify(row)), row, 'JSON can hold it');
  const log = await operations.log({});
  t.strictSame(log.map(({ kind }) => kind).slice(-5), [
    'introduced',
    'operatorEnd',
    'ended',
    'report',
    'report',
  ]);
  t.match(await operations.verify(), { ok: true, entries: log.length });
  t.match(operations.devices(), [{ name: 'TERM1' }, { name: 'TERM3' }]);
});

t.test('S2000: enrolment over HTTPS: bounded bodies, known paths, one use a ticket', async (t) => {
  const there = await house(t);
  const base = `https://127.0.0.1:${there.manager.httpPort}`;
  const { ticket } = await there.manager.operations.ticket({ uses: 1, forSeconds: 60 });
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') throw new Error(inside);
  t.equal(inside.url, `${base}/nakodo/1/enrol`);
  t.strictSame(inside.pin, there.tls?.pin, 'the ticket carries the server’s key');
  const request = (name: string): Uint8Array => {
    const key = nodeSuite.signingKey(randomBytes(entropy, 32));
    const keys = { ed25519: key.publicKey, x25519: randomBytes(entropy, 32) };
    const { url, secret } = inside;
    return makeEnrolRequest(key, { url, secret, keys, name: name as Name });
  };
  const racing = await Promise.all(
    ['A', 'B', 'C'].map((name) => post(there, inside.url, request(name))),
  );
  t.strictSame(
    racing.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 403, 403],
  );
  const refused = racing.find(({ status }) => status === 403);
  const said = JSON.parse(Buffer.from(refused?.body ?? []).toString()) as unknown;
  t.match(said, { code: 'ticket-invalid', next: /new ticket/ });
  t.equal((await post(there, inside.url, new Uint8Array(5_000))).status, 400);
  t.equal((await post(there, `${base}/elsewhere`, new Uint8Array(5))).status, 404);
  t.equal(there.manager.operations.devices().length, 1);
});

t.test('claim 20: a manager that was stopped knows everything when it starts again', async (t) => {
  const there = await house(t);
  const caller = await enrolled(t, there, 'TERM1');
  const callee = await enrolled(t, there, 'TERM3');
  await introduce(caller, callee);
  const before = await there.manager.operations.sessions({ all: true });
  await there.manager.close();
  const again = await startManager({
    ...parts,
    home: there.home,
    tls: there.tls,
    broker: { url: there.broker.url, pinFile: join(there.home, 'tls.pin') },
  });
  t.teardown(() => again.close());
  await again.ready;
  for (const hand of [caller, callee]) await hand.greet();
  t.strictSame(again.publicKey, there.manager.publicKey);
  t.strictSame(await again.operations.sessions({ all: true }), before);
  await introduce(caller, callee);
  t.match(await again.operations.verify(), { ok: true });
  t.equal((await stat(join(there.home, 'identity.json'))).mode & 0o777, 0o600);
  const published = (await readFile(join(there.home, 'manager.pub'), 'utf8')).trim();
  t.equal(published, Buffer.from(again.publicKey).toString('base64url'));
});

t.test('S6001: a log that was changed on the disk is found', async (t) => {
  const folder = await temporaryHome(t);
  const store = await openLmdbStore({ folder });
  const there = await house(t, { store });
  await enrolled(t, there, 'TERM1');
  t.match(await there.manager.operations.verify(), { ok: true });
  const [row] = store.range('log', { limit: 1 });
  row.value[10] ^= 1;
  await store.write([{ table: 'log', key: row.key, value: row.value }]);
  t.match(await there.manager.operations.verify(), { ok: false });
  row.value[10] ^= 1;
  const [last] = store.range('log', { reverse: true, limit: 1 });
  const behind = String(Number(last.key) + 1).padStart(last.key.length, '0');
  await store.write([
    { table: 'log', key: row.key, value: row.value },
    { table: 'log', key: behind, value: last.value },
  ]);
  t.match(await there.manager.operations.verify(), { ok: false, why: /added behind/ });
  await store.write([{ table: 'log', key: behind, value: undefined }]);
  t.match(await there.manager.operations.verify(), { ok: true });
});

t.test('a disk that fails refuses and recovers; nothing is lost that was promised', async (t) => {
  const folder = await temporaryHome(t);
  const real = await openLmdbStore({ folder });
  let isFull = false;
  const store: Store = {
    load: () => real.load(),
    range: (table, range) => real.range(table, range),
    close: () => real.close(),
    write: (writes) =>
      isFull
        ? Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }))
        : real.write(writes),
  };
  const there = await house(t, { store });
  isFull = true;
  const ask = { uses: 1, forSeconds: 60 };
  await t.rejects(there.manager.operations.ticket(ask), { code: 'disk' });
  isFull = false;
  t.type((await there.manager.operations.ticket(ask)).ticket, 'string');
});

t.test('S2000: without TLS: plain words on loopback, a ticket without a key', async (t) => {
  const home = await temporaryHome(t);
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const broker = await startBroker({ ...parts, managerKeys: [key] });
  const place = { url: broker.url, connect: (): Duplex => broker.connect() };
  const manager = await startManager({ ...parts, home, broker: place });
  t.teardown(async () => {
    await manager.close();
    await broker.close();
  });
  const there = { home, broker, manager, tls: undefined };
  const { ticket } = await manager.operations.ticket({ uses: 1, forSeconds: 60 });
  t.match(parseTicket(ticket), { url: /^http:\/\/127\.0\.0\.1:/, pin: undefined });
  const keys = await fetch(`http://127.0.0.1:${manager.httpPort}/nakodo/1/server-keys`);
  t.equal(keys.status, 404);
  const hand = await enrolled(t, there, 'TERM1');
  t.equal((await hand.greet()).serverKeys, undefined);
});

t.test(
  'a key that changes is stated, signed, with a higher sequence and the last one',
  async (t) => {
    const there = await house(t);
    const first = await statedKeys(there);
    t.strictSame(first?.pins, [there.tls?.pin]);
    await there.manager.close();
    const other = await loadServerCertificate({ home: await temporaryHome(t), clock });
    const place = { url: there.broker.url, connect: (): Duplex => there.broker.connect() };
    const changed = { ...parts, home: there.home, broker: place, tls: other };
    const manager = await startManager(changed);
    await manager.ready;
    const second = await statedKeys({ ...there, manager });
    t.strictSame(second?.pins, [other.pin, there.tls?.pin]);
    t.ok((second?.sequence ?? 0) > (first?.sequence ?? 0));
    await manager.close();
    const again = await startManager(changed);
    t.teardown(() => again.close());
    await again.ready;
    t.strictSame(
      await statedKeys({ ...there, manager: again }),
      second,
      'the same after a restart',
    );
  },
);

t.test('a broker apart: its pin may come later, and change; the manager follows', async (t) => {
  const home = await temporaryHome(t);
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const tls = await loadServerCertificate({ home, clock });
  const [one, two] = await Promise.all(
    [await temporaryHome(t), await temporaryHome(t)].map(async (folder) => ({
      folder,
      tls: await loadServerCertificate({ home: folder, clock }),
    })),
  );
  const open = (port: number, its: typeof one): Promise<BrokerShell> =>
    startBroker({ ...parts, managerKeys: [key], tls: its.tls, port });
  const broker = await open(0, one);
  const pinFile = join(home, 'broker.pin');
  const starting = startManager({ ...parts, home, tls, broker: { url: broker.url, pinFile } });
  await writeFile(`${pinFile}.new`, 'not there yet');
  await copyFile(join(one.folder, 'tls.pin'), pinFile);
  const manager = await starting;
  t.teardown(() => manager.close());
  await manager.ready;
  const there = { home, broker, manager, tls };
  t.strictSame((await statedKeys(there))?.pins, [tls.pin, one.tls.pin]);
  await broker.close();
  const changed = await open(broker.port, two);
  t.teardown(() => changed.close());
  t.equal(changed.stats().connections, 0, 'its old pin keeps the manager away');
  await copyFile(join(two.folder, 'tls.pin'), pinFile);
  await until(() => changed.stats().connections === 1, 'the manager is back');
  await until(
    async () => sameBytes((await statedKeys(there))?.pins[1] ?? tls.pin, two.tls.pin),
    'the statement names the new key',
  );
});

t.test('S6001: a manager does not write on behind a log that was cut', async (t) => {
  const there = await house(t);
  await enrolled(t, there, 'TERM1');
  await there.manager.close();
  const folder = join(there.home, 'store');
  const store = await openLmdbStore({ folder });
  const [last] = store.range('log', { reverse: true, limit: 1 });
  await store.write([{ table: 'log', key: last.key, value: undefined }]);
  await store.close();
  const place = { url: there.broker.url, connect: (): Duplex => there.broker.connect() };
  const starting = startManager({ ...parts, home: there.home, tls: there.tls, broker: place });
  await t.rejects(starting, { code: 'store-damaged', next: /backup/ });
});

t.test('an identity of the last release gets the key that it lacks', async (t) => {
  const home = await temporaryHome(t);
  const path = join(home, 'identity.json');
  const signingSeed = Buffer.alloc(32, 7).toString('base64url');
  await writeFile(path, JSON.stringify({ version: 1, signingSeed }));
  const key = await managerPublicKey(home, nodeSuite, entropy);
  t.strictSame(key, nodeSuite.signingKey(new Uint8Array(32).fill(7)).publicKey);
  const upgraded = await readFile(path, 'utf8');
  t.match(JSON.parse(upgraded), { version: 2, signingSeed, agreementSecret: String });
  await managerPublicKey(home, nodeSuite, entropy);
  t.equal(await readFile(path, 'utf8'), upgraded, 'once');
  await writeFile(path, upgraded.replace('agreementSecret', 'agreement'));
  const damaged = managerPublicKey(home, nodeSuite, entropy);
  await t.rejects(damaged, { code: 'file-damaged', message: /identity\.json/, next: /backup/ });
});

t.test('what keeps a manager from starting is said with the next step', async (t) => {
  const there = await house(t);
  const { tls } = there;
  const broker = { url: there.broker.url, pinFile: join(there.home, 'tls.pin') };
  const other = await temporaryHome(t);
  const starting = (more: Partial<Parameters<typeof startManager>[0]>) =>
    startManager({ ...parts, home: other, tls, broker, ...more });
  const port = there.manager.httpPort;
  await t.rejects(starting({ httpPort: port }), { code: 'port-taken', next: /--http-port/ });
  await t.rejects(starting({ home: there.home }), { code: 'store-locked', next: /--home/ });
  await t.rejects(starting({ httpListen: '0.0.0.0' }), {
    code: 'no-public-url',
    next: /--public-url/,
    exit: 2,
  });
  const publicUrl = 'https://nakodo.example:1';
  await t.rejects(starting({ tls: undefined, publicUrl }), {
    code: 'bad-public-url',
  });
  const plain = { tls: undefined, httpListen: '192.0.2.1' };
  await t.rejects(starting(plain), { code: 'plain-not-loopback', next: /--plain/ });
  const bad = ['nonsense', 'http://127.0.0.1:1', 'mqtts://127.0.0.1:1'];
  bad.push('https://me:secret@nakodo.example', `https://${'a.'.repeat(120)}example`);
  for (const url of bad) {
    await t.rejects(starting({ publicUrl: url }), { code: 'bad-public-url', exit: 2 }, url);
  }
  await t.rejects(starting({ broker: { url: there.broker.url } }), { code: 'no-broker-pin' });
  const far = { url: 'mqtt://192.0.2.1:1883' };
  await t.rejects(starting({ broker: far }), { code: 'plain-not-loopback' });
  const file = join(other, 'broken.pin');
  await writeFile(file, 'hello');
  const broken = starting({ broker: { url: there.broker.url, pinFile: file } });
  await t.rejects(broken, { code: 'file-damaged', message: /broken\.pin/ });
  const signal = AbortSignal.abort();
  const late = starting({ broker: { url: there.broker.url, pinFile: join(other, 'x') }, signal });
  await t.rejects(late, { name: 'AbortError' });
});
