// Those who attack a simulated world: every deed of theirs is really done, a sound world stands it,
// comes to rest afterwards and is the same at every run; and a world that lacks a defence is
// noticed because of them.

import t from 'tap';
import { UsedNonces } from '../../broker/used-nonces.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { ReplayWindow } from '../../protocol/data/replay.ts';
import type { TerminalEvent } from '../../device/terminal-types.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { MADE_FRAMES } from '../hostile/made-frames.ts';
import { Hostile } from '../invariants/hostile.ts';
import { CALM, type Options } from '../options.ts';
import { type SeedResult, runSeed } from '../seed-run.ts';
import { Violation } from '../violation.ts';
import { World } from '../world.ts';

const WORK: Options = {
  ...CALM,
  'udp.delay': 20,
  'mqtt.delay': 10,
  'terminal.polling': 0.3,
  'work.calls': 20,
  'work.bytes': 20_000,
  'work.datagrams': 0.5,
};
const SECONDS = 25;

function run(seed: number, options: Partial<Options>, suite: CryptoSuite = fastSuite): SeedResult {
  return runSeed({ seed, terminals: 4, seconds: SECONDS, options: { ...WORK, ...options }, suite });
}

/** What each attacker does at least once, of what it can. */
const DEEDS: readonly (readonly [Partial<Options>, readonly string[]])[] = [
  [
    { 'hostile.network': 1_500, 'terminal.crash': 12 },
    [
      'an old packet comes again',
      'a packet comes again after long',
      'an old handshake comes again',
      'an old handshake comes after a restart',
      'a handshake comes to another socket',
      'a packet comes to another socket',
      'a packet comes back to its sender',
      'a distorted packet',
      'a new packet is distorted on a faster way',
      'a new packet comes from a victim first',
      'new packets come from a source that moves',
      'a new packet comes from its own receiver',
      'a handshake comes from a victim first',
      'a question for an address comes from a victim',
      'a question or an answer is distorted',
      'an answer comes again, or to somebody else',
    ],
  ],
  [
    { 'hostile.forwarder': 120, 'work.hold': 0.8 },
    [
      'a talk is carried',
      'a talk is carried, and goes no other way',
      'an end answered the forwarder',
    ],
  ],
  [{ 'hostile.flood': 60 }, ['a new socket is flooded']],
  [
    { 'hostile.broker': 600, 'broker.restart': 6, 'operator.revoke': 6 },
    [
      'a message comes again',
      'a message is altered',
      'a message comes to somebody else',
      'an old call comes again',
      'an old call comes after a restart',
      'a call is made up',
      'a welcome is made up',
      'a channel is denied',
      'a refusal is made up',
      'a trigger is said to be handed over',
      'a poll is answered wrongly',
      'an address is said to be recorded',
      'a query is answered with a lie',
      'what was held back is let go',
      'somebody stays who was to be thrown out',
    ],
  ],
  [
    { 'hostile.terminal': 900, 'work.calls': 60 },
    [
      'asks for somebody',
      'asks, and cancels at some step',
      'asks many times at once',
      'asks under another name',
      'asks for itself',
      'asks for a name that it guesses',
      'asks again by one request for something else',
      'asks with a false signature',
      'wants more of a session',
      'reports an end falsely',
      'other counts are reported',
      'registers as somebody else',
      'answers a question of somebody else',
      'addresses of others are announced',
      'announces more than anybody takes',
      'publishes where it may not',
      'starves its talks',
      'hears no calls',
      'answers twice, now',
      'answers with two words, now',
      'answers late, now',
      'never answers, now',
      'grants more than there is, now',
      'answers with a record of nobody, now',
      'answers with another nonce, now',
      'answers without its signature, now',
      'answers what it did not sign, now',
    ],
  ],
  [
    { 'hostile.stranger': 300 },
    [
      'a used token',
      'a used token for somebody else',
      'a token of keys that nobody has enrolled',
      'a membership that it made itself',
      'a membership that has run out',
      'a token from long ago',
      'a token of nobody',
      'a second manager',
      'turned away with 5',
    ],
  ],
  [{ 'hostile.collusion': 12 }, ['many ask for one that sleeps']],
  [{ 'hostile.frames': 0.2, 'work.calls': 40 }, MADE_FRAMES],
  [{ 'hostile.greed': 1, 'work.hold': 0.8 }, ['an end forgets time and quota']],
];
const SEEDS_MAX = 8;

