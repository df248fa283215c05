// The commands' way in, on real Unix sockets: results, errors, events, data with backpressure.
// A command and an agent in one process, each test with a socket of its own.

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EXIT, NakodoError } from '../errors.ts';
import { IO_LIMITS } from '../io/limits.ts';
import { type ServedChannel, callLocal, serveLocal } from '../io/local-socket.ts';

type Handle = (request: Record<string, unknown>, channel: ServedChannel) => Promise<object>;

async function served(test: Test, handle: Handle): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-ls-'));
  const path = join(folder, 'agent.sock');
  const server = await serveLocal(path, { mode: 0o600, handle });
  test.teardown(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return path;
}

const CHUNK = 50_000;
const CHUNKS = 200;

async function* body(onPulled: (bytes: number) => void = () => {}): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < CHUNKS; i++) {
    onPulled(CHUNK);
    yield new Uint8Array(CHUNK).fill(i);
  }
}

async function hashOf(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of content) hash.update(chunk);
  return hash.digest('hex');
}

t.test('a request gets events and its result; the socket is 0600', async (t) => {
  const path = await served(t, async (request, channel) => {
    channel.event({ step: 1 });
    channel.event({ step: 2 });
    return { echo: request.word };
  });
  t.equal((await stat(path)).mode & 0o777, 0o600);
  const events: object[] = [];
  const result = await callLocal(path, { word: 'hi' }, { onEvent: (event) => events.push(event) });
  t.strictSame(result, { echo: 'hi' });
  t.strictSame(events, [{ step: 1 }, { step: 2 }]);
});

t.test('the socket is nobody else’s from its first moment, whatever is inherited', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nk-ls-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'agent.sock');
  const before = process.umask(0);
  const opening = serveLocal(path, { mode: 0o600, handle: async () => ({}) });
  const { mode } = statSync(path);
  t.equal(process.umask(before), 0, 'and what is inherited stays');
  t.equal(mode & 0o777, 0o600);
  await (await opening).close();
});

t.test('errors keep code, message, next step and exit code', async (t) => {
  const path = await served(t, async (request) => {
    if (request.our === true) throw new NakodoError('refused', 'no', 'ask', EXIT.refused);
    throw new TypeError('oops');
  });
  await t.rejects(callLocal(path, { our: true }), {
    code: 'refused',
    message: 'no',
    next: 'ask',
    exit: EXIT.refused,
  });
  await t.rejects(callLocal(path, {}), { message: 'oops', exit: EXIT.failed });
});

t.test('10 MB arrive unchanged, both ways', async (t) => {
  const path = await served(t, async (_request, channel) => {
    const hash = createHash('sha256');
    for await (const chunk of channel.incoming) {
      hash.update(chunk);
      await channel.write(chunk);
    }
    return { hash: hash.digest('hex') };
  });
  const back = createHash('sha256');
  const result = await callLocal(
    path,
    {},
    { body: body(), onData: (bytes) => void back.update(bytes) },
  );
  const expected = await hashOf(body());
  t.equal(result.hash, expected);
  t.equal(back.digest('hex'), expected);
});

t.test('a handler that does not read stops the sender within the window', async (t) => {
  let pulled = 0;
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const path = await served(t, async (_request, channel) => {
    const chunks = channel.incoming[Symbol.asyncIterator]();
    await chunks.next();
    channel.event({ holding: true });
    await held;
    let received = 1;
    while ((await chunks.next()).done !== true) received += 1;
    return { received };
  });
  let pulledWhenHeld = 0;
  const result = await callLocal(
    path,
    {},
    {
      body: body((bytes) => (pulled += bytes)),
      onEvent: () => {
        // By now the sender may send no more than its window; two turns let it try.
        setImmediate(() =>
          setImmediate(() => {
            pulledWhenHeld = pulled;
            release();
          }),
        );
      },
    },
  );
  t.ok(pulledWhenHeld > 0 && pulledWhenHeld <= IO_LIMITS.localWindowBytes + 2 * CHUNK);
  t.equal(pulled, CHUNK * CHUNKS, 'control: all of it was sent in the end');
  t.ok(Number(result.received) > 100);
});

t.test('a handler may answer without reading the body', async (t) => {
  const path = await served(t, async () => ({ early: true }));
  t.strictSame(await callLocal(path, {}, { body: body() }), { early: true });
});

t.test('a body that fails ends the call with its error, and the handler hears of it', async (t) => {
  let heard: (code: unknown) => void = () => {};
  const code = new Promise((resolve) => {
    heard = resolve;
  });
  const path = await served(t, async (_request, channel) => {
    try {
      await hashOf(channel.incoming);
    } catch (error) {
      heard((error as NakodoError).code);
    }
    return {};
  });
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
    throw new NakodoError('source-gone', 'gone', 'look');
  }
  await t.rejects(callLocal(path, {}, { body: failing() }), { code: 'source-gone' });
  t.equal(await code, 'command-gone');
});

