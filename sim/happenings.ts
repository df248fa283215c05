// Everything that happens in a world, as one union: what invariants, the trace and the event hash
// hear, in order, each at `world.now`. Bytes are borrowed until the hearer returns.

import type { OwnerQuestion, StoredEnd, TerminalEvent } from '../device/terminal-types.ts';
import type { Path } from '../protocol/core.ts';
import type { StreamId } from '../protocol/data/connection-types.ts';
import type { RecordId, SessionId } from '../protocol/ids.ts';
import type { TraceEvent } from '../protocol/trace/trace-event.ts';
import type { LogEntry } from '../session-manager/log.ts';
import type { SessionChange } from '../session-manager/manager-types.ts';
import type { OptionName } from './options.ts';
import type { VirtualTerminal } from './parties/virtual-terminal.ts';

/** Who speaks MQTT. */
export type BusParty = VirtualTerminal | 'manager';

/** One thing that happened. */
export type Happening =
  /** A terminal's process began, or was killed; `isClone`: a second machine with its keys. */
  | { readonly kind: 'started' | 'killed'; readonly terminal: VirtualTerminal }
  | { readonly kind: 'suspended' | 'resumed'; readonly terminal: VirtualTerminal }
  | { readonly kind: 'managerStarted' | 'managerKilled' | 'brokerStarted' | 'brokerKilled' }
  /** A user asks for a talk; `isPermitted`: what the permissions said at that moment. */
  | {
      readonly kind: 'called';
      readonly terminal: VirtualTerminal;
      readonly call: number;
      readonly callee: string;
      readonly service: string;
      readonly want: { readonly seconds?: number; readonly bytes?: number };
      readonly waitMs: number;
      readonly extend: boolean;
      readonly isPermitted: boolean;
    }
  /** What a terminal's core tells its owner. */
  | { readonly kind: 'event'; readonly terminal: VirtualTerminal; readonly event: TerminalEvent }
  | {
      readonly kind: 'trace';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly event: TraceEvent;
    }
  /** Its list was read, for a question; `isReadable` false: the reading failed. */
  | { readonly kind: 'listRead'; readonly terminal: VirtualTerminal; readonly isReadable: boolean }
  /** Its owner changed who may call. */
  | {
      readonly kind: 'listEdited';
      readonly terminal: VirtualTerminal;
      readonly caller: VirtualTerminal;
    }
  | {
      readonly kind: 'ownerAsked';
      readonly terminal: VirtualTerminal;
      readonly question: OwnerQuestion;
    }
  | {
      readonly kind: 'ownerAnswered';
      readonly terminal: VirtualTerminal;
      readonly question: OwnerQuestion;
      readonly approved: boolean;
    }
  /** A record of `ends/` as the core wants it kept. */
  | {
      readonly kind: 'stored';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly record: StoredEnd | undefined;
    }
  | {
      readonly kind: 'socketOpened' | 'socketClosed';
      readonly terminal: VirtualTerminal;
      readonly path: Path;
    }
  /**
   * A terminal's core sends a datagram of a talk; what arrives at one of its sockets. `relay`: it
   * goes, or came, in a message to the relay at this address; `peer`, `bytes`: what is inside.
   */
  | {
      readonly kind: 'datagramSent' | 'datagramReceived';
      readonly terminal: VirtualTerminal;
      readonly socket: Path;
      readonly peer: Path;
      readonly bytes: Uint8Array;
      readonly relay?: Path | undefined;
    }
  /** A terminal speaks to a STUN or TURN server, or hears it; what is relayed stands above. */
  | {
      readonly kind: 'stunSent' | 'stunReceived';
      readonly terminal: VirtualTerminal;
      readonly socket: Path;
      readonly peer: Path;
      readonly bytes: Uint8Array;
    }
  /** The STUN server beside the broker saw a request that names an address record. */
  | { readonly kind: 'sighted'; readonly record: RecordId; readonly from: Path }
  /** The token of a probe or an answer, as whoever has its key seals or opens it. */
  | {
      readonly kind: 'tokenSealed' | 'tokenOpened';
      readonly owner: string;
      readonly isAnswer: boolean;
      readonly bytes: Uint8Array;
    }
  /** A datagram went to where nobody listens. */
  | { readonly kind: 'strayed'; readonly from: Path; readonly to: Path; readonly bytes: Uint8Array }
  /** MQTT: a login judged, a connection gone, a message on its way to the broker and from it. */
  | { readonly kind: 'loggedIn'; readonly party: BusParty }
  | { readonly kind: 'loginRefused'; readonly party: BusParty; readonly why: string }
  | { readonly kind: 'linkGone'; readonly party: BusParty }
  | {
      readonly kind: 'published' | 'delivered' | 'forbidden';
      readonly party: BusParty;
      readonly topic: string;
      readonly bytes: Uint8Array;
    }
  /** What goes through the seal between a terminal and the manager, in plain; by its suite. */
  | { readonly kind: 'sealed' | 'opened'; readonly owner: string; readonly bytes: Uint8Array }
  /** The manager: a session's turn, an entry on disk, an alarm; what the operator ordered. */
  | { readonly kind: 'change'; readonly change: SessionChange }
  | { readonly kind: 'logged'; readonly entry: LogEntry }
  | { readonly kind: 'alarm'; readonly name: string }
  | { readonly kind: 'operatorEnd'; readonly session: SessionId }
  /** The operator's order to revoke, and that it is on the manager's disk. */
  | { readonly kind: 'operatorRevoke' | 'revoked'; readonly terminal: VirtualTerminal }
  /** Applications: what was put into a talk and what came out of it, in this order. */
  | {
      readonly kind: 'wrote' | 'read';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly stream: StreamId;
      readonly bytes: Uint8Array;
    }
  | {
      /** Somebody at this end is done with the talk, or has enough of it. */
      readonly kind: 'endAsked';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly reason: 'done' | 'local';
    }
  | {
      /** Its writer, or its reader, gives a stream up: RESET_STREAM, STOP_SENDING. */
      readonly kind: 'finished' | 'readEnd' | 'resetSent' | 'stopSent';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly stream: StreamId;
    }
  | {
      readonly kind: 'messageSent' | 'messageRead';
      readonly terminal: VirtualTerminal;
      readonly session: SessionId;
      readonly bytes: Uint8Array;
    }
  /** Faults are over; from here on everything has to come right. */
  | { readonly kind: 'calm' };

/** Faults that are counted when they fire, beside those of the network. */
export type FaultName = OptionName;
