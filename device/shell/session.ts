// One talk as an application sees it: streams in and out, an end. Each stream begins with an
// opening that names its service (docs/wire.md); only the service that was granted is
// served.

import { concatBytes } from '../../protocol/bytes.ts';
import { decodeCbor, encodeCbor } from '../../protocol/control/cbor.ts';
import { bytes, field, record, text } from '../../protocol/control/schema.ts';
import type {
  ConnectionEvent,
  Role,
  StreamId,
  Talk,
  TalkState,
} from '../../protocol/data/connection-types.ts';
import type { Path } from '../../protocol/core.ts';
import { type Counts, type EndReason, endSentence, isLimit } from '../../protocol/ends.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { TalkStream } from './talk-stream.ts';

/** Bytes of a service's own parameters in a stream's opening: chosen by us, a file's name fits. */
const PARAMETERS_BYTES_MAX = 1_024;
const OPENING_HEAD_BYTES = 2;
/** CBOR of the longest service name and parameters, with their heads. */
const OPENING_BYTES_MAX = PARAMETERS_BYTES_MAX + LIMITS.serviceNameMax + 16;
const REFUSED_STREAM = 2;

/** What a stream begins with: a length, then this. */
export const opening = record({
  service: field(0, text(LIMITS.serviceNameMax)),
  parameters: field(1, bytes(0, PARAMETERS_BYTES_MAX)),
});

/** What both terminals were told (S1004, S4004). */
export interface SessionInfo {
  readonly session: SessionId;
  readonly role: Role;
  readonly peer: { readonly name: Name; readonly id: DeviceId };
  readonly service: string;
  /** The grant, as it was at the beginning. */
  readonly seconds: number;
  readonly bytes: number | undefined;
}

/** How a talk ended. */
export interface SessionEnd {
  readonly reason: EndReason;
  readonly counts: Counts;
  readonly path: Path | undefined;
}

/** What changes while a talk lasts. */
export type SessionEvent =
  | { readonly kind: 'established'; readonly path: Path }
  | { readonly kind: 'expiryNear'; readonly by: 'time' | 'bytes' }
  | { readonly kind: 'extended'; readonly seconds: number; readonly bytes: number | undefined }
  | { readonly kind: 'extensionRefused' };

/** What a session needs of its agent. */
export interface SessionHost {
  talk(session: SessionId): Talk | undefined;
  /** To be called after every command to the talk. */
  drain(): void;
  end(session: SessionId, reason: 'done' | 'local'): void;
  state(session: SessionId): TalkState | undefined;
}

/** Takes a stream that the peer opened; `parameters`: the service's own, at most 1 KiB. */
export type StreamHandler = (stream: TalkStream, parameters: Uint8Array) => void;

/** One introduced talk. */
export class Session {
  readonly info: SessionInfo;
  /** Resolves when both ends have proven themselves; rejects if the talk ends before. */
  readonly established: Promise<Path>;
  /** Resolves at the end, never rejects. */
  readonly ended: Promise<SessionEnd>;
  /** Takes what the peer opens; without it, and for any other service, a stream is refused. */
  onStream: StreamHandler | undefined;
  onEvent: (event: SessionEvent) => void = () => {};
  readonly #host: SessionHost;
  readonly #streams = new Map<StreamId, TalkStream>();
  /** Streams of the peer whose opening has not wholly arrived; at most STREAMS_MAX. */
  readonly #openings = new Map<StreamId, Uint8Array>();
  readonly #settleEstablished: Deferred<Path>;
  readonly #settleEnded: Deferred<SessionEnd>;
  #end: SessionEnd | undefined;
  #lastTalk: Talk | undefined;

  constructor(info: SessionInfo, host: SessionHost) {
    this.info = info;
    this.#host = host;
    this.#lastTalk = host.talk(info.session);
    const established = deferred<Path>();
    this.established = established.promise;
    this.#settleEstablished = established;
    // A callee need not wait for it.
    this.established.catch(() => {});
    const ended = deferred<SessionEnd>();
    this.ended = ended.promise;
    this.#settleEnded = ended;
  }

  /** How it ended, once it has. */
  get end(): SessionEnd | undefined {
    return this.#end;
  }

  /** Limits, counts and path as they are now; undefined when the talk is over. */
  get state(): TalkState | undefined {
    return this.#host.state(this.info.session);
  }

