// Verifies a log with public keys only (S6001), entry by entry: the chain, the manager's signatures
// (checkpoints, beginning and end), the terminals' own signatures on requests and verdicts
// (log-statements.ts), and the receipts that terminals hold. Memory is bounded, however long the
// log. What it finds, and what it cannot find: docs/log.md.

import { sameBytes } from '../protocol/bytes.ts';
import type { CryptoSuite } from '../protocol/crypto.ts';
import type { Receipt } from '../protocol/identity/receipt.ts';
import {
  EMPTY_SPAN,
  type LogSpan,
  type SignedSpan,
  decodeSpan,
  isCheckpointOf,
  isSpanOf,
  samePlace,
} from './log-head.ts';
import { LogStatements } from './log-statements.ts';
import { type LogEntry, type LogHead, decodeLogEntry } from './log.ts';

/** The first fault of a log. `at`: the entry, 0 for what stands before all entries. */
interface LogFault {
  readonly ok: false;
  readonly at: number;
  readonly why: string;
}

/** What a verification says: what was verified, or the first fault. */
export type LogVerdict =
  | {
      readonly ok: true;
      /** How many entries were read. */
      readonly entries: number;
      /** Where they begin and end; a base that is not 0 was archived. */
      readonly span: LogSpan;
      /** The manager's over the end. */
      readonly signature: Uint8Array;
      readonly checkpoints: number;
      /** Terminals' signatures; `unknown`: by terminals whose keys stand in an archive. */
      readonly statements: { readonly checked: number; readonly unknown: number };
      /** Receipts that agree, and those about entries that are not in this part of the log. */
      readonly receipts: { readonly checked: number; readonly elsewhere: number };
    }
  | LogFault;

/** What a verifier is made with. */
interface LogVerifierOptions {
  readonly suite: CryptoSuite;
  /** Ed25519, 32 bytes. */
  readonly managerKey: Uint8Array;
  /** Opened with the same key (`openReceipt`). */
  readonly receipts?: readonly Receipt[];
}

/**
 * Verifies a log, or parts of it that follow one another: `begin`, `know`, `add` … for each part,
 * then `finish` once. The first fault stays.
 */
export class LogVerifier {
  readonly #suite: CryptoSuite;
  readonly #managerKey: Uint8Array;
  readonly #receipts: readonly Receipt[];
  readonly #statements: LogStatements;
  #fault: LogFault | undefined;
  /** The part that is being read. */
  #part: SignedSpan | undefined;
  #first: LogHead | undefined;
  #place: LogHead = EMPTY_SPAN.head;
  #entries = 0;
  #checkpoints = 0;
  #agreed = 0;

  constructor(options: LogVerifierOptions) {
    this.#suite = options.suite;
    this.#managerKey = options.managerKey;
    this.#receipts = options.receipts ?? [];
    this.#statements = new LogStatements(options.suite);
  }

