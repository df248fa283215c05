// What a session tells its user, in types: what was agreed, what happens, how it ended. Shared by
// session.ts and the library's entry.

import type { PathClass } from '../../protocol/address.ts';
import type { Role, TalkState } from '../../protocol/data/connection-types.ts';
import type { Path } from '../../protocol/core.ts';
import type { Counts, EndReason } from '../../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import type { TalkStream } from './talk-stream.ts';
import type { Meeting } from './way.ts';

/** What both terminals were told (S1004, S4004). */
export interface SessionInfo {
  readonly session: SessionId;
  readonly role: Role;
  readonly peer: { readonly name: Name; readonly id: DeviceId };
  readonly service: string;
  /** The grant, as it was at the beginning; what is left of it: `Session.state`. */
  readonly seconds: number;
  /** Of both ends together, what is sent counted once; undefined: not limited. */
  readonly bytes: number | undefined;
}

/** How a talk ended. */
export interface SessionEnd {
  readonly reason: EndReason;
  readonly counts: Counts;
  readonly path: Path | undefined;
  /** What kind of way that was; undefined: none was found. */
  readonly way: PathClass | undefined;
  /** What became of the search for a way. */
  readonly meeting: Meeting | undefined;
}

/** What may still be spent, after an extension: totals since the talk began. */
interface Terms {
  readonly seconds: number;
  readonly bytes: number | undefined;
}

/** The events of a session, each with what its listeners are called with. */
export interface SessionEvents {
  /** Both ends have proven themselves; streams and datagrams go. */
  readonly established: [path: Path];
  /** The peer opened a stream; its listener takes it. */
  readonly stream: [stream: TalkStream];
  /** A datagram message of the peer's; the bytes are the listener's. */
  readonly datagram: [message: Uint8Array];
  /** 70 % of the time or of the bytes is used, once per expiry [¶0036]. */
  readonly expiryNear: [by: 'time' | 'bytes'];
  /** The callee has agreed to more. */
  readonly extended: [terms: Terms];
  /** It has not; the talk goes on to its expiry. */
  readonly extensionRefused: [];
  /** The peer is reached at another address now; nothing is lost by it. */
  readonly path: [path: Path];
  /** The talk's way to the peer is of this kind from now on. */
  readonly way: [way: PathClass, path: Path];
  /** Exactly once, last. The same as `Session.ended`. */
  readonly end: [end: SessionEnd];
}

/** A talk as it is now. */
export type SessionState = TalkState;
