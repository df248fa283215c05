// The four refusals of design §4 on real sockets, timed where a caller is told: from the moment
// that its connect request is sealed to the moment that it has opened the answer. All four kinds go
// on at once, in random order and from several callers, so that whatever slows the machine slows
// them alike; medians are compared, which a hiccup does not move, and each time is held against
// those told around it, which are late by the same hiccup.

import t from 'tap';
import type { Agent } from '../../device/agent.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { RequestId } from '../../protocol/ids.ts';
import { randomBelow, seededRng } from '../../protocol/random.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { openTown } from '../fleet/town.ts';
import { listening } from './overheard.ts';

/** Why a call comes to nothing; callees are called by it. */
const REASONS = ['refused', 'unknown', 'asleep', 'away'] as const;
type Reason = (typeof REASONS)[number];
/** Of each kind there are so many callees that all questions find room at them. */
const CALLEES = IS_PROOF ? 4 : 2;
const CALLERS = IS_PROOF ? 12 : 5;
/** Calls under way at once of each caller. */
const PARALLEL = IS_PROOF ? 4 : 3;
const T_MS = 200;
const TIMES = IS_PROOF ? 2_000 : 40;
/** Refusals before and after each that it is held against. */
const NEIGHBOURS = 10;
const NO_RATE = { burst: 1_000_000, perSecond: 1_000_000 };
const ZERO_REQUEST = 'a'.repeat(26) as RequestId;

/** What callers said and were told, as their own seals saw it. */
class Ear {
  /** In the order in which callers were told. */
  readonly told: { readonly reason: Reason; readonly tookMs: number }[] = [];
  /** Refusals without their request: hex → how many. */
  readonly looks = new Map<string, number>();
  readonly #asked = new Map<RequestId, { callee: string; at: number }>();

  readonly suite = listening(
    (bytes) => this.#onOpened(bytes),
    (bytes) => this.#onSealed(bytes),
  );

  #onSealed(bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    // One that is sent again is the same call.
    if (message?.kind !== 'connect' || this.#asked.has(message.request)) return;
    this.#asked.set(message.request, { callee: message.calleeName, at: performance.now() });
  }

  #onOpened(bytes: Uint8Array): void {
    const at = performance.now();
    const message = decodeMessage(bytes);
    if (message === undefined || !('request' in message)) return;
    const asked = this.#asked.get(message.request);
    const reason = asked && REASONS.find((each) => asked.callee.startsWith(each));
    if (asked === undefined || reason === undefined) return;
    this.#asked.delete(message.request);
    this.told.push({ reason, tookMs: at - asked.at });
    const look = Buffer.from(encodeMessage({ ...message, request: ZERO_REQUEST })).toString('hex');
    this.looks.set(look, (this.looks.get(look) ?? 0) + 1);
  }
}

t.test('S2010: refused, unknown, asleep and away take a caller the same time', async (t) => {
  const town = await openTown({ rates: { perCaller: NO_RATE, perName: NO_RATE } });
  t.teardown(() => town.close());
  for (let at = 0; at < CALLEES; at++) {
    await town.start(await town.enrol(`refused${at}`, ''));
    await town.enrol(`away${at}`, '');
    const home = await town.enrol(`asleep${at}`, '');
    const asleep = await town.start(home, { pollSeconds: 86_400 });
    await until(() => asleep.status().nextPollSeconds !== undefined, 'it sleeps');
  }
  const ear = new Ear();
  const callers: Agent[] = [];
  for (let at = 0; at < CALLERS; at++) {
    callers.push(await town.start(await town.enrol(`CALLER${at}`, ''), { suite: ear.suite }));
  }

  const plan = shuffledBlocks().values();
  const outcomes = new Map<string, number>();
  const call = async (caller: Agent, to: string, waitMs: number): Promise<void> => {
    const code = await caller.call({ to, service: 'file', waitMs }).then(
      () => 'introduced',
      (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
    );
    outcomes.set(String(code), (outcomes.get(String(code)) ?? 0) + 1);
  };
  const worker = async (caller: Agent, at: number, { length }: readonly Agent[]): Promise<void> => {
    // So that they do not fall due together.
    await call(caller, 'NOBODY', T_MS + Math.round((at * T_MS) / length));
    for (const callee of plan) await call(caller, callee, T_MS);
  };
  const parallel = callers.flatMap((caller) => Array.from({ length: PARALLEL }, () => caller));
  await Promise.all(parallel.map(worker));

  const all = REASONS.length * TIMES;
  t.strictSame([...outcomes], [['refused', all + parallel.length]], 'one code');
  t.strictSame([...ear.looks.values()], [all], 'the same bytes, but for the request');
  const plain = new Map(REASONS.map((reason) => [reason, timesOf(ear.told, reason)]));
  for (const [reason, tookMs] of plain) {
    const shares = [0, 1 / 4, 1 / 2, 3 / 4, 0.99].map((share) => quantile(tookMs, share));
    const shown = shares.map((share) => share.toFixed(2)).join(' · ');
    t.comment(`${reason}: least, quartiles, 99 %: ${shown} ms`);
    t.equal(tookMs.length, TIMES, reason);
    t.ok(shares[0] >= T_MS, `none before T: ${shares[0]}`);
  }
  const beside = againstNeighbours(ear.told);
  const besideMs = apart(REASONS.map((reason) => timesOf(beside, reason)));
  const [apartMs, ofThose] = [apart([...plain.values()]).toFixed(3), besideMs.toFixed(3)];
  t.comment(`medians of ${TIMES} each differ by ${apartMs} ms, beside their neighbours ${ofThose}`);
  if (IS_PROOF) t.ok(besideMs < 1, 'less than a caller can tell');
});

type Told = Ear['told'];

const timesOf = (told: Told, of: Reason): readonly number[] =>
  told.flatMap(({ reason, tookMs }) => (reason === of ? [tookMs] : [])).toSorted((a, b) => a - b);

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.floor(share * (sorted.length - 1))];

/** By how much the medians of ascending times differ, at most. */
function apart(kinds: readonly (readonly number[])[]): number {
  const medians = kinds.map((sorted) => quantile(sorted, 1 / 2));
  return Math.max(...medians) - Math.min(...medians);
}

/**
 * How much longer each took than the middle one of those told around it, of whatever kind: what a
 * busy machine does to all of them falls out, what is peculiar to a kind stays.
 */
function againstNeighbours(told: Told): Told {
  return told.map(({ reason, tookMs }, at) => {
    const before = told.slice(Math.max(0, at - NEIGHBOURS), at);
    const around = [...before, ...told.slice(at + 1, at + NEIGHBOURS + 1)];
    const sorted = around.map((each) => each.tookMs).toSorted((a, b) => a - b);
    return { reason, tookMs: tookMs - quantile(sorted, 1 / 2) };
  });
}

/** All calls, so that a slow moment falls to each kind alike: one of each, and again, shuffled. */
function shuffledBlocks(): readonly string[] {
  const rng = seededRng(1);
  return Array.from({ length: TIMES }, (_, at) => {
    const left = [...REASONS];
    return REASONS.map(() => {
      const [reason] = left.splice(randomBelow(rng, left.length), 1);
      return `${reason}${at % CALLEES}`;
    });
  }).flat();
}
