// Means 13 for a terminal that sleeps [claim 1, claim 17]: it really disconnects, connects when its
// period has passed, is handed what waits for it, answers, stays for a talk that it agreed to, and
// sleeps again (design §4). For an always-connected terminal all of this does nothing.

import type { MessageOf } from '../protocol/control/messages.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, NEVER, after, earlier, ms, seconds } from '../protocol/time.ts';
import type { Outbox } from './outbox.ts';

/** When one terminal's link is to be up. */
export class Polling {
  readonly #outbox: Outbox;
  readonly #pollSeconds: number | undefined;
  #isAsleep = false;
  #wakeAt: Micros = NEVER;
  /** What the broker said that it hands over on this link; undefined until it said so. */
  #announced: number | undefined;
  #handed = 0;
  /** After a new channel: what is open for us is asked again. */
  #stayUntil: Micros = NEVER;
  /** What is not there by then does not come on this link: it was lost, or somebody lied. */
  #handedUntil: Micros = NEVER;
  #isHandedOver = false;

  /** Asks for the link at once: a terminal comes up at start. */
  constructor(outbox: Outbox, pollSeconds: number | undefined) {
    this.#outbox = outbox;
    this.#pollSeconds = pollSeconds;
    if (pollSeconds !== undefined) outbox.push({ kind: 'link', want: 'up' });
  }

  get wakeAt(): Micros {
    return this.#wakeAt;
  }

  /**
   * The next link is a new poll. (Not the other way round: the broker takes the subscription for
   * the poll, so its answer can be here before the shell says that the link is up.)
   */
  onLinkDown(): void {
    this.#announced = undefined;
    this.#handed = 0;
    this.#stayUntil = NEVER;
    this.#handedUntil = NEVER;
    this.#isHandedOver = false;
  }

  /** The manager may ask again, in the new channel, what we could not open before. */
  onChannel(now: Micros): void {
    if (this.#pollSeconds === undefined) return;
    this.#stayUntil = after(now, ms(LIMITS.resealStayMs));
  }

  /** The broker handed over one request. */
  onHanded(): void {
    this.#handed += 1;
  }

  /** [means 53]: the broker says how many requests it hands over; none is left waiting. */
  onPolled(message: MessageOf<'polled'>): void {
    this.#announced = message.handed;
  }

  /**
   * Decides after every input. `isRegistered`: both registrations stand and no request is without
   * its answer; `isBusy`: a call, an agreed answer, a talk or an end notice is open.
   */
  update(now: Micros, { isRegistered, isBusy }: { isRegistered: boolean; isBusy: boolean }): void {
    if (this.#pollSeconds === undefined) return;
    if (now >= this.#handedUntil) {
      this.#handedUntil = NEVER;
      this.#isHandedOver = true;
    }
    if (this.#isAsleep) {
      if (isBusy || now >= this.#wakeAt) this.#wake();
      return;
    }
    if (this.#stayUntil !== NEVER) {
      if (now < this.#stayUntil) return;
      this.#stayUntil = NEVER;
    }
    if (!isRegistered || isBusy) return;
    const isAnswered = this.#announced !== undefined && this.#handed >= this.#announced;
    if (isAnswered || this.#isHandedOver) this.#sleep(now, this.#pollSeconds);
    else if (this.#handedUntil === NEVER) this.#handedUntil = after(now, ms(LIMITS.handedWaitMs));
  }

  nextTimeout(): Micros {
    return earlier(this.#wakeAt, earlier(this.#stayUntil, this.#handedUntil));
  }

  #wake(): void {
    this.#isAsleep = false;
    this.#wakeAt = NEVER;
    this.#announced = undefined;
    this.#outbox.push({ kind: 'link', want: 'up' });
  }

  #sleep(now: Micros, pollSeconds: number): void {
    this.#isAsleep = true;
    this.#handedUntil = NEVER;
    this.#wakeAt = after(now, seconds(pollSeconds));
    this.#outbox.push({ kind: 'link', want: 'down' });
  }
}
