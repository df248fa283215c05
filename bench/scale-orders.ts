// What `scale.ts` asks of its processes (`scale-process.ts`) and what they answer, and the table of
// who may call whom, which every process knows by the names alone.

/** Every name ends in its group, and a list denies one of the ten: a multiple of it is a circle. */
export const GROUPS = 10;
/** A callee so far behind its caller denies it. */
export const FORBIDDEN_DISTANCE: number = GROUPS - 1;

/** The name of a terminal. */
export function nameOf(at: number): string {
  return `T${at}-G${at % GROUPS}`;
}

/** The group of a name, 0 to 9. */
function groupOf(name: string): number {
  return Number(name.at(-1));
}

/** Whether the callee's list lets this caller in. */
export function isAllowed(caller: string, callee: string): boolean {
  return groupOf(caller) !== (groupOf(callee) + 1) % GROUPS;
}

/** The allow-list of a terminal, which says the same. */
export function listOf(name: string): string {
  const denied = (groupOf(name) + 1) % GROUPS;
  return `[[allow]]\nname = "T*"\n\n[[deny]]\nname = "T*-G${denied}"\n`;
}

/** A load: open loop, `rate` calls a second, whatever becomes of the earlier ones. */
export interface LoadOrder {
  readonly kind: 'load';
  /** Calls a second of this process. */
  readonly rate: number;
  readonly seconds: number;
  readonly seed: number;
  /** Callees are drawn from these, callers from the process's own. */
  readonly terminals: number;
  /** Peers of each caller. */
  readonly peers: number;
}

/** What is asked of a process; each is answered once, in order. */
export type ScaleOrder =
  | { readonly kind: 'serve'; readonly home: string; readonly isPlain: boolean }
  | { readonly kind: 'ticket'; readonly uses: number }
  | {
      readonly kind: 'enrol';
      readonly folder: string;
      readonly from: number;
      readonly count: number;
      readonly ticket: string;
    }
  | {
      readonly kind: 'start';
      readonly folder: string;
      readonly from: number;
      readonly count: number;
    }
  | LoadOrder
  | { readonly kind: 'profile' }
  | { readonly kind: 'stages' }
  | { readonly kind: 'usage' }
  | { readonly kind: 'gauges' };

/** Memory of a process after two full collections. */
export interface Gauges {
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
}

/** What a process has done since it began; processor time in microseconds. */
export interface Usage {
  readonly userMicros: number;
  readonly systemMicros: number;
  /** Introductions that the other end of a call saw here, and those that its list forbids. */
  readonly called: number;
  readonly wronglyCalled: number;
}

/** What became of a load. */
export interface LoadReport {
  /** Milliseconds from the moment at which a call was due until its talk was proven. */
  readonly setUpMs: readonly number[];
  /** Forbidden calls that came to nothing, as they should. */
  readonly refused: number;
  /** Introductions that the table forbids, or to somebody else: must be 0. */
  readonly wrong: number;
  /** Permitted calls that came to nothing, by code: must be none. */
  readonly failed: Readonly<Record<string, number>>;
  /** Talks that did not end as `done`, by reason. */
  readonly ends: Readonly<Record<string, number>>;
  /** Calls that were not made since too many were under way: the load was not carried. */
  readonly skipped: number;
}

/** Microseconds of self time of a process's main thread, by stage, while it was profiled. */
export interface StageReport {
  readonly stages: Readonly<Record<string, number>>;
  /** The dearest functions: `name file:line`, microseconds. */
  readonly functions: readonly (readonly [string, number])[];
  /** All threads, kernel time included. */
  readonly userMicros: number;
  readonly systemMicros: number;
}
