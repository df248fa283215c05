// Addresses one by one (RFC 9000 §8, §9): who is asked, how often, with how many bytes, and whose
// answer counts. The strategy of the whole talk is in migration.test.ts.

import fc from 'fast-check';
import t from 'tap';
import type { Path } from '../core.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { PACKET_OVERHEAD_BYTES } from '../data/packet.ts';
import type { Move, PathMessage } from '../data/path-validation.ts';
import { samePath } from '../core.ts';
import { PathValidation } from '../data/path-validation.ts';
import { seededRng } from '../random.ts';
import type { Micros } from '../time.ts';
import { NEVER, after, micros, ms } from '../time.ts';
import { dose } from './dose.ts';

const HOME: Path = { host: '192.0.2.1', port: 1000 };
const place = (n: number): Path => ({ host: `198.51.100.${n}`, port: 2000 + n });
const PTO = ms(100);
const FULL = 1200;

class Bench {
  now: Micros = micros(1_000_000);
  readonly moves: Move[] = [];
  doubts = 0;
  readonly asked: PathMessage[] = [];
  readonly validation = new PathValidation(seededRng(4), {
    onDoubt: () => void this.doubts++,
    onMove: (_now, move) => void this.moves.push(move),
  });

  constructor() {
    this.validation.establish(HOME);
  }

  hear(path: Path, bytes = FULL, isNewest = true): void {
    this.validation.onPacket(this.now, path, bytes, isNewest, PTO);
    this.drain();
  }
  answer(path: Path, token: Uint8Array): void {
    this.validation.onResponse(this.now, path, token);
    this.drain();
  }
  drain(): void {
    for (let turn = 0; turn < 100; turn++) {
      const message = this.validation.poll(this.now);
      if (message === undefined) return;
      this.asked.push(message);
      this.validation.onSent(message.path, message.bytes);
    }
    throw new Error('endless probing');
  }
  pass(milliseconds: number): void {
    const until = after(this.now, ms(milliseconds));
    for (let turn = 0; turn < 1000; turn++) {
      const next = this.validation.deadline;
      if (next > until) break;
      if (next > this.now) this.now = next;
      this.validation.handleTimeout(this.now, PTO);
      this.drain();
    }
    this.now = until;
  }
  challenges(path: Path): readonly PathMessage[] {
    return this.asked.filter((one) => one.kind === 'challenge' && samePath(one.path, path));
  }
  token(path: Path): Uint8Array {
    return this.challenges(path).at(-1)?.token ?? new Uint8Array(8);
  }
}

t.test('the newest packet from elsewhere has both addresses asked (§9.3.3)', async (t) => {
  const bench = new Bench();
  bench.hear(place(1), FULL, false);
  t.equal(bench.asked.length, 0, 'not an old one');
  bench.hear({ ...HOME });
  t.equal(bench.asked.length, 0, 'the same address in another object');
  bench.hear(place(1));
  t.strictSame(
    bench.asked.map(({ path, bytes }) => [path, bytes]),
    [
      [HOME, FULL],
      [place(1), FULL],
    ],
  );
  t.equal(bench.doubts, 1);
  t.notSame(bench.asked[0].token, bench.asked[1].token);
});

t.test('followed is who answers from there, once the present address had its time', async (t) => {
  const bench = new Bench();
  bench.hear(place(1));
  const token = bench.token(place(1));
  bench.pass(30);
  bench.answer(place(2), token);
  bench.answer(HOME, token);
  bench.answer(
    place(1),
    Uint8Array.from(token, (byte, i) => (i === 7 ? byte ^ 1 : byte)),
  );
  bench.pass(200);
  t.equal(bench.moves.length, 0, 'wrong path, wrong token');
  bench.answer(place(1), token);
  t.strictSame(bench.moves, [{ from: HOME, to: place(1), rttMicros: ms(230) }]);
  t.equal(bench.validation.main, bench.moves[0].to);
  bench.answer(place(1), token);
  t.equal(bench.moves.length, 1, 'a repeated answer is none');
});

t.test('an answer before that time waits for it', async (t) => {
  const bench = new Bench();
  bench.hear(place(1));
  bench.pass(20);
  bench.answer(place(1), bench.token(place(1)));
  t.equal(bench.moves.length, 0);
  bench.pass(79);
  t.equal(bench.moves.length, 0);
  bench.pass(2);
  t.equal(bench.moves.length, 1);
});

t.test('nobody is followed while the present address answers, whoever brings it', async (t) => {
  for (const messenger of [HOME, place(1)]) {
    const bench = new Bench();
    bench.hear(place(1));
    bench.answer(place(1), bench.token(place(1)));
    bench.answer(messenger, bench.token(HOME));
    bench.pass(5_000);
    t.equal(bench.moves.length, 0);
    t.equal(bench.validation.candidates, 0);
    t.equal(bench.validation.deadline, NEVER);
  }
});

