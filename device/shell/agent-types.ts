// What an agent is given and what it tells its owner; the agent itself is in ../agent.ts. Shared by
// the command line, the fleet and tests.

import type { RelayPolicy } from '../../protocol/address.ts';
import type { Terms } from '../../protocol/control/messages.ts';
import type { ConnectionConfig } from '../../protocol/data/connection-types.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import type { CorrectedClock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { TerminalStatus } from '../terminal-types.ts';
import type { WaitingQuestion } from './owner.ts';
import type { Session } from './session.ts';

/** What an agent is started with. */
export interface AgentOptions {
  /** Its home folder, enrolled before (`nakodo enroll`). */
  readonly home: string;
  /** Default: silent; see createLog. */
  readonly log?: Log | undefined;
  /**
   * A literal address of this host to bind UDP to, and to tell no other; default: all addresses, of
   * both families (loopback alone where the broker is reached there).
   */
  readonly udpBind?: string | undefined;
  /** Whether talks may go, or only ever go, through a relay of the server's; `if-needed`. */
  readonly relay?: RelayPolicy | undefined;
  /** `HOST:PORT` of STUN servers to ask beside the server's, at most 4. */
  readonly stun?: readonly string[] | undefined;
  /** In place of the enrolment's. */
  readonly brokerUrl?: string | undefined;
  /** Seconds between two pings of a quiet link to the broker; default 60. */
  readonly keepaliveSeconds?: number | undefined;
  /** A terminal that sleeps, and polls every so many seconds [claim 1]. */
  readonly pollSeconds?: number | undefined;
  /** Of this agent alone: it follows the server's time. */
  readonly clock?: CorrectedClock | undefined;
  /** Default: that of node:crypto. */
  readonly suite?: CryptoSuite | undefined;
  readonly connection?: Partial<ConnectionConfig> | undefined;
  /** A folder for a trace of each talk, `<session>-<role>.sqlog`; made if it is not there. */
  readonly traceFolder?: string | undefined;
}

/** What a user wants of a peer [S1002]. */
export interface Wish {
  /** The callee's name. */
  readonly to: string;
  /** What for: the callee's list names services. 1 to 32 bytes. */
  readonly service: string;
  /** At most this long (seconds), this much (bytes of both ends together); the callee decides. */
  readonly want?: Terms;
  /** Milliseconds to wait for consent; default 5 s. */
  readonly waitMs?: number | undefined;
  /** Ask for more at 70 % of the expiry [¶0036]. */
  readonly extend?: boolean | undefined;
  /** Gives up when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the address notice came, before the handshake. */
  readonly onIntroduced?: (session: Session) => void;
}

/** Bytes a second in each direction, over the last seconds. */
export interface Rates {
  readonly sent: number;
  readonly received: number;
}

/** What an agent's owner has to look after, in words; absent: nothing. */
export interface AgentTroubles {
  /** Why the broker cannot be reached, or does not let us in. */
  readonly link: string | undefined;
  /** What is wrong with the allow-list file. */
  readonly list: string | undefined;
  /** What could not be written. */
  readonly disk: string | undefined;
  /** Which peer was refused last since its key is another one. */
  readonly peer: string | undefined;
}

/** The way to the broker, as `nakodo status` shows it. */
export interface BrokerStatus {
  readonly url: string;
  /** Seconds between two pings of a quiet link. */
  readonly keepaliveSeconds: number;
  /** Seconds since it is up; undefined: it is not. */
  readonly upSeconds: number | undefined;
  /** Seconds since anything was heard of it. */
  readonly heardSecondsAgo: number | undefined;
  /** Seconds until it is tried again; undefined: it is up, being tried, or not wanted. */
  readonly retrySeconds: number | undefined;
}

/** What `nakodo status` shows. */
export interface AgentStatus extends TerminalStatus {
  readonly talks: readonly (TerminalStatus['talks'][number] & { readonly rates: Rates })[];
  readonly broker: BrokerStatus;
  readonly relay: RelayPolicy;
  /** STUN servers of the owner's choice, `HOST:PORT`. */
  readonly ownStun: readonly string[];
  /** Until when this terminal is let in without a new membership, Unix seconds. */
  readonly membershipExpiresAt: number | undefined;
  /** Milliseconds by which the server's clock is ahead of this machine's; undefined: unknown. */
  readonly clockOffsetMs: number | undefined;
  /** The owner's list as it is now: how many it names, and when its file was changed. */
  readonly list: {
    readonly entries: number | undefined;
    readonly changedAt: number | undefined;
  };
  /** What waits for `nakodo approve`. */
  readonly questions: readonly WaitingQuestion[];
  readonly troubles: AgentTroubles;
}
