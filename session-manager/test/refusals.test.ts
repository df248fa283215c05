// Refusals that tell nothing, in virtual time: whatever the reason, the same bytes at the same
// instant; limits that count vain calls only and keep strangers from starving friends.

import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { type DeviceId, randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { randomBelow } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import { RATE_DEFAULTS } from '../limits.ts';
import { type Sent, type Terminal, World, allow, deny, down } from './virtual-manager.ts';

/** The four of design §4, and what else may be behind a refusal. */
const REASONS = ['refused', 'unknown', 'asleep', 'away', 'unsigned', 'itself', 'misnamed'] as const;
type Reason = (typeof REASONS)[number];
const WAIT_MS = 200;
const HALF = LIMITS.asksPerCalleeMax / 2;

/** A refusal as it crosses the broker: everything that could tell two of them apart. */
function looks(sent: Sent, saidAt: number): string {
  const wire = decodeMessage(sent.wire);
  const { message } = sent;
  if (wire?.kind !== 'sealed' || message.kind !== 'refusal') throw new Error('no sealed refusal');
  const zeroed = { ...message, request: 'a'.repeat(26) as typeof message.request };
  return JSON.stringify({
    tookMs: sent.at - saidAt,
    boxBytes: wire.box.length,
    inside: Buffer.from(encodeMessage(zeroed)).toString('hex'),
  });
}

class Town {
  readonly world: World;
  readonly callers: readonly Terminal[];
  readonly three: Terminal;

  constructor(world = new World()) {
    this.world = world;
    this.callers = Array.from({ length: 20 }, (_, at) => world.terminal(`C${at}`));
    this.three = world.terminal('TERM3');
    const asleep = world.terminal('ASLEEP');
    world.terminal('AWAY');
    world.reboot(asleep);
    world.join(asleep, { pollSeconds: 300 });
  }

  /** Asks so that it ends in a refusal for this reason. */
  ask(caller: Terminal, reason: Reason): { request: string; at: number } {
    const { world, three } = this;
    const at = world.nowMs;
    const to = {
      refused: three.name,
      unknown: 'NOBODY',
      asleep: 'ASLEEP',
      away: 'AWAY',
      unsigned: three.name,
      itself: caller.name,
      misnamed: three.name,
    }[reason];
    const before = world.of('trigger').length;
    if (reason === 'unsigned') {
      const { message } = world.connect(caller, 'NOBODY', { waitMs: 0 });
      const forged = { ...message, request: randomRequestId(world.rng), waitMs: WAIT_MS };
      world.up(caller, forged);
      return { request: forged.request, at };
    }
    const as = reason === 'misnamed' ? 'TERM9' : caller.name;
    const { request } = world.connect(caller, to, { waitMs: WAIT_MS, as });
    if (reason === 'refused' && world.of('trigger').length > before) {
      world.answerList(three, world.asked(three, 'ask').request, [deny('C*'), allow('*')]);
    }
    return { request, at };
  }
}

/** Counts what a manager does with keys, says, and writes. */
class Work {
  readonly #done = { seals: 0, opened: 0, verified: 0, hashed: 0 };

  readonly suite: CryptoSuite = {
    ...nodeSuite,
    aead: {
      name: nodeSuite.aead.name,
      importKey: (bytes) => {
        const key = nodeSuite.aead.importKey(bytes);
        return {
          seal: (...of) => {
            this.#done.seals += 1;
            key.seal(...of);
          },
          open: (...of) => {
            this.#done.opened += 1;
            return key.open(...of);
          },
        };
      },
    },
    verify: (...of) => {
      this.#done.verified += 1;
      return nodeSuite.verify(...of);
    },
    blake2s: (message) => {
      this.#done.hashed += 1;
      return nodeSuite.blake2s(message);
    },
  };

  take(world: World) {
    return { ...this.#done, messages: world.sent.length, entries: world.table('log').size };
  }

  /** What was done since then. */
  since(world: World, then: ReturnType<Work['take']>) {
    const now = this.take(world);
    const names = Object.keys(now) as (keyof typeof now)[];
    return Object.fromEntries(names.map((name) => [name, now[name] - then[name]]));
  }
}

t.test('S2010: whatever the reason, the same bytes leave exactly at T', async (t) => {
  const town = new Town();
  const { world, callers } = town;
  const seen = new Map<string, number>();
  const rounds = dose(10, 20);
  for (let round = 0; round < rounds; round++) {
    world.sent.length = 0;
    const calls = [];
    for (const caller of callers) {
      // Callers at once, each for reasons in another order, at odd instants.
      const first = randomBelow(world.rng, REASONS.length);
      for (let n = 0; n < REASONS.length; n++) {
        const reason = REASONS[(first + n) % REASONS.length];
        calls.push({ caller, reason, ...town.ask(caller, reason) });
      }
      world.advance(randomBelow(world.rng, 7));
    }
    world.advance(WAIT_MS);
    for (const { caller, request, at, reason } of calls) {
      const told = world.sent.filter(
        ({ topic, message }) =>
          topic === down(caller) && message.kind === 'refusal' && message.request === request,
      );
      if (told.length !== 1) t.fail(`${reason}: told ${told.length} times`);
      const look = looks(told[0], at);
      seen.set(look, (seen.get(look) ?? 0) + 1);
    }
  }
  t.comment(`${rounds * callers.length} refusals of each of ${REASONS.length} reasons`);
  t.strictSame([...seen.values()], [rounds * callers.length * REASONS.length]);
  t.match(JSON.parse([...seen.keys()][0]), { tookMs: WAIT_MS });
});

t.test('S2010: over the rate, over the budget, disk full: still the same', async (t) => {
  const world = new World({
    rates: { perCaller: { burst: 60, perSecond: 2 }, perName: { burst: 20, perSecond: 0.5 } },
  });
  const [one, two, three] = ['TERM1', 'TERM2', 'TERM3'].map((name) => world.terminal(name));
  const asked = (from: Terminal, to: string, answer: boolean): string => {
    const { request } = world.connect(from, to, { waitMs: WAIT_MS });
    if (answer) {
      world.answerList(three, world.asked(three, 'ask').request, [allow('*')]);
      world.answerBoth(from, three);
    }
    return request;
  };
  world.disk = 'full';
  const full = asked(two, three.name, true);
  const all = Array.from({ length: 25 }, () => asked(one, three.name, false));
  const unknown = Array.from({ length: 25 }, () => asked(one, 'NOBODY', false));
  const plain = asked(two, 'NOBODY', false);
  const triggers = world.of('trigger').length;
  t.equal(triggers, 1 + LIMITS.asksPerStrangerMax, 'a stranger has a few of what a callee takes');
  t.equal(world.manager.counts.limited, 10, 'known and unknown names alike');
  world.advance(WAIT_MS);
  const look = (request: string): string => {
    const told = world.sent.filter(
      ({ message }) => message.kind === 'refusal' && message.request === request,
    );
    t.equal(told.length, 1);
    return looks(told[0], 0);
  };
  const looked = new Set([full, plain, ...all, ...unknown].map(look));
  t.equal(looked.size, 1);
});

t.test('S2010: at T every refusal costs the manager the same work, to the last hash', async (t) => {
  const work = new Work();
  const town = new Town(new World({ suite: work.suite }));
  const { world, callers } = town;
  const atCall = new Map<Reason, object>();
  const atT = new Map<string, Reason[]>();
  // The first of a caller and a name goes into the log, the second is only counted.
  for (const time of [1, 2]) {
    for (const reason of ['refused', 'unknown', 'asleep', 'away'] as const) {
      const [caller] = callers;
      const before = work.take(world);
      town.ask(caller, reason);
      atCall.set(reason, work.since(world, before));
      world.advance(WAIT_MS - 1);
      const waited = work.take(world);
      world.advance(1);
      const look = `${time}: ${JSON.stringify(work.since(world, waited))}`;
      atT.set(look, [...(atT.get(look) ?? []), reason]);
    }
  }
  t.equal(atT.size, 2, [...atT].join(' '));
  t.strictSame(new Set([...atT.values()].map(({ length }) => length)), new Set([4]));
  t.match([...atT.keys()][1], '"messages":1', 'the refusal');
  // The caller sees nothing of it: when it called, who is known was sealed one question.
  const unknown = atCall.get('unknown');
  t.match(unknown, { seals: 0, verified: 1, messages: 0 });
  for (const reason of ['asleep', 'away'] as const) {
    t.strictSame(atCall.get(reason), { ...unknown, seals: 1, messages: 1 });
  }
});

t.test('S2010: reasons are told where the operator says so, and nowhere else', async (t) => {
  for (const explain of [false, true]) {
    const world = new World({
      explain,
      rates: { ...RATE_DEFAULTS, perName: { burst: 3, perSecond: 1 } },
    });
    const [one, three] = ['TERM1', 'TERM3'].map((name) => world.terminal(name));
    world.terminal('AWAY');
    const why = (name: string, more: (request: MessageOf<'ask'>) => void = () => {}) => {
      const { request } = world.connect(one, name);
      if (name === three.name) more(world.asked(three, 'ask'));
      world.advance(5_000);
      const told = world.of('refusal').filter(({ message }) => message.request === request);
      return told.map(({ message }) => message.why);
    };
    const is = (reason: string) => [explain ? reason : undefined];
    const listed = ({ request }: MessageOf<'ask'>): void => {
      world.answerList(three, request, [allow(one.name)]);
    };
    t.strictSame(
      why(three.name, ({ request }) => void world.answerList(three, request, [])),
      is('denied'),
    );
    t.strictSame(why('NOBODY'), is('unknown'));
    t.strictSame(why(one.name), is('denied'));
    t.strictSame(why('AWAY'), is('away'));
    t.strictSame(why(three.name), is('away'));
    t.strictSame(why(three.name, listed), is('server'), 'the broker never answered');
    world.disk = 'full';
    t.strictSame(
      why(three.name, (ask) => {
        listed(ask);
        world.answerBoth(one, three);
      }),
      is('server'),
    );
    world.disk = 'works';
    for (let i = 0; i < 3; i++) world.connect(one, 'SOMEBODY');
    t.strictSame(why('SOMEBODY'), is('limited'));
    for (let i = 0; i < 3; i++) world.connect(one, 'AWAY');
    t.strictSame(why('AWAY'), is('limited'));
  }
});

t.test(
  'S2001: vain calls are counted by caller and name, accepted ones cost nothing',
  async (t) => {
    const world = new World({ rates: RATE_DEFAULTS });
    const [one, two, three] = ['TERM1', 'TERM2', 'TERM3'].map((name) => world.terminal(name));
    const burst = LIMITS.introductionsPerCallerMax;
    for (let i = 0; i < 4 * burst; i++) world.introduce(one, three);
    t.equal(world.manager.counts.limited, 0);
    // A minute of knocking as fast as the bounds let one.
    const before = world.of('trigger').length;
    let calls = 0;
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 20; i++) world.connect(one, three.name, { waitMs: 1_000 });
      calls += 20;
      world.advance(1_000);
    }
    const triggers = world.of('trigger').length - before;
    t.ok(triggers >= burst + 28 && triggers <= burst + 31, `${triggers} triggers for ${calls}`);
    t.equal(world.manager.counts.limited, calls - triggers);
    t.equal(world.of('refusal').length, calls, 'and every call has its one refusal');
    world.introduce(two, three);
    t.equal(world.manager.sessions('open').length, 4 * burst + 1, 'others do not notice');
    world.advance(60_000);
    world.introduce(one, three);
    t.equal(world.manager.sessions('open').length, 4 * burst + 2, 'nor is it shut out for good');
  },
);

