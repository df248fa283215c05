// The trigger broker's core (patent Fig. 8, means 51–56, claims 17, 18 and 21): addresses recorded,
// triggers turned into communication requests, polls answered, address queries answered. It knows
// device IDs only, no name, and reads nothing that it passes on. The shell tells it who has a
// connection and hands it what `rights.ts` lets through; it checks sender, place and shape again.
// It also judges logins, and ends connections whose membership ran out or is revoked.

import { decodeMessage } from '../protocol/control/codec.ts';
import type { ParsedTopic } from '../protocol/control/topics.ts';
import type { ControlCore } from '../protocol/core.ts';
import { type DeviceId, type RecordId, isManagerId } from '../protocol/ids.ts';
import { type Micros, type WallMs, earlier, micros } from '../protocol/time.ts';
import { Addresses, areCandidates } from './addresses.ts';
import type { Held, Login, Proven, Trust } from './login.ts';
import { type Ending, type LoginFault, Memberships } from './memberships.ts';
import { Outbox, type Publication } from './outbox.ts';
import type { Sighting } from './sightings.ts';
import { Triggers } from './triggers.ts';

/** What the shell tells the broker's core; whom a message is from is proven by the login. */
export type BrokerInput =
  /** A terminal that proved its ID has a connection; once per connection; `held`: by its login. */
  | {
      readonly kind: 'connected';
      readonly held: Held;
      readonly wall: WallMs;
      /** The address that it comes from, 4 or 16 bytes; the port says nothing about UDP. */
      readonly seenAt?: Uint8Array | undefined;
    }
  /** One of its connections ended. */
  | { readonly kind: 'disconnected'; readonly device: DeviceId }
  /** It subscribed to its call topic: that is the poll [53]. */
  | { readonly kind: 'polled'; readonly device: DeviceId }
  /** It unsubscribed from it. */
  | { readonly kind: 'stopped'; readonly device: DeviceId }
  /** Our STUN server answered a request that names an address record; anybody can have sent it. */
  | ({ readonly kind: 'sighted'; readonly record: RecordId } & Sighting)
  /** A message to the broker; `from` is the proven device ID or the manager's client ID. */
  | {
      readonly kind: 'message';
      readonly from: string;
      readonly topic: ParsedTopic;
      /** Borrowed until the call returns. */
      readonly bytes: Uint8Array;
      /** For the memberships that it may show. */
      readonly wall: WallMs;
    };

/** What the broker's core wants done: a message published, a terminal's connection ended. */
type BrokerOutput = Publication | Ending;

/** What the broker holds and has done. */
export interface BrokerCounters {
  /** Terminals with a connection, and terminals that registered an address or their presence. */
  readonly connected: number;
  readonly registered: number;
  readonly records: number;
  /** Records that our STUN server saw something of and that have not come. */
  readonly earlySightings: number;
  /** Address queries and triggers that wait now. */
  readonly queriesWaiting: number;
  readonly triggersWaiting: number;
  /** Since the start: handed over, dropped at a deadline or a bound. */
  readonly handed: number;
  readonly expired: number;
  /** Memberships that prolonged a connection, and that did not: not later, not this terminal's. */
  readonly renewed: number;
  readonly renewalsRefused: number;
  /** Connections that the core had ended: their membership ran out, or was revoked. */
  readonly endedExpired: number;
  readonly endedRevoked: number;
  /** Revocation lists refused: not signed by who brought them, or not newer than the last. */
  readonly listsRefused: number;
  /** Messages refused: not exactly one of a kind we know; not for us, here or from this sender. */
  readonly malformed: number;
  readonly outOfPlace: number;
  /** Outputs lost at their bound. */
  readonly outputsDropped: number;
}

/** The trigger server of the patent as a state machine [claim 17, claim 18, claim 21]. */
export class TriggerBroker implements ControlCore<BrokerInput, BrokerOutput> {
  readonly #outbox = new Outbox();
  readonly #addresses: Addresses;
  readonly #triggers = new Triggers(this.#outbox);
  readonly #memberships: Memberships;
  #now = micros(0);
  #malformed = 0;
  #outOfPlace = 0;

