// The OS side of the protocol on the real OS: clock and timer, entropy, files, the log, UDP.
// Everything here is the real thing: free ports, own folders, no waiting by the clock.

import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Path } from '../core.ts';
import { errorCode } from '../errors.ts';
import { Clock, WakeUp } from '../io/clock.ts';
import { entropy } from '../io/entropy.ts';
import { fileError, readFileIfAny, readJson, removeFile, writeFileAtomic } from '../io/files.ts';
import { createLog } from '../io/log.ts';
import { BufferPool, openUdp } from '../io/udp.ts';
import { randomBytes } from '../random.ts';
import { type Micros, NEVER, after, ms } from '../time.ts';

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk-io-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('the clock counts whole microseconds and never goes back', async (t) => {
  const clock = new Clock();
  let last = clock.now();
  for (let i = 0; i < 1_000; i++) {
    const now = clock.now();
    if (!Number.isInteger(now) || now < last) t.fail(`${now} after ${last}`);
    last = now;
  }
  t.ok(last > 0);
  t.ok(Math.abs(clock.wall() - Date.now()) < 1_000);
});

t.test('a wake-up fires once, not before its instant', async (t) => {
  const clock = new Clock();
  const at = after(clock.now(), ms(5));
  const firedAt = await new Promise<Micros>((resolve) => {
    const wake = new WakeUp(clock, () => resolve(clock.now()));
    wake.arm(at);
  });
  t.ok(firedAt >= at);
});

t.test('a wake-up moved later, earlier and to now fires at the last instant', async (t) => {
  const clock = new Clock();
  let fired = 0;
  let settle: (at: Micros) => void = () => {};
  const wake = new WakeUp(clock, () => {
    fired += 1;
    settle(clock.now());
  });
  const armed = (at: Micros): Promise<Micros> =>
    new Promise((resolve) => {
      settle = resolve;
      wake.arm(at);
    });
  const start = clock.now();
  wake.arm(after(start, ms(1)));
  const later = after(start, ms(8));
  t.ok((await armed(later)) >= later, 'later');
  wake.arm(after(clock.now(), ms(60_000)));
  const sooner = after(clock.now(), ms(3));
  const soonerAt = await armed(sooner);
  t.ok(soonerAt >= sooner && soonerAt < after(sooner, ms(30_000)), 'sooner');
  wake.arm(after(clock.now(), ms(60_000)));
  await armed(clock.now());
  t.equal(fired, 3);
  wake.arm(clock.now());
  wake.arm(NEVER);
  wake.arm(clock.now());
  wake.stop();
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  t.equal(fired, 3, 'disarmed and stopped ones do not fire');
});

t.test('entropy does not repeat itself', async (t) => {
  const seen = new Set<string>();
  for (let i = 0; i < 100; i++) seen.add(Buffer.from(randomBytes(entropy, 16)).toString('hex'));
  t.equal(seen.size, 100);
});

t.test('a file is replaced whole, with its mode, and leaves nothing beside it', async (t) => {
  const path = join(await folder(t), 'state.json');
  t.equal(await readFileIfAny(path), undefined);
  await writeFileAtomic(path, '{"a":1}', 0o600);
  await writeFileAtomic(path, '{"a":2}', 0o600);
  t.strictSame(await readJson(path), { a: 2 });
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.strictSame(await readdir(join(path, '..')), ['state.json']);
  await removeFile(path);
  await removeFile(path);
  t.equal(await readFileIfAny(path), undefined);
});

