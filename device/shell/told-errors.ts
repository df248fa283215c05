// What goes wrong again and again, said once a minute: while a network is away every datagram
// fails, and nobody reads the same line a thousand times.

import { errorCode } from '../../protocol/errors.ts';

const EVERY_MS = 60_000;
/** Kinds that are told apart; a further one is said each time that another is forgotten. */
const KINDS_MAX = 16;

interface Told {
  readonly atMs: number;
  /** Since then. */
  unsaid: number;
}

/** Remembers by its code what was said when. */
export class ToldErrors {
  readonly #told = new Map<string, Told>();
  readonly #nowMs: () => number;

  /** `nowMs`: a monotonic clock; default the process's. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * How often an error of this kind came since it was last said, this time included; undefined: say
   * nothing now.
   */
  count(error: unknown): number | undefined {
    const code = errorCode(error);
    const now = this.#nowMs();
    const last = this.#told.get(code);
    if (last !== undefined && now - last.atMs < EVERY_MS) {
      last.unsaid += 1;
      return undefined;
    }
    this.#told.delete(code);
    this.#told.set(code, { atMs: now, unsaid: 0 });
    if (this.#told.size > KINDS_MAX) {
      for (const oldest of this.#told.keys()) {
        this.#told.delete(oldest);
        break;
      }
    }
    return (last?.unsaid ?? 0) + 1;
  }
}
