// Who calls whom: a caller by how often its profile calls, a callee from all, or, where a policy
// permits few pairs, so that a given share of calls goes along permitted ones.

import { type Rng, randomBelow, randomFraction } from '../../protocol/random.ts';
import type { Calls } from './calls.ts';
import type { FleetTerminal } from './fleet-terminal.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { FleetPlan, PlannedCall } from './plan.ts';
import { PROFILES, PROFILE_NAMES } from './profiles.ts';

const PER_CENT = 100;

interface PicksOptions {
  readonly plan: FleetPlan;
  readonly active: number;
  readonly calls: Calls;
  readonly rng: Rng;
  readonly permitPercent: number | undefined;
  /** Those of this process. */
  readonly terminals: readonly FleetTerminal[];
}

/** Calls a second of some terminals, in multiples of one that is always on. */
export const callWeight = (terminals: FleetPlan['terminals']): number =>
  terminals.reduce((all, { profile }) => all + PROFILES[profile].calls, 0);

/** Draws calls. */
export class Picks {
  readonly #options: PicksOptions;
  /** Callers by how often they call: those of a profile call equally often. */
  readonly #groups: readonly { readonly weight: number; readonly own: readonly FleetTerminal[] }[];
  readonly #weight: number;
  /** By caller: permitted calls, looked up when a draw did not find one. */
  readonly #permitted = new Map<number, readonly PlannedCall[]>();

  constructor(options: PicksOptions) {
    this.#options = options;
    this.#groups = PROFILE_NAMES.map((profile) => {
      const own = options.terminals.filter(({ planned }) => planned.profile === profile);
      return { weight: own.length * PROFILES[profile].calls, own };
    });
    this.#weight = this.#groups.reduce((all, { weight }) => all + weight, 0);
  }

  /** A terminal that is there to call; undefined: none was found. */
  caller(): FleetTerminal | undefined {
    const { rng } = this.#options;
    for (let tried = 0; tried < FLEET_LIMITS.picksMax; tried++) {
      let at = randomFraction(rng) * this.#weight;
      for (const { weight, own } of this.#groups) {
        at -= weight;
        if (at >= 0 || own.length === 0) continue;
        const one = own[randomBelow(rng, own.length)];
        if (one.agent !== undefined && one.isRegistered) return one;
        break;
      }
    }
    return undefined;
  }

  /** Whom it calls, for what. */
  call(caller: number): PlannedCall {
    const { rng, permitPercent } = this.#options;
    if (permitPercent === undefined) return this.#any(caller);
    const isWanted = randomBelow(rng, PER_CENT) < permitPercent;
    let drawn = this.#any(caller);
    for (let tried = 1; tried < FLEET_LIMITS.picksMax; tried++) {
      if ((this.#options.calls.verdict(drawn) === 'permitted') === isWanted) return drawn;
      drawn = this.#any(caller);
    }
    const permitted = isWanted ? this.#permittedOf(caller) : [];
    return permitted.length === 0 ? drawn : permitted[randomBelow(rng, permitted.length)];
  }

  #any(caller: number): PlannedCall {
    const { rng, active, plan } = this.#options;
    const callee = (caller + 1 + randomBelow(rng, active - 1)) % active;
    return { caller, callee, service: plan.services[randomBelow(rng, plan.services.length)] };
  }

  #permittedOf(caller: number): readonly PlannedCall[] {
    const known = this.#permitted.get(caller);
    if (known !== undefined) return known;
    const { active, plan, calls } = this.#options;
    const permitted: PlannedCall[] = [];
    for (let callee = 0; callee < active; callee++) {
      if (callee === caller) continue;
      for (const service of plan.services) {
        const call = { caller, callee, service };
        if (calls.verdict(call) === 'permitted') permitted.push(call);
      }
    }
    this.#permitted.set(caller, permitted);
    return permitted;
  }
}
