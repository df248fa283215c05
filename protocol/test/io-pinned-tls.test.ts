// The server's certificate and the connections that believe its key alone: real TLS on loopback,
// with servers that show the wrong key, an old TLS, a certificate from the future, or nothing.

import { X509Certificate, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer as createHttps } from 'node:https';
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, type Server, createServer as createTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TLSSocket, type TlsOptions, connect, createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { sameBytes } from '../bytes.ts';
import { NO_PIN } from '../identity/token.ts';
import { Clock, CorrectedClock } from '../io/clock.ts';
import { PinMismatch, connectPinned, pinOf, requestPinned } from '../io/pinned-tls.ts';
import { loadServerCertificate, readPin } from '../io/server-certificate.ts';
import { type WallMs, wallMs } from '../time.ts';
import { until } from './until.ts';

const DAY_MS = 86_400_000;
const TIMEOUT_MS = 5_000;

/** A clock that shows another wall time. */
class ShiftedClock extends Clock {
  readonly #shiftMs: number;
  constructor(shiftMs: number) {
    super();
    this.#shiftMs = shiftMs;
  }
  override wall(): WallMs {
    return wallMs(super.wall() + this.#shiftMs);
  }
}

async function folder(t: Test): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-tls-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  return home;
}

async function listen(t: Test, server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): void }>();
  server.on('connection', (socket) => sockets.add(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A TLS server that keeps what it was sent. */
async function tlsServer(t: Test, options: TlsOptions) {
  const heard = { sockets: [] as TLSSocket[], bytes: 0, faults: [] as string[] };
  const server = createServer({ ...options, SNICallback: undefined }, (socket) => {
    heard.sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => (heard.bytes += chunk.length));
  });
  server.on('tlsClientError', (error) => heard.faults.push(error.message));
  return { heard, port: await listen(t, server) };
}

const at = (port: number) => ({ host: '127.0.0.1', port, timeoutMs: TIMEOUT_MS });
const only = (pin: Uint8Array) => (seen: Uint8Array) => sameBytes(seen, pin);

t.test('a certificate is made once; key, pin and modes are as they should be', async (t) => {
  const home = await folder(t);
  const first = await loadServerCertificate({ home, clock: new Clock() });
  const second = await loadServerCertificate({ home, clock: new Clock() });
  t.strictSame(second, first, 'the next start shows the same');
  t.equal((await stat(join(home, 'tls.key'))).mode & 0o777, 0o600);
  t.equal(await readFile(join(home, 'tls.pin'), 'utf8'), `${hex(first.pin)}\n`);
  t.strictSame(readPin(join(home, 'tls.pin')), first.pin);
  const certificate = new X509Certificate(first.cert);
  t.equal(certificate.subject, 'CN=nakodo');
  t.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  t.ok(certificate.verify(certificate.publicKey), 'it is signed by its own key');
  const days = (Date.parse(certificate.validTo) - Date.now()) / DAY_MS;
  t.ok(days > 3_640 && days < 3_660, `valid for ${days} days`);
});

t.test('a certificate that runs out is renewed with the same key: nobody notices', async (t) => {
  const home = await folder(t);
  const old = await loadServerCertificate({ home, clock: new ShiftedClock(-3_630 * DAY_MS) });
  const kept = await loadServerCertificate({ home, clock: new ShiftedClock(-3_620 * DAY_MS) });
  t.equal(kept.cert, old.cert, 'with weeks left nothing changes');
  const renewed = await loadServerCertificate({ home, clock: new Clock() });
  t.not(renewed.cert, old.cert, 'with 20 days left it is another one');
  t.equal(renewed.key, old.key);
  t.strictSame(renewed.pin, old.pin);
  const { port } = await tlsServer(t, renewed);
  const { socket, pin } = await connectPinned({ ...at(port), isPinned: only(old.pin) });
  t.strictSame(pin, old.pin, 'whoever pinned the old one connects');
  socket.destroy();
});

t.test('damaged files are refused by name, with what to do', async (t) => {
  const home = await folder(t);
  const clock = new Clock();
  const good = await loadServerCertificate({ home, clock });
  const other = await loadServerCertificate({ home: await folder(t), clock });
  const path = (name: string): string => join(home, name);
  const damaged = (name: string, next: RegExp) => ({
    code: 'file-damaged',
    message: new RegExp(`${name} cannot be used`),
    next,
  });
  await writeFile(path('tls.crt'), other.cert);
  const foreign = loadServerCertificate({ home, clock });
  await t.rejects(foreign, damaged('tls.crt', /move it away.*same key/));
  await writeFile(path('tls.crt'), good.cert.slice(0, 200));
  await t.rejects(loadServerCertificate({ home, clock }), damaged('tls.crt', /move it away/));
  await rm(path('tls.crt'));
  t.strictSame((await loadServerCertificate({ home, clock })).pin, good.pin, 'as it says');
  await writeFile(path('tls.key'), good.key.replace(/[A-Z]/, '!'));
  await t.rejects(loadServerCertificate({ home, clock }), damaged('tls.key', /restore it/));
  await writeFile(path('tls.pin'), 'nothing');
  t.throws(() => readPin(path('tls.pin')), damaged('tls.pin', /copy tls.pin/));
  t.equal(readPin(path('none')), undefined);
});

t.test('given files: both, belonging together', async (t) => {
  const clock = new Clock();
  const given = await folder(t);
  const { pin, cert } = await loadServerCertificate({ home: given, clock });
  const [keyFile, certFile] = [join(given, 'tls.key'), join(given, 'tls.crt')];
  const home = await folder(t);
  const loaded = await loadServerCertificate({ home, clock, keyFile, certFile });
  t.strictSame(loaded.pin, pin);
  t.equal(loaded.cert, cert);
  t.strictSame(readPin(join(home, 'tls.pin')), pin);
  await t.rejects(stat(join(home, 'tls.key')), 'a given key is not copied');
  await t.rejects(loadServerCertificate({ home, clock, keyFile }), { code: 'tls-files', exit: 2 });
  const missing = loadServerCertificate({ home, clock, keyFile, certFile: join(given, 'none') });
  await t.rejects(missing, { code: 'no-such-file', message: /none/ });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await t.rejects(loadServerCertificate({ home, clock, keyFile, certFile }), {
    code: 'file-damaged',
    message: /does not belong to the key/,
  });
});

t.test('a pinned key connects, whatever its certificate says about time', async (t) => {
  const home = await folder(t);
  // What a Pi sees whose clock says 1970, and what an expired certificate looks like to the rest.
  for (const years of [60, -60]) {
    const clock = new ShiftedClock(years * 365 * DAY_MS);
    const server = await loadServerCertificate({ home: join(home, String(years)), clock });
    const { heard, port } = await tlsServer(t, server);
    const { socket, pin } = await connectPinned({ ...at(port), isPinned: only(server.pin) });
    t.strictSame(pin, server.pin);
    t.strictSame(pinOf(socket), server.pin);
    t.equal(socket.getProtocol(), 'TLSv1.3');
    socket.write('hello');
    await until(() => heard.bytes === 5);
    t.notOk(heard.sockets[0].servername, 'an address is no server name');
    socket.destroy();
  }
});

t.test('a wrong key is refused, and not one byte was sent to it', async (t) => {
  const clock = new Clock();
  const server = await loadServerCertificate({ home: await folder(t), clock });
  const other = await loadServerCertificate({ home: await folder(t), clock });
  const { heard, port } = await tlsServer(t, other);
  const refused = await connectPinned({ ...at(port), isPinned: only(server.pin) }).then(
    () => undefined,
    (error: unknown) => error,
  );
  t.ok(refused instanceof PinMismatch);
  t.strictSame(refused instanceof PinMismatch && refused.pin, other.pin, 'it says which it saw');
  const { socket } = await connectPinned({ ...at(port), isPinned: () => true });
  socket.write('x');
  await until(() => heard.bytes > 0);
  t.equal(heard.bytes, 1, 'the positive control was heard, and nothing else');
  socket.destroy();
  const request = requestPinned(`https://127.0.0.1:${port}/`, {
    method: 'POST',
    body: new Uint8Array(100),
    isPinned: only(server.pin),
    timeoutMs: TIMEOUT_MS,
    bytesMax: 10,
  });
  await t.rejects(request, { code: 'pin-mismatch' });
  t.equal(heard.bytes, 1, 'nor of a request');
});

t.test('a host name is sent as the server name, for whoever stands behind a proxy', async (t) => {
  const server = await loadServerCertificate({ home: await folder(t), clock: new Clock() });
  const { heard, port } = await tlsServer(t, server);
  const options = { host: 'localhost', port, isPinned: () => true, timeoutMs: TIMEOUT_MS };
  const { socket } = await connectPinned(options);
  socket.write('x');
  await until(() => heard.bytes > 0);
  t.equal(heard.sockets[0].servername, 'localhost');
  socket.destroy();
});

t.test('only TLS 1.3: an old server is not spoken to, silence and noise end in time', async (t) => {
  const server = await loadServerCertificate({ home: await folder(t), clock: new Clock() });
  const isPinned = (): boolean => true;
  const old = await tlsServer(t, { ...server, maxVersion: 'TLSv1.2' });
  await t.rejects(connectPinned({ ...at(old.port), isPinned }), { code: /SSL|TLS/ });
  const sockets = new Promise<void>((resolve) => {
    const client = connect({ host: '127.0.0.1', port: old.port, rejectUnauthorized: false });
    client.once('secureConnect', () => {
      t.equal(client.getProtocol(), 'TLSv1.2', 'others can speak to it');
      client.destroy();
      resolve();
    });
  });
  await sockets;
  const silent = await listen(t, createTcp());
  await t.rejects(connectPinned({ ...at(silent), isPinned, timeoutMs: 50 }), { code: 'timeout' });
  const noise = await listen(
    t,
    createTcp((socket) => socket.on('error', () => {}).end('220 hello\r\n')),
  );
  await t.rejects(connectPinned({ ...at(noise), isPinned }), Error);
  const signal = AbortSignal.abort();
  await t.rejects(connectPinned({ ...at(silent), isPinned, signal }), { code: 'aborted' });
});

t.test('one request: status, body, pin; answers too long or too slow are refused', async (t) => {
  const server = await loadServerCertificate({ home: await folder(t), clock: new Clock() });
  const handler = createHttps({ ...server, minVersion: 'TLSv1.3' }, (request, response) => {
    if (request.url === '/slow') return;
    if (request.url === '/long') {
      response.end(Buffer.alloc(10_000));
      return;
    }
    request.on('data', (chunk: Buffer) => response.write(chunk.toString().toUpperCase()));
    request.on('end', () => response.writeHead(request.method === 'POST' ? 200 : 404).end());
  });
  const port = await listen(t, handler);
  const url = `https://127.0.0.1:${port}`;
  const options = { isPinned: only(server.pin), timeoutMs: TIMEOUT_MS, bytesMax: 1_000 };
  const answered = await requestPinned(`${url}/`, { ...options, method: 'GET' });
  t.match(answered, { status: 404, body: new Uint8Array(0), pin: server.pin });
  const long = requestPinned(`${url}/long`, { ...options, method: 'GET' });
  await t.rejects(long, { code: 'too-long' });
  const slow = requestPinned(`${url}/slow`, { ...options, method: 'GET', timeoutMs: 200 });
  await t.rejects(slow, { code: 'timeout' });
  await t.rejects(requestPinned('ftp://x/', { ...options, method: 'GET' }), {
    code: 'bad-server-url',
  });
});

t.test('without TLS a request stays on this machine', async (t) => {
  const port = await listen(
    t,
    createHttp((_request, response) => response.end('plain')),
  );
  const options = {
    method: 'GET',
    isPinned: () => false,
    timeoutMs: TIMEOUT_MS,
    bytesMax: 100,
  } as const;
  const answered = await requestPinned(`http://127.0.0.1:${port}/`, options);
  t.equal(Buffer.from(answered.body).toString(), 'plain');
  t.strictSame(answered.pin, NO_PIN);
  for (const host of [
    '192.0.2.1',
    'localhost',
    'example.org',
    '[2001:db8::1]',
    '[::ffff:1.2.3.4]',
  ]) {
    const request = requestPinned(`http://${host}:${port}/`, options);
    await t.rejects(request, { code: 'plain-not-loopback', exit: 2 }, host);
  }
});

t.test('a corrected clock follows the server from then on, not the system', (t) => {
  const clock = new CorrectedClock();
  t.ok(Math.abs(clock.wall() - Date.now()) < 1_000, 'until then it shows what the system says');
  clock.correct(1_900_000_000_000);
  const begun = clock.wall();
  t.ok(begun >= 1_899_999_999_999 && begun < 1_900_000_001_000);
  t.ok(clock.wall() >= begun, 'it goes on');
  clock.correct(5_000);
  t.ok(clock.wall() < 6_000, 'and back, if it was wrong');
  clock.correct(2_000, 60_000);
  t.ok(clock.wall() >= 5_000, 'not by an answer that was held back, and says what may be so');
  clock.correct(2_000, 1_000);
  t.ok(clock.wall() < 4_000, 'to what it can be at most');
  clock.correct(1_900_000_000_000, 60_000);
  t.ok(clock.wall() < 1_900_000_001_000, 'or at least');
  t.end();
});

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
