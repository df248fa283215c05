// The trigger broker's core (patent Fig. 8, means 51–56, claims 17, 18 and 21): addresses recorded,
// triggers turned into communication requests, polls answered, address queries answered. It knows
// device IDs only, no name, and reads nothing that it passes on. The shell tells it who has a
// connection and hands it what `rights.ts` lets through; it checks sender, place and shape again.

import { decodeMessage } from '../protocol/control/codec.ts';
import type { ParsedTopic } from '../protocol/control/topics.ts';
import type { ControlCore } from '../protocol/core.ts';
import { type DeviceId, isManagerId } from '../protocol/ids.ts';
import { type Micros, earlier, micros } from '../protocol/time.ts';
import { Addresses } from './addresses.ts';
import { type BrokerOutput, Outbox } from './outbox.ts';
import { Triggers } from './triggers.ts';

/** What the shell tells the broker's core; whom a message is from is proven by the login. */
export type BrokerInput =
  /** A terminal that proved its ID has a connection; once per connection. */
  | { readonly kind: 'connected'; readonly device: DeviceId }
  /** One of its connections ended. */
  | { readonly kind: 'disconnected'; readonly device: DeviceId }
  /** It subscribed to its call topic: that is the poll [53]. */
  | { readonly kind: 'polled'; readonly device: DeviceId }
  /** It unsubscribed from it. */
  | { readonly kind: 'stopped'; readonly device: DeviceId }
  /** A message to the broker; `from` is the proven device ID or the manager's client ID. */
  | {
      readonly kind: 'message';
      readonly from: string;
      readonly topic: ParsedTopic;
      /** Borrowed until the call returns. */
      readonly bytes: Uint8Array;
    };

/** What the broker holds and has done. */
export interface BrokerCounters {
  /** Terminals with a connection, and terminals that registered an address or their presence. */
  readonly connected: number;
  readonly registered: number;
  readonly records: number;
  /** Address queries and triggers that wait now. */
  readonly queriesWaiting: number;
  readonly triggersWaiting: number;
  /** Since the start: handed over, dropped at a deadline or a bound. */
  readonly handed: number;
  readonly expired: number;
  /** Messages refused: not exactly one of a kind we know; not for us, here or from this sender. */
  readonly malformed: number;
  readonly outOfPlace: number;
  /** Outputs lost at their bound. */
  readonly outputsDropped: number;
}

/** The trigger server of the patent as a state machine [claim 17, claim 18, claim 21]. */
export class TriggerBroker implements ControlCore<BrokerInput, BrokerOutput> {
  readonly #outbox = new Outbox();
  readonly #addresses = new Addresses(this.#outbox);
  readonly #triggers = new Triggers(this.#outbox);
  #now = micros(0);
  #malformed = 0;
  #outOfPlace = 0;

  handle(now: Micros, input: BrokerInput): void {
    this.handleTimeout(now);
    switch (input.kind) {
      case 'connected':
        this.#triggers.connect(input.device);
        return;
      case 'disconnected':
        this.#triggers.disconnect(input.device);
        return;
      case 'polled':
        if (!this.#triggers.poll(this.#now, input.device)) this.#outOfPlace += 1;
        return;
      case 'stopped':
        this.#triggers.stopPolling(input.device);
        return;
      case 'message':
        this.#message(input.from, input.topic, input.bytes);
        return;
      default:
        input satisfies never;
    }
  }

  handleTimeout(now: Micros): void {
    if (now > this.#now) this.#now = now;
    this.#addresses.handleTimeout(this.#now);
    this.#triggers.handleTimeout(this.#now);
  }

  nextTimeout(): Micros {
    if (this.#outbox.size > 0) return this.#now;
    return earlier(this.#addresses.nextTimeout(), this.#triggers.nextTimeout());
  }

  poll(): BrokerOutput | undefined {
    return this.#outbox.poll();
  }

  counters(): BrokerCounters {
    return {
      connected: this.#triggers.connected,
      registered: this.#addresses.devices,
      records: this.#addresses.records,
      queriesWaiting: this.#addresses.waiting,
      triggersWaiting: this.#triggers.waiting,
      handed: this.#triggers.handedTotal,
      expired: this.#triggers.expiredTotal,
      malformed: this.#malformed,
      outOfPlace: this.#outOfPlace,
      outputsDropped: this.#outbox.dropped,
    };
  }

  /** A terminal speaks of itself only; triggers and queries are a manager's [S3000, S3001]. */
  #message(from: string, place: ParsedTopic, bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.#malformed += 1;
      return;
    }
    if (place.of === 'address' && message.kind === 'address' && from === place.device) {
      this.#addresses.record(this.#now, place.device, message);
      return;
    }
    if (place.of === 'trigger' && message.kind === 'trigger' && isManagerId(from)) {
      this.#triggers.trigger(this.#now, place.device, message);
      return;
    }
    if (place.of === 'query' && message.kind === 'addressQuery' && isManagerId(from)) {
      this.#addresses.query(this.#now, from, message);
      return;
    }
    this.#outOfPlace += 1;
  }
}
