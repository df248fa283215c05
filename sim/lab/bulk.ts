// Bulk of the real program, watched while something happens to the network: a file is sent, its
// arrival at the callee is sampled, and the longest time in which nothing arrived is the stall.

import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Said, Terminals } from './terminals.ts';

const SAMPLE_MS = 10;
/** Milliseconds for a transfer, whatever happens to it. */
const SEND_MS_MAX = 90_000;
const BLOCK_BYTES = 1_000_000;
const MS_PER_SECOND = 1_000;

/** What arrived, and when. */
export interface Bulk {
  readonly said: Said;
  /** Whether the whole file is there. */
  readonly isWhole: boolean;
  /** Megabytes a second from the first byte to the last. */
  readonly mbPerSecond: number;
  /** The longest time without a byte, from the happening on. */
  readonly stallMs: number;
  /** The same from when what happened was over: for what takes its time. */
  readonly stallAfterMs: number;
  /** The same before it: what is usual. */
  readonly usualGapMs: number;
  /** Megabytes a second before the happening, and after the stall. */
  readonly beforeMbPerSecond: number;
  readonly afterMbPerSecond: number;
  /** The same while it happened, for what takes its time. */
  readonly duringMbPerSecond: number;
}

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

/** Sends a file of so many megabytes; `happen` is called when a share of it has arrived. */
export async function sendBulk(
  terminals: Terminals,
  {
    from,
    to,
    megabytes,
    share = 0.3,
    lastsMs = 0,
    happen = () => {},
  }: {
    readonly from: string;
    readonly to: string;
    readonly megabytes: number;
    readonly share?: number;
    /** So long the happening takes. */
    readonly lastsMs?: number;
    readonly happen?: () => void | Promise<void>;
  },
): Promise<Bulk> {
  const name = `bulk-${Math.round(performance.now())}`;
  const file = join(terminals.home(from), name);
  const bytes = megabytes * BLOCK_BYTES;
  writeFileSync(file, randomBytes(bytes));
  const inbox = join(terminals.home(to), 'inbox');
  const known = new Set(existsSync(inbox) ? readdirSync(inbox) : []);
  const samples: Sample[] = [];
  let happenedAt: number | undefined;
  let overAt: number | undefined;
  const timer = setInterval(() => {
    const arrived = newestBytes(inbox, known);
    samples.push({ atMs: performance.now(), bytes: arrived });
    if (happenedAt === undefined && arrived > bytes * share) {
      happenedAt = performance.now();
      void Promise.resolve(happen()).then(() => {
        overAt = performance.now();
        samples.push({ atMs: overAt, bytes: newestBytes(inbox, known) });
      });
    }
  }, SAMPLE_MS);
  const said = await terminals.command(from, ['send', to, file], SEND_MS_MAX + lastsMs);
  clearInterval(timer);
  samples.push({ atMs: performance.now(), bytes: newestBytes(inbox, known) });
  const arriving = samples.filter((sample) => sample.bytes > 0);
  const at = happenedAt ?? Infinity;
  const before = arriving.filter(({ atMs }) => atMs <= at);
  const after = arriving.filter(({ atMs }) => atMs >= at);
  const stall = longestGap(after);
  return {
    said,
    isWhole: (arriving.at(-1)?.bytes ?? 0) === bytes,
    mbPerSecond: rateOf(arriving),
    stallMs: stall.ms,
    stallAfterMs: longestGap(samples.filter(({ atMs }) => atMs >= (overAt ?? at))).ms,
    usualGapMs: longestGap(before).ms,
    beforeMbPerSecond: rateOf(before),
    afterMbPerSecond: rateOf(after.filter(({ atMs }) => atMs >= stall.endsAt)),
    duringMbPerSecond: rateOf(after.filter(({ atMs }) => atMs <= (overAt ?? Infinity))),
  };
}

/** Bytes of what is new in the inbox, whole or partial. */
function newestBytes(folder: string, known: ReadonlySet<string>): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { withFileTypes: true }).reduce((most, entry) => {
    if (known.has(entry.name)) return most;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return Math.max(most, newestBytes(path, new Set()));
    return Math.max(most, sizeOf(path));
  }, 0);
}

/** 0 for what has just got its name. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The longest time in which the bytes stayed what they were, and when it ended; its end counts. */
function longestGap(samples: readonly Sample[]): { readonly ms: number; readonly endsAt: number } {
  let longest = { ms: 0, endsAt: samples[0]?.atMs ?? 0 };
  let last = samples[0];
  for (const sample of samples) {
    if (last === undefined || sample.bytes <= last.bytes) continue;
    const ms = sample.atMs - last.atMs;
    if (ms > longest.ms) longest = { ms, endsAt: sample.atMs };
    last = sample;
  }
  return longest;
}

function rateOf(samples: readonly Sample[]): number {
  const [first, last] = [
    samples[0],
    samples.findLast(({ bytes }, at) => bytes > (samples[at - 1]?.bytes ?? 0)),
  ];
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
  return (last.bytes - first.bytes) / BLOCK_BYTES / ((last.atMs - first.atMs) / MS_PER_SECOND);
}
