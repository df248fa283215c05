// Terminals that know each other's ID owe a lying manager nothing: whatever it invents, swaps,
// enlarges or shows again, no talk is established, nothing throws, and no socket stays open.

import t from 'tap';
import { signRequest } from '../../protocol/consent/statements.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import type { Grant } from '../../protocol/grant.ts';
import type { Name, RequestId } from '../../protocol/ids.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import {
  type Arranged,
  type Lie,
  Scene,
  TERMS,
  type Telling,
  candidatesOf,
} from './lying-manager.ts';

const LIES_PER_SCENE = 50;

function pick<T>(rng: Rng, choices: readonly T[]): T {
  return choices[randomBelow(rng, choices.length)];
}

function flipped(rng: Rng, bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[randomBelow(rng, copy.length)] ^= 1 << randomBelow(rng, 8);
  return copy;
}

/** One of the two ends, or both. */
function ends({ caller, callee }: Arranged, rng: Rng): readonly Telling[] {
  return pick(rng, [[caller], [callee], [caller, callee]]);
}

/** The verdict is another one, and so the manager grants by that. */
function regrant({ caller, callee }: Arranged, verdict: Uint8Array): void {
  const grant = { ...caller.grant, verdict: nodeSuite.blake2s(verdict) };
  Object.assign(caller, { verdict, grant });
  callee.grant = grant;
}

/** One thing of a question that is not as the caller signed it. */
function falseAsk(ask: MessageOf<'ask'>, { rng, falseCaller }: Scene): MessageOf<'ask'> {
  return {
    ...ask,
    ...pick<Partial<MessageOf<'ask'>>>(rng, [
      { callerName: 'STRANGER' as Name },
      { callerId: falseCaller.id },
      { callerKeys: falseCaller.keys },
      { callerId: falseCaller.id, callerKeys: falseCaller.keys },
      { callerKeys: { ...ask.callerKeys, x25519: falseCaller.keys.x25519 } },
      { callerKeys: { ...ask.callerKeys, ed25519: falseCaller.keys.ed25519 } },
      { service: 'file' },
      { want: { ...TERMS, seconds: TERMS.seconds + 1 } },
      { want: { seconds: TERMS.seconds } },
      { want: {} },
      { nonce: randomRequestId(rng) },
      { signature: flipped(rng, ask.signature) },
    ]),
  };
}

/** A question that an accomplice signed, in the caller's name and under its ID. */
function forgedAsk(ask: MessageOf<'ask'>, { rng, falseCaller, callee }: Scene): MessageOf<'ask'> {
  const forged = { ...ask, nonce: randomRequestId(rng) };
  const signature = signRequest(falseCaller.signing, { ...forged, calleeName: callee.name });
  return { ...forged, signature, ...pick(rng, [{}, { callerKeys: falseCaller.keys }]) };
}

/** One thing of a grant that is not what was asked and answered. */
function falseGrant(grant: Grant, { rng, falseCaller, falseCallee }: Scene): Grant {
  return {
    ...grant,
    ...pick<Partial<Grant>>(rng, [
      { callerId: falseCaller.id },
      { calleeId: falseCallee.id },
      { callerName: 'STRANGER' as Name },
      { calleeName: 'STRANGER' as Name },
      { service: 'file' },
      { seconds: TERMS.seconds + 1 + randomBelow(rng, 1_000) },
      { bytes: TERMS.bytes + 1 + randomBelow(rng, 1_000) },
      { bytes: undefined },
      { verdict: randomBytes(rng, 32) },
      { verdict: flipped(rng, grant.verdict) },
    ]),
  };
}

/** What an introduction that is over looked like to one end. */
function showAgain(telling: Telling, old: Telling, request: RequestId): void {
  const { grant, key, peerKeys, verdict, verdictSignature } = old;
  Object.assign(telling, { grant, key, peerKeys, verdict, verdictSignature, request });
}

