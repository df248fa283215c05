// Bulk of two versions, in turn: loopback as each version chooses its datagrams, and loopback with
// datagrams of 1472 bytes, as on a path of MTU 1500. Fresh processes for each measurement; what
// counts are the medians of the ratios within a round, and of these rather the processor time.

import { median } from './figures.ts';
import { type FlowFigures, type FlowKind, steady } from './lab/flow.ts';
import { OurSystem } from './lab/ours.ts';
import { loopback } from './lab/places.ts';
import { FAST } from './lab/rounds.ts';

/** What an MTU of 1500 leaves to a datagram over IPv4, and no larger one is tried. */
export const MTU_1500 = { datagramBytes: 1472, datagramBytesProbes: [] } as const;

/** One version's bulk: 10⁶ bytes a second, seconds of processor time for 10⁹, both ends. */
interface Bulk {
  readonly mbPerSecond: number;
  readonly cpuPerGb: number;
}

/** Two versions; `present` over `base`. */
export interface BulkComparison {
  readonly name: string;
  readonly rounds: number;
  readonly ratioOfRate: number;
  readonly ratioOfCpu: number;
  readonly base: Bulk;
  readonly present: Bulk;
}

/** Measures the versions built in both roots. `isOver`: whether to stop. */
export async function compareBulk(what: {
  readonly base: string;
  readonly present: string;
  readonly rounds: number;
  readonly isOver: () => boolean;
}): Promise<readonly BulkComparison[]> {
  if (what.rounds === 0) return [];
  const place = loopback();
  const systems: OurSystem[] = [];
  try {
    for (const root of [what.base, what.present]) systems.push(await OurSystem.start(place, root));
    const sizes = [
      { name: 'loopback', options: {} },
      { name: '1472-byte datagrams', options: { connection: MTU_1500 } },
    ];
    const found: BulkComparison[] = [];
    for (const { name, options } of sizes) {
      const kinds = systems.map((system) => system.flows(options));
      const pairs: (readonly FlowFigures[])[] = [];
      while (pairs.length < what.rounds && !what.isOver()) pairs.push(await pair(kinds));
      if (pairs.length > 0) found.push(comparison(name, pairs));
    }
    return found;
  } finally {
    for (const system of systems) await system.stop();
  }

  async function pair(kinds: readonly FlowKind[]): Promise<readonly FlowFigures[]> {
    const figures: FlowFigures[] = [];
    for (const kind of kinds) figures.push(await steady(place, kind, FAST.wanted));
    return figures;
  }
}

/** The comparisons as lines for people. */
export function bulkLines(comparisons: readonly BulkComparison[]): readonly string[] {
  return comparisons.map(({ name, rounds, ratioOfRate, ratioOfCpu, base, present }) => {
    const [before, after] = [base, present].map(
      ({ mbPerSecond, cpuPerGb }) => `${mbPerSecond.toFixed(1)} MB/s, ${cpuPerGb.toFixed(2)} s/GB`,
    );
    const ratios = `rate ${ratioOfRate.toFixed(2)}, processor time ${ratioOfCpu.toFixed(2)}`;
    return `bulk, ${name}, ${rounds} rounds: ${before} → ${after}; ratio: ${ratios}`;
  });
}

function comparison(name: string, pairs: readonly (readonly FlowFigures[])[]): BulkComparison {
  const [base, present] = [0, 1].map((at) => ({
    mbPerSecond: median(pairs.map((both) => both[at].mbPerSecond)),
    cpuPerGb: median(pairs.map((both) => both[at].cpuPerGb)),
  }));
  return {
    name,
    rounds: pairs.length,
    ratioOfRate: median(pairs.map(([of, here]) => here.mbPerSecond / of.mbPerSecond)),
    ratioOfCpu: median(pairs.map(([of, here]) => here.cpuPerGb / of.cpuPerGb)),
    base,
    present,
  };
}
