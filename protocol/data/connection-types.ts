// What one talk's connection is given and what it says: scene 5 of the story (the talk). The
// connection itself is in connection.ts; the shell and the services see only these types.

import type { CryptoSuite, DhKey } from '../crypto.ts';
import type { Path } from '../core.ts';
import type { Counts, EndReason } from '../ends.ts';
import type { SessionId } from '../ids.ts';
import type { Rng } from '../random.ts';
import type { Trace } from '../trace/trace-event.ts';

/** The caller is the Noise initiator and opens the even streams. */
export type Role = 'caller' | 'callee';

declare const streamBrand: unique symbol;
/** 0, 2, 4 … are the caller's, 1, 3, 5 … the callee's (RFC 9000 §2.1, all bidirectional). */
export type StreamId = number & { readonly [streamBrand]: 'stream' };

/** The expiry: seconds since this end's clock started, metered bytes of both ends together. */
export interface TalkLimits {
  readonly seconds: number;
  /** undefined: not limited in bytes. */
  readonly bytes: number | undefined;
}

/** What one end of a talk begins with: what its address notice said, and its own key. */
export interface ConnectionOptions {
  readonly role: Role;
  readonly session: SessionId;
  /** The grant as both notices carried it: the handshake's prologue. Kept. */
  readonly grantBytes: Uint8Array;
  readonly limits: TalkLimits;
  /** 32 bytes, the pre-shared part [claim 7, 16]. */
  readonly sessionKey: Uint8Array;
  readonly localKey: DhKey;
  /** The peer's X25519 key, already checked against its device ID. */
  readonly remotePublicKey: Uint8Array;
  /** For this handshake alone, if the owner had time to make it ahead. */
  readonly ephemeral?: DhKey | undefined;
  /** The peer's for this handshake, 32 bytes: with both, the talk has its keys from the start. */
  readonly remoteEphemeral?: Uint8Array | undefined;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  /** Overrides of CONNECTION_DEFAULTS (data/limits.ts). */
  readonly config?: Partial<ConnectionConfig>;
  /** Hears of congestion control, recovery and path; costs something only when it is there. */
  readonly trace?: Trace | undefined;
}

/** All fields have defaults in `data/limits.ts`, with their reasons. */
export interface ConnectionConfig {
  /** Bytes of a whole datagram (header, frames, tag) once established. 1200 to 65 507. */
  readonly datagramBytes: number;
  /**
   * Larger datagrams to try once established, ascending (RFC 8899); none above what the shell knows
   * the first link to carry whole, since Linux fragments what is larger.
   */
  readonly datagramBytesProbes: readonly number[];
  readonly congestionControl: 'bbr' | 'cubic';
  /** Bytes the peer may send on all streams beyond what was read: receive memory, at first. */
  readonly windowBytes: number;
  /** What that may grow to while a long path keeps it full; the same for one stream. */
  readonly windowBytesMax: number;
  /** The same for one stream. */
  readonly streamWindowBytes: number;
  /** Bytes a stream holds for us, unsent or unacknowledged, before write() takes no more. */
  readonly sendBufferBytes: number;
  /** What that may grow to with the congestion window. */
  readonly sendBufferBytesMax: number;
  /** Milliseconds without a packet from the peer after which it is gone. */
  readonly idleTimeoutMs: number;
  /** Milliseconds after which a quiet talk sends a PING. */
  readonly keepAliveMs: number;
  /** Milliseconds for the handshake, all candidates together, before `path-lost`. */
  readonly handshakeTimeoutMs: number;
}

/** Readiness, not data: the owner then calls read() or write(). */
export type ConnectionEvent =
  | { readonly kind: 'established'; readonly path: Path }
  /** The peer opened a stream. */
  | { readonly kind: 'stream'; readonly stream: StreamId }
  | { readonly kind: 'readable'; readonly stream: StreamId }
  /** write() took less than it was offered; now it takes more. */
  | { readonly kind: 'writable'; readonly stream: StreamId }
  /** Everything written, and our end of the stream, is acknowledged. */
  | { readonly kind: 'delivered'; readonly stream: StreamId }
  /** RESET_STREAM or STOP_SENDING came. */
  | { readonly kind: 'reset' | 'stopped'; readonly stream: StreamId; readonly code: number }
  | { readonly kind: 'datagram' }
  /** The peer has another address, and has answered from there. */
  | { readonly kind: 'path'; readonly path: Path }
  /** Nothing comes, though the peer has something to answer: the path may be gone. Repeated. */
  | { readonly kind: 'silent' }
  /** 70 % of the time or of the bytes is used, once per expiry [S5003]. */
  | { readonly kind: 'expiryNear'; readonly by: 'time' | 'bytes' }
  /** The peer passes on a new expiry; the owner checks the signature and calls extend(). */
  | { readonly kind: 'expiry'; readonly expiry: Uint8Array; readonly signature: Uint8Array }
  /** Exactly once, last; every later call on the connection is a no-op. */
  | { readonly kind: 'ended'; readonly reason: EndReason; readonly counts: Counts };

/** What transport chose for a talk, and how it stands: for `nakodo status`. */
export interface TransportState {
  /** The AEAD's name, `wasm+node` say. */
  readonly aead: string;
  /** Bytes of a full datagram on this path, as probed. */
  readonly datagramBytes: number;
  /** The controller's name and what it is doing. */
  readonly congestionControl: string;
  readonly phase: string;
  /** Bytes that may be in flight, and that are. */
  readonly congestionWindow: number;
  readonly bytesInFlight: number;
  /** Bytes that the peer may send beyond what was read. */
  readonly receiveWindow: number;
  readonly lostPackets: number;
}

/** What `status` shows of a talk. */
export interface TalkState {
  readonly state: 'handshake' | 'open' | 'finishing' | 'ended';
  readonly counts: Counts;
  readonly secondsLeft: number;
  /** Of both ends together; undefined when not limited. */
  readonly bytesLeft: number | undefined;
  readonly rttMs: number | undefined;
  readonly path: Path | undefined;
  /** Received datagram messages that the full queue dropped, since nobody read them. */
  readonly droppedMessages: number;
  readonly transport: TransportState;
}

/** What a service may do with a talk; implemented by Connection. */
export interface Talk {
  /** A new stream, or undefined at STREAMS_MAX or when the talk is not open. */
  openStream(): StreamId | undefined;
  /** Takes at most what fits; returns how many bytes it took (they are copied). */
  write(stream: StreamId, bytes: Uint8Array): number;
  /** No more writes on this stream; the peer reads to its end. */
  finish(stream: StreamId): void;
  /** Fills `into`; returns bytes read, 0 if none are there now, -1 at the end of the stream. */
  read(stream: StreamId, into: Uint8Array): number;
  reset(stream: StreamId, code: number): void;
  stop(stream: StreamId, code: number): void;
  /**
   * Shares of the rate that the stream gets beside others: 1 to 64, 1 at first.
   * @throws UsageError for another number.
   */
  setWeight(stream: StreamId, weight: number): void;
  /** Bytes of the largest payload that sendDatagram() takes on the path as it is now. */
  readonly maxDatagramBytes: number;
  /** False when the queue is full or the payload does not fit one datagram. */
  sendDatagram(bytes: Uint8Array): boolean;
  readDatagram(): Uint8Array | undefined;
}
