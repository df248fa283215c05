// Invariant of the door: whoever the operator has revoked is let in no more, and thrown out, as
// soon as the broker can know; one connection sits for each client ID; nobody hears what is for
// another. Judged by the operator's orders and by who sits where.

import { topic } from '../../protocol/control/topics.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, seconds } from '../../protocol/time.ts';
import type { BusParty, Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import { isBusHonest, isBusReliable } from './bus.ts';

/** Four lists: while nothing is lost the broker knows by then, even if timers come late. */
const KNOWN_MICROS = seconds(4 * LIMITS.revocationEverySeconds);
/** Without a newer list a broker lets nobody in; drift, late timers and delays on top. */
const STALE_MICROS = seconds(LIMITS.revocationAgeSecondsMax + 10);

/** Watches who is let in, and who hears what. */
export class Logins implements Watcher {
  readonly #world: World;
  /** A hostile broker tells whom it likes. */
  readonly #isHonest: boolean;
  readonly #revokedAt = new Map<VirtualTerminal, Micros>();
  /** Since when manager and broker have been connected without a fault between them. */
  #healthySince: Micros | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#isHonest = isBusHonest(world.options);
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'delivered':
        return this.#onDelivered(happening.party, happening.topic);
      case 'revoked':
        this.#revokedAt.set(happening.terminal, this.#world.now);
        return;
      case 'loggedIn':
        return this.#onLogin(happening.party);
      case 'linkGone':
        if (happening.party === 'manager') this.#healthySince = undefined;
        return;
      case 'calm':
        // What was held back or cut before may still be missing.
        if (this.#healthySince !== undefined) this.#healthySince = this.#world.now;
        return;
      case 'managerKilled':
      case 'brokerKilled':
      case 'brokerStarted':
        this.#healthySince = undefined;
        return;
      case 'published':
        if (happening.party === 'manager' && this.#revokedAt.size > 0) this.#look();
        return;
      default:
        return;
    }
  }

  #onDelivered(party: BusParty, name: string): void {
    if (party === 'manager' || !this.#isHonest) return;
    if (name !== topic('call', party.id) && name !== topic('down', party.id))
      this.#fail(`${party.name} hears ${name}`);
  }

  #onLogin(party: BusParty): void {
    if (party === 'manager') {
      this.#healthySince = this.#world.now;
      return;
    }
    const seats = this.#world.broker.connections.filter(
      ({ seat, isHeld }) => isHeld && seat?.of === 'terminal' && seat.device === party.id,
    );
    if (seats.length > 1) this.#fail(`${party.name} sits on ${seats.length} chairs`);
    const revokedAt = this.#revokedAtOf(party);
    if (revokedAt === undefined) return;
    const since = this.#world.now - revokedAt;
    this.#world.mark('logged in after a revocation');
    if (since > STALE_MICROS || (since > KNOWN_MICROS && this.#isHealthy))
      this.#fail(
        `${party.name} is let in ${Math.round(since / seconds(1))} s after its revocation`,
      );
  }

  /** Whoever sits is thrown out. */
  #look(): void {
    if (!this.#isHealthy) return;
    for (const [terminal, at] of this.#revokedAt) {
      if (this.#world.now - at <= KNOWN_MICROS) continue;
      const { connection } = terminal;
      if (connection?.seat !== undefined && connection.isHeld && !connection.isDead)
        this.#fail(`${terminal.name} stays although it is revoked`);
    }
  }

  #revokedAtOf(party: VirtualTerminal): Micros | undefined {
    for (const [terminal, at] of this.#revokedAt) if (terminal.id === party.id) return at;
    return undefined;
  }

  /** Lists have come through for as long as it takes; a broker that loses some is given more. */
  get #isHealthy(): boolean {
    const { now, options, broker } = this.#world;
    const since = this.#healthySince;
    if (!isBusReliable(options) || since === undefined || now - since <= KNOWN_MICROS) return false;
    return broker.connections.some(({ user, isDead }) => user.party === 'manager' && !isDead);
  }

  #fail(says: string): void {
    this.#world.violate('logins', says);
  }
}
