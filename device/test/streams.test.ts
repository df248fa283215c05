// Streams of a session as Node streams: backpressure that reaches the writer through both ends'
// bounded buffers, half-close, destruction, fairness, and what is left when the talk ends.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import t from 'tap';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import type { Session } from '../shell/session.ts';
import type { TalkStream } from '../shell/talk-stream.ts';
import { nextStream, talk } from './session-pair.ts';

const KB = 1024;
const MB = KB * KB;
/** Small and fixed, so that what may be under way is known. */
const WINDOWS = {
  windowBytes: 512 * KB,
  windowBytesMax: 512 * KB,
  streamWindowBytes: 256 * KB,
  sendBufferBytes: 256 * KB,
  sendBufferBytesMax: 256 * KB,
};
const CHUNK_BYTES = 64 * KB;
/** Node holds up to its mark and one chunk more, at each end. */
const NODE_BYTES = 2 * (64 * KB + CHUNK_BYTES);
/** Send buffer, window (which may grow to the connection's), and Node's own. */
const UNDER_WAY_MAX = WINDOWS.sendBufferBytes + WINDOWS.windowBytesMax + NODE_BYTES;

/** The next turn of the event loop. */
const turn = (): Promise<'not yet'> => new Promise((resolve) => setImmediate(resolve, 'not yet'));

/** Content made as it is asked for; counts and hashes what it gave. */
class Source extends Readable {
  given = 0;
  readonly hash = createHash('sha256');
  readonly #chunk = randomBytes(CHUNK_BYTES);
  readonly #size: number;

  constructor(size: number) {
    super({ highWaterMark: CHUNK_BYTES });
    this.#size = size;
  }

  override _read(): void {
    if (this.given >= this.#size) {
      this.push(null);
      return;
    }
    this.#chunk.writeDoubleBE(this.given);
    const chunk = Buffer.from(this.#chunk);
    this.given += chunk.length;
    this.hash.update(chunk);
    this.push(chunk);
  }
}

/** Takes a chunk only when it may, then one a turn of the event loop. */
class SlowSink extends Writable {
  taken = 0;
  readonly hash = createHash('sha256');
  #mayGo: Promise<void>;
  go: () => void = () => {};

  constructor() {
    super({ highWaterMark: 1 });
    this.#mayGo = new Promise((resolve) => {
      this.go = resolve;
    });
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    void this.#take(chunk, done);
  }

  async #take(chunk: Buffer, done: () => void): Promise<void> {
    await this.#mayGo;
    await turn();
    this.taken += chunk.length;
    this.hash.update(chunk);
    done();
  }
}

/** A stream from the caller's end, and the same at the callee's. */
async function both(caller: Session, callee: Session): Promise<[TalkStream, TalkStream]> {
  const incoming = nextStream(callee);
  const near = caller.openStream();
  const { stream: far } = await incoming;
  return [near, far];
}

/** All that comes; a plain `for await` would destroy the direction that is still open. */
async function bytesOf(stream: TalkStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

t.test('S1005: 32 MB each way at once, slow readers: what is under way is bounded', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { config: WINDOWS });
  const [near, far] = await both(caller, callee);
  const ways = [
    { from: near, to: far, source: new Source(32 * MB), sink: new SlowSink() },
    { from: far, to: near, source: new Source(32 * MB), sink: new SlowSink() },
  ];
  const through = ways.flatMap(({ from, to, source, sink }) => [
    pipeline(source, from),
    pipeline(to, sink),
  ]);
  // Nobody reads yet: true backpressure stops the sources.
  for (const { source } of ways) {
    const given = await untilStill(() => source.given);
    t.ok(given > WINDOWS.streamWindowBytes && given <= UNDER_WAY_MAX + CHUNK_BYTES, `${given}`);
  }
  let most = 0;
  for (const { source, sink } of ways) {
    source.on('data', () => (most = Math.max(most, source.given - sink.taken)));
    sink.go();
  }
  await Promise.all(through);
  t.ok(most <= UNDER_WAY_MAX + 2 * CHUNK_BYTES, `at most ${most} bytes were under way`);
  for (const { source, sink } of ways) {
    t.equal(sink.taken, 32 * MB);
    t.equal(sink.hash.digest('hex'), source.hash.digest('hex'));
  }
});

t.test('S1005: one pipeline through an echo: there and back at the pace of the sink', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { config: WINDOWS });
  callee.on('stream', (stream) => void pipeline(stream, stream));
  const [source, sink] = [new Source(4 * MB), new SlowSink()];
  const through = pipeline(source, caller.openStream(), sink);
  const given = await untilStill(() => source.given);
  t.ok(given <= 2 * (UNDER_WAY_MAX + CHUNK_BYTES), `${given}`);
  sink.go();
  await through;
  t.equal(sink.hash.digest('hex'), source.hash.digest('hex'));
});

t.test('S1005: write() says stop while nobody reads, and drain comes with reading', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { config: WINDOWS });
  const [near, far] = await both(caller, callee);
  let drains = 0;
  near.on('drain', () => (drains += 1));
  let written = 0;
  while (near.write(Buffer.alloc(CHUNK_BYTES))) written += CHUNK_BYTES;
  await untilStill(() => drains);
  while (!near.writableNeedDrain && near.write(Buffer.alloc(CHUNK_BYTES))) written += CHUNK_BYTES;
  const before = await untilStill(() => drains);
  t.ok(near.writableNeedDrain, 'it is stopped');
  t.ok(written <= UNDER_WAY_MAX);
  t.equal(far.readableLength, 0, 'what nobody reads is not in Node either');
  far.resume();
  await until(() => drains > before, 'drain');
  t.pass('reading lets it go on');
});

