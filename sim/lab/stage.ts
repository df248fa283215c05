// What scenes have in common: a lab with the real program in it for as long as a scene takes, two
// terminals A and B, and how what they come to is put into words.

import { type Call, callOnce } from './calls.ts';
import { Lab } from './lab.ts';
import type { LabPlan } from './map.ts';
import { Terminals, type TerminalsPlan } from './terminals.ts';

/** The terminal that calls. */
export const A = 'A';
/** The one that is called. */
export const B = 'B';

/** What a scene came to. */
export interface Scene {
  readonly name: string;
  readonly lines: readonly string[];
  readonly figures: unknown;
  /** What is not as asked: docs/lab.md. */
  readonly faults: readonly string[];
}

/** How often scenes do what they do; fewer for a first look. */
export interface Doses {
  readonly lossTries: number;
  readonly searchTries: number;
  readonly firstByteTries: number;
  readonly megabytes: number;
  readonly spoofed: number;
  readonly idleSeconds: number;
}

/** The full doses; the figures of docs/nat.md are made with them. */
export const FULL: Doses = {
  lossTries: 40,
  searchTries: 20,
  firstByteTries: 20,
  megabytes: 60,
  spoofed: 200_000,
  idleSeconds: 20,
};

interface Stage {
  readonly lab: Lab;
  readonly terminals: Terminals;
}

/** A lab with the program in it, for as long as `perform` takes. */
export async function on<T>(
  plan: LabPlan,
  more: Partial<TerminalsPlan>,
  perform: (stage: Stage) => Promise<T>,
): Promise<T> {
  const lab = await Lab.open(plan);
  try {
    const hosts = Object.keys(plan.hosts).filter((name) => name.length === 1);
    const plain = { server: 'server', terminals: hosts, hasRelay: true };
    const terminals = await Terminals.start(lab, { ...plain, ...more });
    try {
      return await perform({ lab, terminals });
    } finally {
      await terminals.close();
    }
  } finally {
    await lab.close();
  }
}

/** Calls from A to B, one after the other; each talk is held that long. */
export async function calls(
  terminals: Terminals,
  tries: number,
  holdSeconds = 0,
): Promise<readonly Call[]> {
  const all: Call[] = [];
  for (let at = 0; at < tries; at++)
    all.push(await callOnce(terminals, { from: A, to: B, holdSeconds }));
  return all;
}

/** In order, the least first. */
export const sorted = (values: readonly number[]): readonly number[] =>
  values.toSorted((a, b) => a - b);
/** NaN of none. */
export const median = (values: readonly number[]): number =>
  sorted(values)[Math.floor(values.length / 2)] ?? Number.NaN;
/** NaN of none. */
export const most = (values: readonly number[]): number => sorted(values).at(-1) ?? Number.NaN;
/** Of the calls that found a path. */
export const setups = (all: readonly Call[]): readonly number[] =>
  all.flatMap(({ setupMs }) => (setupMs === undefined ? [] : [setupMs]));
/** For people. */
export const whole = (value: number): string => String(Math.round(value));

/** Several scenes as one. */
export function joined(name: string, scenes: readonly Scene[]): Scene {
  return {
    name,
    lines: scenes.flatMap(({ lines }) => lines),
    figures: Object.fromEntries(scenes.map((scene) => [scene.name, scene.figures])),
    faults: scenes.flatMap(({ faults }) => faults),
  };
}
