// The witness finds what it is there for, and only that: each claim that something does not occur
// stands beside a suite, or a core, that does it.

import fc from 'fast-check';
import t from 'tap';

import { asciiBytes, concatBytes } from '../../protocol/bytes.ts';
import { Hello, type SealedChannel, answerHello } from '../../protocol/control/seal.ts';
import { type AeadKey, type CryptoSuite, TAG_BYTES } from '../../protocol/crypto.ts';
import { HEADER_BYTES, packetNonce } from '../../protocol/data/packet.ts';
import { Protection } from '../../protocol/data/protection.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { NEEDLES_KEPT, Needles, PIECE_BYTES } from '../crypto/needles.ts';
import { KeyUse } from '../crypto/nonce-ledger.ts';
import { CryptoWitness } from '../crypto/witnessed-suite.ts';

const rng = seededRng(6);
const bytes = (length: number): Uint8Array => randomBytes(rng, length);
const EMPTY = new Uint8Array(0);

/** A witness and what it has said: `who first counter`, `who how`. */
interface Told {
  readonly witness: CryptoWitness;
  readonly reuses: string[];
  readonly forgeries: string[];
}

function told(inner: CryptoSuite = fastSuite): Told {
  const [reuses, forgeries]: string[][] = [[], []];
  const witness = new CryptoWitness(inner, {
    onReuse: ({ owner, first, nonce }) => reuses.push(`${owner} ${first} ${nonce[4]}`),
    onForged: (owner, how) => forgeries.push(`${owner} ${how}`),
  });
  return { witness, reuses, forgeries };
}

function nonceOf(counter: number): Uint8Array {
  const nonce = new Uint8Array(12);
  packetNonce(counter, nonce);
  return nonce;
}

function seal(key: AeadKey, counter: number, text: Uint8Array): Uint8Array {
  const sealed = concatBytes(text, new Uint8Array(TAG_BYTES));
  key.seal(nonceOf(counter), EMPTY, sealed, 0, text.length);
  return sealed;
}

const open = (key: AeadKey, counter: number, sealed: Uint8Array): boolean =>
  key.open(nonceOf(counter), EMPTY, sealed.slice(), 0, sealed.length);

/** Both ends of a sealed channel between `house` and the manager. */
function channelOf(witness: CryptoWitness): readonly [SealedChannel, SealedChannel] {
  const [here, there] = [witness.suiteOf('house'), witness.suiteOf('manager')];
  const [terminal, manager] = [here.dhKey(bytes(32)), there.dhKey(bytes(32))];
  const device = 'a'.repeat(32) as DeviceId;
  const managerKey = manager.publicKey;
  const hello = new Hello({ suite: here, rng, device, localKey: terminal, managerKey });
  if (hello.message === undefined) throw new Error('honest keys agree');
  const deviceKey = terminal.publicKey;
  const answer = { suite: there, rng, device, deviceKey, localKey: manager };
  const answered = answerHello(answer, hello.message);
  const mine = answered && hello.finish(answered.welcome);
  if (answered === undefined || mine === undefined) throw new Error('no channel');
  return [mine, answered.channel];
}

t.test('it changes nothing of the suite that it watches', async (t) => {
  for (const inner of [fastSuite, nodeSuite]) {
    const suite = told(inner).witness.suiteOf('house');
    const [secret, message] = [bytes(32), bytes(70)];
    const peer = inner.dhKey(bytes(32)).publicKey;
    t.equal(suite.aead.name, inner.aead.name);
    t.strictSame(suite.dhKey(secret).publicKey, inner.dhKey(secret).publicKey);
    t.strictSame(suite.dhKey(secret).agree(peer), inner.dhKey(secret).agree(peer));
    t.equal(suite.dhKey(secret).agree(new Uint8Array(32)), undefined);
    const signature = suite.signingKey(secret).sign(message);
    t.strictSame(signature, inner.signingKey(secret).sign(message));
    t.ok(suite.verify(suite.signingKey(secret).publicKey, message, signature));
    t.strictSame(suite.blake2s(message), inner.blake2s(message));
    t.strictSame(suite.hmacBlake2s(secret, message), inner.hmacBlake2s(secret, message));
    const sealed = seal(suite.aead.importKey(secret), 3, message);
    t.strictSame(sealed, seal(inner.aead.importKey(secret), 3, message));
    t.ok(open(suite.aead.importKey(secret), 3, sealed));
    t.notOk(open(suite.aead.importKey(secret), 4, sealed));
  }
});

