// A TCP connection of a terminal to the relay (RFC 8656 §2.1), for networks that let no UDP
// through: each frame arrives whole, in order, as long as both ends are there; nothing of TCP's own
// behaviour is modelled. Who moves to another network loses it without a word, and notices after a
// while.

import type { Path } from '../../protocol/core.ts';
import { type Micros, after, micros, ms, seconds } from '../../protocol/time.ts';
import type { World } from '../world.ts';

/** Seconds after which an end notices that nothing is acknowledged (RFC 5482). */
const UNNOTICED_SECONDS = 15;

/** What the terminal's end hears. */
interface StreamHearer {
  readonly onOpen: () => void;
  readonly onFrame: (bytes: Uint8Array) => void;
  /** It never came about, or is gone. */
  readonly onEnd: () => void;
}

/** One connection, seen from both ends. */
export class RelayStream {
  /** The terminal as the relay sees it; no other has it. */
  readonly client: Path;
  readonly #world: World;
  readonly #hearer: StreamHearer;
  #isOpen = true;
  #isDead = false;
  /** When the last frame each way arrives: nothing overtakes it. */
  #upAt = 0;
  #downAt = 0;

  /** Begins to connect. */
  constructor(world: World, client: Path, hearer: StreamHearer) {
    this.#world = world;
    this.client = client;
    this.#hearer = hearer;
    this.#up(() => {
      const isAccepted = world.relay?.accept(this) === true;
      this.#down(() => (isAccepted ? hearer.onOpen() : this.#end()));
    });
  }

  /** The terminal sends a frame; a copy is taken. */
  send(bytes: Uint8Array): void {
    const frame = bytes.slice();
    this.#up(() => this.#world.relay?.hear(this.client, frame));
  }

  /** The relay sends one. */
  deliver(bytes: Uint8Array): void {
    this.#down(() => this.#hearer.onFrame(bytes));
  }

  /** The terminal is done with it. */
  close(): void {
    if (!this.#isOpen) return;
    this.#up(() => this.#world.relay?.forget(this.client));
    this.#isOpen = false;
  }

  /** The relay is gone. */
  reset(): void {
    this.#down(() => this.#end());
  }

  /** The terminal's address is another one. */
  die(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    this.#world.schedule(after(this.#world.now, seconds(UNNOTICED_SECONDS)), () => this.#end());
  }

  #end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#hearer.onEnd();
  }

  #up(run: () => void): void {
    this.#upAt = this.#arrival(this.#upAt);
    this.#later(micros(this.#upAt), run);
  }

  #down(run: () => void): void {
    this.#downAt = this.#arrival(this.#downAt);
    this.#later(micros(this.#downAt), () => {
      if (this.#isOpen) run();
    });
  }

  #arrival(last: number): number {
    const { options, now, across } = this.#world;
    return Math.max(last, after(now, ms(options['udp.delay'] / 2) + across));
  }

  #later(at: Micros, run: () => void): void {
    if (this.#isDead) return;
    this.#world.schedule(at, () => {
      if (!this.#isDead) run();
    });
  }
}
