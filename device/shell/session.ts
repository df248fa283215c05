// One talk as an application sees it: streams in and out, datagram messages, events, an end. Only
// the service that was granted is served. Docs: docs/sessions.md. The agent drives it by the
// methods that say "for the agent".

import { EventEmitter } from 'node:events';
import type { PathClass } from '../../protocol/address.ts';
import type { ConnectionEvent, StreamId, Talk } from '../../protocol/data/connection-types.ts';
import type { Path } from '../../protocol/core.ts';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { Arrivals } from './arrivals.ts';
import { endError, streamError } from './call-error.ts';
import { type Deferred, deferred } from './deferred.ts';
import { Loops } from './loops.ts';
import { ReadSlab } from './read-slab.ts';
import type { SessionEnd, SessionEvents, SessionInfo, SessionState } from './session-types.ts';
import {
  OpeningReader,
  PARAMETERS_BYTES_MAX,
  STREAM_CODE,
  encodeOpening,
} from './stream-opening.ts';
import { TalkStream } from './talk-stream.ts';

/** What a session needs of its agent. */
export interface SessionHost {
  talk(session: SessionId): Talk | undefined;
  /** To be called after every command to the talk. */
  drain(): void;
  end(session: SessionId, reason: 'done' | 'local'): void;
  state(session: SessionId): SessionState | undefined;
}

/** Takes a stream that the peer opened; `parameters`: the service's own, at most 1 KiB. */
export type StreamHandler = (stream: TalkStream, parameters: Uint8Array) => void;

/** What the agent passes on: the connection's events, and what became of an extension. */
type TalkEvent =
  | ConnectionEvent
  | { readonly kind: 'extended'; readonly seconds: number; readonly bytes: number | undefined }
  | { readonly kind: 'extensionRefused' }
  | { readonly kind: 'way'; readonly class: PathClass; readonly path: Path };

const NO_PARAMETERS = new Uint8Array();

/**
 * One introduced talk. An event emitter of SessionEvents; an error that a listener throws is thrown
 * again a moment later, out of the agent's way, as `uncaughtException`.
 */
