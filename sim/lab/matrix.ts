// The seven kinds of boxes against one another, with the real program: for each ordered pair a
// fresh call, which way it took, how long that was, and why it failed if it did; beside it what
// theory says (pair-table.ts).

import { ACCESS, Lab } from './lab.ts';
import type { BoxPlan, HostPlan, LabPlan } from './map.ts';
import { COLUMNS, MEASURED, PLACES, type PlaceName } from './pair-table.ts';
import { Terminals } from './terminals.ts';
import { type Call, callOnce } from './calls.ts';

/** Places of the 49 pairs. */
export const SEVEN: readonly PlaceName[] = [
  'none',
  'firewall',
  'full',
  'address',
  'port',
  'symmetric',
  'port2',
];

/** What theory has for a pair: home router × symmetric is found by many sockets only. */
type Expected = 'direct' | 'search' | 'relay';

/** One ordered pair. */
export interface Cell {
  readonly caller: PlaceName;
  readonly callee: PlaceName;
  readonly expected: Expected;
  readonly call: Call;
}

/** Boxes of a place for a host, and behind which of them the host is. */
export function placeOf(
  place: PlaceName,
  host: string,
): { readonly boxes: Readonly<Record<string, BoxPlan>>; readonly host: HostPlan } {
  const kinds = PLACES[place];
  const boxes: Record<string, BoxPlan> = {};
  kinds.forEach((kind, at) => {
    const isLast = at === kinds.length - 1;
    boxes[`${host}x${at}`] = { kind, ...(isLast ? {} : { behind: `${host}x${at + 1}` }) };
  });
  return { boxes, host: kinds.length === 0 ? {} : { behind: [`${host}x0`] } };
}

/** A plan of a server and of hosts in these places. */
export function planOf(places: Readonly<Record<string, PlaceName>>): LabPlan {
  let boxes: Readonly<Record<string, BoxPlan>> = {};
  const hosts: Record<string, HostPlan> = { server: { hasOther: true } };
  for (const [name, place] of Object.entries(places)) {
    const { boxes: more, host } = placeOf(place, name);
    boxes = { ...boxes, ...more };
    hosts[name] = host;
  }
  return { boxes, hosts, link: ACCESS };
}

/** What the table, and the many-socket method, promise a pair. */
function expectedOf(caller: PlaceName, callee: PlaceName): Expected {
  const passage = MEASURED.get(caller)?.[COLUMNS.indexOf(callee as (typeof COLUMNS)[number])];
  if (passage !== '-') return 'direct';
  const symmetric = [caller, callee].filter((place) => place === 'symmetric').length;
  const isShut = caller === 'blocked' || callee === 'blocked';
  return symmetric === 1 && !isShut ? 'search' : 'relay';
}

/** Seconds for pairs that have to be searched for: the relay first, then what is found. */
const SEARCH_SECONDS = 8;

/** Calls from each place to each; `tell` hears of each cell as it is measured. */
export async function measureMatrix(
  {
    callers,
    callees,
  }: { readonly callers: readonly PlaceName[]; readonly callees: readonly PlaceName[] },
  tell: (cell: Cell) => void,
): Promise<readonly Cell[]> {
  const names: Record<string, PlaceName> = {};
  for (const place of callers) names[`A${place}`] = place;
  for (const place of callees) names[`B${place}`] = place;
  const lab = await Lab.open(planOf(names));
  try {
    const hasRelay = Terminals.relayMissing() === undefined;
    const terminals = await Terminals.start(lab, {
      server: 'server',
      terminals: Object.keys(names),
      hasRelay,
    });
    const cells: Cell[] = [];
    for (const caller of callers)
      for (const callee of callees) {
        const expected = expectedOf(caller, callee);
        const holdSeconds = expected === 'search' ? SEARCH_SECONDS : 0;
        const call = await callOnce(terminals, {
          from: `A${caller}`,
          to: `B${callee}`,
          holdSeconds,
        });
        const cell = { caller, callee, expected, call };
        cells.push(cell);
        tell(cell);
      }
    await terminals.close();
    return cells;
  } finally {
    await lab.close();
  }
}

/** The table as people read it: a row for each caller, a column for each callee. */
export function matrixLines(cells: readonly Cell[]): readonly string[] {
  const callers = [...new Set(cells.map(({ caller }) => caller))];
  const callees = [...new Set(cells.map(({ callee }) => callee))];
  const width = 14;
  const cellWords = (caller: PlaceName, callee: PlaceName): string => {
    const cell = cells.find((each) => each.caller === caller && each.callee === callee);
    if (cell === undefined) return '';
    const { setupMs, lastWay, ways } = cell.call;
    if (setupMs === undefined) return 'none';
    const last = ways.at(-1);
    const first = ways[0]?.way ?? lastWay;
    return last === undefined || first === last.way
      ? `${first} ${Math.round(setupMs)}`
      : `${first[0]}→${last.way} ${Math.round(last.atMs)}`;
  };
  return [
    ['caller \\ callee', ...callees].map((word) => word.padEnd(width)).join(''),
    ...callers.map((caller) =>
      [caller, ...callees.map((callee) => cellWords(caller, callee))]
        .map((word) => word.padEnd(width))
        .join(''),
    ),
  ];
}

/** Cells that are not as asked, in words: another way, or too late; 2 s direct, 3 s relayed. */
export function matrixFaults(cells: readonly Cell[]): readonly string[] {
  return cells.flatMap(({ caller, callee, expected, call }) => {
    const pair = `${caller} → ${callee}`;
    if (call.setupMs === undefined) return [`${pair}: no path: ${call.failure ?? 'unknown'}`];
    const direct = call.ways.find(({ way }) => way !== 'relay')?.atMs;
    if (expected === 'relay')
      return call.setupMs > RELAY_MS_MAX ? [`${pair}: relayed after ${call.setupMs} ms`] : [];
    if (expected === 'search')
      return direct === undefined ? [`${pair}: stays on the relay (search)`] : [];
    if (direct === undefined) return [`${pair}: stays on the relay`];
    return direct > DIRECT_MS_MAX ? [`${pair}: direct only after ${Math.round(direct)} ms`] : [];
  });
}

const DIRECT_MS_MAX = 2_000;
const RELAY_MS_MAX = 3_000;
