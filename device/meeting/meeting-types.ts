// What a meeting (meeting.ts) is given by its owner, the talks of a terminal: what the notice said
// and what is known of our own side; and what it does through its owner.

import type { PathClass } from '../../protocol/address.ts';
import type { Candidate, RelayTerms } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { Role } from '../../protocol/data/connection-types.ts';
import type { Preference } from '../../protocol/data/path-validation.ts';
import type { Probes } from '../../protocol/data/probe.ts';
import type { Rng } from '../../protocol/random.ts';
import type { Micros } from '../../protocol/time.ts';
import type { PeerPath } from '../candidates.ts';
import type { SocketId } from '../terminal-types.ts';
import type { Gathered } from './gathering.ts';

/** What a meeting begins with: what the notice said, and what is known of our own side. */
export interface MeetingOptions {
  readonly role: Role;
  readonly probes: Probes;
  /** The talk has its keys: probes prove the peer, and the caller need not knock. */
  readonly isKeyed: boolean;
  readonly rng: Rng;
  /** The talk's first endpoint; its paths have no `via`. */
  readonly socket: SocketId;
  readonly paths: readonly PeerPath[];
  /** From now to the common start. */
  readonly startMs: number;
  readonly peerVaries: boolean;
  /** Where the many-socket search may look; undefined: nowhere. */
  readonly searchAt: string | undefined;
  readonly relay: RelayTerms | undefined;
  /** Relayed paths alone: our own addresses are nobody's business. */
  readonly isRelayOnly: boolean;
  /** The owner wants no relay. */
  readonly isRelayOff: boolean;
  readonly gathered: Gathered | undefined;
}

/** Where this end can be reached now. */
export interface OwnPlace {
  readonly candidates: readonly Candidate[];
  readonly varies: boolean;
  /** The way that there was is lost, so that it is for the log. */
  readonly moved: boolean;
}

/** What a meeting does through its owner. */
export interface MeetingHost {
  /** Caller: the handshake's first message goes there. */
  knock(path: Path): void;
  /** With keys: the peer is heard on the path that the caller chose, and the talk may begin. */
  open(now: Micros, path: Path): void;
  /** A probe was answered after so many microseconds. */
  onRoundTrip(path: Path, micros: number): void;
  /** The talk had better take this path; or may, if the present one is silent. */
  prefer(now: Micros, path: Path, why: Preference): void;
  /** Microseconds without a word of the peer's. */
  quietMicros(now: Micros): number;
  /**
   * One endpoint more, or undefined if there are too many; `to`: only ever to this host; `tcp`: a
   * connection to this server.
   */
  openEndpoint(to: string | undefined, tcp?: Path): SocketId | undefined;
  closeEndpoint(socket: SocketId): void;
  /** Look at this endpoint's addresses again. */
  gather(socket: SocketId): void;
  /** Tell the peer, through the manager. */
  tell(now: Micros, place: OwnPlace): void;
  /** STUN servers see us at another address than before: connections of ours may be gone. */
  onElsewhere(): void;
  onWay(path: Path, of: PathClass): void;
  onSearch(address: string): void;
  /** The relay that there was is no more; why, in words. */
  onRelayLost(says: string): void;
}
