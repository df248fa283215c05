// The list of failing seeds: a text file that people keep beside a long run. A line has the seed,
// the invariant, what it says and the command that runs it again; who finds the cause writes it
// behind, and moves the seed to sim/known-seeds.ts when it is mended.

import { appendFileSync, readFileSync } from 'node:fs';
import { NakodoError, errorCode } from '../../protocol/errors.ts';

import type { Failure } from './seeds.ts';
import { type Wanted, commandOf } from './wanted.ts';

/** Beyond it nobody reads on. */
const LINES_MAX = 10_000;

/** The list in one file: lines are only added, none twice. */
export class FailureList {
  readonly #path: string;
  readonly #wanted: Wanted;
  /** Commands that stand in it. */
  readonly #known = new Set<string>();

  /** @throws NakodoError `file-unusable` if the file can be neither read nor made. */
  constructor(path: string, wanted: Wanted) {
    this.#path = path;
    this.#wanted = wanted;
    this.#append('');
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      const at = line.indexOf('nakodo sim ');
      if (at >= 0) this.#known.add(line.slice(at).split(' # ')[0].trim());
    }
  }

  /** Adds a failure; false if it is in the list, or the list is full. */
  add({ seed, invariant, says }: Failure): boolean {
    const command = commandOf(seed, this.#wanted);
    if (this.#known.has(command) || this.#known.size >= LINES_MAX) return false;
    this.#known.add(command);
    const oneLine = says.replaceAll(/\s+/g, ' ');
    this.#append(`seed ${seed} | ${invariant} | ${oneLine} | ${command}\n`);
    return true;
  }

  #append(text: string): void {
    try {
      appendFileSync(this.#path, text);
    } catch (error) {
      throw new NakodoError(
        'file-unusable',
        `${this.#path} cannot be written: ${errorCode(error)}`,
        'give --failures another file',
      );
    }
  }
}
