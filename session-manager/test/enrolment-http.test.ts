// The enrolment port against people who mean no good: bodies that are huge or never end, methods,
// paths and lengths that are none, connections that say nothing, an old TLS. Real HTTP, real TLS
// and real sockets, the server alone.

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type Socket, createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { sameBytes } from '../../protocol/bytes.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { requestPinned } from '../../protocol/io/pinned-tls.ts';
import {
  type ServerCertificate,
  loadServerCertificate,
} from '../../protocol/io/server-certificate.ts';
import type { Reply } from '../manager-types.ts';
import { SHELL_LIMITS } from '../shell/limits.ts';
import { ENROL_PATH, type EnrolmentServer, openEnrolment } from '../shell/enrolment-http.ts';

const RACERS = 50;
const BAD: Reply = { kind: 'failed', code: 'bad-request' };

async function open(t: Test, tls?: ServerCertificate): Promise<EnrolmentServer> {
  const server = await openEnrolment({ host: '127.0.0.1', port: 0, tls });
  t.teardown(() => server.close());
  return server;
}

async function certificate(t: Test): Promise<ServerCertificate> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-enrolment-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  return loadServerCertificate({ home, clock: new Clock() });
}

/** Answers with `reply`; what it says of its keys is `statement`. */
function serving(
  server: EnrolmentServer,
  answer: (body: Uint8Array) => Reply,
  statement?: Uint8Array,
): void {
  server.serve({
    answer: (body) => Promise.resolve(answer(body)),
    serverKeys: () => statement,
  });
}

