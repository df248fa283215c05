// Pinning (design §3): a terminal remembers the ID behind each name from the first talk on, so that
// even a manager that lies cannot put somebody else in that name's place. A change is refused
// loudly until the owner says `trust`. A pin is made by a talk whose handshake proved the peer's
// key, or by the owner; nothing that a server says makes, moves or removes one.

import type { Role } from '../protocol/data/connection-types.ts';
import type { DeviceId, Name } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Outbox } from './outbox.ts';
import type { Pin, TerminalStatus } from './terminal-types.ts';

type ChangedPeer = TerminalStatus['changedPeers'][number];

/** A peer that shows another ID than it should, and which part this terminal plays. */
interface Mismatch extends ChangedPeer {
  readonly role: Role;
}

/** A talk whose handshake is done. */
interface Proven {
  readonly peer: Pin;
  readonly role: Role;
  readonly pinned: DeviceId | undefined;
}

/** Who is behind which name; at most LIMITS.pinsMax names, LIMITS.changedPeersMax refused ones. */
export class Pins {
  readonly #outbox: Outbox;
  readonly #pins = new Map<Name, DeviceId>();
  readonly #changed = new Map<Name, ChangedPeer>();

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** Takes what an earlier start remembered; what is over LIMITS.pinsMax is left out. */
  restore(pins: readonly Pin[]): void {
    for (const { name, id } of pins) {
      if (this.#pins.size < LIMITS.pinsMax) this.#pins.set(name, id);
    }
  }

  /** The ID that stands behind a name; undefined: it is not known yet. */
  idOf(name: Name): DeviceId | undefined {
    return this.#pins.get(name);
  }

  /** Whether this very terminal is known under this name. */
  isKnown(peer: Pin): boolean {
    return this.#pins.get(peer.name) === peer.id;
  }

  /**
   * A talk with this peer is established, so its key is proven: the first one is remembered. At
   * LIMITS.pinsMax nobody new is, so that no flood of names can push out a pin. False, and said
   * loudly, if somebody else was pinned under this name since the notice was believed (`pinned`:
   * the pin of then): by another talk that began beside this one, or by the owner.
   */
  onProven({ peer, role, pinned: before }: Proven): boolean {
    const { name, id: seen } = peer;
    const pinned = this.#pins.get(name);
    if (pinned === undefined) {
      if (this.#pins.size < LIMITS.pinsMax) this.#set(name, seen);
    } else if (pinned !== seen && pinned !== before) {
      this.onMismatch({ name, pinned, seen, role });
      return false;
    }
    return true;
  }

  /** Says loudly that a peer was refused, and remembers whom it showed. */
  onMismatch({ name, pinned, seen, role }: Mismatch): void {
    // Deleted first, so that the newest is last.
    this.#changed.delete(name);
    if (this.#changed.size >= LIMITS.changedPeersMax) {
      const [oldest] = this.#changed.keys();
      this.#changed.delete(oldest);
    }
    this.#changed.set(name, { name, pinned, seen });
    this.#outbox.event({ kind: 'peerChanged', name, pinned, seen, role });
  }

  /**
   * The owner's word: this ID, or without one the ID that was last refused under this name, stands
   * behind it from now on. Returns it; undefined: nobody was refused under this name. At
   * LIMITS.pinsMax the oldest pin makes room.
   */
  trust(name: Name, id: DeviceId | undefined): DeviceId | undefined {
    const trusted = id ?? this.#changed.get(name)?.seen;
    if (trusted === undefined) return undefined;
    this.#changed.delete(name);
    if (!this.#pins.has(name) && this.#pins.size >= LIMITS.pinsMax) {
      const [oldest] = this.#pins.keys();
      this.#pins.delete(oldest);
      this.#outbox.push({ kind: 'pin', name: oldest, id: undefined });
    }
    this.#set(name, trusted);
    return trusted;
  }

  /** Those refused since they show another ID; a copy, newest last. */
  changed(): TerminalStatus['changedPeers'] {
    return [...this.#changed.values()];
  }

  #set(name: Name, id: DeviceId): void {
    this.#pins.set(name, id);
    this.#outbox.push({ kind: 'pin', name, id });
  }
}
