// Who gives the owner's word when an allow-list entry asks for it (design §4): an approval that is
// remembered, else the entry's command, else the owner by `nakodo approve`. The core has looked at
// the list first: a caller that it refuses is never asked about.

import { NakodoError } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MICROS_PER_SECOND } from '../../protocol/time.ts';
import type { OwnerQuestion } from '../terminal-types.ts';
import type { Approvals } from './approvals.ts';
import { Conditions } from './conditions.ts';
import { OwnerHooks } from './owner-hook.ts';

interface OwnerOptions {
  readonly approvals: Approvals;
  readonly clock: Clock;
  readonly log: Log;
  /** The word, for the core. */
  readonly answer: (ask: number, approved: boolean) => void;
}

/** A question as `nakodo approve` shows it; `bytes`, `seconds`: what is wanted, if stated. */
export interface WaitingQuestion {
  readonly ask: number;
  readonly name: string;
  readonly id: string;
  readonly service: string;
  readonly bytes: number | undefined;
  readonly seconds: number | undefined;
  /** A talk that runs, and wants more. */
  readonly extension: boolean;
  /** For how many seconds a yes counts by the entry, if it says so. */
  readonly remember: number | undefined;
  /** Seconds until the caller waits no longer. */
  readonly secondsLeft: number;
}

/** The owner's word by hand. */
interface Decision {
  readonly name: string;
  /** Only this service; needed where one caller waits for several. */
  readonly service?: string | undefined;
  /** Only this question: what somebody was shown. */
  readonly ask?: number | undefined;
  readonly approved: boolean;
  /** For how many seconds a yes counts; else as the entry says. */
  readonly rememberSeconds?: number | undefined;
}

/** The questions of one terminal, at most LIMITS.ownerAsksMax at a time. */
export class Owner {
  readonly #options: OwnerOptions;
  readonly #hooks: OwnerHooks;
  /** Those for which somebody has to come. */
  readonly #byHand = new Map<number, OwnerQuestion>();
  readonly #byCommand = new Set<number>();
  readonly #conditions = new Conditions();

  constructor(options: OwnerOptions) {
    this.#options = options;
    this.#hooks = new OwnerHooks(options.clock, options.log);
  }

  /** Takes a question of the core; it is answered once, unless it is forgotten first. */
  ask(question: OwnerQuestion): void {
    const { ask, caller, service, entry } = question;
    const { approvals, answer, log } = this.#options;
    if (approvals.holds({ id: caller.id, service, entry })) {
      log.info('approved-before', { caller: caller.name, service });
      answer(ask, true);
    } else if (this.#byHand.size + this.#byCommand.size >= LIMITS.ownerAsksMax) {
      log.warn('owner-not-asked', { caller: caller.name, service });
      answer(ask, false);
    } else if (typeof entry.ask === 'string') {
      this.#byCommand.add(ask);
      this.#hooks.run(question, entry.ask, (approved) => {
        this.#byCommand.delete(ask);
        this.#settle(question, approved, entry.remember);
      });
    } else {
      this.#byHand.set(ask, question);
      log.info('owner-asked', { caller: caller.name, service });
      this.#conditions.check();
    }
  }

  /** Nobody waits for this answer any more. */
  forget(ask: number): void {
    this.#byHand.delete(ask);
    if (this.#byCommand.delete(ask)) this.#hooks.forget(ask);
  }

  /** What waits for somebody to say `nakodo approve`, oldest first. */
  questions(): readonly WaitingQuestion[] {
    const now = this.#options.clock.now();
    return [...this.#byHand.values()].map(
      ({ ask, caller, service, want, entry, isExtension, until }) => ({
        ask,
        name: caller.name,
        id: caller.id,
        service,
        bytes: want.bytes,
        seconds: want.seconds,
        extension: isExtension,
        remember: entry.remember,
        secondsLeft: Math.max(0, (until - now) / MICROS_PER_SECOND),
      }),
    );
  }

  /** Resolves when a question (of this caller) waits, after `msMax`, or when aborted. */
  async waiting(name: string | undefined, msMax: number, signal: AbortSignal): Promise<void> {
    const isThere = (): boolean =>
      [...this.#byHand.values()].some(({ caller }) => name === undefined || caller.name === name);
    await this.#conditions.until(isThere, msMax, signal);
  }

  /**
   * Carries out the owner's word about everything that this caller waits for.
   * @throws NakodoError `nobody-waits`, `several-services`, `several-callers`
   */
  decide(decision: Decision): readonly WaitingQuestion[] {
    const { name, service, ask, approved, rememberSeconds } = decision;
    const meant = this.questions().filter(
      (each) =>
        each.name === name &&
        (service === undefined || each.service === service) &&
        (ask === undefined || each.ask === ask),
    );
    if (meant.length === 0) throw nobodyWaits(name);
    const services = [...new Set(meant.map((each) => each.service))];
    if (approved && services.length > 1) {
      throw new NakodoError(
        'several-services',
        `${name} waits for ${services.join(' and ')}`,
        // The services are words of the caller's choice: none stands in what is copied to a shell.
        `say which, in single quotes: nakodo approve ${name} --service 'SERVICE'`,
      );
    }
    const [first] = meant;
    if (approved && meant.some((each) => each.id !== first.id)) {
      throw new NakodoError(
        'several-callers',
        `more than one terminal calls itself ${name}`,
        `refuse them (nakodo approve ${name} --deny), and state which: nakodo allow ${name}#ID`,
      );
    }
    for (const each of meant) {
      const question = this.#byHand.get(each.ask);
      if (question === undefined) continue;
      this.#byHand.delete(each.ask);
      this.#settle(question, approved, rememberSeconds ?? question.entry.remember);
    }
    return meant;
  }

  /** Ends the commands that run; resolves when what is remembered is on disk. */
  async stop(): Promise<void> {
    this.#hooks.stop();
    this.#byHand.clear();
    await this.#options.approvals.settled();
  }

  #settle(question: OwnerQuestion, approved: boolean, rememberSeconds: number | undefined): void {
    const { ask, caller, service, entry } = question;
    const { approvals, answer, log } = this.#options;
    if (approved && rememberSeconds !== undefined) {
      approvals.remember({ id: caller.id, service, entry }, rememberSeconds);
    }
    if (!approved) approvals.forget(caller.id, service);
    log.info(approved ? 'owner-approved' : 'owner-denied', { caller: caller.name, service });
    answer(ask, approved);
  }
}

function nobodyWaits(name: string): NakodoError {
  return new NakodoError(
    'nobody-waits',
    `no call of ${name} waits for your word`,
    'see who does: nakodo approve — it waits for the next one',
  );
}
