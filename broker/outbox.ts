// What the broker's core wants published, in order, until the shell polls it. Every message of the
// broker answers a request that its sender repeats, so at the bound the oldest may go.

import { encodeMessage } from '../protocol/control/codec.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import { LIMITS } from '../protocol/limits.ts';

/** One message to publish, QoS 0, not retained. `bytes` are the receiver's to keep. */
export interface Publication {
  readonly kind: 'publish';
  readonly topic: string;
  readonly bytes: Uint8Array;
}

/** What a broker says: nothing of it names a person or decides anything. */
type BrokerMessage = MessageOf<
  'triggerState' | 'addressAnswer' | 'call' | 'addressRecorded' | 'polled'
>;

/** A bounded queue, first in, first out. */
export class Outbox {
  #queue: Publication[] = [];
  #head = 0;
  #dropped = 0;

  get size(): number {
    return this.#queue.length - this.#head;
  }

  /** How often the bound was reached. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether another message would push none out. */
  get hasRoom(): boolean {
    return this.size < LIMITS.outputsMax;
  }

  push(topic: string, message: BrokerMessage): void {
    if (!this.hasRoom) {
      this.#skip();
      this.#dropped += 1;
    }
    this.#queue.push({ kind: 'publish', topic, bytes: encodeMessage(message) });
  }

  poll(): Publication | undefined {
    if (this.size === 0) return undefined;
    const output = this.#queue[this.#head];
    this.#skip();
    return output;
  }

  /** Compacts when half lies behind us: constant time on average, at most twice the bound held. */
  #skip(): void {
    this.#head += 1;
    if (this.#head * 2 <= this.#queue.length) return;
    this.#queue = this.#queue.slice(this.#head);
    this.#head = 0;
  }
}
