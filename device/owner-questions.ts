// An entry with `ask` lets its owner decide at every call: the shell shows the question, runs the
// entry's command, or knows an approval that still counts. This file keeps what each answer is for
// until it comes, or until nobody waits for it any more.

import { LIMITS } from '../protocol/limits.ts';
import { type Micros, NEVER, earlier } from '../protocol/time.ts';
import type { Outbox } from './outbox.ts';
import type { OwnerQuestion } from './terminal-types.ts';

/** What to do with the owner's word; undefined: there was none in time. */
type OnWord = (now: Micros, approved: boolean | undefined) => void;

interface Open {
  readonly until: Micros;
  readonly isKnown: boolean;
  readonly onWord: OnWord;
}

/** The questions that wait for an owner's word; at most LIMITS.ownerAsksMax. */
export class OwnerQuestions {
  readonly #outbox: Outbox;
  readonly #open = new Map<number, Open>();
  #last = 0;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Asks the owner. Returns the question's number, or undefined, and nobody is asked, at
   * LIMITS.ownerAsksMax, of which strangers get at most half.
   */
  ask(question: Omit<OwnerQuestion, 'ask'>, onWord: OnWord): OwnerQuestion['ask'] | undefined {
    const { isKnown } = question;
    if (this.#open.size >= LIMITS.ownerAsksMax) return undefined;
    if (!isKnown && this.#strangers() >= LIMITS.ownerAsksMax / 2) return undefined;
    const ask = ++this.#last;
    this.#open.set(ask, { until: question.until, isKnown, onWord });
    this.#outbox.push({ kind: 'askOwner', question: { ask, ...question } });
    return ask;
  }

  /** The question is settled in another way: the owner need not answer, `onWord` is not told. */
  forget(ask: number): void {
    if (this.#open.delete(ask)) this.#outbox.push({ kind: 'forgetOwner', ask });
  }

  /** The owner's word; false if nobody asked, or nobody waits for it any more. */
  onAnswer(now: Micros, ask: number, approved: boolean): boolean {
    const open = this.#open.get(ask);
    if (open === undefined) return false;
    this.#open.delete(ask);
    open.onWord(now, approved);
    return true;
  }

  /** Questions whose time is over are forgotten. */
  handleTimeout(now: Micros): void {
    for (const [ask, { until, onWord }] of this.#open) {
      if (now < until) continue;
      this.forget(ask);
      onWord(now, undefined);
    }
  }

  nextTimeout(): Micros {
    let next = NEVER;
    for (const { until } of this.#open.values()) next = earlier(next, until);
    return next;
  }

  #strangers(): number {
    let count = 0;
    for (const { isKnown } of this.#open.values()) if (!isKnown) count += 1;
    return count;
  }
}