t.test('S2001: a request that is repeated is one request, also over the rate', async (t) => {
  const world = new World({
    rates: { ...RATE_DEFAULTS, perName: { burst: 1, perSecond: 0.001 } },
  });
  const [one, three] = ['TERM1', 'TERM3'].map((name) => world.terminal(name));
  const first = world.connect(one, three.name);
  const second = world.connect(one, three.name);
  for (let i = 0; i < 10; i++) {
    world.up(one, first.message);
    world.up(one, second.message);
  }
  t.equal(world.manager.counts.limited, 1);
  t.equal(world.of('trigger').length, 1);
  world.advance(5_000);
  t.equal(world.of('refusal').length, 2);
  world.up(one, second.message);
  t.equal(world.of('refusal').length, 3, 'a kept answer, told again');
  t.equal(world.manager.counts.limited, 1);
});

t.test('S2002: a crowd of strangers cannot keep a friend out', async (t) => {
  const world = new World();
  const three = world.terminal('TERM3');
  const friend = world.terminal('FRIEND');
  world.introduce(friend, three);
  const crowd = Array.from({ length: 40 }, (_, at) => world.terminal(`S${at}`));
  const before = world.of('trigger').length;
  for (const stranger of crowd) world.connect(stranger, three.name, { waitMs: 60_000 });
  t.equal(world.of('trigger').length, before + HALF);
  world.introduce(friend, three);
  t.equal(world.manager.sessions('open').length, 2, 'asked and introduced at once');
  const later = world.terminal('LATER');
  world.connect(later, three.name, { waitMs: 1_000 });
  t.not(world.asked(three, 'ask').callerId, later.id);
  world.advance(1_000);
  t.equal(world.of('refusal').length, 1, 'a stranger more waits in vain');
  world.restart(1_000);
  for (const stranger of crowd) world.connect(stranger, three.name, { waitMs: 60_000 });
  world.introduce(friend, three);
  t.equal(world.manager.sessions('open').length, 3, 'who is a friend is known after a restart');
});

