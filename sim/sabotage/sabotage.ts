// A deliberate bug, as data: where it is and what stands there instead. A simulator that does not
// find it is broken (docs/simulator.md). Production code knows nothing of it: the loader hook of
// patching.ts changes one compiled module on its way into a process that asks for it by name.

import type { Options } from '../options.ts';

/** One bug that a fleet could meet. */
export interface Sabotage {
  /** What is wrong, in kebab-case; unique. */
  readonly name: string;
  /** Whose core it spoils; what all of them share counts for the one that it is told of here. */
  readonly core: 'data' | 'device' | 'broker' | 'session-manager';
  /** The source, `protocol/data/replay.ts`; its compiled form is what is patched. */
  readonly file: string;
  /**
   * Text that stands there exactly once, without types. A blank stands for any blanks, so that it
   * reads like the source.
   */
  readonly find: string;
  readonly replace: string;
  /** What would happen in the field, in one line. */
  readonly why: string;
  /**
   * `invariant: …`: the promise that it breaks; `classic: …`: a mistake that is often made;
   * `commit …` or `found by sim seed …`: a real bug that was mended.
   */
  readonly source?: string;
  /** Options with which it is looked for: a mixture that seeds draw too rarely, or too mild. */
  readonly under?: Partial<Options>;
}

/**
 * The text of a compiled module with the bug in it.
 * @throws Error `sabotage … no longer applies to …` unless `find` stands there exactly once.
 */
export function sabotaged(text: string, { name, file, find, replace }: Sabotage): string {
  const words = find.trim().split(/\s+/);
  const pattern = new RegExp(words.map((word) => escaped(word)).join('\\s+'), 'g');
  const found = [...text.matchAll(pattern)];
  if (found.length !== 1) {
    throw new Error(`sabotage ${name} no longer applies to ${file}: found ${found.length} times`);
  }
  const [{ 0: whole, index }] = found;
  return text.slice(0, index) + replace + text.slice(index + whole.length);
}

const escaped = (word: string): string => word.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&');
