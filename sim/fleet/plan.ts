// What a fleet consists of and what it may do: terminals with their profiles, the allow-list file
// of each, and the table that every outcome is held against. The table is a reading of its own: it
// knows members of groups and nothing of patterns, lists or the evaluator that is being tried.

import type { AllowList } from '../../protocol/consent/allow-list.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import type { ProfileName } from './profiles.ts';

/** What a policy says about one call; `either` at the very moment when a permission runs out. */
export type Verdict = 'permitted' | 'forbidden' | 'either';

/** One terminal to be. */
export interface PlannedTerminal {
  readonly name: string;
  readonly profile: ProfileName;
}

/** Who asks whom for what; terminals by their place in the plan. */
export interface PlannedCall {
  readonly caller: number;
  readonly callee: number;
  readonly service: string;
}

/** A fleet before it exists. The same in every process that is told the same. */
export interface FleetPlan {
  readonly terminals: readonly PlannedTerminal[];
  /** What calls are for. */
  readonly services: readonly string[];
  /** Where a name stands; undefined: nobody's. */
  indexOf(name: string): number | undefined;
  /** What the policy says about a call at this moment. */
  verdict(call: PlannedCall, at: LocalMoment): Verdict;
  /** The allow-list of a terminal. */
  listOf(terminal: number): Pick<AllowList, 'mode' | 'entries'>;
}

/** What calls are for where no policy says it. */
export const SERVICE = 'echo-hash';
