// What goes into the terminal's core and what comes out of it. The shell (agent.ts) turns outputs
// into MQTT, UDP and files, and those back into inputs; the simulator does the same in virtual
// time.

import type { AllowList } from '../protocol/consent/allow-list.ts';
import type { Candidate, Terms } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';
import type { ConnectionEvent, Role, TalkState } from '../protocol/data/connection-types.ts';
import type { Counts, EndReason } from '../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import type { LocalMoment } from '../protocol/units.ts';

/** The shell's number for one outgoing call; unique while the terminal runs. */
export type CallId = number;
/** The core's number for one UDP socket: one socket per wanted session (design §5, Silence). */
export type SocketId = number;

/** What the shell, the owner and the servers tell the terminal's core. */
export type TerminalInput =
  /** The MQTT connection is up and both subscriptions are acknowledged. */
  | { readonly kind: 'linkUp' }
  | { readonly kind: 'linkDown' }
  /** A control message arrived on this terminal's `call` or `down` topic; bytes not yet decoded. */
  | { readonly kind: 'message'; readonly via: 'call' | 'down'; readonly bytes: Uint8Array }
  /** The user names a peer [S1002]. `extend`: ask for more at 70 % [¶0036]. */
  | {
      readonly kind: 'call';
      readonly call: CallId;
      readonly callee: Name;
      readonly service: string;
      readonly want: Terms;
      readonly waitMs: number;
      readonly extend: boolean;
    }
  /** The user gave up waiting. */
  | { readonly kind: 'cancel'; readonly call: CallId }
  /** The user, or a service that is done, ends a talk. `done` delivers what is in flight first. */
  | { readonly kind: 'end'; readonly session: SessionId; readonly reason: 'done' | 'local' }
  /** Answer to `openSocket`; candidates are where this socket can be reached. */
  | {
      readonly kind: 'socketOpen';
      readonly socket: SocketId;
      readonly candidates: readonly Candidate[];
    }
  | { readonly kind: 'socketFailed'; readonly socket: SocketId; readonly code: string }
  /**
   * Answer to `readList`: the owner's list as it stands now, or undefined if it cannot be read.
   * `at`: the local time when it was read, for `until 18:00` (see `travellingList`,
   * `toTravelling`).
   */
  | {
      readonly kind: 'list';
      readonly ask: number;
      readonly list: AllowList | undefined;
      readonly at: LocalMoment;
    }
  /** At start: what lies in `ends/`. Talks that were under way end as `restarted`. */
  | { readonly kind: 'restore'; readonly records: readonly StoredEnd[] };

/** One record of `ends/`: a talk under way (`reason` undefined) or an end not yet acknowledged. */
export interface StoredEnd {
  readonly session: SessionId;
  readonly reason: EndReason | undefined;
  readonly counts: Counts;
}

/** What the terminal's core wants done; carried out in this order. */
export type TerminalOutput =
  /** A terminal that polls [claim 1, means 13]: connect now, or disconnect until asked. */
  | { readonly kind: 'link'; readonly want: 'up' | 'down' }
  | {
      readonly kind: 'publish';
      readonly topic: 'address' | 'up' | 'allow-list';
      readonly bytes: Uint8Array;
    }
  | { readonly kind: 'openSocket'; readonly socket: SocketId }
  | { readonly kind: 'closeSocket'; readonly socket: SocketId }
  /** Read the allow-list file now, "at that very moment", and answer with `list`. */
  | { readonly kind: 'readList'; readonly ask: number }
  /** Keep (or, with `record` undefined, forget) this under `ends/`. */
  | {
      readonly kind: 'store';
      readonly session: SessionId;
      readonly record: StoredEnd | undefined;
    }
  /** The manager renewed this terminal's membership; keep it for the next login. */
  | { readonly kind: 'membership'; readonly bytes: Uint8Array }
  | { readonly kind: 'event'; readonly event: TerminalEvent };