async function raw(t: Test, port: number): Promise<Socket> {
  const socket = createConnection({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const heard = (socket: Socket, event: 'close' | 'drain'): Promise<void> =>
  new Promise((resolve) => socket.once(event, () => resolve()));

const head = (length: number | string): string =>
  `POST ${ENROL_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`;

t.test('S2000: before it serves, it says to come again, with the next step', async (t) => {
  const server = await open(t);
  const answer = await fetch(`${server.url}${ENROL_PATH}`, { method: 'POST', body: 'x' });
  t.equal(answer.status, 503);
  t.match(await answer.json(), { code: 'busy', next: /try again/ });
});

t.test('S2000: a huge body is not kept, a slow one holds up nobody', async (t) => {
  const server = await open(t);
  let longest = 0;
  serving(server, (body) => {
    longest = Math.max(longest, body.length);
    return { kind: 'membership', bytes: Uint8Array.of(7) };
  });
  const huge = await raw(t, server.port);
  const ended = heard(huge, 'close');
  huge.resume();
  huge.write(head(1024 * 1024 * 1024));
  const piece = Buffer.alloc(64 * 1024);
  let sent = 0;
  while (!huge.destroyed && sent < 64 * 1024 * 1024) {
    sent += piece.length;
    if (!huge.write(piece)) await Promise.race([heard(huge, 'drain'), ended]);
  }
  await ended;
  t.ok(sent < 64 * 1024 * 1024, `cut off after ${sent} bytes at most`);
  const slow = await Promise.all(Array.from({ length: 8 }, () => raw(t, server.port)));
  for (const socket of slow) socket.write(`${head(100)}ab`);
  const answers = await Promise.all(
    Array.from({ length: RACERS }, (_, at) =>
      fetch(`${server.url}${ENROL_PATH}`, { method: 'POST', body: new Uint8Array(at + 1) }),
    ),
  );
  t.ok(answers.every(({ status }) => status === 200 || status === 503));
  t.ok(answers.some(({ status }) => status === 200));
  t.ok(longest <= RACERS);
});

t.test('S2000: wrong methods, paths and lengths are refused and end nothing', async (t) => {
  const server = await open(t);
  serving(server, () => BAD);
  for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS', 'HEAD']) {
    t.equal((await fetch(`${server.url}${ENROL_PATH}`, { method })).status, 405, method);
  }
  for (const path of ['/', `${ENROL_PATH}/`, `${ENROL_PATH}?a=1`, `/x/..${ENROL_PATH}x`]) {
    const { status } = await fetch(`${server.url}${path}`, { method: 'POST', body: 'x' });
    t.equal(status, 404, path);
  }
  for (const text of [head('-1'), head('nonsense'), 'nonsense\r\n\r\n', '\u0000'.repeat(200)]) {
    const socket = await raw(t, server.port);
    socket.resume();
    socket.write(text);
    await heard(socket, 'close');
  }
  const long = await raw(t, server.port);
  long.resume();
  long.write(`POST ${ENROL_PATH} HTTP/1.1\r\na: ${'b'.repeat(2 * SHELL_LIMITS.headerBytesMax)}`);
  await heard(long, 'close');
  const answer = await fetch(`${server.url}${ENROL_PATH}`, { method: 'POST', body: 'x' });
  t.equal(answer.status, 400, 'it still answers');
});

t.test(
  'S2000: over TLS 1.3 alone; the statement about its keys is there for everybody',
  async (t) => {
    const tls = await certificate(t);
    const server = await open(t, tls);
    t.match(server.url, /^https:\/\/127\.0\.0\.1:/);
    const options = { timeoutMs: 5_000, bytesMax: 1_000 };
    const isPinned = (pin: Uint8Array): boolean => sameBytes(pin, tls.pin);
    const url = `${server.url}/nakodo/1/server-keys`;
    const ask = () => requestPinned(url, { ...options, isPinned, method: 'GET' });
    t.equal((await ask()).status, 503, 'before it serves');
    serving(server, () => BAD, Uint8Array.of(1, 2, 3));
    t.match(await ask(), { status: 200, body: Uint8Array.of(1, 2, 3) });
    serving(server, () => BAD);
    t.equal((await ask()).status, 404, 'none yet');
    const enrol = { ...options, isPinned, method: 'POST', body: Uint8Array.of(7) } as const;
    t.equal((await requestPinned(`${server.url}${ENROL_PATH}`, enrol)).status, 400);
    const old = connect({
      host: '127.0.0.1',
      port: server.port,
      rejectUnauthorized: false,
      maxVersion: 'TLSv1.2',
    });
    const [refused] = (await once(old, 'error')) as [Error];
    t.match(refused, { code: /SSL|ECONNRESET/ }, 'a TLS 1.2 client is refused');
    const plain = await raw(t, server.port);
    plain.resume();
    plain.write(head(1));
    await heard(plain, 'close');
    t.equal((await ask()).status, 404, 'and it still answers');
  },
);

t.test('S2000: whoever holds connections open and says nothing keeps nobody out', async (t) => {
  const tls = await certificate(t);
  const server = await open(t, tls);
  serving(server, () => ({ kind: 'membership', bytes: Uint8Array.of(7) }));
  const silent = await Promise.all(
    Array.from({ length: SHELL_LIMITS.connectionsMax }, () => raw(t, server.port)),
  );
  let dropped = 0;
  for (const socket of silent) socket.resume().once('close', () => (dropped += 1));
  const enrol = {
    isPinned: (pin: Uint8Array) => sameBytes(pin, tls.pin),
    timeoutMs: 5_000,
    bytesMax: 1_000,
    method: 'POST',
    body: Uint8Array.of(7),
  } as const;
  for (let turn = 0; turn < 3; turn++) {
    const answer = await requestPinned(`${server.url}${ENROL_PATH}`, enrol);
    t.equal(answer.status, 200);
  }
  t.ok(dropped >= 1 && dropped <= 3, `${dropped} of the silent ones made room`);
});

t.test('S2000: bodies that never end take no request’s turn', async (t) => {
  const server = await open(t);
  serving(server, () => ({ kind: 'membership', bytes: Uint8Array.of(7) }));
  const slow = await Promise.all(
    Array.from({ length: 2 * SHELL_LIMITS.requestsMax }, () => raw(t, server.port)),
  );
  for (const socket of slow) {
    socket.resume();
    socket.write(`${head(100)}ab`);
  }
  // Behind them: what comes on one more connection is read when theirs was.
  for (let turn = 0; turn < 3; turn++) {
    const answer = await fetch(`${server.url}${ENROL_PATH}`, { method: 'POST', body: 'x' });
    t.equal(answer.status, 200);
  }
});

t.test('without TLS it is opened on loopback only', async (t) => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'localhost']) {
    const opening = openEnrolment({ host, port: 0 });
    await t.rejects(opening, { code: 'plain-not-loopback', next: /--plain/ }, host);
  }
});
