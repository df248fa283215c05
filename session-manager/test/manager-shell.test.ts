// The manager on a real broker, real TCP,
// real HTTP and a real disk.

import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { type BrokerShell, startBroker } from '../../broker/shell/broker-shell.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import { topic } from '../../protocol/control/topics.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { makeEnrolRequest, openEnrolResponse } from '../../protocol/identity/enrolment.ts';
import { parseTicket } from '../../protocol/identity/ticket.ts';
import { makeToken } from '../../protocol/identity/token.ts';
import { type DeviceId, type Name, randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { type MqttLink, openLink } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes } from '../../protocol/random.ts';
import type { ManagerEvent } from '../manager-types.ts';
import { type RunningManager, managerPublicKey, startManager } from '../shell/manager-shell.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import type { Store } from '../shell/store.ts';
import { allow } from './virtual-manager.ts';

const clock = new Clock();
const parts = { suite: nodeSuite, rng: entropy, clock, log: silentLog };
const unixSeconds = (): number => Math.floor(clock.wall() / 1_000);

interface House {
  readonly home: string;
  readonly broker: BrokerShell;
  readonly manager: RunningManager;
}

async function temporaryHome(t: Test): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-manager-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  return home;
}

/** Broker and manager in one process, over a stream [¶0028]. */
async function house(t: Test, store?: Store): Promise<House> {
  const home = await temporaryHome(t);
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const broker = await startBroker({ ...parts, managerKeys: [key] });
  const connect = (): Duplex => broker.connect();
  const manager = await startManager({
    ...parts,
    home,
    broker: { url: broker.url, connect },
    ...(store && { store }),
  });
  t.teardown(async () => {
    await manager.close();
    await broker.close();
  });
  await manager.ready;
  return { home, broker, manager };
}

/** A terminal without a core: what it gets is looked at, what it sends is written by hand. */
class Hand {
  readonly id: DeviceId;
  readonly name: Name;
  readonly link: MqttLink;
  readonly #inbox: Message[] = [];
  #look: () => void = () => {};

  constructor(
    name: Name,
    id: DeviceId,
    makeLink: (onMessage: (bytes: Uint8Array) => void, onUp: () => void) => MqttLink,
    onUp: () => void,
  ) {
    this.name = name;
    this.id = id;
    this.link = makeLink((bytes) => {
      const message = decodeMessage(bytes);
      if (message !== undefined) this.#inbox.push(message);
      this.#look();
    }, onUp);
  }

  send(to: 'up' | 'allow-list' | 'address', message: Message): void {
    this.link.publish(topic(to, this.id), encodeMessage(message));
  }

  /** The next message of a kind; those of others are passed over. */
  next<K extends Message['kind']>(kind: K): Promise<MessageOf<K>> {
    return new Promise((resolve) => {
      this.#look = () => {
        const at = this.#inbox.findIndex((message) => message.kind === kind);
        if (at < 0) return;
        this.#look = () => {};
        resolve(this.#inbox.splice(0, at + 1)[at] as MessageOf<K>);
      };
      this.#look();
    });
  }
}

async function post(url: string, body: Uint8Array): Promise<Response> {
  return fetch(url, { method: 'POST', body: Uint8Array.from(body) });
}

async function enrolled(t: Test, { broker, manager }: House, name: string): Promise<Hand> {
  const { ticket } = await manager.operations.ticket({ name, uses: 1, forSeconds: 60 });
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') throw new Error(inside);
  const key = nodeSuite.signingKey(randomBytes(entropy, 32));
  const x25519 = nodeSuite.dhKey(randomBytes(entropy, 32)).publicKey;
  const keys = { ed25519: key.publicKey, x25519 };
  const { url, secret, managerKey } = inside;
  const answer = await post(url, makeEnrolRequest(key, { url, secret, keys }));
  const body = new Uint8Array(await answer.arrayBuffer());
  const response = openEnrolResponse(nodeSuite, body, { managerKey, ed25519: keys.ed25519 });
  if (response === undefined) throw new Error(`enrolment: ${answer.status}`);
  const id = deviceIdOf(nodeSuite, keys);
  const audience = managerKey;
  const password = (): Uint8Array =>
    makeToken(key, {
      device: id,
      audience,
      issuedAt: unixSeconds(),
      nonce: randomBytes(entropy, 16),
      membership: response.membership,
    });
  return new Promise((resolve) => {
    const hand: Hand = new Hand(
      response.name,
      id,
      (take, onUp) =>
        openLink({
          url: broker.url,
          clientId: id,
          username: 'terminal',
          password,
          subscriptions: [topic('call', id), topic('down', id)],
          onUp,
          onDown: () => {},
          onMessage: (_topic, bytes) => take(bytes),
        }),
      () => resolve(hand),
    );
    t.teardown(() => hand.link.close());
  });
}