t.test('questions are repeated with growing pauses, then given up', async (t) => {
  const bench = new Bench();
  bench.hear(place(1));
  bench.hear(place(1));
  bench.pass(60_000);
  t.equal(bench.challenges(place(1)).length, DATA_LIMITS.pathChallengesMax);
  t.equal(bench.challenges(HOME).length, DATA_LIMITS.pathChallengesMax);
  t.equal(bench.validation.candidates, 0);
  t.equal(bench.validation.deadline, NEVER);
  t.equal(bench.moves.length, 0);
});

t.test('a thousand addresses: three are asked, once a second', async (t) => {
  const bench = new Bench();
  for (let i = 0; i < 1000; i++) bench.hear({ host: '203.0.113.1', port: 1 + i });
  t.equal(bench.validation.candidates, DATA_LIMITS.pathCandidatesMax);
  bench.answer(HOME, bench.token(HOME));
  const before = bench.asked.length;
  for (let i = 0; i < 900; i++) {
    bench.hear({ host: '203.0.113.2', port: 1 + i });
    bench.pass(1);
  }
  t.equal(bench.asked.length, before, 'a pause after the present address has answered');
  bench.pass(200);
  bench.hear(place(9));
  t.ok(bench.challenges(place(9)).length > 0);
});

t.test('the address that was left is taken back as soon as it answers', async (t) => {
  const bench = new Bench();
  bench.hear(place(1));
  bench.pass(150);
  bench.answer(place(1), bench.token(place(1)));
  t.equal(bench.moves.length, 1);
  bench.hear(HOME, 40);
  t.equal(bench.challenges(HOME).at(-1)?.bytes, FULL, 'it has been proven: no bound');
  bench.answer(HOME, bench.token(HOME));
  t.strictSame(bench.moves[1], { from: place(1), to: HOME, rttMicros: 0 });
  bench.pass(120_000);
  t.equal(bench.moves.length, 2);
});

t.test(
  'the address that was left is asked from time to time, and when all is silent',
  async (t) => {
    const bench = new Bench();
    bench.hear(place(1));
    bench.pass(150);
    bench.answer(place(1), bench.token(place(1)));
    const before = bench.challenges(HOME).length;
    bench.pass(600_000);
    const checks = DATA_LIMITS.homePathMs / DATA_LIMITS.homeCheckMs;
    const asked = bench.challenges(HOME).length - before;
    t.ok(asked > checks && asked <= checks * DATA_LIMITS.pathChallengesMax, `${asked} times`);
    t.equal(bench.validation.deadline, NEVER, 'not for ever');
    bench.validation.onSilence(bench.now, PTO);
    bench.validation.onSilence(bench.now, PTO);
    bench.drain();
    bench.answer(HOME, bench.token(HOME));
    t.ok(samePath(bench.validation.main ?? place(0), HOME));
  },
);

t.test('who lures the talk away twice does not become its home', async (t) => {
  const bench = new Bench();
  for (const n of [1, 2]) {
    bench.pass(1_000);
    bench.hear(place(n));
    bench.pass(150);
    bench.answer(place(n), bench.token(place(n)));
  }
  t.equal(bench.moves.length, 2);
  bench.hear(HOME);
  bench.answer(HOME, bench.token(HOME));
  t.ok(samePath(bench.validation.main ?? place(0), HOME));
});

t.test(
  'a challenge is answered where it came from, with no more than three times as much',
  async (t) => {
    const bench = new Bench();
    const token = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    for (const [path, bytes, expected] of [
      [HOME, 1200, 1200],
      [HOME, 100, 300],
      [place(5), 1200, 1200],
      [place(5), 50, 150],
    ] as const) {
      bench.asked.length = 0;
      bench.validation.onChallenge(path, token, bytes);
      t.ok(bench.validation.deadline <= bench.now);
      bench.drain();
      t.strictSame(bench.asked, [{ path, kind: 'response', token, bytes: expected }]);
    }
    bench.asked.length = 0;
    for (let i = 0; i < 100; i++) bench.validation.onChallenge(place(i % 7), token, 1200);
    bench.drain();
    t.equal(bench.asked.length, DATA_LIMITS.pathResponsesMax);
  },
);

