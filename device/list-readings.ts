// The owner's allow-list is read anew for every question, "at that very moment" (¶0018): this keeps
// what each reading is for until the shell answers with the list.

import type { AllowList } from '../protocol/consent/allow-list.ts';
import type { SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Micros } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import type { Outbox } from './outbox.ts';

/** What to do with the list; undefined: it cannot be read. */
type Then = (now: Micros, list: AllowList | undefined, at: LocalMoment) => void;

/** The readings of one terminal that the shell has not answered; at most LIMITS.callsMax. */
export class ListReadings {
  readonly #outbox: Outbox;
  readonly #open = new Map<number, Then>();
  #last = 0;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Asks for the list; false, and nothing asked, while too many readings are open. `session`: the
   * talk that wants more.
   */
  read(then: Then, session?: SessionId): boolean {
    if (this.#open.size >= LIMITS.callsMax) return false;
    const ask = ++this.#last;
    this.#open.set(ask, then);
    this.#outbox.push({ kind: 'readList', ask, ...(session === undefined ? {} : { session }) });
    return true;
  }

  /** False if nobody asked, or it was answered before. */
  onList(now: Micros, ask: number, list: AllowList | undefined, at: LocalMoment): boolean {
    const then = this.#open.get(ask);
    if (then === undefined) return false;
    this.#open.delete(ask);
    then(now, list, at);
    return true;
  }
}