export class Session extends EventEmitter<SessionEvents> {
  readonly info: SessionInfo;
  /** Resolves when both ends have proven themselves; rejects if the talk ends before. */
  readonly established: Promise<Path>;
  /** Resolves at the end, never rejects. */
  readonly ended: Promise<SessionEnd>;
  /** One handler for what the peer opens, in place of `stream` listeners and loops. */
  onStream: StreamHandler | undefined;
  readonly #host: SessionHost;
  readonly #streams = new Map<StreamId, TalkStream>();
  /** Streams of the peer whose opening has not wholly arrived; at most STREAMS_MAX. */
  readonly #openings = new Map<StreamId, OpeningReader>();
  /** Streams of the peer that nobody has taken yet. */
  readonly #arrivals = new Arrivals<TalkStream>({
    max: DATA_LIMITS.streamsMax,
    onLeft: (streams) => refuseAll(streams),
  });
  /** There is no queue of messages but the talk's own: bounded, and it counts what it drops. */
  readonly #messages = new Loops({ take: () => this.#talk?.readDatagram() });
  readonly #slab = new ReadSlab();
  readonly #settleEstablished: Deferred<Path>;
  readonly #settleEnded: Deferred<SessionEnd>;
  /** Streams wait until the session is in its user's hands. */
  #isHeld = false;
  #isEstablished = false;
  #isInEvent = false;
  #isDrainDue = false;
  #wasFinished = false;
  #end: SessionEnd | undefined;
  #way: PathClass | undefined;
  #lastTalk: Talk | undefined;

  /** For the agent. */
  constructor(info: SessionInfo, host: SessionHost) {
    super();
    this.info = info;
    this.#host = host;
    this.#lastTalk = host.talk(info.session);
    this.#settleEstablished = deferred<Path>();
    this.established = this.#settleEstablished.promise;
    // A callee need not wait for it.
    this.established.catch(() => {});
    this.#settleEnded = deferred<SessionEnd>();
    this.ended = this.#settleEnded.promise;
  }

  /** How it ended, once it has. */
  get end(): SessionEnd | undefined {
    return this.#end;
  }

  /** How it reaches the peer now, or did last; undefined: it has found no way yet. */
  get way(): PathClass | undefined {
    return this.#way;
  }

  /** Whether somebody at this end has ended it, or has begun to. */
  get wasFinished(): boolean {
    return this.#wasFinished;
  }

  /** Limits, counts, path and transport as they are now; undefined when the talk is over. */
  get state(): SessionState | undefined {
    return this.#host.state(this.info.session);
  }

  /**
   * Opens a stream for the granted service. Costs no round trip: what is written at once leaves in
   * the same datagram.
   * `service`: must be the granted one, which is the default: a talk is granted for one service.
   * `parameters`: the service's own, at most 1024 bytes, copied; the peer finds them at its stream.
   * @throws NakodoError the reason of the end, `not-established`, `too-many-streams` (64 of ours
   *   are open), `other-service` and `parameters-too-long` (exit 2).
   */
  openStream(service = this.info.service, parameters: Uint8Array = NO_PARAMETERS): TalkStream {
    if (service !== this.info.service) throw streamError('other-service');
    if (parameters.length > PARAMETERS_BYTES_MAX) throw streamError('parameters-too-long');
    if (this.#end !== undefined) throw endError(this.#end.reason, this.#end.meeting);
    if (!this.#isEstablished) throw streamError('not-established');
    const id = this.#talk?.openStream();
    if (id === undefined) throw streamError('too-many-streams');
    const own = Uint8Array.from(parameters);
    const stream = this.#adopt(id, own);
    stream.write(encodeOpening({ service, parameters: own }));
    return stream;
  }

  /**
   * The streams that the peer opens, until the end of the talk. At most 64 wait for the loop; each
   * of them holds its peer to the stream's window. Leaving the loop refuses those that wait.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<TalkStream, undefined> {
    return this.#arrivals.iterate();
  }

  /** Bytes of the largest datagram message now (RFC 9221); 0 before the talk is established. */
  get maxDatagramBytes(): number {
    return this.#isEstablished && this.#end === undefined ? (this.#talk?.maxDatagramBytes ?? 0) : 0;
  }

  /**
   * Sends one message, at most once, before what waits in streams; it may be lost or overtaken.
   * `bytes`: 1 to `maxDatagramBytes`, copied. False: not sent, since 64 wait already (skip this
   * one, or slow down), or it is too large or empty, or the talk is not open.
   */
  sendDatagram(bytes: Uint8Array): boolean {
    if (this.#end !== undefined || this.#talk?.sendDatagram(bytes) !== true) return false;
    this.#drain();
    return true;
  }

  /**
   * The peer's datagram messages as they arrive, until the end of the talk. At most 64 wait; then
   * the oldest goes, and `state.droppedMessages` counts it.
   */
  datagrams(): AsyncIterableIterator<Uint8Array, undefined> {
    return this.#messages.iterate();
  }

  /**
   * Ends the talk: `done` first delivers what was written, for as long as that makes progress;
   * `local` stops at once. The peer hears the reason.
   */
  finish(reason: 'done' | 'local'): void {
    this.#wasFinished = true;
    this.#host.end(this.info.session, reason);
  }

  /** Ends the talk as `finish` does, and resolves when it has ended. */
  close(reason: 'done' | 'local' = 'done'): Promise<SessionEnd> {
    if (this.#end === undefined) this.finish(reason);
    return this.ended;
  }

  /** For `await using`: `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** For the agent: streams wait until `handOver`. */
  hold(): void {
    this.#isHeld = true;
  }

  /**
   * For the agent: its user has the session now, and this turn of the event loop to say who takes
   * streams. After it they are refused if nobody does.
   */
  handOver(): void {
    setImmediate(() => {
      this.#isHeld = false;
      const waiting = this.#arrivals.isTaken ? [] : this.#arrivals.takeAll();
      // One by one: a handler that fails costs those behind it nothing.
      for (const stream of waiting) this.#guarded(() => this.#offer(stream));
      this.#guarded(() => this.#offerMessages());
    });
  }

  /** For the agent: what the talk's connection says. */
  onTalkEvent(event: TalkEvent): void {
    // Whoever says it goes on to drain the talk.
    this.#isInEvent = true;
    this.#guarded(() => this.#onTalkEvent(event));
    this.#isInEvent = false;
  }

  /** For the agent: the last that is heard of this talk. */
  onEnded(end: SessionEnd): void {
    if (this.#end !== undefined) return;
    const talk = this.#talk;
    this.#end = end;
    // An error costs its stack: a talk that nobody is disappointed by makes none.
    if (this.#streams.size > 0 || !this.#isEstablished) {
      const why = endError(end.reason, end.meeting);
      // Those that still wait for a loop are taken from it afterwards: what they hold had arrived.
      for (const stream of this.#streams.values()) {
        this.#guarded(() => stream.onTalkEnded(talk, why));
      }
      this.#settleEstablished.reject(why);
    }
    this.#streams.clear();
    this.#openings.clear();
    this.#arrivals.end();
    this.#messages.end();
    this.#settleEnded.resolve(end);
    this.#guarded(() => this.emit('end', end));
  }

  #onTalkEvent(event: TalkEvent): void {
    switch (event.kind) {
      case 'established':
        this.#isEstablished = true;
        this.#settleEstablished.resolve(event.path);
        this.emit('established', event.path);
        break;
      case 'stream':
        this.#openings.set(event.stream, new OpeningReader());
        this.#readOpening(event.stream);
        break;
      case 'readable':
        if (this.#openings.has(event.stream)) this.#readOpening(event.stream);
        else this.#streams.get(event.stream)?.onReadable();
        break;
      case 'writable':
        this.#streams.get(event.stream)?.onWritable();
        break;
      case 'reset':
        if (this.#openings.delete(event.stream)) this.#refuse(event.stream);
        this.#streams.get(event.stream)?.onReset(event.code);
        break;
      case 'delivered':
        this.#streams.get(event.stream)?.onDelivered();
        break;
      case 'stopped':
        this.#streams.get(event.stream)?.onStopped();
        break;
      case 'datagram':
        this.#offerMessages();
        break;
      case 'expiryNear':
        this.emit('expiryNear', event.by);
        break;
      case 'extended':
        this.emit('extended', { seconds: event.seconds, bytes: event.bytes });
        break;
      case 'extensionRefused':
        this.emit('extensionRefused');
        break;
      case 'path':
        this.emit('path', event.path);
        break;
      case 'way':
        this.#way = event.class;
        this.emit('way', event.class, event.path);
        break;
      default:
        break;
    }
  }

  /** The agent forgets a talk when it ends; what had arrived is still read from it then. */
  get #talk(): Talk | undefined {
    this.#lastTalk = this.#host.talk(this.info.session) ?? this.#lastTalk;
    return this.#lastTalk;
  }

  /** Once for all that is done in this turn: what is written together leaves together. */
  #drain(): void {
    if (this.#isInEvent || this.#isDrainDue) return;
    this.#isDrainDue = true;
    queueMicrotask(() => {
      this.#isDrainDue = false;
      this.#host.drain();
    });
  }

  /** Runs what may call the application; its errors are not the agent's. */
  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #adopt(id: StreamId, parameters: Uint8Array): TalkStream {
    const stream = new TalkStream(id, parameters, {
      talk: () => (this.#end === undefined ? this.#talk : undefined),
      drain: () => this.#drain(),
      forget: (gone) => {
        this.#streams.delete(gone.id);
        this.#arrivals.drop(gone);
      },
      slab: this.#slab,
    });
    this.#streams.set(id, stream);
    return stream;
  }

  /** Reads exactly the opening, so that the first byte behind it is the service's. */
  #readOpening(id: StreamId): void {
    const talk = this.#talk;
    if (talk === undefined) return;
    const opened = this.#openings.get(id)?.read(talk, id);
    if (opened === undefined) return;
    this.#openings.delete(id);
    if (opened === 'bad' || opened.service !== this.info.service) {
      this.#refuse(id);
      return;
    }
    const stream = this.#adopt(id, opened.parameters);
    if (!this.#isHeld) this.#offer(stream);
    else if (!this.#arrivals.push(stream)) stream.refuse();
  }

  /** To the handler, the listeners or the loops, in this order; else it is refused. */
  #offer(stream: TalkStream): void {
    if (this.onStream !== undefined) this.onStream(stream, stream.parameters);
    else if (this.listenerCount('stream') > 0) this.emit('stream', stream);
    else if (!this.#arrivals.isTaken || !this.#arrivals.push(stream)) stream.refuse();
  }

  #refuse(id: StreamId): void {
    this.#talk?.stop(id, STREAM_CODE.refused);
    this.#talk?.reset(id, STREAM_CODE.refused);
    this.#drain();
  }

  /** To the listeners, else to the loops; else they stay in the talk's own queue. */
  #offerMessages(): void {
    if (this.listenerCount('datagram') === 0) {
      this.#messages.arrived();
      return;
    }
    // At most DATA_LIMITS.datagramsReceiveMax wait, and no more arrive meanwhile.
    for (let message = this.#talk?.readDatagram(); message !== undefined;) {
      this.emit('datagram', message);
      message = this.#talk?.readDatagram();
    }
  }
}

function refuseAll(streams: readonly TalkStream[]): void {
  for (const stream of streams) stream.refuse();
}