t.test(
  'no pair of key and nonce seals twice in a channel; one that begins again is found',
  async (t) => {
    const { witness, reuses, forgeries } = told();
    const [mine, theirs] = channelOf(witness);
    for (let sent = 0; sent < 100; sent++) {
      mine.seal(bytes(40));
      theirs.seal(bytes(40));
    }
    t.strictSame([reuses, forgeries], [[], []]);
    // A restart that kept the key and lost the counter: the same bytes, another key object.
    const key = bytes(32);
    const before = witness.suiteOf('shop').aead.importKey(key);
    for (let counter = 0; counter < 10; counter++) seal(before, counter, bytes(20));
    const after = witness.suiteOf('shop').aead.importKey(key.slice());
    seal(after, 10, bytes(20));
    t.strictSame(reuses, []);
    seal(after, 0, bytes(20));
    seal(after, 7, bytes(20));
    t.strictSame(reuses, ['shop shop 0', 'shop shop 7']);
  },
);

t.test('the same content again is a reuse too, and so is a key in two hands', async (t) => {
  const { witness, reuses } = told();
  const key = bytes(32);
  const text = bytes(30);
  seal(witness.suiteOf('house').aead.importKey(key), 5, text);
  seal(witness.suiteOf('house').aead.importKey(key), 5, text);
  seal(witness.suiteOf('shop').aead.importKey(key), 5, text);
  t.strictSame(reuses, ['house house 5', 'shop house 5']);
});

t.test('one world does not hear of another', async (t) => {
  const key = bytes(32);
  const worlds = [told(), told()];
  for (const { witness } of worlds) seal(witness.suiteOf('house').aead.importKey(key), 0, EMPTY);
  t.strictSame(
    worlds.map(({ reuses }) => reuses),
    [[], []],
  );
});

t.test('nonces that come in any order are told apart as by a list of them', async (t) => {
  const counter = fc.oneof(fc.nat(30), fc.nat(2_000), fc.maxSafeNat());
  const other = fc.uint8Array({ minLength: 12, maxLength: 12 });
  const nonce = fc.oneof(counter.map(longNonce), other, fc.constant(new Uint8Array(12).fill(0xff)));
  fc.assert(
    fc.property(fc.array(nonce, { maxLength: 200 }), (nonces) => {
      const use = new KeyUse();
      const slow = new Set<string>();
      return nonces.every((each) => {
        const isNew = !slow.has(String(each));
        slow.add(String(each));
        return use.has(each) === !isNew && use.note(each) === isNew && use.has(each);
      });
    }),
    { numRuns: 500 },
  );
  t.pass('500 lists');
});

/** A nonce of a counter of up to 53 bits. */
function longNonce(counter: number): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(counter), true);
  return nonce;
}

t.test('of a million nonces with gaps each is known', async (t) => {
  const use = new KeyUse();
  const nonce = new Uint8Array(12);
  const write = (counter: number): Uint8Array => {
    packetNonce(counter, nonce);
    return nonce;
  };
  const isGap = (counter: number): boolean => counter % 500 === 499;
  const last = 1_000_000;
  let wrong = 0;
  for (let at = 0; at < last; at++) if (!isGap(at) && !use.note(write(at))) wrong++;
  for (let at = 0; at < last; at++) if (use.has(write(at)) === isGap(at)) wrong++;
  for (let at = 0; at < last; at += 997) if (use.note(write(at)) !== isGap(at)) wrong++;
  t.equal(wrong, 0);
});

t.test(
  'with more gaps than are kept the first and the newest nonces are known, none invented',
  async (t) => {
    const use = new KeyUse();
    let wrong = 0;
    for (let at = 0; at < 20_000; at++) if (!use.note(nonceOf(2 * at))) wrong++;
    for (let at = 0; at < 20_000; at++) if (use.has(nonceOf(2 * at + 1))) wrong++;
    t.equal(wrong, 0);
    t.ok(use.has(nonceOf(0)));
    for (let at = 16_000; at < 20_000; at++) if (!use.has(nonceOf(2 * at))) wrong++;
    t.equal(wrong, 0);
  },
);

t.test('who opens what nobody sealed, or what it sealed itself, is heard of', async (t) => {
  const { witness, forgeries } = told();
  const bytesOfKey = bytes(32);
  const mine = witness.suiteOf('house').aead.importKey(bytesOfKey);
  const theirs = witness.suiteOf('shop').aead.importKey(bytesOfKey);
  const sealed = seal(mine, 1, bytes(20));
  t.ok(open(theirs, 1, sealed));
  t.strictSame(forgeries, []);
  t.ok(open(mine, 1, sealed));
  const forged = seal(fastSuite.aead.importKey(bytesOfKey), 2, bytes(20));
  t.ok(open(theirs, 2, forged));
  t.notOk(open(theirs, 3, forged));
  t.strictSame(forgeries, ['house reflected', 'shop forged']);
});

