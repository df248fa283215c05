// The seal between terminal and manager against whoever carries it: what was not sealed by the
// other end, or was opened before, opens nothing; and whoever learns the long-term keys later reads
// nothing that was recorded.

import fc from 'fast-check';
import t from 'tap';
import { asciiBytes } from '../bytes.ts';
import { decodeMessage, encodeMessage } from '../control/codec.ts';
import type { Kind, MessageOf } from '../control/messages.ts';
import { Hello, type SealedChannel, answerHello } from '../control/seal.ts';
import { TAG_BYTES } from '../crypto.ts';
import { type DeviceId, randomRequestId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { LIMITS } from '../limits.ts';
import { randomBytes, seededRng } from '../random.ts';
import { mutated } from './arbitraries.ts';
import { dose } from './dose.ts';
import { hex, unhex } from './vectors.ts';

const rng = seededRng(3);
const DEVICE = 'a'.repeat(32) as DeviceId;
const terminal = nodeSuite.dhKey(randomBytes(rng, 32));
const manager = nodeSuite.dhKey(randomBytes(rng, 32));
const stranger = nodeSuite.dhKey(randomBytes(rng, 32));
const TEXT = asciiBytes('who may call TERM3');
/** Points of small order on Curve25519 and its twist: what is agreed with them is zero. */
const LOW_ORDER = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ecff${'ff'.repeat(29)}7f`,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
];

const hello = (changes: Partial<ConstructorParameters<typeof Hello>[0]> = {}): Hello =>
  new Hello({
    suite: nodeSuite,
    rng,
    device: DEVICE,
    localKey: terminal,
    managerKey: manager.publicKey,
    ...changes,
  });

const answer = (
  message: MessageOf<'hello'>,
  changes: Partial<Parameters<typeof answerHello>[0]> = {},
): ReturnType<typeof answerHello> =>
  answerHello(
    {
      suite: nodeSuite,
      rng,
      device: DEVICE,
      deviceKey: terminal.publicKey,
      localKey: manager,
      ...changes,
    },
    message,
  );

function there<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('refused');
  return value;
}

function read<K extends Kind>(wire: Uint8Array, kind: K): MessageOf<K> {
  const message = decodeMessage(wire);
  if (message?.kind !== kind) throw new Error(`no ${kind}`);
  return message as MessageOf<K>;
}

/** Both ends of a channel, made by way of the wire. */
function channel(): {
  near: SealedChannel;
  far: SealedChannel;
  hello: MessageOf<'hello'>;
  welcome: MessageOf<'welcome'>;
} {
  const said = hello();
  const message = read(encodeMessage(there(said.message)), 'hello');
  const answered = there(answer(message));
  const welcome = read(encodeMessage(answered.welcome), 'welcome');
  return { near: there(said.finish(welcome)), far: answered.channel, hello: message, welcome };
}

const sealed = (by: SealedChannel, text: Uint8Array = TEXT): MessageOf<'sealed'> =>
  read(by.seal(text), 'sealed');

t.test('what one end seals the other opens, both ways, and nobody else reads it', async (t) => {
  const { near, far } = channel();
  for (const [from, to] of [
    [near, far],
    [far, near],
  ])
    for (const text of [TEXT, Uint8Array.of(0), new Uint8Array(LIMITS.messageBytesMax)]) {
      const wire = from.seal(text);
      t.same(to.open(read(wire, 'sealed')), text);
      t.ok(wire.length <= LIMITS.sealedBytesMax);
      if (text === TEXT) {
        t.notOk(Buffer.from(wire).includes(Buffer.from(TEXT)), 'not in the clear');
        t.ok(Buffer.from(wire).includes(Buffer.from(from.id)), 'the search finds what is there');
      }
    }
  t.not(hex(near.seal(TEXT)), hex(near.seal(TEXT)), 'sealed again it looks different');
});

t.test('with any byte changed nothing opens, and the genuine one still does', async (t) => {
  const { near, far } = channel();
  const wire = near.seal(TEXT);
  let decoded = 0;
  for (let at = 0; at < wire.length; at++)
    for (const bit of [1, 0x80]) {
      const changed = Uint8Array.from(wire);
      changed[at] ^= bit;
      const message = decodeMessage(changed);
      if (message?.kind !== 'sealed') continue;
      decoded += 1;
      t.equal(far.open(message), undefined, `byte ${at}`);
    }
  t.ok(decoded > 2 * (TEXT.length + TAG_BYTES), 'the channel was reached');
  t.notOk(far.isConfirmed);
  t.same(far.open(read(wire, 'sealed')), TEXT);
});

t.test(
  'a message opens once: replayed, reflected, or in another channel it does not',
  async (t) => {
    const { near, far } = channel();
    const other = channel();
    const message = sealed(near);
    t.equal(near.open(message), undefined, 'reflected');
    t.equal(other.far.open(message), undefined, 'another channel');
    t.equal(other.far.open({ ...message, channel: other.far.id }), undefined, 'in its name');
    t.same(far.open(message), TEXT);
    t.equal(far.open(message), undefined, 'replayed');
    for (let i = 0; i < 100; i++) far.open(sealed(near));
    t.equal(far.open(message), undefined, 'replayed late');
  },
);

t.test('no sequence stands for the nonce of another one', async (t) => {
  const { near, far } = channel();
  const message = sealed(near);
  t.same(far.open(message), TEXT);
  // 1b: eight bytes follow. 2^48 and the sequence has the low 48 bits of the sequence.
  const wire = hex(encodeMessage({ ...message, sequence: 2 ** 48 - 1 }));
  t.ok(wire.includes('1b0000ffffffffffff'));
  const beyond = unhex(wire.replace('1b0000ffffffffffff', '1b0001000000000000'));
  t.equal(decodeMessage(beyond), undefined);
  t.same(far.open(sealed(near)), TEXT, 'and the channel goes on');
});

t.test('each sequence opens once, in any order, down to the window', async (t) => {
  const inWindow = fc.array(fc.nat({ max: LIMITS.sealWindow * 3 }), { maxLength: 60 });
  let late = 0;
  fc.assert(
    fc.property(inWindow, (order) => {
      const { near, far } = channel();
      const messages = Array.from({ length: LIMITS.sealWindow * 3 + 1 }, () => sealed(near));
      const seen = new Set<number>();
      let highest = -1;
      for (const sequence of order) {
        const isFresh = !seen.has(sequence) && sequence > highest - LIMITS.sealWindow;
        if (!isFresh && !seen.has(sequence)) late += 1;
        if ((far.open(messages[sequence]) !== undefined) !== isFresh) return false;
        if (isFresh) seen.add(sequence);
        highest = Math.max(highest, sequence);
      }
      return true;
    }),
    { numRuns: dose(60) },
  );
  t.ok(late > 0, 'some came too late');
  const { near, far } = channel();
  const messages = Array.from({ length: LIMITS.sealWindow + 1 }, () => sealed(near));
  t.ok(far.open(messages[LIMITS.sealWindow]));
  t.ok(far.open(messages[1]), 'the last one inside');
  t.equal(far.open(messages[0]), undefined, 'the first one outside');
});

t.test('a terminal takes a welcome of nobody but its manager', async (t) => {
  const said = hello();
  const message = there(said.message);
  t.equal(answer(message, { localKey: stranger }), undefined, 'another manager cannot answer');
  const forged = there(
    answer(there(hello({ managerKey: stranger.publicKey }).message), { localKey: stranger }),
  ).welcome;
  const { request, channel: id } = message;
  t.equal(said.finish({ ...forged, request, channel: id }), undefined);
  const { welcome } = there(answer(message));
  t.equal(said.finish({ ...welcome, request: randomRequestId(rng) }), undefined);
  t.equal(said.finish({ ...welcome, channel: new Uint8Array(8) }), undefined);
  const made = said.finish(welcome);
  t.ok(made, 'and after all that the genuine one counts');
  t.equal(said.finish(welcome), undefined, 'once');
  t.equal(said.finish(there(answer(message)).welcome), undefined);
});

t.test('a manager takes a hello of nobody but its terminal', async (t) => {
  const message = there(hello({ localKey: stranger }).message);
  t.equal(answer(message), undefined, 'another key');
  const other = 'b'.repeat(32) as DeviceId;
  t.equal(answer(there(hello({ device: other }).message)), undefined, 'another ID');
  const good = there(hello().message);
  t.equal(answer({ ...good, channel: new Uint8Array(8) }), undefined, 'another channel');
  t.ok(answer(good));
});

t.test('keys of low order make no channel', async (t) => {
  for (const low of LOW_ORDER.map(unhex)) {
    const to = hello({ managerKey: low });
    t.equal(to.message, undefined, 'nothing to say');
    const said = hello();
    const message = there(said.message);
    const { welcome } = there(answer(message));
    t.equal(to.finish(welcome), undefined);
    const withLow = (noise: Uint8Array): Uint8Array =>
      Uint8Array.from([...low, ...noise.slice(32)]);
    t.equal(answer({ ...message, noise: withLow(message.noise) }), undefined);
    t.equal(answer(message, { deviceKey: low }), undefined);
    t.equal(said.finish({ ...welcome, noise: withLow(welcome.noise) }), undefined);
    t.ok(said.finish(welcome), 'the genuine one counts');
  }
});

t.test('a replayed hello makes nothing that anybody can use', async (t) => {
  const { near, far, hello: message } = channel();
  const recorded = sealed(near);
  t.same(far.open(recorded), TEXT);
  t.ok(far.isConfirmed);
  const replayed = there(answer(message));
  t.equal(replayed.channel.open(recorded), undefined, 'not what was recorded');
  t.equal(replayed.channel.open(sealed(near)), undefined, 'nor what comes');
  t.notOk(replayed.channel.isConfirmed);
  t.same(far.open(sealed(near)), TEXT, 'the first channel goes on');
});

t.test('long-term keys that are stolen later open nothing that was recorded', async (t) => {
  const { near, far, hello: message, welcome } = channel();
  const up = sealed(near);
  const down = sealed(far);
  // With both long-term keys somebody can play either end, but not the ends that were.
  const asManager = there(answer(message)).channel;
  t.equal(asManager.open(up), undefined);
  const said = hello();
  const { request, channel: id } = there(said.message);
  t.equal(said.finish({ ...welcome, request, channel: id }), undefined);
  t.equal(asManager.open(down), undefined);
  t.same(far.open(up), TEXT);
  t.same(near.open(down), TEXT, 'the ends themselves can');
});

t.test('every hello has keys and an ID of its own', async (t) => {
  const all = Array.from({ length: 20 }, channel);
  const distinct = (texts: readonly string[]): number => new Set(texts).size;
  t.equal(distinct(all.map(({ near }) => hex(near.id))), all.length);
  t.equal(distinct(all.map(({ hello: { request } }) => request)), all.length);
  const ephemerals = all.flatMap((one) => [one.hello.noise, one.welcome.noise]);
  t.equal(distinct(ephemerals.map((noise) => hex(noise.subarray(0, 32)))), 2 * all.length);
  const boxes = all.flatMap(({ near, far }) => [sealed(near).box, sealed(far).box]);
  t.equal(distinct(boxes.map(hex)), boxes.length, 'the same text never looks the same');
});

t.test(
  'spoiled hellos, welcomes and sealed messages are refused without an exception',
  async (t) => {
    const said = hello();
    const first = there(said.message);
    const { welcome } = there(answer(first));
    const { near, far } = channel();
    const wires = [encodeMessage(first), encodeMessage(welcome), near.seal(TEXT)];
    const reached: Partial<Record<Kind, number>> = {};
    fc.assert(
      fc.property(mutated(fc.constantFrom(...wires)), (wire) => {
        const message = decodeMessage(wire);
        if (message === undefined || wires.some((good) => hex(good) === hex(wire))) return true;
        reached[message.kind] = (reached[message.kind] ?? 0) + 1;
        if (message.kind === 'sealed') return far.open(message) === undefined;
        if (message.kind === 'welcome') return said.finish(message) === undefined;
        if (message.kind !== 'hello') return true;
        // The request is not part of the handshake: it only ties the answer to the question.
        const answered = answer(message);
        return answered === undefined || said.finish(answered.welcome) === undefined;
      }),
      { numRuns: dose(1_500, 20) },
    );
    t.ok((reached.hello ?? 0) > 20 && (reached.welcome ?? 0) > 20 && (reached.sealed ?? 0) > 20);
    t.ok(said.finish(welcome), 'the genuine ones still count');
    t.same(far.open(read(wires[2], 'sealed')), TEXT);
  },
);
