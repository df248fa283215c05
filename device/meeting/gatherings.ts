// The questions under way of all sockets of one terminal: one for each, the newest counts. What
// comes on a socket and is STUN is taken from here before anybody else looks at it.

import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { RecordId } from '../../protocol/ids.ts';
import type { Rng } from '../../protocol/random.ts';
import { isStun } from '../../protocol/stun/message.ts';
import { type Micros, NEVER, earlier } from '../../protocol/time.ts';
import type { TalkTransmit } from '../talks.ts';
import type { SocketId } from '../terminal-types.ts';
import { type Gathered, Gathering, type StunServers } from './gathering.ts';

/** All questions; at most one for each open socket. */
export class Gatherings {
  readonly #rng: Rng;
  readonly #open = new Map<SocketId, Gathering>();
  readonly #onDone: (now: Micros, socket: SocketId, gathered: Gathered) => void;

  constructor(rng: Rng, onDone: (now: Micros, socket: SocketId, gathered: Gathered) => void) {
    this.#rng = rng;
    this.#onDone = onDone;
  }

  /** Asks about a socket; false if there is nobody to ask: then nothing more is told. */
  begin(
    now: Micros,
    socket: SocketId,
    question: {
      readonly host: readonly Candidate[];
      readonly servers: StunServers;
      readonly record: RecordId | undefined;
    },
  ): boolean {
    const gathering = new Gathering({ now, rng: this.#rng, ...question });
    if (gathering.isDone) return false;
    this.#open.set(socket, gathering);
    return true;
  }

  /** A socket is closed. */
  drop(socket: SocketId): void {
    this.#open.delete(socket);
  }

  /** True if it was for us. */
  handleDatagram(now: Micros, socket: SocketId, path: Path, bytes: Uint8Array): boolean {
    if (this.#open.size === 0 || !isStun(bytes)) return false;
    const gathering = this.#open.get(socket);
    if (gathering === undefined || !gathering.handleDatagram(now, path, bytes)) return false;
    this.#settle(now, socket, gathering);
    return true;
  }

  handleTimeout(now: Micros): void {
    for (const [socket, gathering] of this.#open) {
      if (gathering.nextTimeout() > now) continue;
      gathering.handleTimeout(now);
      this.#settle(now, socket, gathering);
    }
  }

  nextTimeout(): Micros {
    let next = NEVER;
    for (const gathering of this.#open.values()) next = earlier(next, gathering.nextTimeout());
    return next;
  }

  pollTransmit(now: Micros, into: Uint8Array): TalkTransmit | undefined {
    for (const [socket, gathering] of this.#open) {
      const transmit = gathering.pollTransmit(now, into);
      if (transmit !== undefined) return { socket, ...transmit };
    }
    return undefined;
  }

  #settle(now: Micros, socket: SocketId, gathering: Gathering): void {
    const gathered = gathering.take();
    if (gathered === undefined) return;
    this.#open.delete(socket);
    this.#onDone(now, socket, gathered);
  }
}