  /** `stunPorts`: how many ports the STUN server beside it has (default 0: there is none). */
  constructor(trust: Trust, stunPorts = 0) {
    this.#memberships = new Memberships(trust);
    this.#addresses = new Addresses(this.#outbox, stunPorts);
  }

  /**
   * Judges the login of a CONNECT packet: by key, by token, once each, and by the newest revocation
   * list; whoever it lets in is reported as `connected` when it has its seat.
   */
  login(now: Micros, wall: WallMs, login: Login): Proven | LoginFault {
    this.handleTimeout(now);
    return this.#memberships.login(this.#now, wall, login);
  }

  handle(now: Micros, input: BrokerInput): void {
    this.handleTimeout(now);
    switch (input.kind) {
      case 'connected':
        this.#triggers.connect(input.held.device);
        this.#memberships.connect(this.#now, input.wall, input.held, input.seenAt);
        return;
      case 'disconnected':
        this.#triggers.disconnect(input.device);
        this.#memberships.disconnect(input.device);
        return;
      case 'polled':
        if (!this.#triggers.poll(this.#now, input.device)) this.#outOfPlace += 1;
        return;
      case 'stopped':
        this.#triggers.stopPolling(input.device);
        return;
      case 'sighted':
        this.#addresses.sight(this.#now, input.record, input);
        return;
      case 'message':
        this.#message(input);
        return;
      default:
        input satisfies never;
    }
  }

  /** Whether a request to our STUN server for this record is answered also in a flood. */
  favours(record: RecordId): boolean {
    return this.#addresses.favours(record);
  }

  handleTimeout(now: Micros): void {
    if (now > this.#now) this.#now = now;
    this.#addresses.handleTimeout(this.#now);
    this.#triggers.handleTimeout(this.#now);
    this.#memberships.handleTimeout(this.#now);
  }

  nextTimeout(): Micros {
    if (this.#outbox.size > 0 || this.#memberships.hasEnding) return this.#now;
    const next = earlier(this.#addresses.nextTimeout(), this.#triggers.nextTimeout());
    return earlier(next, this.#memberships.nextTimeout());
  }

  /** Endings come first: whoever is thrown out is told nothing more. */
  poll(): BrokerOutput | undefined {
    return this.#memberships.pollEnding() ?? this.#outbox.poll();
  }

  counters(): BrokerCounters {
    return {
      connected: this.#triggers.connected,
      registered: this.#addresses.devices,
      records: this.#addresses.records,
      earlySightings: this.#addresses.early,
      queriesWaiting: this.#addresses.waiting,
      triggersWaiting: this.#triggers.waiting,
      handed: this.#triggers.handedTotal,
      expired: this.#triggers.expiredTotal,
      ...this.#memberships.counts,
      malformed: this.#malformed,
      outOfPlace: this.#outOfPlace,
      outputsDropped: this.#outbox.dropped,
    };
  }

  /**
   * A terminal speaks of itself only; triggers, queries and revocations are a manager's
   * [S3000, S3001].
   */
  #message({ from, topic: place, bytes, wall }: BrokerInput & { readonly kind: 'message' }): void {
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.#malformed += 1;
      return;
    }
    if (place.of === 'address' && message.kind === 'address' && from === place.device) {
      if (!areCandidates(message.candidates)) {
        this.#malformed += 1;
        return;
      }
      const seenAt = this.#memberships.seenAt(place.device);
      this.#addresses.record(this.#now, place.device, message, seenAt);
      if (message.membership !== undefined)
        this.#memberships.renew(this.#now, wall, place.device, message.membership);
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
    if (place.of === 'revoked' && message.kind === 'revoked' && isManagerId(from)) {
      this.#memberships.revoke(this.#now, from, message);
      return;
    }
    this.#outOfPlace += 1;
  }
}