  /**
   * A part begins: `encoded`, borrowed, is its signed span. `use`: it has to be this kind of part.
   * False once something is wrong.
   */
  begin(encoded: Uint8Array, use?: SignedSpan['use']): boolean {
    if (!this.#endPart()) return false;
    const part = decodeSpan(encoded);
    const at = this.#place.sequence;
    if (part === undefined) return this.#fail(at, 'the head of the log cannot be read');
    if (use !== undefined && part.use !== use) return this.#fail(at, 'the head is of an archive');
    if (!isSpanOf(this.#suite, this.#managerKey, part)) {
      return this.#fail(at, 'the head of the log is not signed by this manager');
    }
    if (this.#first !== undefined && !samePlace(part.base, this.#place)) {
      const why = `a part ends at ${at}, the next one begins behind ${part.base.sequence}`;
      return this.#fail(at, `${why}: something between them is missing or was changed`);
    }
    this.#part = part;
    this.#place = part.base;
    if (this.#first !== undefined) return true;
    this.#first = part.base;
    return this.#agrees(part.base);
  }

  /** Keys of a terminal that enrolled before the part began; its ID is their hash. Borrowed. */
  know(encoded: Uint8Array): boolean {
    if (this.#fault !== undefined) return false;
    return this.#statements.know(encoded) || this.reject('a key cannot be read');
  }

  /** Takes the next entry, borrowed; false once something is wrong. */
  add(encoded: Uint8Array): boolean {
    if (this.#fault !== undefined) return false;
    const at = this.#place.sequence + 1;
    if (this.#part === undefined) return this.#fail(0, 'the head of the log is missing');
    if (at > this.#part.head.sequence) {
      return this.#fail(at, 'an entry was added behind the last one');
    }
    const entry = decodeLogEntry(encoded);
    if (entry === undefined) return this.#fail(at, 'an entry cannot be read');
    if (entry.sequence !== at) {
      return this.#fail(at, `entry ${at} is missing or out of place (found ${entry.sequence})`);
    }
    if (!sameBytes(entry.previous, this.#place.hash)) {
      return this.#fail(Math.max(1, at - 1), 'an entry was changed: the next names another hash');
    }
    const why = this.#judge(entry);
    if (why !== undefined) return this.#fail(at, why);
    this.#place = { sequence: at, hash: this.#suite.blake2s(encoded) };
    this.#entries += 1;
    return this.#agrees(this.#place);
  }

  /** What was to hold the log cannot be read: a fault where it stands. */
  reject(why: string): false {
    return this.#fail(this.#place.sequence, why);
  }

  /** Everything was read. */
  finish(): LogVerdict {
    this.#endPart();
    const { sequence } = this.#place;
    const part = this.#part;
    if (this.#fault === undefined && part === undefined) {
      this.#fail(0, 'the head of the log is missing');
    }
    // Behind an archive the log goes on; behind the live head nothing may be known.
    const beyond = this.#receipts.find((receipt) => receipt.sequence > sequence);
    if (beyond !== undefined && part?.use === 'head') {
      const why = `a terminal holds a receipt for entry ${beyond.sequence}`;
      this.#fail(sequence, `the log ends at ${sequence}, but ${why}: it was cut or set back`);
    }
    if (this.#fault !== undefined || part === undefined) {
      return this.#fault ?? { ok: false, at: 0, why: 'there is no log' };
    }
    return {
      ok: true,
      entries: this.#entries,
      span: { base: this.#first ?? part.base, head: part.head },
      signature: part.signature,
      checkpoints: this.#checkpoints,
      statements: this.#statements.counts,
      receipts: { checked: this.#agreed, elsewhere: this.#receipts.length - this.#agreed },
    };
  }

  /** Whether all of the part was there. */
  #endPart(): boolean {
    const { sequence, hash } = this.#place;
    const head = this.#part?.head;
    if (this.#fault !== undefined) return false;
    if (head === undefined) return true;
    if (sequence !== head.sequence) {
      return this.#fail(sequence, `the log ends at ${sequence}, not ${head.sequence}`);
    }
    return sameBytes(hash, head.hash) || this.#fail(sequence, 'the last entry was changed');
  }

  /** Whether the receipts for this entry name its hash. */
  #agrees(place: LogHead): boolean {
    for (const { sequence, hash } of this.#receipts) {
      if (sequence !== place.sequence) continue;
      if (!sameBytes(hash, place.hash)) {
        return this.#fail(sequence, 'a terminal holds a receipt for another entry in this place');
      }
      this.#agreed += 1;
    }
    return true;
  }

  /** What is wrong with what an entry says, if anything. */
  #judge(entry: LogEntry): string | undefined {
    if (entry.kind !== 'checkpoint') {
      return this.#statements.judge(entry, this.#first?.sequence === 0);
    }
    this.#checkpoints += 1;
    return isCheckpointOf(this.#suite, this.#managerKey, this.#place, entry.signature)
      ? undefined
      : 'the checkpoint is not signed by this manager';
  }

  #fail(at: number, why: string): false {
    this.#fault ??= { ok: false, at, why };
    return false;
  }
}
