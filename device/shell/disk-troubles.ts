// What of a terminal's home could not be written, for its owner (`nakodo status`): by file, each
// until that very file is written again. What needed no write mends nothing.

import { errorMessage } from '../../protocol/errors.ts';

/** What a home keeps; see docs/ARCHITECTURE.md, Homes. */
type Kept = 'ends' | 'pins' | 'approvals' | 'enrolment' | 'receipt';

/** The troubles of one home. */
export class DiskTroubles {
  readonly #why = new Map<Kept, string>();

  /** The oldest one, in words; undefined: everything is on disk. */
  get words(): string | undefined {
    const [first] = this.#why.values();
    return first;
  }

  failed(what: Kept, error: unknown): void {
    this.#why.set(what, errorMessage(error));
  }

  written(what: Kept): void {
    this.#why.delete(what);
  }
}
