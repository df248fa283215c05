// What the virtual world of the terminals' tests (world.ts) is made of: a terminal with all that
// came out of it, and a session as the double of the manager knows it.

import type { AllowList } from '../../protocol/consent/allow-list.ts';
import type { Message, PublicKeys } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { SigningKey } from '../../protocol/crypto.ts';
import type { Grant } from '../../protocol/grant.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import type { StoredEnd, TerminalEvent, TerminalOutput } from '../terminal-types.ts';
import type { Terminal } from '../terminal.ts';

/** One terminal, its shell's memory, and everything that came out of it. */
export interface Node {
  readonly name: Name;
  readonly id: DeviceId;
  readonly keys: PublicKeys;
  readonly signing: SigningKey;
  terminal: Terminal;
  list: AllowList | undefined;
  isLinkUp: boolean;
  /** Connects and disconnects as the terminal wants. */
  readonly followsLink: boolean;
  readonly outputs: TerminalOutput[];
  readonly events: TerminalEvent[];
  /** What it said, unsealed. */
  readonly sent: Message[];
  /** The same as it left. */
  readonly wire: Uint8Array[];
  readonly sockets: Map<number, Path>;
  readonly stored: Map<SessionId, StoredEnd>;
  /** Whom it knows, as on its disk. */
  readonly pins: Map<Name, DeviceId>;
  readonly make: () => Terminal;
}

/** A session as the double of the manager knows it. */
export interface Session {
  readonly grant: Grant;
  readonly caller: Node;
  readonly callee: Node;
  revision: number;
  seconds: number;
  bytes: number | undefined;
}
