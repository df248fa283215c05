// A fleet without a policy file: every terminal allows some of the others, drawn from the seed.
// Terminals stand in at most sixteen cells that their names begin with, and a terminal allows whole
// cells by a pattern, so that lists stay short in a large fleet; and in each list two names are
// exceptions either way, so that exact names and `deny` are tried as well.

import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { FleetPlan } from './plan.ts';
import { SERVICE } from './plan.ts';
import { type Shares, profilesOf } from './profiles.ts';

const CELLS_MAX = 16;
const DIGITS = 2;
const EXCEPTIONS = 2;
/** One list in so many is sent whole, as the patent has it, the others as a verdict. */
const WHOLE_LIST_EVERY = 8;
const PER_CENT = 100;

interface RandomPlanOptions {
  readonly terminals: number;
  readonly shares: Shares;
  /** Share of the table's cells that permit, 0 to 100. */
  readonly permitPercent: number;
  readonly seed: number;
}

/** Draws a fleet. */
export function randomPlan(options: RandomPlanOptions): FleetPlan {
  const { terminals: count, permitPercent, seed } = options;
  const cells = Math.min(CELLS_MAX, count);
  const cellOf = (terminal: number): number => terminal % cells;
  const cellName = (cell: number): string => `c${String(cell).padStart(DIGITS, '0')}`;
  const terminals = profilesOf(options.shares, count).map((profile, at) => ({
    name: `${cellName(cellOf(at))}-t${at}`,
    profile,
  }));
  const indices = new Map(terminals.map(({ name }, at) => [name, at]));
  const allowsCell = (callee: number, cell: number): boolean =>
    mixed(seed, callee, cell) % PER_CENT < permitPercent;
  const exceptions = new Map<number, ReadonlySet<number>>();
  const exceptionsOf = (callee: number): ReadonlySet<number> => {
    const known = exceptions.get(callee);
    if (known !== undefined) return known;
    const isMixed = permitPercent > 0 && permitPercent < PER_CENT && count > 2 * EXCEPTIONS;
    const drawn = Array.from(
      { length: isMixed ? EXCEPTIONS : 0 },
      (_, at) => mixed(seed + 1, callee, at) % count,
    ).filter((caller) => caller !== callee);
    const own = new Set(drawn);
    exceptions.set(callee, own);
    return own;
  };
  return {
    terminals,
    services: [SERVICE],
    indexOf: (name) => indices.get(name),
    verdict({ caller, callee }) {
      const isAllowed = allowsCell(callee, cellOf(caller)) !== exceptionsOf(callee).has(caller);
      return isAllowed ? 'permitted' : 'forbidden';
    },
    listOf(callee) {
      const byName = [...exceptionsOf(callee)].map((caller): AllowEntry => {
        const isDenied = allowsCell(callee, cellOf(caller));
        return { action: isDenied ? 'deny' : 'allow', pattern: terminals[caller].name };
      });
      const byCell = Array.from({ length: cells }, (_, cell) => cell)
        .filter((cell) => allowsCell(callee, cell))
        .map((cell): AllowEntry => ({ action: 'allow', pattern: `${cellName(cell)}-*` }));
      return {
        mode: callee % WHOLE_LIST_EVERY === 0 ? 'list' : 'verdict',
        entries: [...byName, ...byCell],
      };
    },
  };
}

/** Three numbers into 31 bits that look drawn (the finalizer of MurmurHash3). */
function mixed(a: number, b: number, c: number): number {
  let bits = Math.imul(a + 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 1, 0xc2b2ae35);
  bits = Math.imul(bits ^ Math.imul(c + 1, 0x27d4eb2f) ^ (bits >>> 15), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 1;
}
