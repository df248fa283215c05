// What has to be on disk before it may have an effect: facts queue here and leave in batches, one
// batch at a time (group commit), each with its log entries and the new head of the chain, signed
// once a batch. A batch that fails is rolled back whole: an introduction in it is refused, an end
// notice tries again. Assumes a store that writes a batch entirely or not at all.

import type { CryptoSuite, SigningKey } from '../protocol/crypto.ts';
import { makeReceipt } from '../protocol/identity/receipt.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import type { Deadline, Deadlines } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { EMPTY_SPAN, HEAD_KEY, type LogSpan, signCheckpoint, signSpan } from './log-head.ts';
import { type LogFact, type LogHead, appendLog, logKey } from './log.ts';
import type { ManagerOutput, Write } from './manager-types.ts';
import type { WallClock } from './wall-clock.ts';

/** One change that becomes durable as a whole. */
interface Fact {
  readonly entries: readonly LogFact[];
  /** Asked when the batch is made, so that a row is always the latest. */
  readonly writes: () => readonly Write[];
  /** The kept log begins behind this from now on. */
  readonly base?: LogHead;
  /** It is on disk. */
  readonly persisted: (now: Micros) => void;
  /** It is not, and will not be: undo it. Absent: it is tried again until it is. */
  readonly failed?: (now: Micros, code: string) => void;
}

/** The queue in front of the store, and the log's chain. */
export class Ledger {
  readonly #suite: CryptoSuite;
  readonly #key: SigningKey;
  readonly #wall: WallClock;
  readonly #deadlines: Deadlines;
  readonly #emit: (output: ManagerOutput) => void;
  readonly #retry: Deadline;
  #queue: Fact[] = [];
  /** Facts of the batch that is being written, or undefined. */
  #writing: readonly Fact[] | undefined;
  #batch = 0;
  #span: LogSpan = EMPTY_SPAN;
  /** The span if the batch being written succeeds. */
  #nextSpan: LogSpan = EMPTY_SPAN;
  /** Entries since the last checkpoint; the first batch of a start begins with one. */
  #unchecked: number = MANAGER_LIMITS.checkpointEntries;
  /** The receipt for the head on disk, once somebody asked for it. */
  #receipt: Uint8Array | undefined;

  constructor(options: {
    readonly suite: CryptoSuite;
    readonly key: SigningKey;
    readonly wall: WallClock;
    readonly deadlines: Deadlines;
    readonly emit: (output: ManagerOutput) => void;
  }) {
    this.#suite = options.suite;
    this.#key = options.key;
    this.#wall = options.wall;
    this.#deadlines = options.deadlines;
    this.#emit = options.emit;
    this.#retry = options.deadlines.make((now) => this.#start(now));
  }

  /** Sets where the chain stands; only before the first fact. */
  restore(span: LogSpan): void {
    this.#span = span;
    this.#nextSpan = span;
  }

  /** The log on disk: where what is kept of it begins, and where it ends. */
  get span(): LogSpan {
    return this.#span;
  }

  /**
   * A receipt for the log on disk, for a terminal to keep (S6001); undefined while it is empty.
   * Signed once for all who are answered behind the same batch.
   */
  receipt(now: Micros): Uint8Array | undefined {
    if (this.#span.head.sequence === 0) return undefined;
    const at = Math.max(0, Math.floor(this.#wall.at(now)));
    this.#receipt ??= makeReceipt(this.#key, { ...this.#span.head, at });
    return this.#receipt;
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
    this.#span = this.#nextSpan;
    this.#receipt = undefined;
    this.#finish(now, this.#writing);
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
    this.#nextSpan = this.#span;
    // Whatever was to be a checkpoint was not written: the next batch has one.
    this.#unchecked = MANAGER_LIMITS.checkpointEntries;
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
      this.#finish(now, facts);
    }
  }

  /** What follows from the facts of one batch goes into one batch: nothing starts meanwhile. */
  #finish(now: Micros, facts: readonly Fact[]): void {
    for (const fact of facts) fact.persisted(now);
    this.#writing = undefined;
  }

  /** The rows of a batch: entries, what the facts bring, and one signed head for all of it. */
  #writesOf(now: Micros, facts: readonly Fact[]): readonly Write[] {
    const writes: Write[] = [];
    let { base, head } = this.#span;
    const append = (entry: LogFact): void => {
      const appended = appendLog(this.#suite, head, this.#wall.at(now), entry);
      head = appended.head;
      writes.push({ table: 'log', key: logKey(head.sequence), value: appended.bytes });
    };
    for (const fact of facts) {
      if (fact.entries.length > 0 && this.#unchecked >= MANAGER_LIMITS.checkpointEntries) {
        // Nothing stands before the first entry of all.
        if (head.sequence > 0) {
          append({ kind: 'checkpoint', signature: signCheckpoint(this.#key, head) });
        }
        this.#unchecked = 0;
      }
      for (const entry of fact.entries) append(entry);
      this.#unchecked += fact.entries.length;
      if (fact.base !== undefined) base = fact.base;
      writes.push(...fact.writes());
    }
    this.#nextSpan = { base, head };
    if (head !== this.#span.head || base !== this.#span.base) {
      const value = signSpan(this.#key, 'head', this.#nextSpan);
      writes.push({ table: 'meta', key: HEAD_KEY, value });
    }
    return writes;
  }
}
