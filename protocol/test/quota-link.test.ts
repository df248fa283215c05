// Two credit meters over a link that loses, doubles and reorders their frames, with extensions that
// reach the ends at different times: they agree to the byte, and without a storm of frames.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';

import { Meter, type Quota } from '../data/quota.ts';

const MAX = Number.MAX_SAFE_INTEGER;

interface Action {
  readonly kind: 'send' | 'want' | 'poll' | 'deliver' | 'repeat' | 'lose' | 'arrive' | 'extend';
  readonly end: 0 | 1;
  readonly bytes: number;
  /** Which of the frames under way or delivered. */
  readonly pick: number;
}

/** Two meters and what is under way between them; totals[r] is the grant of revision r. */
class Link {
  readonly meters: readonly [Meter, Meter];
  readonly #totals: number[];
  readonly #known = [0, 0];
  readonly #onTheWay: readonly [Quota[], Quota[]] = [[], []];
  readonly #delivered: readonly [Quota[], Quota[]] = [[], []];
  readonly #payload = [0, 0];
  frames = 0;

  constructor(total: number) {
    this.#totals = [total];
    this.meters = [new Meter('caller', total), new Meter('callee', total)];
  }

  get granted(): number {
    return this.#totals[this.#totals.length - 1];
  }

  run(action: Action): void {
    const { end } = action;
    const meter = this.meters[end];
    const peer = this.meters[1 - end];
    const queue = this.#onTheWay[end];
    if (action.kind === 'want') meter.want(action.bytes);
    else if (action.kind === 'poll') this.#poll(end);
    else if (action.kind === 'send') {
      const bytes = Math.min(action.bytes, meter.available());
      meter.spend(bytes);
      this.#payload[end] += bytes;
    } else if (action.kind === 'arrive') {
      peer.onReceived(this.#payload[end]);
      this.#payload[end] = 0;
    } else if (action.kind === 'extend') this.#extend(end, action.bytes);
    else if (action.kind === 'repeat') {
      const old = this.#delivered[end];
      if (old.length > 0) this.#take(peer, old[action.pick % old.length]);
    } else if (queue.length > 0) {
      const [frame] = queue.splice(action.pick % queue.length, 1);
      if (action.kind === 'lose') meter.onQuotaLost();
      else {
        this.#delivered[end].push(frame);
        this.#take(peer, frame);
      }
    }
  }

  /** Faults stop, both have endless data: they must agree. Returns the frames that it took. */
  finish(): number {
    const before = this.frames;
    for (const end of [0, 1] as const) {
      while (this.#known[end] < this.#totals.length - 1) this.#extend(end, 0);
      this.meters[end].want(MAX);
    }
    for (let round = 0; round < 200; round++) {
      for (const end of [0, 1] as const) {
        this.run({ kind: 'send', end, bytes: MAX, pick: 0 });
        this.#poll(end);
        while (this.#onTheWay[end].length > 0)
          this.run({ kind: 'deliver', end, bytes: 0, pick: 0 });
      }
    }
    return this.frames - before;
  }

  #poll(end: 0 | 1): void {
    const frame = this.meters[end].pollQuota();
    if (frame === undefined) return;
    this.frames++;
    this.#onTheWay[end].push(frame);
  }

  #take(meter: Meter, frame: Quota): void {
    if (!meter.onQuota(frame)) throw new Error(`refused ${JSON.stringify(frame)}`);
  }

  /** The next revision reaches one end: an older one that the other has, or a new one. */
  #extend(end: 0 | 1, by: number): void {
    this.#known[end]++;
    const revision = this.#known[end];
    if (revision === this.#totals.length) this.#totals.push(this.granted + by);
    this.meters[end].extend(revision, this.#totals[revision]);
  }
}

const often = (weight: number, ...kinds: Action['kind'][]) => ({
  weight,
  arbitrary: fc.constantFrom(...kinds),
});
const actionOf = (bytes: fc.Arbitrary<number>): fc.Arbitrary<Action> =>
  fc.record({
    kind: fc.oneof(
      often(8, 'send', 'want', 'poll', 'poll'),
      often(6, 'deliver', 'deliver', 'repeat', 'lose'),
      often(2, 'arrive'),
      often(1, 'extend'),
    ),
    end: fc.constantFrom(0 as const, 1 as const),
    bytes,
    pick: fc.nat(5),
  });

t.test('claim 15: two ends use exactly the grant over any link, extensions included', async (t) => {
  const bytes = fc.oneof(fc.nat(3), fc.nat(2000), fc.nat(1_000_000));
  let [frames, exchanges, mostFrames] = [0, 0, 0];
  fc.assert(
    fc.property(
      bytes,
      fc.array(actionOf(bytes), { minLength: 60, maxLength: 240 }),
      (total, actions) => {
        const link = new Link(total);
        const [a, b] = link.meters;
        for (const action of actions) {
          link.run(action);
          if (a.spent + b.spent > link.granted) return false;
          if (a.isOverdrawn() || b.isOverdrawn()) return false;
          if (a.available() + b.available() + a.spent + b.spent > link.granted) return false;
          // Exact at the revision it goes by; a later one may have reached the other end already.
          for (const meter of link.meters)
            if (meter.exhausted() && a.spent + b.spent < (meter.total ?? 0)) return false;
        }
        frames += link.frames;
        exchanges += actions.length;
        mostFrames = Math.max(mostFrames, link.finish());
        return a.spent + b.spent === link.granted && a.exhausted() && b.exhausted();
      },
    ),
    { numRuns: dose(1500) },
  );
  t.ok(frames > 3000, `${frames} frames in ${exchanges} actions; at most ${mostFrames} to the end`);
  t.ok(mostFrames <= 2 * Math.log2(4_000_000), 'and no storm');
});

t.test('claim 15: question and answer to and fro make no storm of frames', async (t) => {
  const [a, b] = [new Meter('caller', 20_000_000), new Meter('callee', 20_000_000)];
  let [frames, rounds] = [0, 0];
  while (!a.exhausted() && !b.exhausted()) {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      from.want(1000);
      for (let left = 1000; left > 0 && !from.exhausted();) {
        const bytes = Math.min(left, from.available());
        from.spend(bytes);
        to.onReceived(bytes);
        left -= bytes;
        const moved = settle(a, b);
        if (bytes === 0 && moved === 0) throw new Error('stuck');
        frames += moved;
      }
      if (!from.exhausted()) from.want(0);
    }
    rounds++;
  }
  t.equal(a.spent + b.spent, 20_000_000);
  t.ok(frames < rounds / 4, `${frames} frames in ${rounds} rounds`);
});

/** Hands frames to and fro until neither has one; returns how many there were. */
function settle(a: Meter, b: Meter): number {
  for (let frames = 0; frames < 1000;) {
    const [fromA, fromB] = [a.pollQuota(), b.pollQuota()];
    if (fromA === undefined && fromB === undefined) return frames;
    if (fromA !== undefined && ++frames > 0) t.ok(b.onQuota(fromA));
    if (fromB !== undefined && ++frames > 0) t.ok(a.onQuota(fromB));
  }
  throw new Error('a storm of frames');
}