for (const [options, deeds] of DEEDS) {
  const [option] = Object.keys(options);
  t.test(`${option}: every deed is done, and a sound world stands it`, async (t) => {
    const left = new Set(deeds.map((deed) => `${option}: ${deed}`));
    for (let seed = 1; seed <= SEEDS_MAX && left.size > 0; seed++) {
      const { violation, marks, faults } = run(seed, options);
      t.equal(violation, undefined, `seed ${seed} holds`);
      t.ok((faults[option as keyof Options] ?? 0) > 0, 'it is counted');
      for (const mark of Object.keys(marks)) left.delete(mark);
    }
    t.same([...left], [], `done within ${SEEDS_MAX} worlds`);
  });
}

t.test('claim 15: whoever forgets time and quota is stopped by the other end', async (t) => {
  const stopped = new Set<string>();
  for (let seed = 1; seed <= SEEDS_MAX && stopped.size === 0; seed++) {
    const { marks } = run(seed, { 'hostile.greed': 1, 'work.hold': 0.8 });
    for (const mark of Object.keys(marks)) if (mark.includes('stopped by')) stopped.add(mark);
  }
  t.not(stopped.size, 0, 'at its time or at its byte');
});

t.test('a world with everybody in it is the same at every run', async (t) => {
  const options = {
    'hostile.network': 300,
    'hostile.broker': 200,
    'hostile.terminal': 200,
    'hostile.stranger': 60,
    'hostile.frames': 0.05,
    'hostile.greed': 0.3,
    'hostile.collusion': 4,
    'hostile.forwarder': 6,
    'hostile.flood': 6,
  };
  const [one, other] = [run(5, options), run(5, options)];
  t.equal(one.violation, undefined);
  t.equal(one.hash, other.hash);
});

/** The first violation within some worlds. */
function found(options: Partial<Options>, suite?: CryptoSuite): string | undefined {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    const { violation } = run(seed, options, suite);
    if (violation !== undefined) return violation.invariant;
  }
  return undefined;
}

t.test('a broker that takes tokens twice is noticed', async (t) => {
  t.intercept(UsedNonces.prototype, 'take', { value: () => true });
  t.equal(found({ 'hostile.stranger': 300 }), 'strangers');
});

t.test('a suite that takes every signature is noticed', async (t) => {
  t.not(found({ 'hostile.stranger': 300 }, { ...fastSuite, verify: () => true }), undefined);
});

t.test('a terminal that takes packets twice is noticed', async (t) => {
  t.intercept(ReplayWindow.prototype, 'isFresh', { value: () => true });
  t.not(found({ 'hostile.network': 3_000, 'work.datagrams': 1, 'work.hold': 0.8 }), undefined);
});

t.test('a suite that opens what was distorted is noticed', async (t) => {
  const credulous: CryptoSuite = {
    ...fastSuite,
    aead: {
      name: fastSuite.aead.name,
      importKey: (bytes) => {
        const key = fastSuite.aead.importKey(bytes);
        return {
          seal: key.seal.bind(key),
          open: (nonce, aad, buffer, start, length) => {
            key.open(nonce, aad, buffer, start, length);
            return length >= 16;
          },
        };
      },
    },
  };
  t.not(found({ 'hostile.network': 1_500 }, credulous), undefined);
});

t.test('the invariants of attackers speak up', async (t) => {
  const world = new World({ seed: 1, terminals: 2, options: CALM, suite: fastSuite });
  const [terminal] = world.terminals;
  const session = 'a'.repeat(26) as SessionId;
  const path = world.internet.paths.of('192.0.2.1', 1);
  const established: TerminalEvent = {
    kind: 'talk',
    session,
    event: { kind: 'established', path },
  };
  const alone = new Hostile(world);
  const open = (): void => alone.onHappening({ kind: 'event', terminal, event: established });
  t.equal(invariantOf(open), 'hostile', 'a talk that nobody was introduced to');
  const calm = new Hostile(world);
  calm.onHappening({ kind: 'calm' });
  world.fired('hostile.network');
  t.equal(
    invariantOf(() => calm.atEnd()),
    'hostile',
    'a deed in the calm',
  );
  const late = new Hostile(world);
  late.onHappening({ kind: 'calm' });
  t.equal(
    invariantOf(() => late.atEnd()),
    undefined,
    'a deed before it',
  );
});

function invariantOf(act: () => void): string | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof Violation) return error.invariant;
    throw error;
  }
  return undefined;
}
