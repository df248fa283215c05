// The MQTT link of one terminal in virtual time (device/shell/server-link.ts and
// protocol/io/mqtt-link.ts): whether the core wants it, and when it is tried again after it is gone.
// What is said through it is its terminal's.

import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { type Rng, randomFraction } from '../../protocol/random.ts';
import { after, ms } from '../../protocol/time.ts';
import type { World } from '../world.ts';
import { type BusConnection, CONNACK } from './virtual-broker.ts';
import type { VirtualTerminal } from './virtual-terminal.ts';

/** Doublings of the pause after which it is the longest for sure. */
const DOUBLINGS_MAX = 16;

/** At most one connection at a time; `rng` spreads the retries. */
export class TerminalLink {
  readonly #world: World;
  readonly #terminal: VirtualTerminal;
  readonly #rng: Rng;
  #connection: BusConnection | undefined;
  #isUp = false;
  #isWanted = true;
  #upSince = 0;
  #failures = 0;
  /** Counts pauses: whoever waits through an older one does not try any more. */
  #pauses = 0;

  constructor(world: World, terminal: VirtualTerminal, rng: Rng) {
    this.#world = world;
    this.#terminal = terminal;
    this.#rng = rng;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get connection(): BusConnection | undefined {
    return this.#connection;
  }

  /** The terminal's process begins. */
  begin(): void {
    this.#isWanted = true;
    this.#failures = 0;
    this.#connect();
  }

  /** The core wants it, or sleeps. */
  want(isWanted: boolean): void {
    if (!isWanted) {
      this.#isWanted = false;
      this.drop();
    } else if (!this.#isWanted) {
      this.begin();
    }
  }

  /** Closes it; whoever waits to try again does not. */
  drop(): void {
    this.#pauses += 1;
    this.#isUp = false;
    if (this.#connection !== undefined) this.#world.broker.close(this.#connection);
    this.#connection = undefined;
  }

  onUp(): void {
    this.#isUp = true;
    this.#upSince = this.#world.now;
  }

  /** `code`: of CONNACK, if it got so far. */
  onDown(code: number | undefined): void {
    const wasUp = this.#isUp;
    this.#isUp = false;
    this.#connection = undefined;
    if (this.#terminal.core === undefined) return;
    if (wasUp && this.#world.now - this.#upSince > ms(2 * IO_LIMITS.linkRetryFirstMs))
      this.#failures = 0;
    const most = Math.min(
      code === CONNACK.unavailable ? IO_LIMITS.linkUnavailableMsMax : IO_LIMITS.linkRetryMaxMs,
      IO_LIMITS.linkRetryFirstMs * 2 ** Math.min(this.#failures, DOUBLINGS_MAX),
    );
    this.#failures += 1;
    this.#retryIn(ms(most * (0.5 + randomFraction(this.#rng) / 2)));
  }

  #connect(): void {
    if (this.#connection === undefined && this.#terminal.core !== undefined)
      this.#connection = this.#world.broker.open(this.#terminal);
  }

  #retryIn(delay: number): void {
    const pause = ++this.#pauses;
    this.#world.schedule(after(this.#world.now, delay), () => {
      const again = (): void => {
        if (pause === this.#pauses && this.#isWanted) this.#connect();
      };
      if (this.#terminal.isSuspended) this.#terminal.postpone(again);
      else again();
    });
  }
}