t.test('a command that goes away is noticed though nobody reads', async (t) => {
  let aborted: () => void = () => {};
  const gone = new Promise<void>((resolve) => {
    aborted = resolve;
  });
  const path = await served(t, (_request, channel) => {
    channel.event({});
    return new Promise((resolve) => {
      channel.closed.addEventListener('abort', () => {
        aborted();
        resolve({});
      });
    });
  });
  const abort = new AbortController();
  const call = callLocal(
    path,
    {},
    { body: body(), signal: abort.signal, onEvent: () => abort.abort() },
  );
  await t.rejects(call, { code: 'agent-gone' });
  await gone;
  t.ok(abort.signal.aborted);
});

t.test('not running, already running, a stale socket and a long path', async (t) => {
  const path = await served(t, async () => ({ first: true }));
  const handle = async (): Promise<object> => ({ second: true });
  await t.rejects(serveLocal(path, { mode: 0o600, handle }), { code: 'already-running' });
  t.strictSame(await callLocal(path, {}), { first: true });
  await t.rejects(callLocal(`${path}.none`, {}), { code: 'not-running', exit: EXIT.failed });
  await t.rejects(callLocal(`/tmp/${'x'.repeat(100)}`, {}), { code: 'socket-path-too-long' });

  const stale = `${path}.stale`;
  await staleSocket(stale);
  await t.rejects(callLocal(stale, {}), { code: 'not-running' });
  const server = await serveLocal(stale, { mode: 0o600, handle });
  t.strictSame(await callLocal(stale, {}), { second: true });
  await server.close();
});

t.test('any bytes: the connection is closed, the server lives', async (t) => {
  const path = await served(t, async () => ({ ok: true }));
  const bad = [
    Buffer.from([9, 0, 0, 0, 0]),
    Buffer.from([1, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([1, 0, 0, 0, 2, 0x5b, 0x5d]),
    Buffer.from([5, 0, 0, 0, 1, 0]),
    Buffer.from([2, 0, 0, 0, 2, 0x7b, 0x7d]),
    Buffer.from([7, 0, 0, 0, 1, 0]),
  ];
  for (const bytes of bad) {
    await new Promise<void>((resolve) => {
      const socket = createConnection(path, () => socket.write(bytes));
      socket.on('error', () => {});
      socket.resume().once('close', () => resolve());
    });
  }
  t.strictSame(await callLocal(path, {}), { ok: true });
});

t.test('data frames without data are not kept for a handler that does not read', async (t) => {
  let gone = (): void => {};
  const closed = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const path = await served(t, async ({ waits }, channel) => {
    if (waits !== true) return { ok: true };
    // Opens the window, as a handler does that has more to do before it reads.
    const first = channel.incoming[Symbol.asyncIterator]().next();
    channel.closed.addEventListener('abort', gone, { once: true });
    await first;
    await closed;
    return {};
  });
  const request = Buffer.from('{"waits":true}');
  const frames = [Buffer.from([1, 0, 0, 0, request.length]), request];
  const one = Buffer.from([5, 0, 0, 0, 1, 0]);
  const socket = createConnection(path, () => {
    socket.write(Buffer.concat(frames));
  });
  socket.on('error', () => {});
  // Its first answer is the credit.
  await new Promise((resolve) => socket.once('data', resolve));
  socket.write(Buffer.concat([one, Buffer.alloc(5 * 1_000, Buffer.from([5, 0, 0, 0, 0]))]));
  socket.resume();
  await closed;
  t.strictSame(await callLocal(path, {}), { ok: true });
});

t.test('a hundred half-open commands do not keep the others out', async (t) => {
  const path = await served(t, async () => ({ ok: true }));
  const sockets = Array.from({ length: 100 }, () => createConnection(path));
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const opened = sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve)));
  await Promise.all(opened);
  for (const socket of sockets) socket.write(Buffer.from([1, 0, 0]));
  const answers = await Promise.all(Array.from({ length: 20 }, () => callLocal(path, {})));
  t.equal(answers.length, 20);
  t.strictSame(answers[19], { ok: true });
});

/** A socket file that nobody answers on: what a killed agent leaves behind. */
async function staleSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.live`, resolve));
  const { link } = await import('node:fs/promises');
  await link(`${path}.live`, path).catch(() => writeFile(path, ''));
  await new Promise((resolve) => server.close(resolve));
}

t.test('nobody else gets in, not even in the moment in which the socket is made', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nk-ls-'));
  const path = join(folder, 'agent.sock');
  const umask = process.umask(0);
  try {
    const serving = serveLocal(path, { mode: 0o600, handle: async () => ({}) });
    t.equal(statSync(path).mode & 0o777, 0o600);
    t.equal(process.umask(), 0, 'and files are made as before');
    const server = await serving;
    await server.close();
  } finally {
    process.umask(umask);
    await rm(folder, { recursive: true, force: true });
  }
});

t.test('credit is spent in whole frames: a small one leaves no small ones behind', async (t) => {
  const lengths: number[] = [];
  const path = await served(t, async (_, channel) => {
    for await (const chunk of channel.incoming) lengths.push(chunk.length);
    return {};
  });
  async function* content(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(5);
    for (let at = 0; at < 40; at++) yield new Uint8Array(IO_LIMITS.frameBytesMax);
  }
  await callLocal(path, {}, { body: content() });
  t.strictSame(lengths, [5, ...Array.from({ length: 40 }, () => IO_LIMITS.frameBytesMax)]);
});
