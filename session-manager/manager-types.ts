// What goes into the manager's core and what comes out of it. The shell turns outputs into MQTT,
// LMDB and HTTP, and those back into inputs; the simulator does the same in virtual time.

import type { PathClass } from '../protocol/address.ts';
import type { OperatorLimits } from '../protocol/consent/allow-list.ts';
import type { RelayTerms, StunServer } from '../protocol/control/messages.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../protocol/crypto.ts';
import type { EndReason } from '../protocol/ends.ts';
import type { DeviceId, ManagerId, Name, SessionId } from '../protocol/ids.ts';
import type { Rng } from '../protocol/random.ts';
import type { WallMs } from '../protocol/time.ts';
import type { LogHead } from './log.ts';
import type { Report, SessionRecord } from './records.ts';

/** Tables of the store. */
export const TABLES = [
  'devices',
  'names',
  'tickets',
  'sessions',
  'log',
  'meta',
  'revoked',
] as const;
export type Table = (typeof TABLES)[number];

/** One row to put (or, without a value, to remove). */
export interface Write {
  readonly table: Table;
  /** ASCII, at most 128 characters; text order is the order of range reads. */
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

/** One row as it was read. */
export interface Row {
  readonly key: string;
  readonly value: Uint8Array;
}

/** What a start needs of the store: everything but the log and most of the past. */
export interface Stored {
  readonly devices: readonly Row[];
  readonly names: readonly Row[];
  readonly tickets: readonly Row[];
  /** All live sessions, and the newest closed ones. */
  readonly sessions: readonly Row[];
  readonly meta: readonly Row[];
  readonly revoked: readonly Row[];
}

/** A bucket of tokens: so many at once, and so many a second more. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** Bounds of what callers may ask without being let in (design §4). */
export interface RateLimits {
  readonly perCaller: Rate;
  /** Of one caller for one name, known or not. */
  readonly perName: Rate;
}

/** A relay that terminals may meet through [RFC 8656], as a manager's core knows it. */
export interface RelayService {
  /** Where it is reached now; none: it is not to be used. Of more than 4 the first are told. */
  servers(): RelayTerms['servers'];
  /**
   * The password of a user name of at most 64 printable ASCII characters (`EXPIRY:NAME`,
   * draft-uberti-behave-turn-rest-00); printable ASCII of at most 64 characters too.
   */
  credentials(username: string): string;
}

/** What a manager's core is made with. */
export interface ManagerOptions {
  /** This manager's MQTT client ID. */
  readonly id: ManagerId;
  /** Ed25519: signs grants, expiries, memberships and the log. */
  readonly key: SigningKey;
  /** X25519: terminals seal what they say to it. */
  readonly agreementKey: DhKey;
  /** SHA-256 pins of the TLS keys that terminals meet; empty: no TLS. */
  readonly pins: readonly Uint8Array[];
  /** Former TLS keys are believed no longer: one of them was stolen. Default false. */
  readonly forgetKeys?: boolean;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly policy: OperatorLimits;
  /** Let reasons out with refusals (design §4): off unless the operator turns it on. */
  readonly explain: boolean;
  /** How often a caller may ask in vain; accepted calls cost nothing. */
  readonly rates: RateLimits;
  /** Where terminals enrol; a request that is meant for another server is refused. */
  readonly enrolUrl: string;
  /** The broker as terminals reach it; told at enrolment. */
  readonly brokerUrl: string;
  /** Who shows terminals their own addresses; of more than 4 the first are told. Default none. */
  readonly stun?: readonly StunServer[] | undefined;
  /** Absent: terminals meet directly or not at all. */
  readonly relay?: RelayService | undefined;
}

/** What the operator asks; answered by one `reply`. */
export type Command =
  /** A ticket: `uses` at least 1, good for `seconds`. */
  | {
      readonly kind: 'ticket';
      readonly name: Name | undefined;
      readonly uses: number;
      readonly seconds: number;
    }
  /** Force the end of a session [S6004]. */
  | { readonly kind: 'end'; readonly session: SessionId }
  /** Take a terminal's membership away for good and end its sessions. */
  | { readonly kind: 'revoke'; readonly name: Name }
  /**
   * Everything up to `through` is in an archive: the kept log begins behind it. `settled` when that
   * is on disk; whose rows may be removed then.
   */
  | { readonly kind: 'archived'; readonly through: LogHead }
  /** Answered when everything before it is on disk (or could not be put there). */
  | { readonly kind: 'settle' }
  /** The same before a stop: refusals that are still being counted go into the log first. */
  | { readonly kind: 'stop' };

/** What the shell tells the manager's core; `wall` for the log and for memberships only. */
export type ManagerInput =
  /** The rows read at start; before any other input. */
  | { readonly kind: 'restore'; readonly wall: WallMs; readonly stored: Stored }
  /** The TLS keys that terminals meet are others than at start (`ManagerOptions.pins`). */
  | { readonly kind: 'pins'; readonly wall: WallMs; readonly pins: readonly Uint8Array[] }
  /** The link to the broker is up and all subscriptions are acknowledged. */
  | { readonly kind: 'linkUp'; readonly wall: WallMs }
  | { readonly kind: 'linkDown'; readonly wall: WallMs }
  /** A control message of a terminal; `from` is proven by the broker, bytes not yet decoded. */
  | {
      readonly kind: 'message';
      readonly wall: WallMs;
      readonly from: DeviceId;
      readonly via: 'up' | 'allow-list';
      readonly bytes: Uint8Array;
    }
  | { readonly kind: 'triggerState'; readonly wall: WallMs; readonly bytes: Uint8Array }
  | { readonly kind: 'addressAnswer'; readonly wall: WallMs; readonly bytes: Uint8Array }
  /** Answers to `persist`. */
  | { readonly kind: 'persisted'; readonly wall: WallMs; readonly batch: number }
  | {
      readonly kind: 'persistFailed';
      readonly wall: WallMs;
      readonly batch: number;
      readonly code: string;
    }
  /** `to`: the shell's number, echoed in `reply`. */
  | {
      readonly kind: 'command';
      readonly wall: WallMs;
      readonly to: number;
      readonly command: Command;
    }
  /** The body of an HTTP request: an enrolment, or a membership to be renewed. */
  | {
      readonly kind: 'enrol';
      readonly wall: WallMs;
      readonly to: number;
      readonly bytes: Uint8Array;
    };

/** What the manager's core wants done; carried out in this order. */
export type ManagerOutput =
  | { readonly kind: 'publish'; readonly topic: string; readonly bytes: Uint8Array }
  /** Write all or nothing, durably; answer with `persisted` or `persistFailed`. One at a time. */
  | { readonly kind: 'persist'; readonly batch: number; readonly writes: readonly Write[] }
  | { readonly kind: 'reply'; readonly to: number; readonly reply: Reply }
  | { readonly kind: 'event'; readonly change: SessionChange }
  /** `cloned`: one identity is live twice; the later one is refused. */
  | {
      readonly kind: 'alarm';
      readonly alarm: 'cloned';
      readonly device: DeviceId;
      readonly name: Name;
    };

/** Why a command or an enrolment failed; stable words. */
export type ReplyFault =
  | 'bad-request'
  | 'wrong-server'
  | 'ticket-invalid'
  | 'name-missing'
  | 'name-fixed'
  | 'name-taken'
  | 'already-enrolled'
  | 'not-enrolled'
  | 'no-session'
  | 'no-device'
  | 'revoked'
  | 'busy'
  | 'disk';

/** The answer to a command or an enrolment. */
export type Reply =
  | { readonly kind: 'failed'; readonly code: ReplyFault }
  /** `expiresAt`: Unix seconds. The secret is nowhere else. */
  | { readonly kind: 'ticket'; readonly secret: Uint8Array; readonly expiresAt: number }
  /** The body of the HTTP answer. */
  | { readonly kind: 'enrolled'; readonly bytes: Uint8Array }
  | { readonly kind: 'membership'; readonly bytes: Uint8Array }
  | { readonly kind: 'ended'; readonly outcome: EndOutcome }
  | { readonly kind: 'revoked'; readonly outcome: RevokeOutcome }
  | { readonly kind: 'settled' };

/** What became of an operator's end [S6005]: terminals by name. */
export interface EndOutcome {
  readonly session: SessionId;
  readonly reason: EndReason;
  /** Ended and said so. */
  readonly confirmed: readonly Name[];
  /** Did not answer in time; ends by its own expiry at the latest. */
  readonly unconfirmed: readonly Name[];
}

/** What became of a revocation. */
export interface RevokeOutcome {
  readonly name: Name;
  readonly id: DeviceId;
  /** Its sessions: those that their other end confirmed as ended, and those that may run on. */
  readonly ended: readonly SessionId[];
  readonly running: readonly {
    readonly session: SessionId;
    /** Terminals that did not answer in time. */
    readonly unconfirmed: readonly Name[];
    /** Wall milliseconds: when it has ended at the latest, by its own expiry. */
    readonly until: number;
  }[];
}

/** The same as the operator sees it, `until` as ISO 8601; field names are what `--json` prints. */
export interface RevokeView extends Omit<RevokeOutcome, 'running'> {
  readonly running: readonly (Omit<RevokeOutcome['running'][number], 'until'> & {
    readonly until: string;
  })[];
}

/** A session took a turn. */
export interface SessionChange {
  readonly event: 'begun' | 'extended' | 'ending' | 'ended';
  readonly session: SessionRecord;
}

/** The same for `sessions --watch`. */
export interface ManagerEvent {
  readonly event: SessionChange['event'];
  readonly session: SessionView;
}

/** What one terminal reported, as the operator sees it. */
export interface ReportView extends Omit<Report, 'path' | 'probes'> {
  /** Which way its talk took at its end; null: none, or it did not say. */
  readonly path: PathClass | null;
  /** Packets of its many-socket search; null: there was none. */
  readonly probes: number | null;
}

/** A session as the operator sees it; field names are what `--json` prints. */
export interface SessionView {
  readonly session: SessionId;
  readonly caller: Name;
  readonly callee: Name;
  readonly callerId: DeviceId;
  readonly calleeId: DeviceId;
  readonly service: string;
  /** `ending`: an end is reported or ordered, and not yet reported by both terminals. */
  readonly state: 'live' | 'ending' | 'ended';
  readonly reason: EndReason | null;
  /** Granted in all. */
  readonly seconds: number;
  /** Granted in all; null: no limit in bytes. */
  readonly bytes: number | null;
  readonly revision: number;
  /** ISO 8601, UTC, by the manager's clock. */
  readonly begun: string;
  readonly ended: string | null;
  readonly callerReport: ReportView | null;
  readonly calleeReport: ReportView | null;
  /**
   * What one end sent and the other neither received nor declared lost; null until both reported.
   */
  readonly differenceBytes: number | null;
}

/** A terminal as the operator sees it. */
export interface DeviceView {
  readonly name: Name;
  readonly id: DeviceId;
  /** ISO 8601. */
  readonly enrolled: string;
  /** ISO 8601 of its last registration since the manager started; null: none yet. */
  readonly registered: string | null;
  readonly pollSeconds: number | null;
  /** ISO 8601 of the last time that it was seen twice at once; null: never. */
  readonly cloned: string | null;
}

/** What the core has dropped, by why: peer faults are counted, never answered. */
export interface ManagerCounts {
  malformed: number;
  unexpected: number;
  /** Hellos and sealed messages that nobody we know can have made for us, now. */
  unopened: number;
  /** Messages to terminals that have no channel. */
  unsent: number;
  overBound: number;
  introduced: number;
  refused: number;
  /** Requests, verdicts and wishes for more time that their terminal did not sign. */
  badSignature: number;
  /** Connect requests over a caller's rate. */
  limited: number;
  unknownSession: number;
  /** Candidates over the rate of one end of a session: answered, and not told. */
  candidatesHeld: number;
  triggersHanded: number;
  triggersWaiting: number;
  triggersExpired: number;
}
