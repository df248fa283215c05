// The file `receipt`: where the manager's log stood at the newest end that it acknowledged, signed
// by it. Whoever verifies that log later with this file finds a tail that was cut (S6001). A log
// that went back while we were looking is told at once.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { openReceipt } from '../../protocol/identity/receipt.ts';
import { readFileNow, writeFileAtomic } from '../../protocol/io/files.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { DiskTroubles } from './disk-troubles.ts';

const FILE_MODE = 0o600;
/** Milliseconds in which receipts are gathered: talks end in numbers. */
const GATHER_MS = 1_000;
/** Milliseconds from one write to the next: a memory card wears out. */
const PAUSE_MS = 10_000;

interface ReceiptStoreOptions {
  /** The file; its folder exists. */
  readonly path: string;
  readonly suite: CryptoSuite;
  /** Ed25519, 32 bytes. */
  readonly managerKey: Uint8Array;
  readonly log: Log;
  /** Told what could not be written. */
  readonly disk?: DiskTroubles | undefined;
}

/** The newest receipt of one terminal. */
export class ReceiptStore {
  readonly #options: ReceiptStoreOptions;
  /** Entry that the newest receipt is about. */
  #newest: number;
  #waiting: Uint8Array | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #writing: Promise<void> = Promise.resolve();

  /** Reads what lies there; one of another manager, or a damaged one, counts as none. */
  constructor(options: ReceiptStoreOptions) {
    this.#options = options;
    this.#newest = sequenceIn(options);
  }

  /** Keeps a receipt, which the core has judged, if it is the newest; on disk within PAUSE_MS. */
  keep({ bytes, sequence }: { readonly bytes: Uint8Array; readonly sequence: number }): void {
    const { log } = this.#options;
    if (sequence < this.#newest) {
      const next = 'ask the operator: the log was cut, or restored from a backup';
      log.warn('manager-log-went-back', { kept: this.#newest, told: sequence, next });
    }
    if (sequence <= this.#newest) return;
    this.#newest = sequence;
    this.#waiting = bytes;
    if (this.#timer !== undefined) return;
    const pauseMs = this.#writtenAtMs + PAUSE_MS - performance.now();
    this.#timer = setTimeout(() => this.#write(), Math.max(GATHER_MS, pauseMs));
  }

  /** Writes what waits; resolves when it is on disk. The last call. */
  async settled(): Promise<void> {
    this.#write();
    await this.#writing;
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const bytes = this.#waiting;
    this.#waiting = undefined;
    if (bytes === undefined) return;
    this.#writtenAtMs = performance.now();
    const { path, log, disk } = this.#options;
    this.#writing = this.#writing
      .then(() => writeFileAtomic(path, bytes, FILE_MODE))
      .then(() => disk?.written('receipt'))
      .catch((error: unknown) => {
        disk?.failed('receipt', error);
        // The next one is newer: nothing is tried again for this one.
        log.warn('receipt-not-kept', { code: errorCode(error), message: errorMessage(error) });
      });
  }
}

/** Entry that the receipt on disk is about; 0 for none that counts. */
function sequenceIn({ path, suite, managerKey, log }: ReceiptStoreOptions): number {
  try {
    const bytes = readFileNow(path, LIMITS.receiptBytesMax);
    return (bytes && openReceipt(suite, managerKey, bytes)?.sequence) ?? 0;
  } catch (error) {
    if (!(error instanceof NakodoError)) throw error;
    log.warn('receipt-unreadable', { code: error.code, message: error.message });
    return 0;
  }
}