t.test('file errors name the file and the next step', async (t) => {
  const home = await folder(t);
  const path = join(home, 'missing', 'x');
  await t.rejects(writeFileAtomic(path, 'x', 0o600), { code: 'no-such-file' });
  const broken = join(home, 'broken.json');
  await writeFile(broken, '{');
  await t.rejects(readJson(broken), { code: 'file-damaged', message: new RegExp(broken) });
  await writeFile(broken, 'x'.repeat(100));
  await t.rejects(readFileIfAny(broken, 99), { code: 'file-too-long' });
  for (const [system, ours] of [
    ['ENOSPC', 'disk-full'],
    ['EACCES', 'no-permission'],
    ['EIO', 'file-error'],
  ]) {
    const error = fileError(Object.assign(new Error('x'), { code: system }), path, 'write');
    t.equal(errorCode(error), ours);
    t.ok(error.next.length > 10 && error.message.includes(path));
  }
  // /dev/full is a real full disk.
  t.equal(await readFileIfAny('/dev/null').then((bytes) => bytes?.length), 0);
});

t.test('above debug a line holds no address and no whole ID; no line holds bytes', async (t) => {
  const secret = {
    id: 'abcdefghijklmnopqrstuvwxyz234567',
    session: 'abcdefghijklmnopqrstuvwxyz',
    host: '192.168.17.4:5123',
    six: 'fe80::1ff:fe23:4567:890a',
    nested: { peer: '10.20.30.1' },
    key: new Uint8Array([1, 2, 3]),
    error: new Error('connect 127.0.0.1:1883'),
  };
  for (const json of [false, true]) {
    const lines: string[] = [];
    const log = createLog({ level: 'debug', json, write: (line) => lines.push(line) });
    log.trace('unseen', secret);
    log.debug('seen', secret);
    log.info('hidden', secret);
    t.equal(lines.length, 2);
    const leaks = [secret.id, secret.session, '192.168', 'fe80', '10.20', '127.0.0'];
    for (const leak of leaks) {
      t.ok(lines[0].includes(leak), `control: debug shows ${leak}`);
      t.notOk(lines[1].includes(leak), `info hides ${leak}`);
    }
    t.ok(lines.every((line) => line.includes('<3 bytes>')));
    if (json) t.equal((JSON.parse(lines[1]) as { event: string }).event, 'hidden');
  }
});

t.test("a peer's words cannot forge a log line", async (t) => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line) });
  log.warn('refused', { caller: 'x\n2026 error all is lost' });
  t.equal(lines.length, 1);
  t.equal(lines[0].split('\n').length, 2);
});

t.test('datagrams go there and back, paths are the same object, buffers come back', async (t) => {
  const pool = new BufferPool(1_500);
  const paths = new Set<Path>();
  const echoed: string[] = [];
  let done: () => void = () => {};
  const all = new Promise<void>((resolve) => {
    done = resolve;
  });
  const onError = (error: Error): void => void t.fail(error.message);
  const server = await openUdp({
    bind: '127.0.0.1',
    pool,
    onError,
    onDatagram: (path, bytes) => {
      paths.add(path);
      const buffer = pool.borrow();
      buffer.set(bytes);
      server.send({ path, size: bytes.length }, buffer);
    },
  });
  const client = await openUdp({
    bind: '127.0.0.1',
    pool,
    onError,
    onDatagram: (_path, bytes) => {
      echoed.push(Buffer.from(bytes).toString());
      if (echoed.length === 20) done();
    },
  });
  t.ok(server.receiveBufferBytes > 64 * 1024);
  for (let i = 0; i < 20; i++) {
    const buffer = pool.borrow();
    const size = Buffer.from(buffer.buffer).write(`datagram ${i}`);
    client.send({ path: { host: server.host, port: server.port }, size }, buffer);
  }
  await all;
  t.strictSame(
    echoed,
    Array.from({ length: 20 }, (_, i) => `datagram ${i}`),
  );
  t.equal(paths.size, 1);
  await Promise.all([server.close(), client.close(), client.close()]);
  client.send({ path: { host: server.host, port: server.port }, size: 1 }, pool.borrow());
  t.equal(client.droppedDatagrams, 1);
});

t.test('an address that is not ours is a clear error', async (t) => {
  const nothing = (): void => {};
  const wanted = { pool: new BufferPool(1), onDatagram: nothing, onError: nothing };
  await t.rejects(openUdp({ bind: '203.0.113.1', ...wanted }), { code: 'address-unusable' });
});
