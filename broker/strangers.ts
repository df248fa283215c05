// Connections whose login is not proven yet, and which of them has to go when there are too many:
// always the oldest, never the newcomer, so that a flood ends itself and a fleet gets in. One
// address is held to a share only above half load, since a fleet may sit behind one NAT.

import { BROKER_LIMITS } from './limits.ts';

/** The connections of strangers, oldest first. */
export class Strangers<T> {
  readonly #addresses = new Map<T, string>();
  readonly #byAddress = new Map<string, Set<T>>();

  get size(): number {
    return this.#addresses.size;
  }

  /** Lets a newcomer in; returns the one to be dropped for it, already forgotten here. */
  add(connection: T, address: string): T | undefined {
    this.#addresses.set(connection, address);
    const own = this.#byAddress.get(address) ?? new Set();
    this.#byAddress.set(address, own.add(connection));
    const overHalf = this.size > BROKER_LIMITS.strangersMax / 2;
    if (overHalf && own.size > BROKER_LIMITS.strangersPerAddressMax) return this.#dropFirst(own);
    if (this.size > BROKER_LIMITS.strangersMax) return this.#dropFirst(this.#addresses.keys());
    return undefined;
  }

  /** Forgets a connection that proved itself or ended; repeated calls are harmless. */
  remove(connection: T): void {
    const address = this.#addresses.get(connection);
    if (address === undefined) return;
    this.#addresses.delete(connection);
    const own = this.#byAddress.get(address);
    own?.delete(connection);
    if (own?.size === 0) this.#byAddress.delete(address);
  }

  #dropFirst(connections: Iterable<T>): T | undefined {
    for (const first of connections) {
      this.remove(first);
      return first;
    }
    return undefined;
  }
}
