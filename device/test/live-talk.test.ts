// Both ends of a live talk over ways that lose and overtake: what comes out is in order, whole
// messages of what went in, and what is missing is counted. A stalled reader costs no memory.

import { Duplex, PassThrough, Readable, duplexPair } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t from 'tap';
import { errorCode } from '../../protocol/errors.ts';
import { LIVE_HELD_MAX } from '../live-order.ts';
import { LIVE_HEAD_BYTES, joinLive } from '../services/live-talk.ts';

const FRAME_BYTES = 16;

/** Messages on their way; `fate` says how many overtake each of them, or that it is lost. */
class Way {
  readonly #fate: (number: number) => number | 'lost';
  readonly #arrived = new PassThrough({ objectMode: true, highWaterMark: 10_000 });
  readonly #onTheWay: { readonly message: Uint8Array; readonly overtakenBy: number }[] = [];
  #sent = 0;

  constructor(fate: (number: number) => number | 'lost') {
    this.#fate = fate;
  }

  readonly send = (message: Uint8Array): void => {
    const fate = this.#fate(this.#sent);
    this.#sent += 1;
    if (fate !== 'lost') this.#onTheWay.push({ message, overtakenBy: fate });
    for (const each of this.#onTheWay.splice(0)) {
      if (each.overtakenBy === 0) this.#arrived.write(each.message);
      else this.#onTheWay.push({ ...each, overtakenBy: each.overtakenBy - 1 });
    }
  };

  get arriving(): AsyncIterable<Uint8Array> {
    return this.#arrived;
  }
}

/** Content whose every message says its number. */
const content = (count: number): Buffer[] =>
  Array.from({ length: count }, (_, number) => {
    const frame = Buffer.alloc(FRAME_BYTES, number & 0xff);
    frame.writeUInt32BE(number);
    return frame;
  });

const numbersOf = (bytes: Buffer): number[] =>
  Array.from({ length: bytes.length / FRAME_BYTES }, (_, at) =>
    bytes.readUInt32BE(at * FRAME_BYTES),
  );

/** Two ends; the first one sends `count` messages, the second one answers nothing. */
async function over(
  way: Way,
  count: number,
  sink: PassThrough = new PassThrough(),
): Promise<{ counts: Awaited<ReturnType<typeof joinLive>>; out: Buffer }> {
  const [here, there] = duplexPair() as [Duplex, Duplex];
  const silent = new Way(() => 'lost');
  const shared = { frameBytes: FRAME_BYTES, jitterMs: 40 };
  const out = buffer(sink);
  const [, counts] = await Promise.all([
    joinLive(
      { control: here, send: way.send, arriving: silent.arriving },
      { ...shared, source: Readable.from(content(count)), sink: new PassThrough() },
    ),
    joinLive(
      { control: there, send: silent.send, arriving: way.arriving },
      { ...shared, source: Readable.from([]), sink },
    ),
  ]);
  sink.end();
  return { counts, out: await out };
}

t.test('what is overtaken is put in order, what is lost is counted', async (t) => {
  const way = new Way((number) => (number % 7 === 3 ? 'lost' : number % 5 === 0 ? 3 : 0));
  const { counts, out } = await over(way, 200);
  const numbers = numbersOf(out);
  const lost = Array.from({ length: 200 }, (_, number) => number).filter((n) => n % 7 === 3);
  t.strictSame(
    numbers,
    Array.from({ length: 200 }, (_, number) => number).filter((n) => n % 7 !== 3),
  );
  t.match(counts, { receivedMessages: 200 - lost.length, lostMessages: lost.length });
});

t.test('a path that loses everything ends all the same, and says so', async (t) => {
  const { counts, out } = await over(new Way(() => 'lost'), 50);
  t.equal(out.length, 0);
  t.match(counts, { receivedMessages: 0, lostMessages: 50 });
});

t.test('a reader that stalls gets the newest, and no more than the bound is kept', async (t) => {
  const count = 10 * LIVE_HELD_MAX;
  // Nobody reads it until all has been sent.
  const sink = new PassThrough({ highWaterMark: 1 });
  const [here, there] = duplexPair() as [Duplex, Duplex];
  const way = new Way(() => 0);
  const silent = new Way(() => 'lost');
  const options = { frameBytes: FRAME_BYTES, jitterMs: 0 };
  const sending = joinLive(
    { control: here, send: way.send, arriving: silent.arriving },
    { ...options, source: Readable.from(content(count)), sink: new PassThrough() },
  );
  const receiving = joinLive(
    { control: there, send: silent.send, arriving: way.arriving },
    { ...options, source: Readable.from([]), sink },
  );
  await sending;
  const out = buffer(sink);
  const counts = await receiving;
  sink.end();
  const numbers = numbersOf(await out);
  t.equal(numbers.length, counts.receivedMessages);
  t.equal(counts.receivedMessages + counts.lostMessages, count);
  t.ok(numbers.length <= LIVE_HELD_MAX + 8, `${numbers.length} came`);
  t.equal(numbers.at(-1), count - 1, 'the newest is among them');
});

t.test('an end that speaks otherwise is refused, a short message passed over', async (t) => {
  const [here, there] = duplexPair() as [Duplex, Duplex];
  const way = new Way(() => 0);
  const options = { frameBytes: FRAME_BYTES, jitterMs: 0 };
  const joined = joinLive(
    { control: there, send: () => {}, arriving: way.arriving },
    { ...options, source: Readable.from([]), sink: new PassThrough().resume() },
  );
  way.send(new Uint8Array(LIVE_HEAD_BYTES));
  here.resume().end('abc');
  t.equal(await joined.catch(errorCode), 'live-cut');
});
