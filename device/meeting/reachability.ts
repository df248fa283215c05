// Where each socket of one terminal can be reached [S1000, S4000], asked anew for every talk, so
// that an idle terminal sends nothing: the machine's addresses come from the shell, the rest from
// the STUN servers that the manager and the owner name.

import { addressBytes, addressText } from '../../protocol/address.ts';
import type { Candidate, StunServer } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { RecordId } from '../../protocol/ids.ts';
import type { Rng } from '../../protocol/random.ts';
import type { Micros } from '../../protocol/time.ts';
import type { TalkTransmit } from '../talks.ts';
import type { SocketId } from '../terminal-types.ts';
import type { Gathered, StunServers } from './gathering.ts';
import { Gatherings } from './gatherings.ts';

/** What the shell says of a socket. */
export interface OwnAddresses {
  readonly candidates: readonly Candidate[];
  /** The owner's STUN servers. */
  readonly stun?: readonly Path[] | undefined;
  readonly isOnLoopback?: boolean | undefined;
}

/** What is known of the open sockets. */
export class Reachability {
  readonly #gatherings: Gatherings;
  readonly #onDone: (now: Micros, socket: SocketId, gathered: Gathered) => void;
  readonly #known = new Map<SocketId, Gathered>();
  readonly #onLoopback = new Set<SocketId>();
  #servers: readonly StunServer[] = [];
  #broker: string | undefined;

  constructor(rng: Rng, onDone: (now: Micros, socket: SocketId, gathered: Gathered) => void) {
    this.#onDone = onDone;
    this.#gatherings = new Gatherings(rng, (now, socket, gathered) =>
      this.#settle(now, socket, gathered),
    );
  }

  /** Where the broker is reached; undefined: not known. */
  set broker(host: string | undefined) {
    this.#broker = host;
  }

  /** The servers that the manager names. */
  set servers(servers: readonly StunServer[]) {
    this.#servers = servers;
  }

  /** The STUN servers that the manager names, as paths to ask; the broker's first. */
  namedServers(): readonly Path[] {
    const { own, others } = this.#named();
    return [...own, ...others];
  }

  /** The one beside the broker is ours; of another the operator may have named a stranger's. */
  #named(): StunServers {
    const own: Path[] = [];
    const others: Path[] = [];
    const broker = this.#broker === undefined ? undefined : addressBytes(this.#broker);
    for (const { address, port, otherPort } of this.#servers) {
      const host = address === undefined ? this.#broker : addressText(address);
      if (host === undefined || port === 0) continue;
      const isBroker = address === undefined || host === (broker && addressText(broker));
      const paths = isBroker ? own : others;
      paths.push({ host, port });
      if (otherPort !== undefined && otherPort > 0) paths.push({ host, port: otherPort });
    }
    return { own, others };
  }

  /**
   * Asks where a socket can be reached, showing the broker's server the record. True: `onDone` follows
   * later; false: nobody could be asked, and the machine's own addresses are all.
   */
  begin(now: Micros, socket: SocketId, own: OwnAddresses, record: RecordId | undefined): boolean {
    if (own.isOnLoopback === true) this.#onLoopback.add(socket);
    const named = this.#named();
    const servers = { own: named.own, others: [...named.others, ...(own.stun ?? [])] };
    const host = own.candidates;
    if (this.#gatherings.begin(now, socket, { host, servers, record })) return true;
    this.#known.set(socket, { candidates: host, varies: undefined, isMapped: undefined });
    return false;
  }

  /** What is known of a socket by now. */
  of(socket: SocketId): Gathered | undefined {
    return this.#known.get(socket);
  }

  isOnLoopback(socket: SocketId): boolean {
    return this.#onLoopback.has(socket);
  }

  /** Nobody wants this socket any more: nothing is asked from it, or known of it. */
  forget(socket: SocketId): void {
    this.#known.delete(socket);
    this.#onLoopback.delete(socket);
    this.#gatherings.drop(socket);
  }

  /** True if it was an answer of a STUN server. */
  handleDatagram(now: Micros, socket: SocketId, path: Path, bytes: Uint8Array): boolean {
    return this.#gatherings.handleDatagram(now, socket, path, bytes);
  }

  handleTimeout(now: Micros): void {
    this.#gatherings.handleTimeout(now);
  }

  nextTimeout(): Micros {
    return this.#gatherings.nextTimeout();
  }

  pollTransmit(now: Micros, into: Uint8Array): TalkTransmit | undefined {
    return this.#gatherings.pollTransmit(now, into);
  }

  #settle(now: Micros, socket: SocketId, gathered: Gathered): void {
    this.#known.set(socket, gathered);
    this.#onDone(now, socket, gathered);
  }
}
