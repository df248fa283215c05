// The clocks of one machine: a monotonic one that drifts and stops while the machine is suspended,
// and a wall clock that jumps. World time is what nobody in the world can read.

import { type Micros, NEVER, type WallMs, micros, wallMs } from '../../protocol/time.ts';

const PARTS_PER_MILLION = 1_000_000;
const MICROS_PER_MS = 1_000;

/** One machine's clocks. */
export class PartyClock {
  readonly #rate: number;
  /** Local time at a moment of world time, from which it goes on. */
  #sinceWorld: number;
  #sinceLocal: number;
  /** Wall milliseconds at local zero. */
  #wallAtZero: number;
  #isStopped = false;
  /** Until a server has said what time it is, the wall clock is the system's, battery and all. */
  #isCorrected = false;

  /** `driftPpm`: how much it is fast (or, below zero, slow). */
  constructor(options: { readonly now: Micros; readonly wall: WallMs; readonly driftPpm: number }) {
    this.#rate = 1 + options.driftPpm / PARTS_PER_MILLION;
    this.#sinceWorld = options.now;
    this.#sinceLocal = options.now;
    this.#wallAtZero = options.wall - options.now / MICROS_PER_MS;
  }

  /** What the monotonic clock shows: never less than before. */
  local(world: Micros): Micros {
    if (this.#isStopped || world <= this.#sinceWorld) return micros(this.#sinceLocal);
    return micros(this.#sinceLocal + (world - this.#sinceWorld) * this.#rate);
  }

  /** When, by world time, it shows at least this; NEVER while it stands still. */
  world(local: Micros): Micros {
    if (local === NEVER || this.#isStopped) return NEVER;
    if (local <= this.#sinceLocal) return micros(this.#sinceWorld);
    let at = this.#sinceWorld + (local - this.#sinceLocal) / this.#rate;
    // What a division rounded down would wake somebody just before the time, again and again.
    while (this.local(micros(at)) < local) at += 1;
    return micros(at);
  }

  wall(world: Micros): WallMs {
    return wallMs(Math.floor(this.#wallAtZero + this.local(world) / MICROS_PER_MS));
  }

  /** The system's wall clock is set, by so many milliseconds. */
  jump(milliseconds: number): void {
    if (!this.#isCorrected) this.#wallAtZero += milliseconds;
  }

  /** The system's wall clock shows what it should, as after a network time protocol's word. */
  set(world: Micros, wall: WallMs): void {
    this.jump(wall - this.wall(world));
  }

  /** Somebody knows better: as CorrectedClock (protocol/io/clock.ts) takes the server's time. */
  correct(world: Micros, unixMs: number, withinMs: number): void {
    const wall = Math.min(Math.max(this.wall(world), unixMs), unixMs + withinMs);
    this.#wallAtZero = wall - this.local(world) / MICROS_PER_MS;
    this.#isCorrected = true;
  }

  /** The machine sleeps. */
  stop(world: Micros): void {
    this.#sinceLocal = this.local(world);
    this.#sinceWorld = world;
    this.#isStopped = true;
  }

  /** It wakes up; `counted`: microseconds by which its monotonic clock went on meanwhile. */
  go(world: Micros, counted: number): void {
    const missed = world - this.#sinceWorld - counted;
    this.#isStopped = false;
    this.#sinceWorld = world;
    this.#sinceLocal += counted;
    if (!this.#isCorrected) this.#wallAtZero += missed / MICROS_PER_MS;
  }
}
