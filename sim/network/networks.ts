// Who is where: networks nest. A host stands in the network inside its first box, that box in the
// network inside the next, the last one in the public network; who shares a box shares the network
// inside it. Addresses shine through a box that translates nothing, one network further out.

import type { Path } from '../../protocol/core.ts';
import type { Host, Place } from './host.ts';
import type { Nat } from './nat.ts';
import { isOneFamily } from './paths.ts';

/** One network: who has which address. */
export type Network = Map<string, Place | Nat>;

/** Networks that one datagram may pass. */
export const HOPS_MAX = 16;

/** Whether an address is a host's, not a box's. */
export const isPlace = (there: Place | Nat): there is Place => 'host' in there;

/** All networks of one Internet. */
export class Networks {
  readonly public: Network = new Map();
  readonly #inside = new Map<Nat, Network>();
  readonly #outside = new Map<Nat, Network>();

  /** All boxes there are. */
  get nats(): Iterable<Nat> {
    return this.#outside.keys();
  }

  /** The network that a host stands in. */
  of({ nats }: Place): Network {
    return nats.length === 0 ? this.public : this.inside(nats[0]);
  }

  inside(nat: Nat): Network {
    let network = this.#inside.get(nat);
    if (network === undefined) this.#inside.set(nat, (network = new Map()));
    return network;
  }

  outside(nat: Nat): Network {
    return this.#outside.get(nat) ?? this.public;
  }

  /** @throws Error when the address is taken, or a box would stand in two networks. */
  attach(place: Place): void {
    const { nats, address } = place;
    // From the outside in: every box has its place in the network outside it.
    let network = this.public;
    for (let at = nats.length - 1; at >= 0; at--) {
      const nat = nats[at];
      const outside = this.#outside.get(nat);
      if (outside !== undefined && outside !== network)
        throw new Error(`a box of ${place.host.name} stands in two networks`);
      if (outside === undefined) this.#outside.set(nat, network);
      for (const each of nat.addresses) claim(network, each, nat);
      if (!nat.behaviour.translates) {
        const inner = nats.slice(0, at).findLast((each) => each.behaviour.translates);
        for (const each of inner?.addresses ?? [address]) claim(network, each, nat);
      }
      network = this.inside(nat);
    }
    claim(network, address, place);
  }

  /** The boxes stay where they are; what shines through them goes with the host. */
  detach({ nats, address }: Place): void {
    for (const nat of nats) {
      this.inside(nat).delete(address);
      if (nat.behaviour.translates) return;
      this.outside(nat).delete(address);
    }
    this.public.delete(address);
  }

  /** Whose a path is in a network, filters aside. */
  hostOf(start: Network, to: Path): Host | undefined {
    let network = start;
    let target: Path | undefined = to;
    for (let hops = 0; hops < HOPS_MAX && target !== undefined; hops++) {
      const there = network.get(target.host);
      if (there === undefined) return undefined;
      if (isPlace(there)) return there.host;
      target = there.insideOf(target);
      network = this.inside(there);
    }
    return undefined;
  }

  /**
   * Whether what a new socket of `caller` sends to `target` comes to that host's open socket, and
   * the answers back; for a target that is the host's own address or a forward of all its boxes.
   */
  isPassable(caller: Place, callee: Host, target: Path): boolean {
    if (!isOneFamily(caller.address, target.host)) return false;
    let network = this.of(caller);
    for (const nat of caller.nats) {
      if (network.has(target.host)) break;
      if (nat.behaviour.blocksUdp) return false;
      network = this.outside(nat);
      if (nat.address !== target.host) continue;
      if (!nat.behaviour.hairpins) return false;
      break;
    }
    return this.#isAdmitted(network, target, callee);
  }

  #isAdmitted(start: Network, to: Path, callee: Host): boolean {
    let network = start;
    let target: Path | undefined = to;
    for (let hops = 0; hops < HOPS_MAX && target !== undefined; hops++) {
      const there = network.get(target.host);
      if (there === undefined) return false;
      if (isPlace(there))
        return there.host === callee && callee.socketOn(target.port) !== undefined;
      if (!there.isOpen(target)) return false;
      target = there.insideOf(target);
      network = this.inside(there);
    }
    return false;
  }
}

/** Where a path leads through the forwards of boxes that translate; undefined: one has none. */
export function forwardedThrough(nats: readonly Nat[], local: Path): Path | undefined {
  let path: Path | undefined = local;
  for (const nat of nats) {
    if (path !== undefined && nat.behaviour.translates) path = nat.forwardOf(path);
  }
  return path;
}

/** Gives an address to somebody, who may have it already. */
function claim(network: Network, address: string, owner: Place | Nat): void {
  const known = network.get(address);
  if (known !== undefined && known !== owner)
    throw new Error(`two have the address ${address} in one network`);
  network.set(address, owner);
}
