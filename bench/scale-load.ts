// An open loop of calls: each is due at its moment, whatever became of those before, and its time
// counts from then on (a late start is part of it). Talks end as soon as they are proven; every
// outcome is held against the table of `scale-orders.ts`.

import type { Agent } from '../device/agent.ts';
import { EXIT, NakodoError, errorCode } from '../protocol/errors.ts';
import { type Rng, randomBelow, seededRng } from '../protocol/random.ts';
import {
  FORBIDDEN_DISTANCE,
  GROUPS,
  type LoadOrder,
  type LoadReport,
  nameOf,
} from './scale-orders.ts';

const SERVICE = 'scale';
/** Calls under way in one process at once. */
const UNDER_WAY_MAX = 4_000;
const MS_PER_SECOND = 1_000;
/** Milliseconds that a permitted call may take before it counts as failed. */
const PERMITTED_WAIT_MS = 10_000;
/** A refusal leaves when the wait is over: what a forbidden call costs. */
const FORBIDDEN_WAIT_MS = 1_500;
/** One call of so many is a forbidden one: the positive control. */
const FORBIDDEN_EVERY = 100;

interface Pair {
  readonly caller: number;
  readonly callee: string;
  readonly isForbidden: boolean;
}

/** Makes the calls and waits for the last of them. `agents`: callers, the first is T`from`. */
export async function runLoad(
  agents: readonly Agent[],
  from: number,
  order: LoadOrder,
): Promise<LoadReport> {
  const { rate, seconds } = order;
  const rng = seededRng(order.seed);
  const setUpMs: number[] = [];
  const failed: Record<string, number> = {};
  const ends: Record<string, number> = {};
  const counts = { refused: 0, wrong: 0, skipped: 0 };
  const count = (table: Record<string, number>, key: string): void => {
    table[key] = (table[key] ?? 0) + 1;
  };
  const one = async (pair: Pair, dueMs: number): Promise<void> => {
    const { caller, callee, isForbidden } = pair;
    try {
      const waitMs = isForbidden ? FORBIDDEN_WAIT_MS : PERMITTED_WAIT_MS;
      const session = await agents[caller].call({ to: callee, service: SERVICE, waitMs });
      setUpMs.push(performance.now() - dueMs);
      if (isForbidden || session.info.peer.name !== callee) counts.wrong += 1;
      session.finish('done');
      count(ends, (await session.ended).reason);
    } catch (error) {
      const isRefusal = error instanceof NakodoError && error.exit === EXIT.refused;
      if (isForbidden && isRefusal) counts.refused += 1;
      else if (!isForbidden) count(failed, errorCode(error));
    }
  };
  const underWay = new Set<Promise<void>>();
  const begunMs = performance.now();
  const total = Math.floor(rate * seconds);
  for (let at = 0; at < total;) {
    const now = performance.now();
    const due = Math.min(total, Math.ceil(((now - begunMs) / MS_PER_SECOND) * rate));
    for (; at < due; at++) {
      const pair = drawPair(rng, { count: agents.length, from }, order);
      if (underWay.size >= UNDER_WAY_MAX) {
        counts.skipped += 1;
        continue;
      }
      const call = one(pair, begunMs + (at / rate) * MS_PER_SECOND);
      underWay.add(call);
      void call.then(() => underWay.delete(call));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(underWay);
  return { setUpMs, ...counts, failed, ends };
}

/** A caller of ours and one of its peers, which are at fixed distances behind it. */
function drawPair(
  rng: Rng,
  ours: { readonly count: number; readonly from: number },
  { terminals, peers }: LoadOrder,
): Pair {
  const caller = randomBelow(rng, ours.count);
  const at = ours.from + caller;
  const isForbidden = randomBelow(rng, FORBIDDEN_EVERY) === 0;
  const distance = isForbidden ? FORBIDDEN_DISTANCE : 1 + GROUPS * randomBelow(rng, peers);
  return { caller, callee: nameOf((at + distance) % terminals), isForbidden };
}