/** One introduction by hand; the notices of caller and callee, and how long it took. */
async function introduce(caller: Hand, callee: Hand) {
  const began = performance.now();
  const candidates = [{ address: Uint8Array.of(127, 0, 0, 1), port: 4_000, type: 'host' as const }];
  const ours = randomRecordId(entropy);
  caller.send('address', { kind: 'address', record: ours, candidates });
  caller.send('up', {
    kind: 'connect',
    request: randomRequestId(entropy),
    callerName: caller.name,
    calleeName: callee.name,
    service: 'file',
    want: { seconds: 60 },
    waitMs: 5_000,
    record: ours,
  });
  const call = await callee.next('call');
  const ask = decodeMessage(call.payload);
  if (ask?.kind !== 'ask') throw new Error('not asked');
  const theirs = randomRecordId(entropy);
  callee.send('address', { kind: 'address', record: theirs, candidates });
  callee.send('allow-list', {
    kind: 'allowList',
    request: ask.request,
    mode: 'verdict',
    version: '1',
    entries: [allow(caller.name)],
    reduced: true,
    record: theirs,
  });
  const notices = await Promise.all([caller.next('addressNotice'), callee.next('addressNotice')]);
  return { notices, tookMs: performance.now() - began };
}

t.test(
  'claim 9: names, consent and notices over a real broker, in a few milliseconds',
  async (t) => {
    const there = await house(t);
    const caller = await enrolled(t, there, 'TERM1');
    const callee = await enrolled(t, there, 'TERM3');
    const boot = randomRequestId(entropy);
    const request = randomRequestId(entropy);
    caller.send('up', { kind: 'register', request, name: caller.name, boot, capabilities: [] });
    t.equal((await caller.next('registered')).name, 'TERM1');
    const times: number[] = [];
    for (let call = 0; call < 30; call++) {
      const { notices, tookMs } = await introduce(caller, callee);
      const [first, second] = notices;
      if (call === 0) t.strictSame([first.grant, first.key], [second.grant, second.key]);
      times.push(tookMs);
    }
    const median = times.sort((a, b) => a - b)[15];
    t.comment(`set-up by hand: median ${median.toFixed(2)} ms, flush included`);
    // The figure itself is the benchmark's; here it is kept from growing by an order of magnitude.
    t.ok(median < 50, `median ${median} ms`);
    t.equal((await there.manager.operations.sessions({ all: false })).length, 30);
  },
);

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
    const payload = decodeMessage((await hand.next('call')).payload);
    if (payload?.kind !== 'endRequest') throw new Error('no end request');
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

t.test('S2000: enrolment over HTTP: bounded bodies, known paths, one use a ticket', async (t) => {
  const there = await house(t);
  const base = `http://127.0.0.1:${there.manager.httpPort}`;
  const { ticket } = await there.manager.operations.ticket({ uses: 1, forSeconds: 60 });
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') throw new Error(inside);
  t.equal(inside.url, `${base}/nakodo/1/enrol`);
  const request = (name: string): Uint8Array => {
    const key = nodeSuite.signingKey(randomBytes(entropy, 32));
    const keys = { ed25519: key.publicKey, x25519: randomBytes(entropy, 32) };
    const { url, secret } = inside;
    return makeEnrolRequest(key, { url, secret, keys, name: name as Name });
  };
  const racing = await Promise.all(['A', 'B', 'C'].map((name) => post(inside.url, request(name))));
  t.strictSame(
    racing.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 403, 403],
  );
  const refused = racing.find(({ status }) => status === 403);
  t.match(await refused?.json(), { code: 'ticket-invalid', next: /new ticket/ });
  t.equal((await post(inside.url, new Uint8Array(5_000))).status, 400);
  t.equal((await post(`${base}/elsewhere`, new Uint8Array(5))).status, 404);
  t.equal((await fetch(inside.url)).status, 405);
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
    broker: { url: there.broker.url },
  });
  t.teardown(() => again.close());
  await again.ready;
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
  const there = await house(t, store);
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
  const there = await house(t, store);
  isFull = true;
  const ask = { uses: 1, forSeconds: 60 };
  await t.rejects(there.manager.operations.ticket(ask), { code: 'disk' });
  isFull = false;
  t.type((await there.manager.operations.ticket(ask)).ticket, 'string');
});

t.test('what keeps a manager from starting is said with the next step', async (t) => {
  const there = await house(t);
  const broker = { url: there.broker.url };
  const other = await temporaryHome(t);
  const port = there.manager.httpPort;
  const taken = startManager({ ...parts, home: other, broker, httpPort: port });
  await t.rejects(taken, { code: 'port-taken', next: /--http-port/ });
  const locked = startManager({ ...parts, home: there.home, broker });
  await t.rejects(locked, { code: 'store-locked', next: /--home/ });
  const open = startManager({ ...parts, home: other, broker, httpListen: '0.0.0.0' });
  await t.rejects(open, { code: 'plain-not-loopback' });
  const url = startManager({ ...parts, home: other, broker, publicUrl: 'nonsense' });
  await t.rejects(url, { code: 'bad-public-url' });
});
