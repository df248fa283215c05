// The checksums of the simulator, beside the real suite where both must say the same: what the
// protocols lean on holds, so that a seed fails for the protocols' faults and not for the suite's.

import fc from 'fast-check';
import t from 'tap';

import { asciiBytes, concatBytes } from '../../protocol/bytes.ts';
import { Hello, answerHello } from '../../protocol/control/seal.ts';
import { type CryptoSuite, SIGNATURE_BYTES, TAG_BYTES } from '../../protocol/crypto.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';

const rng = seededRng(5);
const bytes = (length: number): Uint8Array => randomBytes(rng, length);
const hex = (from: Uint8Array): string => Buffer.from(from).toString('hex');

interface Message {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  /** Text and tag. */
  readonly sealed: Uint8Array;
}

function sealedMessage(length: number, text = bytes(length)): Message {
  const [key, nonce, aad] = [bytes(32), bytes(12), bytes(11)];
  const sealed = concatBytes(text, new Uint8Array(TAG_BYTES));
  fastSuite.aead.importKey(key).seal(nonce, aad, sealed, 0, text.length);
  return { key, nonce, aad, sealed };
}

function opens({ key, nonce, aad, sealed }: Message): boolean {
  const copy = sealed.slice();
  return fastSuite.aead.importKey(key).open(nonce, aad, copy, 0, copy.length);
}

function flipped(from: Uint8Array, bit: number): Uint8Array {
  const copy = from.slice();
  copy[bit >>> 3] ^= 1 << (bit & 7);
  return copy;
}

/** Every version of these bytes with one bit changed. */
const flips = (from: Uint8Array): readonly Uint8Array[] =>
  Array.from({ length: from.length * 8 }, (_, bit) => flipped(from, bit));

t.test(
  'what is sealed is opened, in place, at any offset, with nothing around it touched',
  async (t) => {
    const part = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
    const [key, nonce] = [bytes(32), bytes(12)];
    const aead = fastSuite.aead.importKey(key);
    fc.assert(
      fc.property(part(3_000), part(80), part(9), part(9), (text, aad, before, after) => {
        const room = new Uint8Array(TAG_BYTES);
        const buffer = concatBytes(before, text, room, after);
        const start = before.length;
        aead.seal(nonce, aad, buffer, start, text.length);
        const end = start + text.length + TAG_BYTES;
        const isAround = hex(buffer.subarray(0, start)) === hex(before);
        const isBehind = hex(buffer.subarray(end)) === hex(after);
        const isOpened = aead.open(nonce, aad, buffer, start, text.length + TAG_BYTES);
        const opened = buffer.subarray(start, end - TAG_BYTES);
        return isAround && isBehind && isOpened && hex(opened) === hex(text);
      }),
      { numRuns: 1_000 },
    );
    t.pass('1,000 messages');
  },
);

t.test('the AAD may be a view of the buffer that is sealed', async (t) => {
  const packet = bytes(100);
  const header = packet.slice(0, 11);
  const [key, nonce] = [bytes(32), bytes(12)];
  const aead = fastSuite.aead.importKey(key);
  aead.seal(nonce, packet.subarray(0, 11), packet, 11, 73);
  t.ok(aead.open(nonce, header, packet, 11, 89));
});

t.test('plaintext never shows', async (t) => {
  for (const length of [1, 3, 4, 16, 61, 1_400]) {
    const { sealed } = sealedMessage(length, new Uint8Array(length));
    const other = sealedMessage(length, new Uint8Array(length));
    t.not(hex(sealed), hex(other.sealed), 'another key and nonce, other bytes');
    if (length < 16) continue;
    const zeros = sealed.subarray(0, length).filter((byte) => byte === 0).length;
    t.ok(zeros <= 4 + length / 100, `${zeros} zeros of ${length}`);
    const values = new Set(sealed.subarray(0, length));
    t.ok(values.size > Math.min(length / 2, 200), 'nor a pattern');
  }
});

t.test('each changed bit of text, tag, nonce, AAD and key is found', async (t) => {
  for (const length of [0, 1, 15, 16, 17, 61]) {
    const message = sealedMessage(length);
    t.ok(opens(message));
    const { key, nonce, aad, sealed } = message;
    t.notOk(flips(sealed).some((changed) => opens({ ...message, sealed: changed })));
    t.notOk(flips(nonce).some((changed) => opens({ ...message, nonce: changed })));
    t.notOk(flips(aad).some((changed) => opens({ ...message, aad: changed })));
    t.notOk(flips(key).some((changed) => opens({ ...message, key: changed })));
  }
});