t.test('S1005: half-close: each direction ends by itself', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const [near, far] = await both(caller, callee);
  near.end('question');
  t.equal((await bytesOf(far)).toString(), 'question');
  t.notOk(far.destroyed, 'its other direction is open');
  await once(near, 'finish');
  const answer = randomBytes(2 * MB);
  far.end(answer);
  t.ok((await bytesOf(near)).equals(answer));
  await until(() => near.closed && far.closed, 'both directions are through');
  t.strictSame([near.errored, far.errored], [null, null]);
});

t.test('S1005: `finish` means delivered', async (t) => {
  let isCut = false;
  const { caller, callee } = await talk(t, { seconds: 60 }, { isLost: () => isCut });
  const [near, far] = await both(caller, callee);
  isCut = true;
  near.end('x');
  const early = await Promise.race([once(near, 'finish'), turn()]);
  t.equal(early, 'not yet');
  isCut = false;
  await once(near, 'finish');
  t.equal((await bytesOf(far)).toString(), 'x');
});

t.test('S4006: whoever destroys a stream tells the other end, and it is forgotten', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  for (let count = 0; count < DATA_LIMITS.streamsMax + 1; count++) {
    const [near, far] = await both(caller, callee);
    const [gone, left] = count % 2 === 0 ? [near, far] : [far, near];
    left.resume();
    gone.destroy();
    const [error] = (await once(left, 'error')) as [{ code: string; next: string }];
    t.match(error, { code: 'stream-reset', next: 'try again' });
  }
  const [near, far] = await both(caller, callee);
  near.end('still');
  t.equal((await bytesOf(far)).toString(), 'still', 'the talk goes on');
});

t.test('S4006: destroy after end() still delivers; with an error it gives up', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const [near, far] = await both(caller, callee);
  near.end(randomBytes(200_000));
  near.destroy();
  t.equal((await bytesOf(far)).length, 200_000);
  const [again, there] = await both(caller, callee);
  there.resume();
  again.end(randomBytes(3 * MB));
  again.destroy(new Error('the disk is full'));
  await t.rejects(finished(there, { writable: false }), { code: 'stream-reset' });
});

t.test(
  'S4006: a reader that stops reads no more; its writer is told, its answer comes',
  async (t) => {
    const { caller, callee } = await talk(t, { seconds: 60 });
    const [near, far] = await both(caller, callee);
    const writing = pipeline(new Source(4 * MB), near);
    far.stopReading();
    far.end('enough');
    t.equal((await bytesOf(near)).toString(), 'enough');
    await writing;
    t.ok(near.isStopped, 'and what it wrote went nowhere, without an error');
  },
);

t.test('S1005: two streams share the talk within 30 %', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { config: WINDOWS });
  const taken = [0, 0];
  const sizes = 8 * MB;
  const pairs = [await both(caller, callee), await both(caller, callee)];
  const shares: number[][] = [];
  const through = pairs.flatMap(([near, far], index) => [
    pipeline(new Source(sizes), near),
    pipeline(
      far,
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          taken[index] += chunk.length;
          if (taken[index] >= sizes / 2) shares.push([...taken]);
          done();
        },
      }),
    ),
  ]);
  await Promise.all(through);
  const [halfway] = shares;
  t.ok(Math.min(...halfway) >= 0.7 * Math.max(...halfway), `at half time: ${halfway.join(', ')}`);
});

t.test('S4005: what was delivered before a `done` is read, however slow the reader', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const [near, far] = await both(caller, callee);
  const content = randomBytes(200_000);
  await pipeline([content], near, { end: true });
  await caller.close();
  t.equal((await callee.ended).reason, 'done');
  t.notOk(far.destroyed);
  t.ok((await bytesOf(far)).equals(content), 'whole, and its end is an end');
  await until(() => far.closed);
});

t.test('claim 3: a stream that the end cut off gives what had come, then its reason', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const [near, far] = await both(caller, callee);
  near.write(randomBytes(50_000));
  await once(far, 'readable');
  await until(() => caller.state?.counts.sentBytes === callee.state?.counts.receivedBytes);
  callee.finish('local');
  await callee.ended;
  let length = 0;
  const reading = (async (): Promise<void> => {
    for await (const chunk of far) length += (chunk as Buffer).length;
  })();
  await t.rejects(reading, { code: 'local', next: 'call again' });
  t.equal(length, 50_000);
  t.throws(() => caller.openStream() && callee.openStream(), { code: 'local' });
  await t.rejects(pipeline(['x'], near), 'nothing can be written any more');
});

t.test('S1005: streams begin when the talk is established, 64 at once', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  // The callee knows by the caller's first packet, which is on its way.
  t.throws(() => callee.openStream(), { code: 'not-established', exit: 1 });
  await callee.established;
  callee.openStream().destroy();
  const open = Array.from({ length: DATA_LIMITS.streamsMax }, () => caller.openStream());
  t.throws(() => caller.openStream(), { code: 'too-many-streams', exit: 1 });
  t.equal(new Set(open.map(({ id }) => id)).size, DATA_LIMITS.streamsMax);
});
