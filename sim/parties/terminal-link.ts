// The MQTT link of one terminal in virtual time (device/shell/server-link.ts and
// protocol/io/mqtt-link.ts): whether the core wants it, and when it is tried again after it is
// gone. What is said through it is its terminal's.

import { LinkPauses } from '../../protocol/io/link-pauses.ts';
import { type Rng, randomFraction } from '../../protocol/random.ts';
import { MICROS_PER_MS, after, ms } from '../../protocol/time.ts';
import type { World } from '../world.ts';
import { type BusConnection, CONNACK } from './virtual-broker.ts';
import type { VirtualTerminal } from './virtual-terminal.ts';

/** A round trip to whoever knows of no such connection. */
const CHECK_MS = 50;

/** At most one connection at a time; `rng` spreads the retries. */
export class TerminalLink {
  readonly #world: World;
  readonly #terminal: VirtualTerminal;
  readonly #rng: Rng;
  #connection: BusConnection | undefined;
  #isUp = false;
  #isWanted = true;
  #isChecking = false;
  #upSince = 0;
  readonly #pauses = new LinkPauses();
  /** Counts them: whoever waits through an older one does not try any more. */
  #pause = 0;

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
    this.#pauses.reset();
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
    this.#pause += 1;
    this.#isUp = false;
    if (this.#connection !== undefined) this.#world.broker.close(this.#connection);
    this.#connection = undefined;
  }

  /** The address that it came from is gone: a connection that was there is tried anew at once. */
  renew(): void {
    const connection = this.#connection;
    if (connection === undefined || !this.#isWanted) return;
    const wasUp = this.#isUp;
    this.drop();
    if (wasUp) this.#terminal.input({ kind: 'linkDown' });
    this.#connect();
  }

  /** A ping on a connection that is dead: who does not know it says so, and it is tried anew. */
  check(): void {
    const connection = this.#connection;
    if (connection === undefined || !connection.isDead || this.#isChecking) return;
    this.#isChecking = true;
    this.#world.schedule(after(this.#world.now, ms(CHECK_MS)), () => {
      this.#isChecking = false;
      if (this.#connection === connection && !this.#terminal.isSuspended) this.renew();
    });
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
    const pauseMs = this.#pauses.next({
      heldMs: wasUp ? (this.#world.now - this.#upSince) / MICROS_PER_MS : undefined,
      isUnavailable: code === CONNACK.unavailable,
      fraction: randomFraction(this.#rng),
    });
    this.#retryIn(ms(pauseMs));
  }

  #connect(): void {
    if (this.#connection === undefined && this.#terminal.core !== undefined)
      this.#connection = this.#world.broker.open(this.#terminal);
  }

  #retryIn(delay: number): void {
    const pause = ++this.#pause;
    this.#world.schedule(after(this.#world.now, delay), () => {
      const again = (): void => {
        if (pause === this.#pause && this.#isWanted) this.#connect();
      };
      if (this.#terminal.isSuspended) this.#terminal.postpone(again);
      else again();
    });
  }
}
