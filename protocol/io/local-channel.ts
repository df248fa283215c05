// One connection of local-socket.ts, the same at both ends: frames, and data on credit. What breaks
// the layout ends the connection: both ends are this program.

import type { Socket } from 'node:net';
import { NakodoError } from '../errors.ts';
import { IO_LIMITS } from './limits.ts';

/** The type byte of a frame. */
export const FrameType = {
  request: 1,
  event: 2,
  result: 3,
  error: 4,
  data: 5,
  dataEnd: 6,
  credit: 7,
} as const;
type JsonFrame = 1 | 2 | 3 | 4;

const HEAD_BYTES = 5;

/** Reads and writes the frames of one socket, which it owns. */
export class LocalChannel {
  /** Takes request, event, result and error frames. */
  onJson: (type: JsonFrame, value: Record<string, unknown>) => void = () => {};
  readonly closed: AbortSignal;
  readonly #socket: Socket;
  readonly #abort = new AbortController();
  #unparsed: Buffer = Buffer.alloc(0);
  /** Bytes of data that we may still send. */
  #credit = 0;
  /** Bytes of data that the other end may still send. */
  #granted = 0;
  #received: Uint8Array[] = [];
  #receivedAll = false;
  /** Wakes whoever waits for data, credit or the end. */
  readonly #waiting = new Set<() => void>();

  constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = this.#abort.signal;
    socket.on('data', (chunk: Buffer) => this.#onChunk(chunk));
    socket.on('drain', () => this.#wake());
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#abort.abort();
      this.#wake();
    });
  }

  /** Sends a JSON frame. @throws NakodoError `message-too-long`. */
  sendJson(type: JsonFrame, value: object): void {
    const payload = Buffer.from(JSON.stringify(value));
    if (payload.length > IO_LIMITS.frameBytesMax) {
      throw new NakodoError(
        'message-too-long',
        `a message of ${payload.length} bytes is more than ${IO_LIMITS.frameBytesMax}`,
        'ask for less at a time',
      );
    }
    this.#send(type, payload);
  }

  /** Sends an event, or drops it when the other end does not read. */
  sendEvent(event: object): void {
    if (this.#socket.writableLength > IO_LIMITS.localEventBytesMax) return;
    this.sendJson(FrameType.event, event);
  }

  /** Sends the result or the error and closes. */
  sendLast(type: 3 | 4, value: object): void {
    try {
      this.sendJson(type, value);
    } catch (error) {
      const { code, message, next, exit } = error as NakodoError;
      this.sendJson(FrameType.error, { code, message, next, exit });
    }
    this.#socket.end();
  }

  /** Sends data; resolves when it may be followed by more. Rejects when the other end has gone. */
  async write(bytes: Uint8Array): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      if (this.closed.aborted || !this.#socket.writable) {
        throw new NakodoError('command-gone', 'the other end has gone', 'start the command again');
      }
      const length = Math.min(bytes.length - at, IO_LIMITS.frameBytesMax);
      // Whole frames only: a little credit spent at once comes back as little, for good
      // (RFC 9293 §3.8.6.2). The window holds two frames, so a whole one always comes.
      if (length > this.#credit || this.#socket.writableNeedDrain) {
        await this.#change();
        continue;
      }
      this.#credit -= length;
      // A copy: the socket may hold it longer than the caller lends it.
      this.#send(FrameType.data, Buffer.from(bytes.subarray(at, at + length)));
      at += length;
    }
  }

  /** Says that no more data follows. */
  endData(): void {
    if (this.#socket.writable) this.#send(FrameType.dataEnd, Buffer.alloc(0));
  }

  /**
   * What the other end sends as data, until its end, its last frame or its going.
   * Asking for the first chunk opens the window; each chunk that was used opens it again.
   */
  async *incoming(): AsyncGenerator<Uint8Array, void, undefined> {
    this.#grant(IO_LIMITS.localWindowBytes);
    for (;;) {
      const chunk = this.#received.shift();
      if (chunk !== undefined) {
        yield chunk;
        this.#grant(chunk.length);
        continue;
      }
      if (this.#receivedAll) return;
      if (this.closed.aborted) {
        throw new NakodoError('command-gone', 'the other end has gone', 'start the command again');
      }
      await this.#change();
    }
  }

  #grant(bytes: number): void {
    this.#granted += bytes;
    if (!this.#socket.writable || this.#receivedAll) return;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.#send(FrameType.credit, payload);
  }

  #send(type: number, payload: Buffer): void {
    if (!this.#socket.writable) return;
    const head = Buffer.alloc(HEAD_BYTES);
    head[0] = type;
    head.writeUInt32BE(payload.length, 1);
    this.#socket.cork();
    this.#socket.write(head);
    if (payload.length > 0) this.#socket.write(payload);
    this.#socket.uncork();
  }

  #onChunk(chunk: Buffer): void {
    this.#unparsed = this.#unparsed.length === 0 ? chunk : Buffer.concat([this.#unparsed, chunk]);
    let at = 0;
    while (this.#unparsed.length - at >= HEAD_BYTES) {
      const type = this.#unparsed[at];
      const length = this.#unparsed.readUInt32BE(at + 1);
      if (length > IO_LIMITS.frameBytesMax) {
        this.#socket.destroy();
        return;
      }
      const end = at + HEAD_BYTES + length;
      if (end > this.#unparsed.length) break;
      if (!this.#onFrame(type, this.#unparsed.subarray(at + HEAD_BYTES, end))) {
        this.#socket.destroy();
        return;
      }
      at = end;
    }
    this.#unparsed = this.#unparsed.subarray(at);
  }

  /** False for what breaks the protocol. */
  #onFrame(type: number, payload: Buffer): boolean {
    if (type === FrameType.data) {
      // An empty one would cost no credit, and so be kept without end while nobody reads.
      const isCredited = payload.length > 0 && payload.length <= this.#granted;
      if (!isCredited || this.#receivedAll) return false;
      this.#granted -= payload.length;
      this.#received.push(payload);
    } else if (type === FrameType.dataEnd) {
      this.#receivedAll = true;
    } else if (type === FrameType.credit) {
      if (payload.length !== 4) return false;
      this.#credit = Math.min(this.#credit + payload.readUInt32BE(), 2 ** 32);
    } else if (type === 1 || type === 2 || type === 3 || type === 4) {
      const value = parsedObject(payload);
      if (value === undefined) return false;
      if (type === FrameType.result || type === FrameType.error) this.#receivedAll = true;
      this.onJson(type, value);
    } else {
      return false;
    }
    this.#wake();
    return true;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

function parsedObject(payload: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(payload.toString('utf8'));
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
