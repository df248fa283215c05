// Triggers (patent means 52, 53 and 56): a session manager's request to a terminal becomes a
// communication request at once if the terminal is there, else it waits for the terminal's next
// poll, and is dropped at its deadline, never delivered late. What it carries (the question for the
// allow-list, the end request) is none of the broker's business.

import type { MessageOf } from '../protocol/control/messages.ts';
import { topic, triggerStateTopic } from '../protocol/control/topics.ts';
import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import type { DeviceId, RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MICROS_PER_MS, type Micros, after, ms } from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';
import type { Outbox } from './outbox.ts';

interface Waiting extends Due {
  readonly device: DeviceId;
  readonly request: RequestId;
  readonly payload: Uint8Array;
}

/** A terminal that has a connection. */
interface Link {
  /** More than one while a new connection takes over from an old one. */
  connections: number;
  /** The call topic is subscribed: an open connection stands in for polling. */
  subscribed: boolean;
}

type State = MessageOf<'triggerState'>['state'];

const triggerKey = (device: DeviceId, request: RequestId): string => `${device}/${request}`;

/** The triggers of all terminals, and which terminals are there to be handed them. */
export class Triggers {
  readonly #outbox: Outbox;
  /** One for each connected terminal: a manager enrols at most LIMITS.devicesMax. */
  readonly #links = new Map<DeviceId, Link>();
  /** In the order of arrival, by terminal. */
  readonly #waiting = new Map<DeviceId, Map<RequestId, Waiting>>();
  readonly #deadlines = new DeadlineHeap<Waiting>();
  #waitingBytes = 0;
  /** Key → deadline of what was handed over, so that a repetition calls nobody twice. */
  readonly #handed = new Map<string, Micros>();
  #handedTotal = 0;
  #expiredTotal = 0;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** Terminals that have a connection now. */
  get connected(): number {
    return this.#links.size;
  }

  get waiting(): number {
    return this.#deadlines.size;
  }

  get handedTotal(): number {
    return this.#handedTotal;
  }

  get expiredTotal(): number {
    return this.#expiredTotal;
  }

  /** A new connection of a terminal; nothing is handed to it before it polls. */
  connect(device: DeviceId): void {
    const link = this.#links.get(device) ?? { connections: 0, subscribed: false };
    this.#links.set(device, link);
    link.connections += 1;
    link.subscribed = false;
  }

  /** One connection of a terminal ended; the terminal is away when it was the last. */
  disconnect(device: DeviceId): void {
    const link = this.#links.get(device);
    if (link === undefined) return;
    link.connections -= 1;
    if (link.connections === 0) this.#links.delete(device);
  }

  /** The terminal gave up its subscription: its triggers wait again. */
  stopPolling(device: DeviceId): void {
    const link = this.#links.get(device);
    if (link !== undefined) link.subscribed = false;
  }

  /**
   * Takes a poll [claim 17]: hands over what waits, in the order of its arrival, and says how much
   * that was. Returns false for a terminal without a connection.
   */
  poll(now: Micros, device: DeviceId): boolean {
    const link = this.#links.get(device);
    if (link === undefined) return false;
    link.subscribed = true;
    let handed = 0;
    for (const waiting of this.#waiting.get(device)?.values() ?? []) {
      this.#remove(waiting);
      if (waiting.at <= now) {
        this.#expire(device, waiting.request);
        continue;
      }
      this.#hand(now, waiting);
      handed += 1;
    }
    this.#outbox.push(topic('call', device), { kind: 'polled', handed });
    return true;
  }

  /**
   * Takes a trigger [S3001, claim 17]: hands it over if the terminal is there, else keeps it until
   * its next poll or the deadline. Repeated under the same request, it only says the state again;
   * the first deadline holds. At a bound it expires at once. An end request comes this way too
   * [S6005, claim 18].
   */
  trigger(now: Micros, device: DeviceId, message: MessageOf<'trigger'>): void {
    const { request, payload } = message;
    const known = this.#stateOf(now, device, request);
    if (known !== undefined) {
      this.#say(device, request, known);
      return;
    }
    const due = after(now, ms(message.deadlineMs));
    const trigger: Waiting = { device, request, payload, ...notArmed(due) };
    if (due <= now || !this.#isThere(device)) {
      if (due <= now || !this.#hasRoomFor(trigger)) this.#expire(device, request);
      else this.#wait(trigger);
      return;
    }
    this.#hand(now, trigger);
  }

  /** Drops what is past its deadline, each with its state `expired`. */
  handleTimeout(now: Micros): void {
    while (this.#outbox.hasRoom) {
      const waiting = this.#deadlines.popDue(now);
      if (waiting === undefined) return;
      this.#remove(waiting);
      this.#expire(waiting.device, waiting.request);
    }
  }

  nextTimeout(): Micros {
    return this.#deadlines.next();
  }

  #isThere(device: DeviceId): boolean {
    return this.#links.get(device)?.subscribed ?? false;
  }

  #stateOf(now: Micros, device: DeviceId, request: RequestId): State | undefined {
    if (this.#waiting.get(device)?.has(request)) return 'waiting';
    const key = triggerKey(device, request);
    const deadline = this.#handed.get(key);
    if (deadline === undefined) return undefined;
    if (deadline > now) return 'handed';
    this.#handed.delete(key);
    return undefined;
  }

  #hasRoomFor({ device, payload }: Waiting): boolean {
    return (
      (this.#waiting.get(device)?.size ?? 0) < LIMITS.triggersPerDeviceMax &&
      this.#deadlines.size < LIMITS.triggersMax &&
      this.#waitingBytes + payload.length <= BROKER_LIMITS.triggerBytesMax
    );
  }

  #wait(trigger: Waiting): void {
    const ofDevice = this.#waiting.get(trigger.device) ?? new Map<RequestId, Waiting>();
    this.#waiting.set(trigger.device, ofDevice.set(trigger.request, trigger));
    this.#deadlines.set(trigger, trigger.at);
    this.#waitingBytes += trigger.payload.length;
    this.#say(trigger.device, trigger.request, 'waiting');
  }

  #remove(waiting: Waiting): void {
    this.#deadlines.stop(waiting);
    const ofDevice = this.#waiting.get(waiting.device);
    if (ofDevice?.delete(waiting.request)) this.#waitingBytes -= waiting.payload.length;
    if (ofDevice?.size === 0) this.#waiting.delete(waiting.device);
  }

  /** Sends the communication request [S3002] with what is left of its deadline. */
  #hand(now: Micros, { device, request, payload, at }: Waiting): void {
    const deadlineMs = Math.floor((at - now) / MICROS_PER_MS);
    this.#outbox.push(topic('call', device), { kind: 'call', request, deadlineMs, payload });
    this.#handed.set(triggerKey(device, request), at);
    if (this.#handed.size > LIMITS.triggersMax)
      for (const oldest of this.#handed.keys()) {
        this.#handed.delete(oldest);
        break;
      }
    this.#handedTotal += 1;
    this.#say(device, request, 'handed');
  }

  #expire(device: DeviceId, request: RequestId): void {
    this.#expiredTotal += 1;
    this.#say(device, request, 'expired');
  }

  #say(device: DeviceId, request: RequestId, state: State): void {
    this.#outbox.push(triggerStateTopic(device), { kind: 'triggerState', request, state });
  }
}