  /**
   * Opens a stream for the granted service.
   * `parameters`: the service's own, at most 1 KiB.
   * @throws NakodoError `talk-over` (or the reason of the end), `too-many-streams`.
   */
  openStream(parameters: Uint8Array = new Uint8Array()): TalkStream {
    if (this.#end !== undefined) throw endError(this.#end.reason);
    const id = this.#talk?.openStream();
    if (id === undefined) {
      throw new NakodoError(
        'no-stream',
        'the talk takes no further stream now',
        'wait until a stream is finished',
      );
    }
    const stream = this.#adopt(id);
    const encoded = encodeCbor(opening, { service: this.info.service, parameters });
    const head = Uint8Array.of(encoded.length >> 8, encoded.length & 0xff);
    stream.write(concatBytes(head, encoded));
    return stream;
  }

  /** Ends the talk: `done` delivers what is in flight first, `local` stops at once. */
  finish(reason: 'done' | 'local'): void {
    this.#host.end(this.info.session, reason);
  }

  /** For the agent: what the talk's connection says. */
  onTalkEvent(event: ConnectionEvent): void {
    switch (event.kind) {
      case 'established':
        this.#settleEstablished.resolve(event.path);
        this.onEvent(event);
        break;
      case 'stream':
        this.#openings.set(event.stream, new Uint8Array(0));
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
        if (this.#openings.delete(event.stream)) this.#talk?.reset(event.stream, REFUSED_STREAM);
        this.#streams.get(event.stream)?.onReset();
        break;
      case 'delivered':
        this.#streams.get(event.stream)?.onDelivered();
        break;
      case 'stopped':
        this.#streams.get(event.stream)?.onStopped();
        break;
      case 'expiryNear':
        this.onEvent(event);
        break;
      default:
        break;
    }
  }

  /** For the agent: the last that is heard of this talk. */
  onEnded(end: SessionEnd): void {
    if (this.#end !== undefined) return;
    const talk = this.#talk;
    this.#end = end;
    const why = endError(end.reason);
    for (const stream of this.#streams.values()) stream.onTalkEnded(talk, why);
    this.#streams.clear();
    this.#openings.clear();
    this.#settleEstablished.reject(why);
    this.#settleEnded.resolve(end);
  }

  /** The agent forgets a talk when it ends; what had arrived is still read from it then. */
  get #talk(): Talk | undefined {
    this.#lastTalk = this.#host.talk(this.info.session) ?? this.#lastTalk;
    return this.#lastTalk;
  }

  #adopt(id: StreamId): TalkStream {
    const stream = new TalkStream(id, {
      talk: () => (this.#end === undefined ? this.#talk : undefined),
      drain: () => this.#host.drain(),
      forget: (gone) => void this.#streams.delete(gone),
    });
    // Whoever uses the stream hears of its failure by its own means; nobody must die of it.
    stream.on('error', () => {});
    this.#streams.set(id, stream);
    return stream;
  }

  /** Reads exactly the opening, so that the first byte behind it is the service's. */
  #readOpening(id: StreamId): void {
    const talk = this.#talk;
    let got = this.#openings.get(id);
    while (talk !== undefined && got !== undefined) {
      const wanted = openingLength(got) - got.length;
      if (wanted <= 0) break;
      const more = new Uint8Array(wanted);
      const length = talk.read(id, more);
      if (length < 0 || openingLength(got) > OPENING_HEAD_BYTES + OPENING_BYTES_MAX) {
        this.#refuse(id);
        return;
      }
      if (length === 0) return;
      got = concatBytes(got, more.subarray(0, length));
      this.#openings.set(id, got);
    }
    if (got === undefined) return;
    const decoded = decodeCbor(opening, got.subarray(OPENING_HEAD_BYTES));
    const handler = this.onStream;
    if (decoded?.service !== this.info.service || handler === undefined) {
      this.#refuse(id);
      return;
    }
    this.#openings.delete(id);
    const stream = this.#adopt(id);
    handler(stream, decoded.parameters);
  }

  #refuse(id: StreamId): void {
    this.#openings.delete(id);
    this.#talk?.stop(id, REFUSED_STREAM);
    this.#talk?.reset(id, REFUSED_STREAM);
    this.#host.drain();
  }
}

/** The error for work that an end of the talk cut off. */
export function endError(reason: EndReason): NakodoError {
  return new NakodoError(
    reason,
    `the talk ended: ${endSentence(reason)}`,
    NEXT_STEPS[reason] ?? 'call again',
    endExit(reason),
  );
}

const NEXT_STEPS: Partial<Readonly<Record<EndReason, string>>> = {
  time: 'call again, ask for more time (--for), or let the callee allow extensions',
  quota: 'call again, ask for more bytes (--bytes), or let the callee allow extensions',
  operator: 'ask the operator',
  revoked: 'ask the operator',
  'path-lost': 'check that UDP passes between the two terminals',
  'peer-gone': 'check the other terminal, then call again',
};

function endExit(reason: EndReason): ExitCode {
  if (isLimit(reason)) return EXIT.limit;
  return reason === 'path-lost' || reason === 'peer-gone' ? EXIT.unreachable : EXIT.failed;
}

/** Bytes of an opening, its head included, as far as `got` tells. */
function openingLength(got: Uint8Array): number {
  if (got.length < OPENING_HEAD_BYTES) return OPENING_HEAD_BYTES;
  return OPENING_HEAD_BYTES + ((got[0] << 8) | got[1]);
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

function deferred<T>(): Deferred<T> {
  let settle: Pick<Deferred<T>, 'resolve' | 'reject'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return {
    promise,
    resolve: (value) => settle?.resolve(value),
    reject: (error) => settle?.reject(error),
  };
}
