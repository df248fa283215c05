// `make bench-peers`: our transport against its peers, interleaved in one run, in the places that
// this machine has room for: loopback, two namespaces joined by veth, links of 100 Mbit/s and 50 ms
// without and with loss; then what concerns ours alone. Prints every figure and the ratios that
// issue C asks for; `--json`: one object. No figure decides anything: it fails only if a tool of
// ours does.

import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { machine } from './figures.ts';
import { type Contestant, openContest } from './lab/contest.ts';
import type { FlowKind } from './lab/flow.ts';
import { linkMissing, namespacesMissing } from '../sim/lab/namespaces.ts';
import { LINK, type Place, link, loopback, veth } from './lab/places.ts';
import { type Goal, goals, printEntries, printGoals } from './lab/reach.ts';
import { type Doses, type Entry, FAST, SLOW, contend } from './lab/rounds.ts';
import { type Alone, measureAlone } from './lab/alone.ts';
import { checkLink } from './lab/self-check.ts';

const TRANSFER_BYTES = 16_000_000;

/** A place, who is measured in it, and how. */
interface Stage {
  readonly name: string;
  readonly missing: () => string | undefined;
  readonly open: () => Place | Promise<Place>;
  readonly who: readonly Contestant[];
  readonly doses: Doses;
  /** Who makes one transfer with its start-up as well. */
  readonly transfer: readonly Contestant[];
}

const ON_LINK: readonly Contestant[] = [
  'ours',
  'udx',
  'datachannel',
  'ngtcp2',
  'tcp-bbr',
  'tcp-cubic',
];
const STAGES: readonly Stage[] = [
  {
    name: 'loopback',
    missing: () => undefined,
    open: loopback,
    who: ['ours', 'udx', 'datachannel', 'tls', 'tcp'],
    doses: FAST,
    transfer: [],
  },
  {
    name: 'veth',
    missing: namespacesMissing,
    open: veth,
    who: ['ours', 'udx', 'datachannel', 'ngtcp2', 'nebula', 'wireguard', 'tls', 'tcp'],
    doses: FAST,
    transfer: [],
  },
  {
    name: 'link',
    missing: linkMissing,
    open: () => link(LINK, 'link'),
    who: ON_LINK,
    doses: SLOW,
    transfer: [],
  },
  {
    name: 'lossy',
    missing: linkMissing,
    open: () => link({ ...LINK, loss: 0.01 }, 'lossy'),
    who: ON_LINK,
    doses: SLOW,
    transfer: ['ours', 'udx', 'ngtcp2', 'tcp-bbr'],
  },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    on: { type: 'string', default: '' },
    root: { type: 'string', default: dirname(dirname(import.meta.dirname)) },
    json: { type: 'boolean', default: false },
  },
});
const tell = (line: string): void => void process.stderr.write(`${line}\n`);
const rounds = Math.max(1, Number(values.rounds));
const only = words(values.only);
const on = words(values.on);
const entries: Entry[] = [];
const skipped: string[] = [];
let failures = 0;

for (const stage of STAGES) {
  if (on.length > 0 && !on.includes(stage.name)) continue;
  const why = stage.missing();
  if (why === undefined) await attempt(stage.name, () => perform(stage));
  else skipped.push(`${stage.name}: ${why}`);
}
const alone = only.length === 0 || only.includes('ours') ? await measureOurs() : {};
const reached: readonly Goal[] = goals(entries, alone);
if (values.json) {
  console.log(JSON.stringify({ machine: machine(), rounds, entries, alone, reached, skipped }));
} else {
  console.log(`${machine()}, ${rounds} interleaved rounds, medians`);
  printEntries(entries);
  printGoals(reached);
  for (const line of skipped) console.log(`left out: ${line}`);
}
process.exit(failures === 0 ? 0 : 1);

/** One stage: the contest, and the transfers if there are any. */
async function perform(stage: Stage): Promise<void> {
  const place = await stage.open();
  try {
    if (place.link !== undefined) tell(await checkLink(place, place.link));
    const who = stage.who.filter((name) => only.length === 0 || only.includes(name));
    const contest = await openContest(place, who, values.root);
    try {
      const { name, doses } = stage;
      for (const { name: peer, why } of contest.skipped) skipped.push(`${peer} on ${name}: ${why}`);
      entries.push(...(await contend(place, contest, { rounds, doses }, tell)));
      const kinds = chosen(contest.kinds, stage.transfer);
      if (kinds.size > 0) {
        const how = { rounds, doses, wholeBytes: TRANSFER_BYTES };
        entries.push(...(await contend(place, { ...contest, kinds }, how, tell)));
      }
    } finally {
      await contest.close();
    }
  } finally {
    place.close();
  }
  const own = entries.find(
    ({ place: at, contestant }) => at === stage.name && contestant === 'ours',
  );
  if (own?.failure !== undefined) throw new Error(own.failure);
}

async function measureOurs(): Promise<Alone> {
  const wants = (name: string): boolean => on.length === 0 || on.includes(name);
  const why = linkMissing();
  if (why !== undefined) {
    skipped.push(`what concerns ours alone: ${why}`);
    return {};
  }
  const measured = await measureAlone({ root: values.root, rounds, wants, tell, attempt });
  return measured;
}

/** Goes on with the rest when a part fails, and remembers it. */
async function attempt(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    failures += 1;
    const said = error instanceof Error ? error.message : String(error);
    skipped.push(`${name}: failed: ${said}`);
    tell(`${name} failed: ${said}`);
  }
}

function chosen(
  kinds: ReadonlyMap<Contestant, FlowKind>,
  names: readonly Contestant[],
): ReadonlyMap<Contestant, FlowKind> {
  return new Map([...kinds].filter(([name]) => names.includes(name)));
}

function words(list: string): readonly string[] {
  return list.split(',').filter(Boolean);
}
