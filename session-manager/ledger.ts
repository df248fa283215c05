// What has to be on disk before it may have an effect: facts queue here and leave in batches, one
// batch at a time (group commit), each with its log entries and the new head of the chain. A batch
// that fails is rolled back whole: an introduction in it is refused, an end notice tries again.
// Assumes a store that writes a batch entirely or not at all.

import type { CryptoSuite } from '../protocol/crypto.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import type { Deadline, Deadlines } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { type LogFact, type LogHead, appendLog, encodeLogHead, logKey } from './log.ts';
import type { ManagerOutput, Write } from './manager-types.ts';
import type { WallClock } from './wall-clock.ts';

/** One change that becomes durable as a whole. */
interface Fact {
  readonly entries: readonly LogFact[];
  /** Asked when the batch is made, so that a row is always the latest. */
  readonly writes: () => readonly Write[];
  /** It is on disk. */
  readonly persisted: (now: Micros) => void;
  /** It is not, and will not be: undo it. Absent: it is tried again until it is. */
  readonly failed?: (now: Micros, code: string) => void;
}

/** Row of the table `meta` that holds the head of the log. */
export const HEAD_KEY = 'log-head';

/** The queue in front of the store, and the log's chain. */
export class Ledger {
  readonly #suite: CryptoSuite;
  readonly #wall: WallClock;
  readonly #deadlines: Deadlines;
  readonly #emit: (output: ManagerOutput) => void;
  readonly #retry: Deadline;
  #queue: Fact[] = [];
  /** Facts of the batch that is being written, or undefined. */
  #writing: readonly Fact[] | undefined;
  #batch = 0;
  #head: LogHead;
  /** The head if the batch being written succeeds. */
  #nextHead: LogHead;

  constructor(options: {
    readonly suite: CryptoSuite;
    readonly wall: WallClock;
    readonly deadlines: Deadlines;
    readonly emit: (output: ManagerOutput) => void;
    readonly head: LogHead;
  }) {
    this.#suite = options.suite;
    this.#wall = options.wall;
    this.#deadlines = options.deadlines;
    this.#emit = options.emit;
    this.#head = options.head;
    this.#nextHead = options.head;
    this.#retry = options.deadlines.make((now) => this.#start(now));
  }

  /** Sets where the chain stands; only before the first fact. */
  restore(head: LogHead): void {
    this.#head = head;
    this.#nextHead = head;
  }

  /** Where the chain on disk stands. */
  get head(): LogHead {
    return this.#head;
  }

  /**
   * Queues a fact. At MANAGER_LIMITS.factsMax one that can fail fails at once; one that cannot is
   * bounded by the sessions that there are.
   */
  add(now: Micros, fact: Fact): void {
    const isStuck = this.#retry.slot >= 0;
    if (fact.failed !== undefined && (isStuck || this.#queue.length >= MANAGER_LIMITS.factsMax)) {
      fact.failed(now, isStuck ? 'disk' : 'busy');
      return;
    }
    this.#queue.push(fact);
    if (!isStuck) this.#start(now);
  }

  /** The store's answer to a batch; one that was not asked about is ignored. */
  onPersisted(now: Micros, batch: number): void {
    if (this.#writing === undefined || batch !== this.#batch) return;
    const written = this.#writing;
    this.#writing = undefined;
    this.#head = this.#nextHead;
    for (const fact of written) fact.persisted(now);
    this.#start(now);
  }

  /**
   * The store could not write: undo what can be undone, keep the rest for
   * MANAGER_LIMITS.diskRetryMs.
   */
  onFailed(now: Micros, batch: number, code: string): void {
    if (this.#writing === undefined || batch !== this.#batch) return;
    const lost = [...this.#writing, ...this.#queue];
    this.#writing = undefined;
    this.#nextHead = this.#head;
    this.#queue = lost.filter((fact) => fact.failed === undefined);
    if (this.#queue.length > 0) {
      this.#deadlines.set(this.#retry, after(now, ms(MANAGER_LIMITS.diskRetryMs)));
    }
    for (const fact of lost) fact.failed?.(now, code);
  }

  #start(now: Micros): void {
    while (this.#writing === undefined && this.#queue.length > 0) {
      const facts = this.#queue.splice(0, MANAGER_LIMITS.batchFactsMax);
      const writes = this.#writesOf(now, facts);
      this.#writing = facts;
      this.#batch += 1;
      if (writes.length > 0) {
        this.#emit({ kind: 'persist', batch: this.#batch, writes });
        return;
      }
      // Only markers: everything before them is on disk already.
      this.#writing = undefined;
      for (const fact of facts) fact.persisted(now);
    }
  }

  #writesOf(now: Micros, facts: readonly Fact[]): readonly Write[] {
    const writes: Write[] = [];
    let head = this.#head;
    for (const fact of facts) {
      for (const entry of fact.entries) {
        const appended = appendLog(this.#suite, head, this.#wall.at(now), entry);
        head = appended.head;
        writes.push({ table: 'log', key: logKey(head.sequence), value: appended.bytes });
      }
      writes.push(...fact.writes());
    }
    if (head !== this.#head) {
      writes.push({ table: 'meta', key: HEAD_KEY, value: encodeLogHead(head) });
    }
    this.#nextHead = head;
    return writes;
  }
}
