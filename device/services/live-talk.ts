// One end of a talk of the service `live`: what comes in is cut into messages that are sent once
// and never again, and what the peer sends goes out in order, without what was lost. Both ends are
// alike. A stream beside the messages tells how many there were, so that losses are known.
//
//   message   number (4, big endian, from 0) | 1 to N bytes of content
//   stream    opened by the caller; each end writes, when it has sent everything, how many messages
//             it has numbered (8, big endian), and closes its direction

import type { Duplex, Readable, Writable } from 'node:stream';
import { NakodoError } from '../../protocol/errors.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { MICROS_PER_MS, NEVER, ms } from '../../protocol/time.ts';
import { LiveOrder } from '../live-order.ts';
import { deferred } from '../shell/deferred.ts';
import { ended, written } from './pump.ts';

/** The service of a stream between two commands. */
export const PIPE_SERVICE = 'pipe';
/** The service of datagram messages between two commands. */
export const LIVE_SERVICE = 'live';
/**
 * Bytes of content of a message where nobody says: fits every path (1170 bytes of message are
 * carried by any), and is whole samples of 1, 2, 3, 4, 6 or 8 bytes, so that a loss shifts none.
 */
export const LIVE_FRAME_BYTES = 1_152;
/** Bytes before the content. */
export const LIVE_HEAD_BYTES = 4;
/** Milliseconds to wait for what is overtaken, where nobody says. */
export const LIVE_JITTER_MS = 40;
/** After the end was told, what is under way may still take so long. */
const END_WAIT_MS = 250;
const TOTAL_BYTES = 8;

/** The talk as this end holds it. */
interface LiveWays {
  /** The stream beside the messages. */
  readonly control: Duplex;
  /** Hands a message on; a promise where the next has to wait for it. */
  readonly send: (message: Uint8Array) => unknown;
  /** The peer's messages; each is read before the next is asked for. */
  readonly arriving: AsyncIterable<Uint8Array>;
}

/** What is to be sent and where to what comes. */
interface LiveOptions {
  readonly source: Readable;
  readonly sink: Writable;
  readonly frameBytes: number;
  /** The first message waits so long, and a gap; see LiveOrder. */
  readonly jitterMs: number;
  /** Hears how much was sent and received, in bytes, since the last time. */
  readonly onBytes?: (sent: number, received: number) => void;
  /** The source has ended, and the peer knows it. */
  readonly onSent?: () => void;
  /** The peer has ended its direction, and all of it has gone out. */
  readonly onReceived?: () => void;
}

/** Messages of one talk. */
export interface LiveCounts {
  readonly sentMessages: number;
  readonly receivedMessages: number;
  /** That the peer sent and we did not hand on. */
  readonly lostMessages: number;
  /** Of them, those that came too late. */
  readonly lateMessages: number;
}

/**
 * Carries both directions until both are over. Rejects when the stream fails (the talk's end, a
 * peer that gave up), or with the error of `source`.
 */
export async function joinLive(ways: LiveWays, options: LiveOptions): Promise<LiveCounts> {
  const order = new LiveOrder({ waitMicros: ms(options.jitterMs), endWaitMicros: ms(END_WAIT_MS) });
  // Nobody may be writing or reading when it breaks.
  const broken = new Promise<never>((_, reject) => ways.control.once('error', reject));
  const both = Promise.all([sendAll(ways, options), receiveAll(ways, options, order)]);
  const [sentMessages] = await Promise.race([both, broken]);
  const { received, lost, late } = order.counts;
  return { sentMessages, receivedMessages: received, lostMessages: lost, lateMessages: late };
}

/** Cuts, numbers, sends; then says how many there were. */
async function sendAll(ways: LiveWays, options: LiveOptions): Promise<number> {
  const { source, frameBytes, onBytes } = options;
  let number = 0;
  let rest: Buffer = Buffer.alloc(0);
  const send = async (content: Uint8Array): Promise<void> => {
    const message = Buffer.alloc(LIVE_HEAD_BYTES + content.length);
    message.writeUInt32BE(number >>> 0);
    message.set(content, LIVE_HEAD_BYTES);
    number += 1;
    await ways.send(message);
    onBytes?.(content.length, 0);
  };
  const chunks = source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= frameBytes) {
      await send(rest.subarray(0, frameBytes));
      rest = rest.subarray(frameBytes);
    }
    if (ways.control.destroyed) break;
  }
  if (rest.length > 0) await send(rest);
  const total = Buffer.alloc(TOTAL_BYTES);
  total.writeBigUInt64BE(BigInt(number));
  await written(ways.control, total);
  await ended(ways.control);
  options.onSent?.();
  return number;
}

/** Puts in order and hands on, until the peer's end is told and all of it has come or is lost. */
async function receiveAll(ways: LiveWays, options: LiveOptions, order: LiveOrder): Promise<void> {
  const over = deferred<void>();
  const player = new Player(order, options, () => over.resolve());
  const messages = (async () => {
    for await (const message of ways.arriving) player.heard(message);
  })();
  // Where messages end the talk ends, and the stream says so.
  messages.catch(() => {});
  toldTotal(ways.control).then(
    (total) => player.ended(total),
    (error: Error) => over.reject(error),
  );
  try {
    await over.promise;
  } finally {
    player.stop();
  }
  options.onReceived?.();
}

/** Reads the peer's direction of the stream to its end. */
async function toldTotal(control: Readable): Promise<number> {
  let told: Buffer = Buffer.alloc(0);
  const chunks = control.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) {
    told = Buffer.concat([told, chunk]);
    if (told.length > TOTAL_BYTES) break;
  }
  const total = told.length === TOTAL_BYTES ? Number(told.readBigUInt64BE()) : NaN;
  if (Number.isSafeInteger(total)) return total;
  throw new NakodoError(
    'live-cut',
    'the other end of the live talk does not speak as this release does',
    'bring both terminals to the same release',
  );
}

/** Hands on what is due, when it is due, at the pace of the sink. */
class Player {
  readonly #order: LiveOrder;
  readonly #options: LiveOptions;
  readonly #clock = new Clock();
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isPlaying = false;
  #isStopped = false;

  constructor(order: LiveOrder, options: LiveOptions, onOver: () => void) {
    this.#order = order;
    this.#options = options;
    this.#onOver = onOver;
  }

  heard(message: Uint8Array): void {
    if (message.length <= LIVE_HEAD_BYTES) return;
    const view = new DataView(message.buffer, message.byteOffset);
    // A copy: who delivers it may use its bytes again.
    const content = message.slice(LIVE_HEAD_BYTES);
    this.#order.handleMessage(this.#clock.now(), view.getUint32(0), content);
    void this.#play();
  }

  ended(total: number): void {
    this.#order.handleEnd(this.#clock.now(), total);
    void this.#play();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #play(): Promise<void> {
    if (this.#isPlaying || this.#isStopped) return;
    this.#isPlaying = true;
    for (;;) {
      const frame = this.#order.pollFrame(this.#clock.now());
      if (frame === undefined || this.#isStopped) break;
      await written(this.#options.sink, frame);
      this.#options.onBytes?.(0, frame.length);
    }
    this.#isPlaying = false;
    if (this.#order.isOver) this.#onOver();
    else this.#sleep();
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    const { wakeAt } = this.#order;
    if (this.#isStopped || wakeAt === NEVER) return;
    const waitMs = Math.max(0, wakeAt - this.#clock.now()) / MICROS_PER_MS;
    this.#timer = setTimeout(() => void this.#play(), Math.ceil(waitMs));
  }
}
