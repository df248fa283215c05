// The manager's store as the shell sees it: seven tables of rows, written in batches that are
// durable as a whole. LMDB stands behind it; another engine passes the same suite
// (test/store-contract.ts).

import type { Row, Stored, Table, Write } from '../manager-types.ts';

/** Which rows of a table, in key order. */
export interface Range {
  /** Only keys that begin with this. */
  readonly prefix?: string;
  /** Only keys behind this one (with `reverse`: before it). */
  readonly after?: string;
  readonly reverse?: boolean;
  /** At most so many rows. */
  readonly limit: number;
}

/** An open store; one process writes it. */
export interface Store {
  /** What a start needs; all rows of it are copies. */
  load(): Stored;
  /**
   * Writes all of it or nothing; durable (flushed to the disk) when resolved.
   * @throws an error with a `code` when nothing was written; the store stays usable.
   */
  write(writes: readonly Write[]): Promise<void>;
  /** Rows in key order, copied. */
  range(table: Table, range: Range): readonly Row[];
  /** Resolves when everything written is flushed and the files are free. */
  close(): Promise<void>;
}