t.test('what is sealed and opened is shown to whoever asks', async (t) => {
  const shown: string[] = [];
  const note = (owner: string, aad: Uint8Array, text: Uint8Array): number =>
    shown.push(`${owner} ${String(aad)} ${String(text)}`);
  const witness = new CryptoWitness(fastSuite, {
    onReuse: () => {},
    onSeal: note,
    onOpen: note,
  });
  const [key, aad] = [bytes(32), Uint8Array.of(7)];
  const buffer = concatBytes(Uint8Array.of(1, 2, 3, 4), new Uint8Array(TAG_BYTES));
  const nonce = nonceOf(0);
  witness.suiteOf('house').aead.importKey(key).seal(nonce, aad, buffer, 1, 3);
  witness.suiteOf('shop').aead.importKey(key).open(nonce, aad, buffer, 1, 19);
  t.strictSame(shown, ['house 7 2,3,4', 'shop 7 2,3,4']);
});

/** A suite whose AEAD authenticates and does not encipher. */
const inTheClear: CryptoSuite = {
  ...fastSuite,
  aead: {
    name: 'clear',
    importKey: () => ({ seal: () => {}, open: () => true }),
  },
};

t.test('no plaintext shows in a packet; of a suite that does not encipher it does', async (t) => {
  for (const [inner, isFound] of [
    [fastSuite, false],
    [nodeSuite, false],
    [inTheClear, true],
  ] as const) {
    const { witness } = told(inner);
    const text = bytes(600);
    t.ok(witness.registerPlain(text, 'letter'));
    const secrets = { send: bytes(32), receive: bytes(32) };
    const suite = witness.suiteOf('house');
    const protection = new Protection({ suite, secrets, localIndex: 1, remoteIndex: 2 });
    const packet = new Uint8Array(1_200);
    packet.set(text, HEADER_BYTES + 20);
    protection.seal(packet, 1, 620);
    t.equal(witness.findSecret(packet), isFound ? 'letter' : undefined, inner.aead.name);
  }
});

t.test('no key shows in what a channel says; one that is sent is found', async (t) => {
  const { witness } = told();
  const [mine, theirs] = channelOf(witness);
  const key = bytes(32);
  witness.suiteOf('house').aead.importKey(key);
  const secrets = [...witness.secrets()];
  t.ok(secrets.length > 10, `${secrets.length} keys`);
  t.equal(witness.findSecret(mine.seal(bytes(300))), undefined);
  t.equal(witness.findSecret(theirs.seal(key)), undefined, 'sealed it may be sent');
  for (const secret of secrets)
    t.match(witness.findSecret(concatBytes(bytes(7), secret, bytes(9))), / of (house|manager)$/);
});

t.test('every kind of key is known by its name', async (t) => {
  const { witness } = told();
  const suite = witness.suiteOf('house');
  const keys = Array.from({ length: 5 }, () => bytes(32));
  suite.aead.importKey(keys[0]);
  const mine = suite.dhKey(keys[1]);
  suite.signingKey(keys[2]);
  const tag = suite.hmacBlake2s(keys[3], keys[4]);
  const shared = mine.agree(fastSuite.dhKey(bytes(32)).publicKey);
  if (shared === undefined) throw new Error('honest keys agree');
  t.ok(witness.registerSecret(keys[4], 'session key'));
  const found = [...keys, shared].map((key) => witness.findSecret(key));
  t.strictSame(found, [
    'aead key of house',
    'private key of house',
    'signing seed of house',
    'mac key of house',
    'session key',
    'shared secret of house',
  ]);
  t.equal(witness.findSecret(concatBytes(mine.publicKey, tag)), undefined, 'these are public');
});

t.test('what may stand somewhere hides nothing that may not', async (t) => {
  const { witness } = told();
  const [own, other] = [bytes(32), bytes(32)];
  witness.registerSecret(own, 'signing seed of house');
  witness.registerSecret(other, 'aead key of house');
  const isOwn = (what: string): boolean => what.startsWith('signing seed');
  const disk = concatBytes(bytes(100), own, bytes(5));
  t.equal(witness.findSecret(disk), 'signing seed of house');
  t.equal(witness.findSecret(disk, isOwn), undefined);
  t.equal(witness.findSecret(concatBytes(disk, other), isOwn), 'aead key of house');
});

