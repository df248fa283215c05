// What concerns our own transport alone: fairness among ours and beside TCP, live media beside
// bulk, an idle talk, memory of a talk, garbage. Rounds as for the contests.

import { fairness } from '../../sim/fairness.ts';
import { median } from '../figures.ts';
import { tcpWith } from './contest.ts';
import { OurSystem } from './ours.ts';
import type { LinkShape } from '../../sim/lab/delay-line.ts';
import { LINK, type Place, link, veth } from './places.ts';
import { FAST } from './rounds.ts';
import {
  type Garbage,
  type Idleness,
  type MediaDelays,
  garbage,
  idle,
  media,
  memoryPerTalk,
  sideBySide,
} from './scenes.ts';
import { checkLink } from './self-check.ts';

/** A tenth of the link, the same queue: deep, so that whoever fills it delays what is beside. */
const NARROW: LinkShape = { ...LINK, mbit: 10 };
const IDLE_MS = 30_000;

/** What was measured; absent: it was not, or failed. */
export interface Alone {
  /** Jain's index of two of ours. */
  readonly fairness?: readonly number[];
  /** What TCP keeps of half the link beside one of ours, 1 is all of it. */
  readonly besideBbr?: readonly number[];
  readonly besideCubic?: readonly number[];
  readonly media?: readonly { readonly alone: MediaDelays; readonly beside: MediaDelays }[];
  readonly idle?: Idleness;
  /** Bytes of a talk at the caller and at the callee. */
  readonly memory?: { readonly caller: number; readonly callee: number };
  readonly garbage?: Garbage;
}

/** What it is measured with. */
interface AloneOptions {
  readonly root: string;
  readonly rounds: number;
  /** Which of `beside`, `media`, `idle`, `memory`, `garbage` are wanted. */
  readonly wants: (name: string) => boolean;
  readonly tell: (line: string) => void;
  /** Does a part; what is thrown is remembered, and the rest goes on. */
  readonly attempt: (name: string, work: () => Promise<void>) => Promise<void>;
}

/** Measures what is wanted. */
export async function measureAlone(options: AloneOptions): Promise<Alone> {
  const { wants, attempt, tell } = options;
  let alone: Alone = {};
  const part = (name: string, work: () => Promise<Alone>): Promise<void> =>
    attempt(name, async () => {
      const found = await work();
      tell(`${name} ${JSON.stringify(found)}`);
      alone = { ...alone, ...found };
    });
  if (wants('beside')) await part('beside', () => besides(options));
  if (wants('media')) await part('media', () => medias(options));
  const quiet = ['idle', 'memory', 'garbage'].filter(wants);
  if (quiet.length === 0) return alone;
  const place = veth();
  try {
    const ours = await OurSystem.start(place, options.root);
    try {
      if (wants('garbage'))
        await part('garbage', async () => ({
          garbage: await garbage(place, ours.flows(), FAST.wanted),
        }));
      if (wants('memory'))
        await part('memory', async () => ({ memory: await memoryPerTalk(place, ours) }));
      if (wants('idle'))
        await part('idle', async () => ({ idle: await idle(place, ours, IDLE_MS) }));
    } finally {
      await ours.stop();
    }
  } finally {
    place.close();
  }
  return alone;
}

async function besides({ root, rounds, tell }: AloneOptions): Promise<Alone> {
  return on(await checked(LINK, 'link', tell), root, 2, async (place, ours) => {
    const [equal, besideBbr, besideCubic]: number[][] = [[], [], []];
    const half = LINK.mbit / 8 / 2;
    for (let round = 0; round < rounds; round++) {
      const [one, other] = await sideBySide(place, ours.flows({}, 0), ours.flows({}, 1));
      equal.push(fairness([one, other]));
      const [, bbr] = await sideBySide(place, ours.flows(), tcpWith(place, 'bbr'));
      besideBbr.push(bbr / half);
      const [, cubic] = await sideBySide(place, ours.flows(), tcpWith(place, 'cubic'));
      besideCubic.push(cubic / half);
    }
    return { fairness: equal, besideBbr, besideCubic };
  });
}

async function medias({ root, rounds, tell }: AloneOptions): Promise<Alone> {
  return on(await checked(NARROW, 'narrow', tell), root, 1, async (place, ours) => {
    const found: { alone: MediaDelays; beside: MediaDelays }[] = [];
    for (let round = 0; round < rounds; round++) {
      const alone = await media(place, ours, false);
      const beside = await media(place, ours, true);
      if (alone === undefined || beside === undefined) {
        tell('media: no datagram arrived (a version without Session.sendDatagram?)');
        return {};
      }
      found.push({ alone, beside });
    }
    return { media: found };
  });
}

async function checked(
  shape: LinkShape,
  name: string,
  tell: (line: string) => void,
): Promise<Place> {
  const place = await link(shape, name);
  try {
    tell(await checkLink(place, shape));
    return place;
  } catch (error) {
    place.close();
    throw error;
  }
}

async function on(
  place: Place,
  root: string,
  pairs: number,
  work: (place: Place, ours: OurSystem) => Promise<Alone>,
): Promise<Alone> {
  try {
    const ours = await OurSystem.start(place, root, pairs);
    try {
      return await work(place, ours);
    } finally {
      await ours.stop();
    }
  } finally {
    place.close();
  }
}

/** Milliseconds that bulk adds to the 99th percentile of a datagram's way; undefined: unknown. */
export function addedDelay(alone: Alone): number | undefined {
  const added = alone.media?.map((each) => each.beside.p99 - each.alone.p99);
  return added === undefined || added.length === 0 ? undefined : median(added);
}
