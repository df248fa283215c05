// What has come of a fleet's calls, counted: one tally in each process of terminals, added up by
// the one that started them. Every call is in exactly one of the outcomes.

import { FLEET_LIMITS } from './limits.ts';
import { Histogram, type HistogramRecord } from './histogram.ts';

/** Outcomes of calls, and what is counted beside them. */
const COUNTS = [
  /** Calls whose time came, whether they could begin or not. */
  'due',
  /** Those that could not begin in time: too many under way, or nobody there to make them. */
  'missed',
  /** Those that began, but later than they should have; their set-up counts from then on. */
  'late',
  /** Both ends were introduced, as the policy has it. */
  'introduced',
  /** Refused, as the policy has it. */
  'refused',
  /** Introduced against the policy: has to be 0. */
  'wronglyIntroduced',
  /** Refused against the policy though both ends were there. */
  'wronglyRefused',
  /** Questions that a callee declined unread, since it had as many calls as it may have. */
  'busy',
  /** Permitted, but an end that comes and goes was gone. */
  'unreached',
  /** Permitted, but a callee that polls did not answer, though it polled several times. */
  'overslept',
  /** Permitted, but the caller had asked too often in vain before. */
  'limited',
  /** No answer in time, or no way to ask. */
  'noAnswer',
  /** Under way when the fleet was told to end before its time. */
  'abandoned',
  /** Of the introduced: all bytes arrived, and the hash that came back was theirs. */
  'delivered',
  /** … a hash came back that was not theirs: has to be 0. */
  'damaged',
  /** … the talk ended before. */
  'cut',
  /** Bytes of what was delivered. */
  'bytes',
  /** Of hostile terminals: calls, those of them that were refused, introduced as permitted. */
  'hostileCalls',
  'hostileRefused',
  'hostileIntroduced',
  /** … and messages that are none. */
  'hostileMessages',
] as const;

/** A count's name. */
type Count = (typeof COUNTS)[number];

/** Kinds of fault of which words are kept: who, whom, what. */
const FAULTS = ['wronglyIntroduced', 'wronglyRefused', 'damaged'] as const;

/** A kind of fault. */
export type Fault = (typeof FAULTS)[number];

/** A tally as it travels between processes. */
export interface TallyRecord {
  readonly counts: Readonly<Record<Count, number>>;
  readonly faults: Readonly<Record<Fault, readonly string[]>>;
  /** Calls that failed, and talks that ended otherwise than done, by code. */
  readonly errors: Readonly<Record<string, number>>;
  /** From a call's time to a proven talk: both ends always there; and the others. */
  readonly setUp: HistogramRecord;
  readonly setUpOthers: HistogramRecord;
}

/** A tally. */
export class Tally {
  readonly #counts = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Record<Count, number>;
  readonly #faults: Record<Fault, string[]> = {
    wronglyIntroduced: [],
    wronglyRefused: [],
    damaged: [],
  };
  readonly #errors = new Map<string, number>();
  readonly setUp = new Histogram();
  readonly setUpOthers = new Histogram();

  /** Counts something. */
  add(name: Count, times = 1): void {
    this.#counts[name] += times;
  }

  /** Counts a fault, and keeps the first words of its kind. */
  addFault(fault: Fault, words: string): void {
    this.#counts[fault] += 1;
    if (this.#faults[fault].length < FLEET_LIMITS.faultsKept) this.#faults[fault].push(words);
  }

  /** Counts an error by its code; at the bound of codes as `other`. */
  addError(code: string, times = 1): void {
    const isFull = this.#errors.size >= FLEET_LIMITS.codesMax && !this.#errors.has(code);
    const counted = isFull ? 'other' : code;
    this.#errors.set(counted, (this.#errors.get(counted) ?? 0) + times);
  }

  /** Adds all of another one. */
  merge(other: TallyRecord): void {
    for (const name of COUNTS) {
      if (!isFault(name)) this.#counts[name] += other.counts[name];
    }
    for (const fault of FAULTS) {
      const words = other.faults[fault];
      for (const each of words) this.addFault(fault, each);
      this.#counts[fault] += other.counts[fault] - words.length;
    }
    for (const [code, times] of Object.entries(other.errors)) this.addError(code, times);
    this.setUp.merge(other.setUp);
    this.setUpOthers.merge(other.setUpOthers);
  }

  /** As it travels, and as a report has it. */
  record(): TallyRecord {
    return {
      counts: { ...this.#counts },
      faults: {
        wronglyIntroduced: [...this.#faults.wronglyIntroduced],
        wronglyRefused: [...this.#faults.wronglyRefused],
        damaged: [...this.#faults.damaged],
      },
      errors: Object.fromEntries(this.#errors),
      setUp: this.setUp.record(),
      setUpOthers: this.setUpOthers.record(),
    };
  }
}

const isFault = (name: Count): name is Fault => (FAULTS as readonly string[]).includes(name);