const LIES: readonly Lie[] = [
  { name: 'an accomplice in the place of the callee, all of it consistent', accomplice: 'callee' },
  { name: 'an accomplice in the place of the caller, all of it consistent', accomplice: 'caller' },
  { name: 'a question that nobody asked', ask: forgedAsk },
  { name: 'a question of which one thing is changed', ask: falseAsk },
  { name: 'an old question in the place of the new one', ask: (_, { old }) => old.ask },
  {
    name: 'an old question, and an accomplice introduced instead',
    ask: (_, { old }) => old.ask,
    tell: ({ callee }, { falseCaller }) => {
      callee.peerKeys = falseCaller.keys;
      callee.grant = { ...callee.grant, callerId: falseCaller.id };
      callee.candidates = candidatesOf(falseCaller);
    },
  },
  { name: 'the callee is not asked', ask: () => undefined },
  {
    name: 'the callee is not asked, and an accomplice signs for it',
    ask: () => undefined,
    tell: (arranged, { rng, falseCallee }) => {
      const { caller } = arranged;
      regrant(arranged, randomBytes(rng, 120));
      const { verdict = new Uint8Array(0) } = caller;
      caller.verdictSignature = falseCallee.signing.sign(verdict);
    },
  },
  {
    name: 'the callee said no',
    ask: (ask, { callee, list }) => {
      callee.list = { ...list, entries: [] };
      return ask;
    },
    between: ({ callee, list }) => {
      callee.list = list;
    },
  },
  {
    name: 'the notice to the callee echoes the question and not the nonce',
    tell: ({ ask, callee }) => {
      callee.request = ask.request;
    },
  },
  {
    name: 'the notices echo nonces of nobody',
    tell: (arranged, { rng }) => {
      for (const telling of ends(arranged, rng)) telling.request = randomRequestId(rng);
    },
  },
  {
    name: 'the notices echo the nonces of an earlier introduction',
    tell: (arranged, { rng, old }) => {
      const [first, ...rest] = ends(arranged, rng);
      first.request = first === arranged.caller ? old.caller.request : old.callee.request;
      for (const telling of rest) telling.request = old.callee.request;
    },
  },
  {
    name: "the peer's keys are an accomplice's",
    tell: (arranged, { rng, falseCaller, falseCallee }) => {
      for (const telling of ends(arranged, rng)) {
        const { keys } = telling === arranged.caller ? falseCallee : falseCaller;
        telling.peerKeys = pick(rng, [
          keys,
          { ...telling.peerKeys, x25519: keys.x25519 },
          { ...telling.peerKeys, ed25519: keys.ed25519 },
        ]);
      }
    },
  },
  {
    name: "the peer's keys and ID are an accomplice's",
    tell: (arranged, { rng, falseCaller, falseCallee }) => {
      const { caller, callee } = arranged;
      for (const telling of ends(arranged, rng)) {
        if (telling === caller) {
          caller.peerKeys = falseCallee.keys;
          caller.grant = { ...caller.grant, calleeId: falseCallee.id };
        } else {
          callee.peerKeys = falseCaller.keys;
          callee.grant = { ...callee.grant, callerId: falseCaller.id };
        }
      }
    },
  },
  {
    name: 'a grant of which one thing is changed, for one end or both',
    tell: (arranged, scene) => {
      const grant = falseGrant(arranged.caller.grant, scene);
      for (const telling of ends(arranged, scene.rng)) telling.grant = grant;
    },
  },
  {
    name: 'two sessions for two ends',
    tell: ({ callee }, { rng }) => {
      callee.grant = { ...callee.grant, session: randomSessionId(rng) };
    },
  },
  {
    name: 'smaller terms for one end',
    tell: (arranged, { rng }) => {
      const telling = pick(rng, [arranged.caller, arranged.callee]);
      telling.grant = { ...telling.grant, seconds: 1 + randomBelow(rng, TERMS.seconds - 1) };
    },
  },
  {
    name: 'two session keys for two ends',
    tell: ({ callee }, { rng }) => {
      callee.key = flipped(rng, callee.key);
    },
  },
  {
    name: 'a grant that somebody else signed',
    tell: (arranged, { rng, falseCaller, caller, callee }) => {
      const { signing } = pick(rng, [falseCaller, caller, callee]);
      // A handshake that only one end began leads nowhere.
      for (const telling of ends(arranged, rng)) telling.signer = signing;
    },
  },
  {
    name: 'an altered verdict, and a grant that fits it',
    tell: (arranged, { rng }) => {
      const { verdict = new Uint8Array(1) } = arranged.caller;
      regrant(arranged, flipped(rng, verdict));
    },
  },
  {
    name: 'an altered signature, or none',
    tell: ({ caller }, { rng }) => {
      const { verdictSignature = new Uint8Array(64) } = caller;
      caller.verdictSignature = pick(rng, [flipped(rng, verdictSignature), undefined]);
    },
  },
  {
    name: 'no verdict',
    tell: ({ caller }) => {
      caller.verdict = undefined;
    },
  },
  {
    name: 'the verdict of another call, and a grant that fits it',
    tell: (arranged, { old }) => {
      if (old.caller.verdict !== undefined) regrant(arranged, old.caller.verdict);
      arranged.caller.verdictSignature = old.caller.verdictSignature;
    },
  },
  {
    name: 'old notices as they were',
    tell: ({ caller, callee }, { old }) => {
      showAgain(caller, old.caller, old.caller.request);
      showAgain(callee, old.callee, old.callee.request);
    },
  },
  {
    name: 'old notices under new nonces',
    tell: ({ caller, callee }, { old }) => {
      showAgain(caller, old.caller, caller.request);
      showAgain(callee, old.callee, callee.request);
    },
  },
  {
    name: 'notices after a reboot of either end',
    between: (scene) => {
      const { rng, caller, callee } = scene;
      for (const node of pick(rng, [[caller], [callee], [caller, callee]])) scene.reboot(node);
    },
  },
  {
    name: 'old notices, and the question again, after a reboot of either end',
    ask: (_, { old }) => old.ask,
    between: (scene) => {
      const { rng, caller, callee, world, old } = scene;
      for (const node of pick(rng, [[caller], [callee], [caller, callee]])) scene.reboot(node);
      world.hand(callee, old.ask);
      world.settle();
    },
    tell: ({ caller, callee }, { old }) => {
      showAgain(caller, old.caller, old.caller.request);
      showAgain(callee, old.callee, old.callee.request);
    },
  },
  {
    name: 'the way to somebody else, or back to oneself',
    tell: (arranged, { rng, falseCaller, falseCallee, caller, callee, world }) => {
      world.call(falseCaller, 'NOBODY', { call: 1_000_000 + randomBelow(rng, 1e9), waitMs: 500 });
      arranged.caller.candidates = candidatesOf(pick(rng, [falseCaller, caller]));
      arranged.callee.candidates = candidatesOf(pick(rng, [falseCallee, callee]));
    },
  },
];

