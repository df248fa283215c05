// What goes into the terminal's core and what comes out of it. The shell (agent.ts) turns outputs
// into MQTT, UDP and files, and those back into inputs; the simulator does the same in virtual
// time.

import type { PathClass } from '../protocol/address.ts';
import type { AllowEntry, AllowList } from '../protocol/consent/allow-list.ts';
import type { Candidate, MessageOf, Terms } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
  TalkState,
} from '../protocol/data/connection-types.ts';
import type { Counts, EndReason } from '../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import type { Micros } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';

/** The shell's number for one outgoing call; unique while the terminal runs. */
export type CallId = number;
/** The core's number for one UDP socket: one socket per wanted session (design §5, Silence). */
export type SocketId = number;

/** What the shell, the owner and the servers tell the terminal's core. */
export type TerminalInput =
  /**
   * The MQTT connection is up and both subscriptions are acknowledged. `server`: the broker's
   * address as this machine reaches it, where its STUN server is too.
   */
  | { readonly kind: 'linkUp'; readonly server?: string | undefined }
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
  /**
   * Answer to `openSocket`; candidates are this machine's own addresses with this socket's ports.
   * `stun`: further STUN servers to ask, the owner's. `isOnLoopback`: it reaches nothing else.
   * `link`: what a talk through it may use, overridden by `TerminalOptions.connection`.
   */
  | {
      readonly kind: 'socketOpen';
      readonly socket: SocketId;
      readonly candidates: readonly Candidate[];
      readonly stun?: readonly Path[];
      readonly isOnLoopback?: boolean;
      readonly link?: Partial<ConnectionConfig>;
    }
  /** Answer to `gather`: the same of a socket that is open already. */
  | {
      readonly kind: 'gathered';
      readonly socket: SocketId;
      readonly candidates: readonly Candidate[];
      readonly stun?: readonly Path[];
    }
  /** This machine's addresses or routes are others: every talk looks for its way anew. */
  | { readonly kind: 'networkChanged' }
  /** It could not be opened, or, over TCP, its connection is no more. */
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
  /**
   * The owner's word about a question [`ask` in an allow-list entry]: by hand, by the entry's
   * command, or by an approval that was remembered.
   */
  | { readonly kind: 'ownerAnswer'; readonly ask: number; readonly approved: boolean }
  /**
   * At start: what lies in `ends/`, and whom this terminal knows. Talks that were under way end as
   * `restarted`.
   */
  | {
      readonly kind: 'restore';
      readonly records: readonly StoredEnd[];
      readonly pins: readonly Pin[];
    };

/** A name and the ID that stood behind it at the first talk, or that its owner trusts since. */
export interface Pin {
  readonly name: Name;
  readonly id: DeviceId;
}

/** A question for the owner: an entry with `ask` decides about this caller. */
export interface OwnerQuestion {
  /** The core's number for it; the same call is asked about once. */
  readonly ask: number;
  readonly caller: { readonly name: Name; readonly id: DeviceId };
  /** The caller is pinned, or talks already. */
  readonly isKnown: boolean;
  readonly service: string;
  readonly want: Terms;
  /** The entry that decides; `ask` is true or a command, `remember` how long a yes holds. */
  readonly entry: AllowEntry;
  /** A talk that runs, and wants more. */
  readonly isExtension: boolean;
  /** When nobody waits for the answer any more. */
  readonly until: Micros;
}

/** One record of `ends/`: a talk under way (`reason` undefined) or an end not yet acknowledged. */
export interface StoredEnd {
  readonly session: SessionId;
  readonly reason: EndReason | undefined;
  readonly counts: Counts;
  /** Which way it took at its end. */
  readonly path?: PathClass | undefined;
  /** Packets of its many-socket search. */
  readonly probes?: number | undefined;
}

/** What became of the search for a path, for whoever explains that there is none. */
export interface MeetingReport {
  /** A STUN server answered: UDP leaves this network and comes back. Undefined: none was asked. */
  readonly isMapped: boolean | undefined;
  /** Our NAT shows each destination another port. */
  readonly varies: boolean;
  /** Candidates of the peer that were tried. */
  readonly tried: number;
  /** Anything that only the peer can have sent has come. */
  readonly hasHeard: boolean;
  /** Packets of the many-socket search. */
  readonly probes: number;
  /** `off`: by its setting; `none`: the server offers none; `failed`: see `relaySays`. */
  readonly relay: 'off' | 'none' | 'unused' | 'asked' | 'ready' | 'failed';
  /** Why the relay failed, in words. */
  readonly relaySays: string | undefined;
  /** The relay that is ready, and what carries our datagrams to it. */
  readonly relayAt?: { readonly server: Path; readonly transport: 'udp' | 'tcp' } | undefined;
}