t.test('a message that is cut, grown, or of another AAD length is found', async (t) => {
  for (let length = 0; length < 50; length++) {
    const message = sealedMessage(length, new Uint8Array(length));
    const { sealed, aad } = message;
    for (let kept = 0; kept < sealed.length; kept++)
      if (opens({ ...message, sealed: sealed.subarray(0, kept) })) t.fail(`${kept} of ${length}`);
    const zero = new Uint8Array(1);
    t.notOk(opens({ ...message, sealed: concatBytes(sealed, zero) }));
    t.notOk(opens({ ...message, sealed: concatBytes(zero, sealed) }));
    t.notOk(opens({ ...message, aad: concatBytes(aad, zero) }));
    t.notOk(opens({ ...message, aad: aad.subarray(1) }));
  }
});

t.test('several changes do not cancel out', async (t) => {
  const message = sealedMessage(400);
  const { key, nonce, aad, sealed } = message;
  const aead = fastSuite.aead.importKey(key);
  const bits = sealed.length * 8;
  let passed = 0;
  for (let round = 0; round < 100_000; round++) {
    const changed = sealed.slice();
    const first = rng.next() % bits;
    // Near ones, in the same bit of another word, or anywhere: up to four.
    const distance = [1 + (rng.next() % 8), 32 * (1 + (rng.next() % 16)), rng.next() % bits];
    for (let times = 0; times <= round % 4; times++) {
      const bit = (first + times * distance[round % 3]) % bits;
      changed[bit >>> 3] ^= 1 << (bit & 7);
    }
    if (hex(changed) === hex(sealed)) continue;
    if (aead.open(nonce, aad, changed, 0, changed.length)) passed++;
  }
  t.equal(passed, 0);
});

t.test('two blocks that change places are found', async (t) => {
  const message = sealedMessage(96);
  for (let width = 1; width <= 32; width *= 2) {
    const sealed = message.sealed.slice();
    sealed.copyWithin(0, width, 2 * width);
    sealed.set(message.sealed.subarray(0, width), width);
    t.notOk(opens({ ...message, sealed }), `${width} bytes`);
  }
});

t.test('agreement commutes, and every pair agrees on something else', async (t) => {
  const secrets = Array.from({ length: 20 }, () => bytes(32));
  const keys = secrets.map((secret) => fastSuite.dhKey(secret));
  const agreed = new Set<string>();
  for (const [at, mine] of keys.entries()) {
    t.not(hex(mine.publicKey), hex(secrets[at]), 'a public key is not the secret');
    for (const theirs of keys.slice(at)) {
      const shared = mine.agree(theirs.publicKey);
      t.strictSame(shared, theirs.agree(mine.publicKey));
      if (shared !== undefined) agreed.add(hex(shared));
    }
  }
  t.equal(agreed.size, (20 * 21) / 2);
  t.equal(
    new Set([0, 1, 2].map((n) => hex(fastSuite.dhKey(new Uint8Array(32).fill(n)).publicKey))).size,
    3,
  );
});

t.test('agreement hangs on each bit of the peer key', async (t) => {
  const [mine, theirs] = [fastSuite.dhKey(bytes(32)), fastSuite.dhKey(bytes(32))];
  const shared = mine.agree(theirs.publicKey);
  if (shared === undefined) throw new Error('honest keys agree');
  const others = flips(theirs.publicKey).map((key) => mine.agree(key));
  t.equal(new Set([shared, ...others].map((other) => other && hex(other))).size, 257);
});

t.test('keys of low order agree with nothing, as in X25519', async (t) => {
  const top = 'ff'.repeat(30);
  const low = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    `ec${top}7f`,
    `ed${top}7f`,
    `ee${top}7f`,
    // The two points of order 8 (RFC 7748 §6.1 asks for a zero check that these fail).
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  ];
  for (const suite of [fastSuite, nodeSuite]) {
    const key = suite.dhKey(bytes(32));
    for (const point of low)
      t.equal(key.agree(new Uint8Array(Buffer.from(point, 'hex'))), undefined, point);
    t.equal(key.agree(bytes(31)), undefined);
    t.ok(key.agree(suite.dhKey(bytes(32)).publicKey));
  }
});

t.test('a signature fits its key and its message, and nothing else', async (t) => {
  for (const length of [0, 1, 40, 200]) {
    const key = fastSuite.signingKey(bytes(32));
    const { publicKey } = key;
    const message = bytes(length);
    const signature = key.sign(message);
    t.equal(signature.length, SIGNATURE_BYTES);
    t.ok(fastSuite.verify(publicKey, message, signature));
    const verify = (by: Uint8Array, of: Uint8Array, signed: Uint8Array): boolean =>
      fastSuite.verify(by, of, signed);
    t.notOk(flips(signature).some((changed) => verify(publicKey, message, changed)));
    t.notOk(flips(message).some((changed) => verify(publicKey, changed, signature)));
    t.notOk(flips(publicKey).some((changed) => verify(changed, message, signature)));
    t.notOk(verify(publicKey, concatBytes(message, new Uint8Array(1)), signature));
    t.notOk(verify(publicKey, message, signature.subarray(1)));
    t.notOk(verify(publicKey.subarray(1), message, signature));
  }
  const zero = new Uint8Array(32);
  t.notOk(fastSuite.verify(zero, zero, fastSuite.signingKey(zero).sign(zero)));
});

