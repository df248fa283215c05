// What a connection tells its owner. Readiness is said once until the owner has heard it, so the
// queue is bounded by the number of streams whatever the peer does.

import type { ConnectionEvent, StreamId } from './connection-types.ts';

type Readiness = 'readable' | 'writable';

/** Events in order; `ended` is kept apart, because it comes last and only once. */
export class Events {
  #queue: ConnectionEvent[] = [];
  #head = 0;
  readonly #readable = new Set<StreamId>();
  readonly #writable = new Set<StreamId>();
  #datagramSaid = false;
  #expiry: (ConnectionEvent & { readonly kind: 'expiry' }) | undefined;

  push(event: ConnectionEvent): void {
    this.#queue.push(event);
  }

  ready(kind: Readiness, stream: StreamId): void {
    const said = kind === 'readable' ? this.#readable : this.#writable;
    if (said.has(stream)) return;
    said.add(stream);
    this.#queue.push({ kind, stream });
  }

  datagram(): void {
    if (this.#datagramSaid) return;
    this.#datagramSaid = true;
    this.#queue.push({ kind: 'datagram' });
  }

  /** The newest expiry replaces one that was not heard yet. */
  expiry(expiry: Uint8Array, signature: Uint8Array): void {
    this.#expiry = { kind: 'expiry', expiry, signature };
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0 && this.#expiry === undefined;
  }

  poll(): ConnectionEvent | undefined {
    if (this.#head >= this.#queue.length) {
      const expiry = this.#expiry;
      this.#expiry = undefined;
      return expiry;
    }
    const event = this.#queue[this.#head++];
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    if (event.kind === 'readable') this.#readable.delete(event.stream);
    else if (event.kind === 'writable') this.#writable.delete(event.stream);
    else if (event.kind === 'datagram') this.#datagramSaid = false;
    return event;
  }
}
