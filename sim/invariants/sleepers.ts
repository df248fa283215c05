// A terminal that sleeps between polls sleeps: when a world has come to rest, no polling terminal
// has been awake for longer than a poll with all its patience takes [claim 17]. One that waits for
// what never comes empties its battery.

import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, ms, seconds } from '../../protocol/time.ts';
import type { BusParty, Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';

/** Registration and its retries in a calm world, on top of what a poll may wait for. */
const AWAKE_MICROS = seconds(15) + ms(LIMITS.handedWaitMs + LIMITS.resealStayMs);

/** Watches who is awake. */
export class Sleepers implements Watcher {
  readonly #world: World;
  readonly #awakeSince = new Map<BusParty, Micros>();

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'loggedIn') this.#awakeSince.set(happening.party, this.#world.now);
    else if (happening.kind === 'linkGone') this.#awakeSince.delete(happening.party);
    else if (happening.kind === 'event') {
      // Somebody with a talk stays, and begins to be patient anew.
      const { terminal } = happening;
      if (this.#awakeSince.has(terminal)) this.#awakeSince.set(terminal, this.#world.now);
    }
  }

  atEnd(): void {
    for (const terminal of this.#world.terminals) {
      const { pollSeconds, isRevoked, isClone, core, name } = terminal;
      if (pollSeconds === undefined || isRevoked || isClone || core === undefined) continue;
      const since = this.#awakeSince.get(terminal);
      if (since === undefined || this.#world.isRogue(terminal)) continue;
      const { calls, talks, endNotices } = core.status(terminal.clock.local(this.#world.now));
      if (calls.length + talks.length + endNotices > 0) continue;
      const awake = this.#world.now - since;
      if (awake > AWAKE_MICROS)
        this.#world.violate('sleepers', `${name} is awake for ${Math.round(awake / seconds(1))} s`);
    }
  }
}
