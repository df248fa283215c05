// The terminal: registers, asks, answers, talks, ends [means 11–17].

import type { Path } from '../protocol/core.ts';
import type { CryptoSuite, DhKey } from '../protocol/crypto.ts';
import type { ConnectionConfig, Talk } from '../protocol/data/connection-types.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import type { Rng } from '../protocol/random.ts';
import type { Micros } from '../protocol/time.ts';
import { NEVER } from '../protocol/time.ts';
import type { SocketId, TerminalInput, TerminalOutput, TerminalStatus } from './terminal-types.ts';

export interface TerminalOptions {
  readonly id: DeviceId;
  readonly name: Name;
  /** The manager's Ed25519 key, 32 bytes: signs grants and expiries. */
  readonly managerKey: Uint8Array;
  /** This terminal's X25519 key. */
  readonly localKey: DhKey;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  /** Seconds between two polls of a terminal that sleeps; undefined: always connected. */
  readonly pollSeconds?: number;
  readonly connection?: Partial<ConnectionConfig>;
}

export class Terminal {
  readonly options: TerminalOptions;
  constructor(options: TerminalOptions) {
    this.options = options;
  }
  handle(_now: Micros, _input: TerminalInput): void {}
  handleDatagram(_now: Micros, _socket: SocketId, _path: Path, _bytes: Uint8Array): void {}
  handleTimeout(_now: Micros): void {}
  nextTimeout(): Micros {
    return NEVER;
  }
  poll(): TerminalOutput | undefined {
    return undefined;
  }
  pollTransmit(
    _now: Micros,
    _into: Uint8Array,
  ): { socket: SocketId; path: Path; size: number } | undefined {
    return undefined;
  }
  talk(_session: SessionId): Talk | undefined {
    return undefined;
  }
  status(_now: Micros): TerminalStatus {
    throw new Error('not yet');
  }
}
