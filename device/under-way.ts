// One talk that is under way, from its introduction to its end, as the parts of the terminal share
// it: talks.ts owns it, extension.ts changes its terms.

import type { Path } from '../protocol/core.ts';
import type { Connection } from '../protocol/data/connection.ts';
import type { Role } from '../protocol/data/connection-types.ts';
import type { DeviceId, Name, RequestId, SessionId } from '../protocol/ids.ts';
import type { Micros } from '../protocol/time.ts';
import type { Meeting } from './meeting/meeting.ts';
import type { CallId, SocketId } from './terminal-types.ts';

/** Limits in force: totals since the talk began; `bytes` undefined: not limited. */
export interface Terms {
  readonly seconds: number;
  readonly bytes: number | undefined;
}

/** The most that an owner agreed to; totals since the talk began, undefined: no limit stated. */
interface Consent {
  readonly at: Micros;
  readonly seconds: number | undefined;
  /** The same without `until`, whose moment two clocks see a little apart. */
  readonly secondsWithoutUntil: number | undefined;
  readonly bytes: number | undefined;
}

/** The newest question for a later expiry that was asked of this callee; answered once. */
export interface ExtensionQuestion {
  readonly request: RequestId;
  /** When nobody waits for the answer any more. */
  readonly until: Micros;
  /** The question that waits for the owner's word. */
  ownerAsk: number | undefined;
  /** The owner was asked and said yes. */
  approved: boolean;
  /** The answer as it was sent: the same question again gets it again. */
  reply: Uint8Array | undefined;
}

/** A talk from its introduction to its end. */
export interface UnderWay {
  readonly session: SessionId;
  readonly role: Role;
  readonly peer: { readonly name: Name; readonly id: DeviceId };
  /** Whom the pin of its name said when the notice was believed. */
  readonly pinned: DeviceId | undefined;
  /** Its key is not that of whom the pin says by now: nothing of it goes further. */
  isRefused: boolean;
  readonly service: string;
  readonly socket: SocketId;
  /** The call of ours that it came of. */
  readonly call: CallId | undefined;
  readonly connection: Connection;
  readonly meeting: Meeting;
  /** Our words about where we are so far. */
  generation: number;
  /** The newest of them, while it is not answered. */
  told: RequestId | undefined;
  /** Ask for more at 70 % [¶0036]. */
  readonly extend: boolean;
  /** As the grant says. */
  readonly granted: Terms;
  /** As the newest expiry says. */
  terms: Terms;
  /** Of the newest expiry; 0: the grant's own. */
  revision: number;
  /** Our request for a later expiry, while it is not answered. */
  asked: RequestId | undefined;
  /** When the notice came: the manager's count of the time began before, the talk's own after. */
  readonly introducedAt: Micros;
  /** What the owner's list agreed to when it was asked again. */
  consented: Consent | undefined;
  question: ExtensionQuestion | undefined;
  /** Where the peer was found. */
  path: Path | undefined;
}