/** How many of these inputs share the first 52 bits of their hash with another. */
function collisions(count: number, input: (at: number) => Uint8Array): number {
  const hashes = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const hash = fastSuite.blake2s(input(at));
    const low = hash[0] | (hash[1] << 8) | (hash[2] << 16);
    const high = (hash[16] | (hash[17] << 8) | (hash[18] << 16) | (hash[19] << 24)) >>> 0;
    hashes[at] = high * 2 ** 20 + (low & 0xfffff);
  }
  hashes.sort();
  let same = 0;
  for (let at = 1; at < count; at++) if (hashes[at] === hashes[at - 1]) same++;
  return same;
}

t.test('among a million inputs no two have one hash', async (t) => {
  const input = new Uint8Array(64);
  const counted = (at: number): Uint8Array => {
    // One counter in two words, and its complement in others: what would cancel out does so here.
    for (const place of [0, 4, 16, 36]) {
      input[place] = at;
      input[place + 1] = at >>> 8;
      input[place + 2] = at >>> 16;
    }
    for (const place of [8, 20, 32]) {
      input[place] = ~at;
      input[place + 1] = ~at >>> 8;
      input[place + 2] = ~at >>> 16;
    }
    return input;
  };
  t.equal(collisions(400_000, counted), 0, 'counters');
  t.equal(
    collisions(400_000, (at) => asciiBytes(`nakodo/1/id${at}`)),
    0,
    'texts',
  );
  const bits = 480;
  const places = Array.from({ length: bits * bits }, (_, at) => at).filter(
    (at) => at % bits > Math.floor(at / bits),
  );
  const pair = (place: number): Uint8Array => {
    const first = flipped(new Uint8Array(bits / 8), place % bits);
    return flipped(first, Math.floor(place / bits));
  };
  t.equal(
    collisions(places.length, (at) => pair(places[at])),
    0,
    'each pair of bits',
  );
  t.equal(
    collisions(1_000, (at) => new Uint8Array(at)),
    0,
    'zeros of every length',
  );
});

t.test('each bit of an input moves half of the bits of its hash', async (t) => {
  for (const length of [1, 16, 20, 100]) {
    const message = bytes(length);
    const before = fastSuite.blake2s(message);
    t.equal(before.length, 32);
    const moved = flips(message).map((changed) => {
      const after = fastSuite.blake2s(changed);
      return before.reduce((sum, byte, at) => sum + bitsOf(byte ^ after[at]), 0);
    });
    const mean = moved.reduce((sum, bits) => sum + bits, 0) / moved.length;
    t.ok(mean > 118 && mean < 138, `${mean} of 256 at ${length} bytes`);
    t.ok(Math.min(...moved) > 85, `at least ${Math.min(...moved)}`);
  }
});

const bitsOf = (byte: number): number => byte.toString(2).replaceAll('0', '').length;

t.test('a keyed hash hangs on key and message, and on where one ends', async (t) => {
  const [key, message] = [bytes(32), bytes(40)];
  const mac = (by: Uint8Array, of: Uint8Array): Uint8Array => fastSuite.hmacBlake2s(by, of);
  const all = [
    mac(key, message),
    mac(message, key),
    mac(concatBytes(key, message.subarray(0, 8)), message.subarray(8)),
    mac(new Uint8Array(0), concatBytes(key, message)),
    fastSuite.blake2s(concatBytes(key, message)),
    fastSuite.blake2s(message),
    ...flips(key).map((changed) => mac(changed, message)),
    ...flips(message).map((changed) => mac(key, changed)),
  ];
  t.equal(new Set(all.map(hex)).size, all.length);
  t.strictSame(mac(key, message), all[0], 'the same each time');
});

t.test('a sealed channel comes about with it as with the real suite', async (t) => {
  for (const suite of [fastSuite, nodeSuite] satisfies CryptoSuite[]) {
    const [terminal, manager] = [suite.dhKey(bytes(32)), suite.dhKey(bytes(32))];
    const device = 'a'.repeat(32) as DeviceId;
    const hello = new Hello({
      suite,
      rng,
      device,
      localKey: terminal,
      managerKey: manager.publicKey,
    });
    if (hello.message === undefined) throw new Error('honest keys agree');
    const deviceKey = terminal.publicKey;
    const answer = { suite, rng, device, deviceKey, localKey: manager };
    t.equal(answerHello({ ...answer, deviceKey: manager.publicKey }, hello.message), undefined);
    const answered = answerHello(answer, hello.message);
    const mine = answered && hello.finish(answered.welcome);
    t.ok(mine, suite.aead.name);
  }
});