t.test('S2002: one stranger cannot keep others from a callee that sleeps all day', async (t) => {
  const world = new World();
  const [greedy, other, asleep] = ['GREEDY', 'TERM1', 'ASLEEP'].map((name) => world.terminal(name));
  world.reboot(asleep);
  world.join(asleep, { pollSeconds: 86_400 });
  const day = { waitMs: LIMITS.waitMsMax };
  for (let i = 0; i < 60; i++) world.connect(greedy, asleep.name, day);
  t.equal(world.of('trigger').length, LIMITS.asksPerStrangerMax);
  world.advance(3_600_000);
  world.connect(other, asleep.name, day);
  t.equal(world.of('trigger').length, LIMITS.asksPerStrangerMax + 1, 'its question waits there');
  world.advance(3_600_000);
  world.answerList(asleep, world.asked(asleep, 'ask').request, [allow('*')]);
  world.answerBoth(other, asleep);
  t.equal(world.manager.sessions('open').length, 1, 'and is answered at the next poll');
  // What the greedy one may ask beside them is asked in its turn, once it has room.
  for (const question of world.questions(asleep).filter(({ callerId }) => callerId === greedy.id)) {
    world.answerList(asleep, question.request, []);
  }
  t.equal(world.of('trigger').length, 2 * LIMITS.asksPerStrangerMax + 1);
});

t.test('S2002: strangers that call at once are asked for one after another', async (t) => {
  const world = new World();
  const three = world.terminal('TERM3');
  const crowd = Array.from({ length: 40 }, (_, at) => world.terminal(`S${at}`));
  for (const stranger of crowd) world.connect(stranger, three.name);
  const answered = new Set<DeviceId>();
  for (let turn = 0; turn < crowd.length; turn++) {
    const asks = world.of('trigger').map(({ message }) => decodeMessage(message.payload));
    const open = asks.filter((ask) => ask?.kind === 'ask' && !answered.has(ask.callerId));
    t.ok(open.length <= HALF);
    const [ask] = open;
    if (ask?.kind !== 'ask') break;
    answered.add(ask.callerId);
    const caller = crowd.find(({ id }) => id === ask.callerId);
    world.answerList(three, ask.request, [allow('S*')]);
    if (caller !== undefined) world.answerBoth(caller, three);
  }
  t.equal(world.manager.sessions('open').length, crowd.length, 'nobody is refused for the crowd');
  world.advance(5_000);
  t.equal(world.of('refusal').length, 0);
});