t.test('the honest manager introduces them, before, between and after the lies', async (t) => {
  for (const acquaintance of ['pinned', 'stated', 'strangers'] as const) {
    const scene = new Scene(1, acquaintance);
    const before = scene.established;
    scene.introduce();
    t.equal(scene.established, before + 2, acquaintance);
  }
});

t.test(
  'an accomplice is let in where nobody knows whom to expect: the lies are good ones',
  async (t) => {
    for (const lie of LIES.filter(({ accomplice }) => accomplice !== undefined)) {
      const scene = new Scene(2, 'strangers');
      const before = scene.established;
      scene.introduce(lie);
      t.equal(scene.established, before + 2, lie.name);
    }
  },
);

t.test(
  'S1004, S4004: no lie of a manager leads to a talk between terminals that know each other',
  async (t) => {
    const lies = dose(200, 50);
    const failures: string[] = [];
    let scene = new Scene(0, 'pinned');
    for (let number = 0; number < lies; number++) {
      if (number % LIES_PER_SCENE === 0) {
        scene = new Scene(number, (number / LIES_PER_SCENE) % 2 === 0 ? 'pinned' : 'stated');
      }
      const lie = LIES[number % LIES.length];
      const before = scene.established;
      scene.introduce(lie);
      const isAtRest = scene.comeToRest();
      if (scene.established !== before) failures.push(`${number}: ${lie.name}: a talk`);
      if (!isAtRest) failures.push(`${number}: ${lie.name}: a socket stays open`);
      if (number % LIES_PER_SCENE !== LIES_PER_SCENE - 1) continue;
      const honest = scene.established;
      scene.introduce();
      if (scene.established !== honest + 2) failures.push(`${number}: the truth is not believed`);
    }
    t.ok(lies > LIES.length, `${lies} introductions, ${LIES.length} kinds of lie`);
    t.strictSame(failures, []);
  },
);
