// The manager's statement about the server's TLS keys (protocol/identity/server-keys.ts): made anew
// when the server starts with another key, each with a higher sequence, and on disk before anybody
// hears of it: terminals believe no sequence twice. The last keys stay in it, behind those in use,
// so that a broker on its own machine may change later than its manager, unless the operator says
// that they are to be forgotten: whoever stole one could stand in the server's place with it.

import { sameBytes } from '../protocol/bytes.ts';
import {
  type ServerKeys,
  makeServerKeys,
  openServerKeys,
} from '../protocol/identity/server-keys.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MS_PER_SECOND, type Micros } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Stored } from './manager-types.ts';

/** Row of the table `meta` that holds the statement as it is signed. */
const SERVER_KEYS_KEY = 'server-keys';

/** The statement of one manager. */
export class ServerKeyStatements {
  readonly #context: Context;
  #statement: Uint8Array | undefined;
  /** The same, or one that is on its way to the disk. */
  #newest: ServerKeys | undefined;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Signed, and on disk; undefined where there is no TLS, or nothing could be written yet. */
  get statement(): Uint8Array | undefined {
    return this.#statement;
  }

  /** Takes the statement read at start; makes a new one if the pins in use are not its first. */
  restore(now: Micros, stored: Stored): void {
    const { key, suite, pins } = this.#context.options;
    if (pins.length === 0) return;
    const row = stored.meta.find((one) => one.key === SERVER_KEYS_KEY);
    const known = row && openServerKeys(suite, key.publicKey, row.value);
    if (row !== undefined && known === undefined) this.#context.counts.malformed += 1;
    if (row !== undefined && known !== undefined) {
      this.#statement = row.value;
      this.#newest = known;
    }
    this.change(now, pins);
  }

  /** These keys are in use from now on: of a broker apart, say, that was given another one. */
  change(now: Micros, pins: readonly Uint8Array[]): void {
    const { key, suite, forgetKeys = false } = this.#context.options;
    const known = this.#newest;
    const { sequence, pins: last } = known ?? { sequence: 0, pins: [] };
    const others = last.filter((pin) => !pins.some((one) => sameBytes(one, pin)));
    const before = forgetKeys ? [] : others;
    const isFirst = pins.every((pin, at) => at < last.length && sameBytes(pin, last[at]));
    if (isFirst && before.length === others.length) return;
    const statement = makeServerKeys(key, {
      // Terminals believe a higher one only: it rises also where the store is an old backup.
      sequence: Math.max(sequence + 1, this.#seconds(now)),
      pins: [...pins, ...before].slice(0, LIMITS.serverKeysMax),
    });
    this.#newest = openServerKeys(suite, key.publicKey, statement);
    this.#context.ledger.add(now, {
      entries: [],
      writes: () => [{ table: 'meta', key: SERVER_KEYS_KEY, value: statement }],
      persisted: () => {
        this.#statement = statement;
      },
    });
  }

  #seconds(now: Micros): number {
    return Math.max(0, Math.floor(this.#context.wall.at(now) / MS_PER_SECOND));
  }
}