/** Why a call came to nothing; `refused` covers refused, unknown, asleep and away alike. */
export type CallFailure =
  | 'refused'
  | 'no-link'
  | 'no-answer'
  | 'socket'
  | 'bad-notice'
  | 'busy'
  | 'cancelled';

/** What the terminal's core tells its owner. */
export type TerminalEvent =
  /** Both registrations are acknowledged [S1000, S1001]. */
  | { readonly kind: 'registered'; readonly name: Name }
  | { readonly kind: 'registerRefused'; readonly code: string }
  | { readonly kind: 'callFailed'; readonly call: CallId; readonly why: CallFailure }
  /** An address notice was accepted [S1004, S4004]; the handshake begins. */
  | {
      readonly kind: 'introduced';
      readonly session: SessionId;
      /** Ours, if we are the caller. */
      readonly call: CallId | undefined;
      readonly peer: { readonly name: Name; readonly id: DeviceId };
      readonly service: string;
      readonly terms: { readonly seconds: number; readonly bytes: number | undefined };
    }
  /** Somebody was refused by our own list, or a notice was for somebody it does not allow. */
  | { readonly kind: 'turnedAway'; readonly caller: Name; readonly service: string }
  /** The allow-list could not be read, so this caller was turned away: default deny. */
  | { readonly kind: 'listUnreadable'; readonly caller: Name; readonly service: string }
  /** Whatever the talk's connection says, `ended` excepted. */
  | { readonly kind: 'talk'; readonly session: SessionId; readonly event: ConnectionEvent }
  | {
      readonly kind: 'extended';
      readonly session: SessionId;
      readonly seconds: number;
      readonly bytes: number | undefined;
    }
  | { readonly kind: 'extensionRefused'; readonly session: SessionId }
  /**
   * The talk is over, the end notice is on its way. What arrived can still be read, now; the socket
   * closes when the peer knows of the end.
   */
  | {
      readonly kind: 'ended';
      readonly session: SessionId;
      readonly reason: EndReason;
      readonly counts: Counts;
      readonly path: Path | undefined;
    };

/** What a terminal counts; shown by `nakodo status`, never a reason to stop. */
export const TERMINAL_COUNTERS = [
  /** Bytes on a control topic that are no message we know. */
  'malformed',
  /** A message that came on the other party's topic, or that no terminal is ever sent. */
  'misplaced',
  /** An answer to something this boot never asked, or that is over. */
  'unexpected',
  /** An address notice, or a new expiry, whose content or signature is wrong. */
  'badNotice',
  /** Asked while as many questions were open as we keep: answered with an empty verdict. */
  'askFlood',
  /** Datagrams for a socket that has no talk. */
  'strayDatagrams',
  /** Requests sent again because nobody answered. */
  'retries',
  /** End notices dropped at LIMITS.endNoticesMax. */
  'endNoticesDropped',
] as const;
export type TerminalCounter = (typeof TERMINAL_COUNTERS)[number];

/** What `nakodo status` shows of the terminal; a copy. */
export interface TerminalStatus {
  readonly name: Name;
  readonly id: DeviceId;
  readonly link: 'up' | 'down';
  /** Both registrations are acknowledged on this link. */
  readonly registered: boolean;
  /** Seconds until a polling terminal connects again; undefined while it is connected. */
  readonly nextPollSeconds: number | undefined;
  readonly calls: readonly {
    readonly call: CallId;
    readonly callee: Name;
    readonly service: string;
    readonly state: 'opening' | 'waiting';
  }[];
  readonly talks: readonly {
    readonly session: SessionId;
    readonly role: Role;
    readonly peer: { readonly name: Name; readonly id: DeviceId };
    readonly service: string;
    readonly terms: { readonly seconds: number; readonly bytes: number | undefined };
    /** How often the expiry was extended. */
    readonly revision: number;
    readonly talk: TalkState;
  }[];
  /** Ends that the manager has not acknowledged yet. */
  readonly endNotices: number;
  readonly counters: Readonly<Record<TerminalCounter, number>>;
}
