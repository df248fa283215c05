// One seed, from its options to the verdict: the world is opened, suffers, comes to rest, and is
// judged by its watchers at every step. The same plan gives the same result, to the last bit.

import type { CryptoSuite } from '../protocol/crypto.ts';
import { type Micros, after, seconds } from '../protocol/time.ts';
import { EventHash } from './event-hash.ts';
import { watchersOf } from './invariants/all.ts';
import { prepareAttacks } from './hostile/all.ts';
import { liveness } from './liveness.ts';
import { OPTION_NAMES, type OptionName, type Options } from './options.ts';
import { beginStrikes } from './strikes.ts';
import { Violation } from './violation.ts';
import { Workload } from './workload.ts';
import { type Watcher, World } from './world.ts';

/** What is to be run. */
export interface SeedPlan {
  readonly seed: number;
  readonly terminals: number;
  /** Seconds of the first phase, in which faults strike. */
  readonly seconds: number;
  readonly options: Options;
  readonly suite: CryptoSuite;
  /** Its terminals are made in another order; the hash has to be the same. */
  readonly isReversed?: boolean;
  /** Further watchers: a trace. */
  readonly watch?: (world: World) => readonly Watcher[];
  /** Something that is not in the options: a hostile party, a special workload. */
  readonly prepare?: (world: World) => void;
}

/** How it went. */
export interface SeedResult {
  readonly seed: number;
  /** Undefined: all is well. */
  readonly violation: FoundViolation | undefined;
  readonly hash: string;
  readonly events: number;
  readonly virtualSeconds: number;
  /** How often each fault struck. */
  readonly faults: Readonly<Partial<Record<OptionName, number>>>;
  readonly marks: Readonly<Record<string, number>>;
}

/** What did not hold, when. */
export interface FoundViolation {
  readonly invariant: string;
  readonly says: string;
  readonly at: Micros;
  /** Where, if it was thrown by a core or by the simulator itself. */
  readonly stack: string | undefined;
}

/** Runs one seed. */
export function runSeed(plan: SeedPlan): SeedResult {
  const { seed, terminals, options, suite, isReversed = false } = plan;
  const hearsTraces = true;
  const world = new World({ seed, terminals, options, suite, hearsTraces, isReversed });
  const hash = new EventHash(world);
  let violation: FoundViolation | undefined;
  try {
    world.watchers.push(hash, ...watchersOf(world), ...(plan.watch?.(world) ?? []));
    plan.prepare?.(world);
    const beginAttacks = prepareAttacks(world);
    const workload = new Workload(world);
    world.open();
    workload.begin();
    beginStrikes(world);
    world.watchers.push(...beginAttacks());
    world.run(after(world.now, seconds(plan.seconds)));
    liveness(world, workload);
    for (const watcher of world.watchers) watcher.atEnd?.();
  } catch (error) {
    violation = asViolation(world, error);
  }
  return {
    seed,
    violation,
    hash: hash.value,
    events: world.events,
    virtualSeconds: world.now / seconds(1),
    faults: { ...Object.fromEntries(world.faults), ...networkFaults(world) },
    marks: Object.fromEntries(world.marks),
  };
}

/** What the channels of all access links did, under the names of the options. */
function networkFaults(world: World): Partial<Record<OptionName, number>> {
  const faults: Partial<Record<OptionName, number>> = {};
  for (const [fault, times] of Object.entries(world.internet.firedFaults())) {
    const name = OPTION_NAMES.find((each) => each === `udp.${fault}`);
    if (name !== undefined && times > 0) faults[name] = times;
  }
  return faults;
}

/** No core throws: whatever else is thrown is a violation of just that. */
function asViolation(world: World, error: unknown): FoundViolation {
  if (error instanceof Violation) {
    return { invariant: error.invariant, says: error.says, at: error.at, stack: undefined };
  }
  const stack = error instanceof Error ? error.stack : undefined;
  return { invariant: 'throws', says: String(error), at: world.now, stack };
}
