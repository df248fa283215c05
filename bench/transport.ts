// What our transport does on this machine's loopback, for `make bench`: bulk as it comes and with
// the datagrams of an MTU of 1500, garbage, memory of a talk, the cost of an idle one. Each by two
// processes of their own, one stream of one talk, no file and no hash.

import { MTU_1500 } from './bulk-against.ts';
import { type Figure, median } from './figures.ts';
import { type FlowFigures, type FlowKind, steady } from './lab/flow.ts';
import { OurSystem } from './lab/ours.ts';
import { type Place, loopback } from './lab/places.ts';
import { FAST } from './lab/rounds.ts';
import { garbage, idle, memoryPerTalk } from './lab/scenes.ts';

const ROUNDS = 3;
/** One keep-alive falls into it. */
const IDLE_MS = 21_000;
const KIB = 1024;

/** Takes about a minute. `root`: where the version that is measured is built. */
export async function transportFigures(root: string): Promise<readonly Figure[]> {
  const place = loopback();
  const ours = await OurSystem.start(place, root);
  try {
    const [asItComes, small] = [ours.flows(), ours.flows({ connection: MTU_1500 })];
    const [bulk, bulkSmall] = [await rounds(place, asItComes), await rounds(place, small)];
    const freed = await garbage(place, small, FAST.wanted);
    const memory = await memoryPerTalk(place, ours);
    const quiet = await idle(place, ours, IDLE_MS);
    return [
      ...bulkFigures('bulk', bulk, 'one stream, loopback, datagrams as large as it takes'),
      ...bulkFigures('bulk 1472', bulkSmall, 'the same with datagrams of 1472 bytes (MTU 1500)'),
      {
        name: 'garbage, sender',
        value: freed.senderHeap + freed.senderBuffers,
        unit: 'MB/MB',
        meaning: 'freed by its collector for each MB delivered, datagrams of 1472 bytes',
      },
      {
        name: 'garbage, receiver',
        value: freed.receiverHeap + freed.receiverBuffers,
        unit: 'MB/MB',
        meaning: 'the same at the receiver',
      },
      {
        name: 'memory of a talk',
        value: Math.max(memory.caller, memory.callee) / KIB,
        unit: 'KiB',
        meaning: 'resident, one more idle talk, the dearer end; aim 256, at most 1024',
      },
      {
        name: 'idle talk',
        value: Math.max(quiet.callerCpu, quiet.calleeCpu) * 100,
        unit: '%',
        meaning: 'of one processor, the dearer end, agent and all; aim 0.05, at most 0.2',
      },
    ];
  } finally {
    await ours.stop();
  }
}

async function rounds(place: Place, kind: FlowKind): Promise<readonly FlowFigures[]> {
  const all: FlowFigures[] = [];
  for (let round = 0; round < ROUNDS; round++) all.push(await steady(place, kind, FAST.wanted));
  return all;
}

function bulkFigures(
  name: string,
  all: readonly FlowFigures[],
  meaning: string,
): readonly Figure[] {
  const middle = (of: (one: FlowFigures) => number): number => median(all.map(of));
  const work = 'processor seconds for 10⁹ bytes at the';
  return [
    { name, value: middle((one) => one.mbPerSecond), unit: 'MB/s', meaning },
    {
      name: `${name}, sender`,
      value: middle((one) => one.senderCpu),
      unit: 's/GB',
      meaning: `${work} sender`,
    },
    {
      name: `${name}, receiver`,
      value: middle((one) => one.receiverCpu),
      unit: 's/GB',
      meaning: `${work} receiver`,
    },
  ];
}
