// Finds one deliberate bug: a seeker process with the bug in it runs seeds 1, 2, 3 …; when one
// fails, another without it says whether that seed is sound. A process that says nothing for long
// is stopped: time that stands still in a core is found that way.

import { type ChildProcess, fork } from 'node:child_process';
import { micros } from '../../protocol/time.ts';
import type { Sabotage } from './sabotage.ts';
import type { SeedTold } from './seeker.ts';

/** Milliseconds in which a seed ends; a hundred times what one takes. */
const SEED_MS_MAX = 60_000;

/** How one bug was found, or that it was not. */
export interface Found {
  readonly name: string;
  readonly core: string;
  /** The first seed that found it, hence how many were needed; undefined: none did. */
  readonly seed: number | undefined;
  readonly invariant: string;
  readonly says: string;
}

/** Looks for bugs in seeds 1 to `seeds`. */
export class Find {
  readonly #seeds: number;
  /** By options and seed. */
  readonly #sound = new Map<string, Promise<boolean>>();

  constructor(seeds: number) {
    this.#seeds = seeds;
  }

  /** Seeds that failed without any bug, with options if any were set: no bug was found in them. */
  readonly unsound: string[] = [];

  /** The first sound seed that fails with this bug. */
  async seek({ name, core, under = {} }: Sabotage): Promise<Found> {
    const set = JSON.stringify(under);
    for (let first = 1; first <= this.#seeds;) {
      const told = await seekIn({ first, last: this.#seeds, set, name });
      if (told?.violation === undefined) break;
      const { seed, violation } = told;
      if (await this.#isSound(seed, set)) {
        const { invariant, says } = violation;
        return { name, core, seed, invariant, says };
      }
      first = seed + 1;
    }
    return { name, core, seed: undefined, invariant: '', says: '' };
  }

  #isSound(seed: number, set: string): Promise<boolean> {
    const key = `${set} ${seed}`;
    const known = this.#sound.get(key);
    if (known !== undefined) return known;
    const asked = this.#runSound(seed, set);
    this.#sound.set(key, asked);
    return asked;
  }

  async #runSound(seed: number, set: string): Promise<boolean> {
    const told = await seekIn({ first: seed, last: seed, set, name: undefined });
    const isSound = told?.violation === undefined;
    if (!isSound) this.unsound.push(set === '{}' ? String(seed) : `${seed} with ${set}`);
    return isSound;
  }
}

interface Search {
  readonly first: number;
  readonly last: number;
  /** Options with a given value, as JSON. */
  readonly set: string;
  /** The bug; undefined: none. */
  readonly name: string | undefined;
}

/** The first seed of a range that fails; undefined: none does. */
async function seekIn({ first, last, set, name }: Search): Promise<SeedTold | undefined> {
  const loader = new URL(`load.js?name=${name ?? ''}`, import.meta.url).href;
  const child = fork(new URL('seeker.js', import.meta.url), [String(first), String(last), set], {
    execArgv: name === undefined ? [] : ['--import', loader],
  });
  const fault = await firstFault(child, first);
  child.kill('SIGKILL');
  return fault;
}

/** What the process tells of the first seed that fails; its own end in disorder counts as that. */
function firstFault(child: ChildProcess, first: number): Promise<SeedTold | undefined> {
  return new Promise((resolve) => {
    let seed = first;
    const fault = (invariant: string, says: string): void =>
      resolve({ seed, violation: { invariant, says, at: micros(0), stack: undefined } });
    const onSilence = (): void => fault('time', 'the seed does not come to its end');
    let silence = setTimeout(onSilence, SEED_MS_MAX);
    child.on('message', (told) => {
      const { seed: ran, violation } = told as SeedTold;
      clearTimeout(silence);
      if (violation !== undefined) {
        resolve({ seed: ran, violation });
        return;
      }
      seed = ran + 1;
      silence = setTimeout(onSilence, SEED_MS_MAX);
    });
    child.once('exit', (code) => {
      clearTimeout(silence);
      if (code === 0) resolve(undefined);
      else fault('process', `ended with ${code ?? 'a signal'}`);
    });
  });
}