t.test(
  'whatever comes from wherever: three times its bytes at most, counted one by one',
  async (t) => {
    const step = fc.record({
      from: fc.nat(6),
      bytes: fc.integer({ min: 28, max: 1500 }),
      isNewest: fc.boolean(),
      challenges: fc.boolean(),
      answers: fc.nat(20),
      passMs: fc.constantFrom(0, 0, 0, 1, 50, 1500),
    });
    const least = PACKET_OVERHEAD_BYTES + DATA_LIMITS.paddingBytes;
    const result = fc.check(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const bench = new Bench();
        const proven = new Set(['0']);
        const got = new Map<number, number>();
        for (const { from, bytes, isNewest, challenges, answers, passMs } of steps) {
          const path = from === 0 ? HOME : place(from);
          got.set(from, (got.get(from) ?? 0) + bytes);
          bench.validation.onPacket(bench.now, path, bytes, isNewest, PTO);
          if (challenges) bench.validation.onChallenge(path, new Uint8Array(8), bytes);
          bench.drain();
          if (answers === 0) bench.answer(path, bench.token(path));
          bench.pass(passMs);
          for (const { to } of bench.moves) proven.add(to.host);
          for (let n = 1; n <= 6; n++) {
            if (proven.has(place(n).host)) continue;
            const messages = bench.asked.filter((one) => samePath(one.path, place(n)));
            const sent = messages.reduce((sum, one) => sum + one.bytes, 0);
            if (sent > DATA_LIMITS.amplification * (got.get(n) ?? 0)) return false;
          }
          if (bench.asked.some((one) => one.bytes < least || one.bytes > FULL)) return false;
          if (bench.validation.candidates > DATA_LIMITS.pathCandidatesMax + 1) return false;
        }
        return true;
      }),
      { numRuns: dose(150) },
    );
    t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
  },
);

t.test(
  'a proven path that is better is taken, one that is not only from a silent one',
  async (t) => {
    const better = new Bench();
    better.validation.prefer(better.now, place(1), PTO, {
      isBetter: true,
      answeredMicros: undefined,
    });
    better.drain();
    better.answer(HOME, better.token(HOME));
    better.answer(place(1), better.token(place(1)));
    t.strictSame(
      better.moves.map(({ to }) => to),
      [place(1)],
    );

    const equal = new Bench();
    equal.validation.prefer(equal.now, place(1), PTO, {
      isBetter: false,
      answeredMicros: undefined,
    });
    equal.drain();
    equal.answer(HOME, equal.token(HOME));
    t.equal(equal.moves.length, 0, 'the present one answers');

    const silent = new Bench();
    silent.validation.prefer(silent.now, place(1), PTO, {
      isBetter: false,
      answeredMicros: undefined,
    });
    silent.drain();
    silent.answer(place(1), silent.token(place(1)));
    silent.pass(150);
    t.strictSame(
      silent.moves.map(({ to }) => to),
      [place(1)],
    );
  },
);

const JUST = { isBetter: false, answeredMicros: ms(30) };

t.test('S3000: a path whose silence was told is not waited for once more', async (t) => {
  const bench = new Bench();
  bench.validation.onUnheard(bench.now);
  bench.hear(place(1));
  t.ok(bench.token(HOME), 'it is asked all the same (§9.3.3)');
  t.equal(bench.moves.length, 0, 'who has not answered is not followed');
  bench.answer(place(1), bench.token(place(1)));
  t.match(bench.moves, [{ from: HOME, to: place(1) }]);

  const alive = new Bench();
  alive.validation.onUnheard(alive.now);
  alive.hear(HOME);
  alive.hear(place(1));
  alive.answer(place(1), alive.token(place(1)));
  t.equal(alive.moves.length, 0, 'one that is heard since is waited for');
  alive.answer(HOME, alive.token(HOME));
  alive.pass(500);
  t.equal(alive.moves.length, 0);

  const late = new Bench();
  late.hear(place(1));
  late.answer(place(1), late.token(place(1)));
  t.equal(late.moves.length, 0);
  late.validation.onUnheard(late.now);
  t.match(late.moves, [{ to: place(1) }], 'told while it is waited for');
});

t.test('an answer that has just come is not asked for again, if silence was told', async (t) => {
  const bench = new Bench();
  bench.validation.prefer(bench.now, place(1), PTO, JUST);
  t.equal(bench.moves.length, 0, 'the present path has not failed');
  const silent = new Bench();
  silent.validation.onUnheard(silent.now);
  silent.validation.prefer(silent.now, place(2), PTO, { ...JUST, answeredMicros: undefined });
  t.equal(silent.moves.length, 0, 'what was proven earlier is asked');
  silent.validation.prefer(silent.now, place(1), PTO, JUST);
  t.match(silent.moves, [{ from: HOME, to: place(1), rttMicros: JUST.answeredMicros }]);
  silent.validation.prefer(silent.now, place(2), PTO, JUST);
  t.equal(silent.moves.length, 1, 'of the new one no silence was told');
});

t.test('whom nobody will follow makes no timer that is due for ever', async (t) => {
  const bench = new Bench();
  bench.validation.prefer(bench.now, place(1), PTO, { isBetter: true, answeredMicros: undefined });
  bench.drain();
  bench.answer(HOME, bench.token(HOME));
  bench.pass(150);
  bench.validation.prefer(bench.now, place(2), PTO, { isBetter: false, answeredMicros: undefined });
  bench.drain();
  bench.answer(HOME, bench.token(HOME));
  bench.answer(place(2), bench.token(place(2)));
  bench.pass(150);
  t.ok(bench.validation.deadline > bench.now);
});
