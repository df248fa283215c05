// The enrolment port against people who mean no good: bodies that are huge or never end, methods,
// paths and lengths that are none. Real HTTP and real sockets, the server alone.

import { once } from 'node:events';
import { type Socket, createConnection } from 'node:net';
import t, { type Test } from 'tap';
import { SHELL_LIMITS } from '../shell/limits.ts';
import { ENROL_PATH, type EnrolmentServer, openEnrolment } from '../shell/enrolment-http.ts';

const RACERS = 50;

async function open(t: Test): Promise<EnrolmentServer> {
  const server = await openEnrolment('127.0.0.1', 0);
  t.teardown(() => server.close());
  return server;
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
  server.serve((body) => {
    longest = Math.max(longest, body.length);
    return Promise.resolve({ kind: 'membership', bytes: Uint8Array.of(7) });
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
  server.serve(() => Promise.resolve({ kind: 'failed', code: 'bad-request' }));
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