/** The readable twin: where pieces begin in a needle, and whether any stands in some bytes. */
const PIECE_STARTS: Readonly<Record<number, (length: number) => readonly number[]>> = {
  1: () => [0],
  2: (length) => [0, length - 16],
  3: (length) => [0, Math.floor((length - 16) / 2), length - 16],
  4: (length) => [
    0,
    Math.floor((length - 16) / 3),
    Math.floor(((length - 16) * 2) / 3),
    length - 16,
  ],
};
const isIn = (hay: Uint8Array, needle: Uint8Array): boolean =>
  PIECE_STARTS[Math.min(4, Math.floor(needle.length / 16))](needle.length).some((start) =>
    Buffer.from(hay).includes(Buffer.from(needle.subarray(start, start + 16))),
  );

t.test(
  'a needle is found at every place, by its first and its last 16 bytes, and by no 15',
  async (t) => {
    const random = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
      fc
        .tuple(fc.nat({ max: 2 ** 31 }), fc.integer({ min: minLength, max: maxLength }))
        .map(([seed, length]) => randomBytes(seededRng(seed), length));
    let hits = 0;
    const runs = 2_000;
    fc.assert(
      fc.property(
        fc.array(random(16, 90), { minLength: 1, maxLength: 40 }),
        random(0, 60),
        random(0, 60),
        fc.record({ which: fc.nat(), from: fc.nat({ max: 20 }), length: fc.nat({ max: 60 }) }),
        (all, before, after, { which, from, length }) => {
          const needles = new Needles();
          for (const [at, needle] of all.entries()) needles.add('secret', needle, String(at));
          const part = all[which % all.length].subarray(from, from + length);
          const hay = concatBytes(before, part, after);
          const found = needles.find(hay);
          if (found === undefined) return !all.some((needle) => isIn(hay, needle));
          hits++;
          return isIn(hay, all[Number(found)]);
        },
      ),
      { numRuns: runs },
    );
    t.ok(hits > runs / 10 && hits < runs, `${hits} found`);
    const needles = new Needles();
    const needle = bytes(40);
    needles.add('plain', needle, 'it');
    for (let at = 0; at < 40; at++) {
      const hay = bytes(90);
      hay.set(needle.subarray(0, PIECE_BYTES), at);
      t.equal(needles.find(hay), 'it');
      hay[at + (at % PIECE_BYTES)] ^= 1;
      t.equal(needles.find(hay), undefined);
    }
    t.equal(needles.find(needle.subarray(0, PIECE_BYTES - 1)), undefined);
    t.equal(needles.find(EMPTY), undefined);
  },
);

t.test('what is too short or too plain to look for is refused', async (t) => {
  const { witness } = told();
  t.notOk(witness.registerPlain(bytes(15), 'short'));
  t.notOk(witness.registerPlain(new Uint8Array(600), 'zeros'));
  t.notOk(witness.registerPlain(asciiBytes('abcd'.repeat(30)), 'a pattern'));
  t.ok(witness.registerPlain(asciiBytes('The quick brown fox jumps.'), 'a text'));
  witness.suiteOf('house').aead.importKey(new Uint8Array(32));
  t.strictSame([...witness.secrets()], []);
  t.equal(witness.findSecret(new Uint8Array(1_000)), undefined);
  t.equal(witness.findSecret(asciiBytes('<The quick brown fox jumps.>')), 'a text');
});

t.test(
  'the newest secrets are kept, however many come, and plaintexts do not push them out',
  async (t) => {
    const needles = new Needles();
    const keys = Array.from({ length: 25_000 }, () => bytes(32));
    for (const key of keys) needles.add('secret', key, 'key');
    for (const key of keys.slice(-NEEDLES_KEPT)) needles.add('secret', key, 'again');
    for (let at = 0; at < 2 * NEEDLES_KEPT + 1; at++) needles.add('plain', bytes(16), 'plain');
    t.strictSame([...needles.secrets()], keys.slice(-NEEDLES_KEPT));
    const isFound = (key: Uint8Array): boolean => needles.find(key) === 'key';
    t.ok(keys.slice(-NEEDLES_KEPT).every(isFound));
    t.equal(needles.find(keys[0]), undefined);
  },
);

t.test('a thousand texts that begin alike are found by what differs', async (t) => {
  const needles = new Needles();
  const head = bytes(16);
  const texts = Array.from({ length: 1_000 }, () => concatBytes(head, bytes(48)));
  for (const [at, text] of texts.entries()) needles.add('plain', text, String(at));
  const found = texts.map((text) => needles.find(text.subarray(16)));
  t.strictSame(
    found,
    texts.map((_, at) => String(at)),
  );
});