/** What the terminal's core wants done; carried out in this order. */
export type TerminalOutput =
  /** A terminal that polls [claim 1, means 13]: connect now, or disconnect until asked. */
  | { readonly kind: 'link'; readonly want: 'up' | 'down' }
  /**
   * A talk has fallen silent, so that the link may be gone as well: see whether it still works.
   * `isElsewhere`: a STUN server sees this machine at another address than before.
   */
  | { readonly kind: 'checkLink'; readonly isElsewhere: boolean }
  | {
      readonly kind: 'publish';
      readonly topic: 'address' | 'up' | 'allow-list';
      readonly bytes: Uint8Array;
    }
  /**
   * Opens a socket: IPv4 and IPv6 under one number. `to`: it is only ever used to send to this
   * host (a relay, a search): one family, answered without candidates. `tcp`: no UDP at all, but a
   * connection to this relay: each frame that leaves is one message of TURN, to be padded; each
   * that comes is cut out of the stream, and is a datagram of this server's. Answered when it is
   * connected; when it ends, `socketFailed`.
   */
  | {
      readonly kind: 'openSocket';
      readonly socket: SocketId;
      readonly to?: string | undefined;
      readonly tcp?: { readonly host: string; readonly port: number } | undefined;
    }
  /** Look at this machine's addresses again, and answer with `gathered`. */
  | { readonly kind: 'gather'; readonly socket: SocketId }
  | { readonly kind: 'closeSocket'; readonly socket: SocketId }
  /**
   * Read the allow-list file now, "at that very moment", and answer with `list`. `session`: the
   * talk that wants more, if it is about one.
   */
  | { readonly kind: 'readList'; readonly ask: number; readonly session?: SessionId | undefined }
  /** Keep (or, with `record` undefined, forget) this under `ends/`. */
  | {
      readonly kind: 'store';
      readonly session: SessionId;
      readonly record: StoredEnd | undefined;
    }
  /** Ask the owner and answer with `ownerAnswer`; or (`forgetOwner`) nobody waits any more. */
  | { readonly kind: 'askOwner'; readonly question: OwnerQuestion }
  | { readonly kind: 'forgetOwner'; readonly ask: number }
  /**
   * The manager registered this terminal: its renewed membership, to be kept for the next login,
   * the manager's time in Unix milliseconds at some moment of the last `tookMs`, and the server's
   * TLS keys as it signed them.
   */
  | {
      readonly kind: 'membership';
      readonly bytes: Uint8Array;
      readonly time: number;
      readonly tookMs: number;
      readonly serverKeys: Uint8Array | undefined;
    }
  /** Remember (or, with `id` undefined, forget) who is behind a name. */
  | { readonly kind: 'pin'; readonly name: Name; readonly id: DeviceId | undefined }
  /** A receipt of the manager for its log up to an entry, for whoever keeps the newest one. */
  | { readonly kind: 'receipt'; readonly bytes: Uint8Array; readonly sequence: number }
  | { readonly kind: 'event'; readonly event: TerminalEvent };

/** Why a manager refused, where its operator lets that out. */
export type RefusalReason = NonNullable<MessageOf<'refusal'>['why']>;

/** Why a call came to nothing; `refused` covers refused, unknown, asleep and away alike. */
export type CallFailure =
  | 'refused'
  | 'no-link'
  | 'no-answer'
  | 'socket'
  | 'bad-notice'
  /** The peer's key is not the one that is pinned. */
  | 'peer-changed'
  | 'busy'
  | 'cancelled';

/** What the terminal's core tells its owner. */
export type TerminalEvent =
  /** Both registrations are acknowledged [S1000, S1001]. */
  | { readonly kind: 'registered'; readonly name: Name }
  | { readonly kind: 'registerRefused'; readonly code: string }
  | {
      readonly kind: 'callFailed';
      readonly call: CallId;
      readonly why: CallFailure;
      /** Where the operator lets reasons out: why the manager refused. */
      readonly reason?: RefusalReason | undefined;
    }
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
  /**
   * A peer shows another ID than the one that is pinned, or that the list states: refused until
   * the owner says `nakodo trust NAME`.
   */
  | {
      readonly kind: 'peerChanged';
      readonly name: Name;
      readonly pinned: DeviceId;
      readonly seen: DeviceId;
      readonly role: Role;
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
  /** The talk's way to the peer is this one from now on. */
  | {
      readonly kind: 'way';
      readonly session: SessionId;
      readonly path: Path;
      readonly class: PathClass;
    }
  /** The peer has told us where it is now, or we have told it: the talk looks for its way anew. */
  | { readonly kind: 'reintroduced'; readonly session: SessionId; readonly by: 'us' | 'peer' }
  /** The many-socket search begins: `sockets` of ours, or packets to many ports of the peer. */
  | { readonly kind: 'searching'; readonly session: SessionId; readonly address: string }
  /** The relay of a talk is no more, and another way is looked for; why, in words. */
  | { readonly kind: 'relayLost'; readonly session: SessionId; readonly says: string }
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
      /** Of `path`; undefined: there never was one. */
      readonly class?: PathClass | undefined;
      readonly meeting?: MeetingReport | undefined;
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
  /** Sealed messages that could not be opened: forged, replayed, or of a channel that is gone. */
  'unopened',
  /** A request in a caller's name that the caller did not sign. */
  'badRequest',
  /** Datagrams for a socket that has no talk. */
  'strayDatagrams',
  /** Requests sent again because nobody answered. */
  'retries',
  /** End notices dropped at LIMITS.endNoticesMax. */
  'endNoticesDropped',
  /** A receipt for the log that is not the manager's. */
  'badReceipt',
  /** Messages of STUN or TURN that nobody asked for, or that are forged. */
  'badStun',
  /** Probes that the peer cannot have made. */
  'badProbes',
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
    /** Which way it takes; undefined: none yet. */
    readonly class: PathClass | undefined;
    readonly meeting: MeetingReport;
    readonly talk: TalkState;
  }[];
  /** Peers that were refused since they show another ID than the pinned one; newest last. */
  readonly changedPeers: readonly {
    readonly name: Name;
    readonly pinned: DeviceId;
    readonly seen: DeviceId;
  }[];
  /** STUN servers that the manager named, as paths to ask. */
  readonly stun?: readonly Path[];
  /** Ends that the manager has not acknowledged yet. */
  readonly endNotices: number;
  readonly counters: Readonly<Record<TerminalCounter, number>>;
}
