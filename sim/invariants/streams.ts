// Streams deliver a prefix of what was sent, in order, once, unaltered; they end after everything,
// and only if they were finished; messages come at most once, as they were sent. What one end
// writes is kept until the other has read it, so that nothing of another session, direction or boot
// can pass for it.

import type { StreamId } from '../../protocol/data/connection-types.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../../protocol/data/limits.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** One direction of one stream. */
interface Flow {
  /** Written and not yet read, oldest first; of the first, so many bytes are read. */
  readonly chunks: Uint8Array[];
  at: number;
  written: number;
  read: number;
  isFinished: boolean;
  isReset: boolean;
  isStopped: boolean;
}

/** What one end has put in. */
interface Said {
  readonly flows: Map<StreamId, Flow>;
  /** How often each message is under way. */
  readonly messages: Map<string, number>;
  readBytes: number;
  /** On finished streams that the other end has acknowledged to their end. */
  deliveredBytes: number;
}

/** Watches what applications write and read. */
export function streamsDeliver(world: World, book: TalkBook): Watcher {
  return new StreamsDeliver(world, book);
}

class StreamsDeliver implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  /** Bytes of one stream that both ends hold at most. */
  readonly #mostHeld: number;
  readonly #said = new WeakMap<TalkEnd, Said>();

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    const { sendBufferBytesMax, windowBytesMax } = { ...CONNECTION_DEFAULTS, ...world.connection };
    this.#mostHeld = sendBufferBytesMax + Math.max(windowBytesMax, DATA_LIMITS.initialMaxData);
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (end === undefined || end.isWithRogue) return;
    switch (happening.kind) {
      case 'wrote': {
        const flow = this.#flowOf(end, happening.stream);
        flow.written += happening.bytes.length;
        if (flow.written - flow.read > this.#mostHeld && !flow.isStopped) this.#holdsTooMuch(end);
        if (!flow.isStopped) flow.chunks.push(happening.bytes.slice());
        return;
      }
      case 'finished':
        this.#flowOf(end, happening.stream).isFinished = true;
        return;
      case 'resetSent':
        this.#flowOf(end, happening.stream).isReset = true;
        return;
      case 'read':
        return this.#onRead(end, happening.stream, happening.bytes);
      case 'readEnd':
        return this.#onReadEnd(end, happening.stream);
      case 'stopSent':
        return this.#onStop(end, happening.stream);
      case 'messageSent':
        return this.#onMessage(end, happening.bytes);
      case 'messageRead':
        return this.#onMessageRead(end, happening.bytes);
      case 'event':
        return this.#onEvent(end, happening.event);
      default:
        return;
    }
  }

  #holdsTooMuch({ role, session }: TalkEnd): never {
    const what = `a stream of the ${role} of ${session} holds more than ${this.#mostHeld} bytes`;
    this.#world.violate('memory', what);
  }

  #onRead(end: TalkEnd, stream: StreamId, bytes: Uint8Array): void {
    const flow = end.peer && this.#flowOf(end.peer, stream);
    const where = `stream ${stream} to the ${end.role} of ${end.session}`;
    if (flow === undefined) this.#violate(`${where} has bytes that nobody wrote`);
    if (flow.isStopped) this.#violate(`${where} has bytes after its reader stopped it`);
    this.#countRead(end, bytes.length);
    let from = 0;
    while (from < bytes.length) {
      const chunk = flow.chunks[0];
      if (chunk === undefined) this.#violate(`${where} has more bytes than were written`);
      const length = Math.min(bytes.length - from, chunk.length - flow.at);
      const isSame = isEqual(bytes.subarray(from, from + length), chunk, flow.at);
      if (!isSame) this.#violate(`${where} is altered after byte ${flow.read}`);
      from += length;
      flow.read += length;
      flow.at += length;
      if (flow.at < chunk.length) continue;
      flow.chunks.shift();
      flow.at = 0;
    }
  }

  #onReadEnd(end: TalkEnd, stream: StreamId): void {
    const flow = end.peer && this.#flowOf(end.peer, stream);
    const where = `stream ${stream} to the ${end.role} of ${end.session}`;
    if (flow === undefined) this.#violate(`${where} ends and was never begun`);
    if (flow.isReset || flow.isStopped) return;
    if (!flow.isFinished) this.#violate(`${where} ends and was not finished`);
    if (flow.read !== flow.written)
      this.#violate(`${where} ends after ${flow.read} of ${flow.written} bytes`);
  }

  #onStop(end: TalkEnd, stream: StreamId): void {
    if (end.peer === undefined) return;
    const flow = this.#flowOf(end.peer, stream);
    flow.isStopped = true;
    flow.chunks.length = 0;
  }

  #onMessage(end: TalkEnd, bytes: Uint8Array): void {
    const { messages } = this.#saidBy(end);
    const text = textOf(bytes);
    messages.set(text, (messages.get(text) ?? 0) + 1);
  }

  #onMessageRead(end: TalkEnd, bytes: Uint8Array): void {
    const messages = end.peer && this.#saidBy(end.peer).messages;
    const text = textOf(bytes);
    const left = messages?.get(text) ?? 0;
    const where = `a message of ${bytes.length} bytes to the ${end.role} of ${end.session}`;
    if (left === 0) this.#violate(`${where} was not sent, or came twice, or is altered`);
    messages?.set(text, left - 1);
    this.#countRead(end, bytes.length);
  }

  /** What was received before the end may be read after it, and nothing else. */
  #countRead(end: TalkEnd, bytes: number): void {
    const said = this.#saidBy(end);
    said.readBytes += bytes;
    const { ended } = end;
    if (ended !== undefined && said.readBytes > ended.counts.receivedBytes)
      this.#violate(`the ${end.role} of ${end.session} reads what came after its end`);
  }

  #onEvent(end: TalkEnd, event: (Happening & { kind: 'event' })['event']): void {
    if (event.kind === 'ended') return this.#checkDelivered(end);
    if (event.kind !== 'talk') return;
    const { event: inner } = event;
    const { peer } = end;
    const where = `of the ${end.role} of ${end.session}`;
    if (inner.kind === 'reset') {
      const flow = peer && this.#saidBy(peer).flows.get(inner.stream);
      // Who is told to stop resets by itself (RFC 9000 §3.5).
      if (flow?.isReset !== true && flow?.isStopped !== true)
        this.#violate(`stream ${inner.stream} ${where} is reset by nobody`);
    } else if (inner.kind === 'stopped') {
      const flow = this.#saidBy(end).flows.get(inner.stream);
      if (flow?.isStopped !== true) this.#violate(`stream ${inner.stream} ${where} has no stopper`);
    } else if (inner.kind === 'delivered') this.#onDelivered(end, inner.stream);
  }

  /** All of it is acknowledged: then the other end has received it. */
  #onDelivered(end: TalkEnd, stream: StreamId): void {
    const flow = this.#flowOf(end, stream);
    if (!flow.isFinished) this.#violate(`stream ${stream} is delivered and was not finished`);
    if (end.peer === undefined) this.#violate(`stream ${stream} is delivered to nobody`);
    if (flow.isStopped) return;
    this.#saidBy(end).deliveredBytes += flow.written;
    this.#checkDelivered(end.peer);
  }

  /** What its peer counts as delivered is among what it counts as received. */
  #checkDelivered({ ended, peer, role, session }: TalkEnd): void {
    if (ended === undefined || peer === undefined) return;
    const { deliveredBytes } = this.#saidBy(peer);
    const { receivedBytes } = ended.counts;
    if (receivedBytes >= deliveredBytes) return;
    const what = `${deliveredBytes} bytes to the ${role} of ${session} count as delivered`;
    this.#violate(`${what}, ${receivedBytes} were received`);
  }

  #flowOf(end: TalkEnd, stream: StreamId): Flow {
    const { flows } = this.#saidBy(end);
    let flow = flows.get(stream);
    if (flow === undefined) {
      flow = {
        chunks: [],
        at: 0,
        written: 0,
        read: 0,
        isFinished: false,
        isReset: false,
        isStopped: false,
      };
      flows.set(stream, flow);
    }
    return flow;
  }

  #saidBy(end: TalkEnd): Said {
    let said = this.#said.get(end);
    if (said === undefined) {
      said = { flows: new Map(), messages: new Map(), readBytes: 0, deliveredBytes: 0 };
      this.#said.set(end, said);
    }
    return said;
  }

  #violate(says: string): never {
    this.#world.violate('streams', says);
  }
}

function isEqual(bytes: Uint8Array, chunk: Uint8Array, at: number): boolean {
  return Buffer.compare(bytes, chunk.subarray(at, at + bytes.length)) === 0;
}

const textOf = ({ buffer, byteOffset, length }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, length).toString('latin1');
