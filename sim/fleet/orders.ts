// What the process that conducts a fleet tells those that hold its terminals, and what they answer.
// One order at a time in each; ticks come by themselves.

import { MS_PER_SECOND } from '../../protocol/time.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { PolicyEntries } from './policy-file.ts';
import { policyPlan } from './policy-plan.ts';
import type { FleetPlan } from './plan.ts';
import { parsePolicyFile } from './policy-file.ts';
import type { Shares } from './profiles.ts';
import { randomPlan } from './random-plan.ts';
import type { TallyRecord } from './tally.ts';

/** What a plan is made of; the same in every process. */
export type PlanSource =
  | { readonly kind: 'policy'; readonly file: string; readonly text: string }
  | {
      readonly kind: 'random';
      readonly terminals: number;
      readonly shares: Shares;
      readonly permitPercent: number;
      readonly seed: number;
    };

/** Makes the plan. @throws NakodoError `policy` for a file that cannot be meant. */
export function planOf(source: PlanSource): FleetPlan {
  if (source.kind === 'random') return randomPlan(source);
  const entries: PolicyEntries = parsePolicyFile(source.text, source.file);
  return policyPlan(entries);
}

/** Milliseconds in which so many terminals are started and registered, or never. */
export const rampPatienceMs = (terminals: number, perSecond: number): number =>
  FLEET_LIMITS.registeredMs + terminals * (MS_PER_SECOND / perSecond + FLEET_LIMITS.startMs);

/** Who a process is, and what holds for all its calls. */
export interface CastOrder {
  readonly kind: 'cast';
  readonly source: PlanSource;
  /** Terminals that exist: the first so many of the plan. */
  readonly active: number;
  /** It holds every `of`-th of them from this one on. */
  readonly from: number;
  readonly of: number;
  readonly folder: string;
  readonly ticket: string;
  readonly seed: number;
  readonly bytesMax: number;
  readonly waitMs: number;
  readonly pollSeconds: number;
  /**
   * Share of calls that are made along permitted pairs, 0 to 100; undefined: callees are drawn from
   * all.
   */
  readonly permitPercent: number | undefined;
}

/** The orders. */
export type Order =
  | CastOrder
  | { readonly kind: 'enrol' }
  /** Starts all its terminals, so many a second. */
  | { readonly kind: 'ramp'; readonly perSecond: number }
  /** Makes calls for so long, then waits for those under way. */
  | {
      readonly kind: 'call';
      readonly perSecond: number;
      readonly parallel: number;
      readonly forMs: number;
    }
  /** Ends what it does at the moment: no more enrolments, starts, calls. */
  | { readonly kind: 'halt' }
  | { readonly kind: 'gauge' };

/** What a process says of itself. */
export interface Gauge {
  readonly rssBytes: number;
  /** Bytes of live objects, and of buffers outside the heap. */
  readonly heapBytes: number;
  /** User and system time since it started, microseconds. */
  readonly cpuMicros: number;
}

/** How far a process is. */
export interface Progress {
  readonly enrolled: number;
  /** Terminals that both servers know, or that sleep between polls. */
  readonly registered: number;
  /** Calls under way. */
  readonly underWay: number;
  readonly tally: TallyRecord;
  readonly gauge: Gauge;
}

/** What comes from a process; `answer`s in the order of the orders. */
export type Word =
  | { readonly kind: 'answer'; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly code: string; readonly why: string }
  | { readonly kind: 'tick'; readonly progress: Progress };
