// Known answers and agreement of the cryptography that the cores are given: RFC values typed in
// with their sections, the Wycheproof sets from beside the checkout, node against noble.

import { ed25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';

import type { Aead } from '../crypto.ts';
import { aeadBySize } from '../io/aead-by-size.ts';
import { nodeAead, nodeSuite } from '../io/node-crypto.ts';
import { nobleAead } from '../noble-aead.ts';
import { hex, readVectors, skip, unhex } from './vectors.ts';

/** Of OpenSSL, as a process uses it that seals much, and noble's. */
const AEADS: readonly Aead[] = [nodeAead, aeadBySize(nodeAead, { kernelFrom: 0 }), nobleAead];

/** A test case of Wycheproof; which fields are there depends on the set. */
interface WycheproofCase {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: 'valid' | 'invalid' | 'acceptable';
  readonly [field: string]: unknown;
}
interface WycheproofGroup {
  readonly ivSize?: number;
  readonly publicKey?: { readonly pk: string };
  readonly tests: readonly WycheproofCase[];
}
interface WycheproofSet {
  readonly numberOfTests: number;
  readonly testGroups: readonly WycheproofGroup[];
}

const field = (test: WycheproofCase, name: string): Uint8Array => {
  const value = test[name];
  if (typeof value !== 'string') throw new Error(`case ${test.tcId} has no ${name}`);
  return unhex(value);
};

function seal(
  aead: Aead,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  // Off the start of the buffer, so that an offset that is ignored shows.
  const buffer = new Uint8Array(plaintext.length + 16 + 7).fill(0xaa);
  buffer.set(plaintext, 5);
  aead.importKey(key).seal(nonce, aad, buffer, 5, plaintext.length);
  const untouched = [...buffer.subarray(0, 5), ...buffer.subarray(-2)].every((b) => b === 0xaa);
  if (!untouched) throw new Error('sealed outside of its range');
  return buffer.slice(5, -2);
}

function open(
  aead: Aead,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const buffer = new Uint8Array(sealed.length + 5);
  buffer.set(sealed, 3);
  const isOpen = aead.importKey(key).open(nonce, aad, buffer, 3, sealed.length);
  return isOpen ? buffer.slice(3, 3 + sealed.length - 16) : undefined;
}

t.test('claim 7: RFC 8439 §2.8.2 comes out of every AEAD', async (t) => {
  const key = unhex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
  const nonce = unhex('070000004041424344454647');
  const aad = unhex('50515253c0c1c2c3c4c5c6c7');
  const text =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, " +
    'sunscreen would be it.';
  const plaintext = new TextEncoder().encode(text);
  const sealed =
    'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6' +
    '3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36' +
    '92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc' +
    '3ff4def08e4b7a9de576d26586cec64b6116' +
    '1ae10b594f09e26a7e902ecbd0600691';
  for (const aead of AEADS) {
    t.equal(hex(seal(aead, key, nonce, aad, plaintext)), sealed, aead.name);
    t.same(open(aead, key, nonce, aad, unhex(sealed)), plaintext, aead.name);
  }
});

t.test('claim 7: RFC 7748 §5.2 and §6.1, X25519', async (t) => {
  const agree = (scalar: string, u: string): string =>
    hex(nodeSuite.dhKey(unhex(scalar)).agree(unhex(u)) ?? new Uint8Array(0));
  t.equal(
    agree(
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
    ),
    'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  );
  t.equal(
    agree(
      '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
      'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
    ),
    '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
  );
  const alice = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
  t.equal(
    hex(nodeSuite.dhKey(unhex(alice)).publicKey),
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  );
  t.equal(
    agree(alice, 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'),
    '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
  );
  let k = unhex('09'.padEnd(64, '0'));
  let u = k;
  for (let i = 0; i < 1000; i++) {
    const next = nodeSuite.dhKey(k).agree(u);
    if (next === undefined) throw new Error('low order');
    [k, u] = [next, k];
    if (i === 0)
      t.equal(hex(k), '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079');
  }
  t.equal(hex(k), '684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51');
});

t.test('claim 7: RFC 7693 appendix B, BLAKE2s-256, and HMAC over it', async (t) => {
  const abc = new TextEncoder().encode('abc');
  t.equal(
    hex(nodeSuite.blake2s(abc)),
    '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982',
  );
  // RFC 2104 written out: block 64, ipad 0x36, opad 0x5c.
  const key = Uint8Array.from({ length: 32 }, (_, i) => i);
  const padded = (pad: number): Uint8Array =>
    Uint8Array.from({ length: 64 }, (_, i) => (key[i] ?? 0) ^ pad);
  const inner = nodeSuite.blake2s(Uint8Array.from([...padded(0x36), ...abc]));
  const outer = nodeSuite.blake2s(Uint8Array.from([...padded(0x5c), ...inner]));
  t.same(nodeSuite.hmacBlake2s(key, abc), outer);
});

t.test('claim 7: Wycheproof ChaCha20-Poly1305', { skip }, async (t) => {
  const set = readVectors<WycheproofSet>('wycheproof_chacha20_poly1305_test.json');
  let seen = 0;
  for (const group of set.testGroups) {
    for (const test of group.tests) {
      seen++;
      // Nonces of other lengths are "invalid" there; the interface has 12 bytes only.
      if (group.ivSize !== 96) continue;
      const [key, nonce, aad] = [field(test, 'key'), field(test, 'iv'), field(test, 'aad')];
      const sealed = Uint8Array.from([...field(test, 'ct'), ...field(test, 'tag')]);
      for (const aead of AEADS) {
        const opened = open(aead, key, nonce, aad, sealed);
        const name = `${aead.name} ${test.tcId} ${test.comment}`;
        if (test.result === 'invalid') {
          if (opened !== undefined) t.fail(`${name}: opened`);
          continue;
        }
        if (opened === undefined || hex(opened) !== test['msg']) t.fail(`${name}: not opened`);
        if (hex(seal(aead, key, nonce, aad, field(test, 'msg'))) !== hex(sealed))
          t.fail(`${name}: other bytes`);
      }
    }
  }
  t.equal(seen, set.numberOfTests);
});

t.test('claim 7: Wycheproof X25519; a shared secret of zero is refused', { skip }, async (t) => {
  const set = readVectors<WycheproofSet>('wycheproof_x25519_test.json');
  let [seen, zero] = [0, 0];
  for (const test of set.testGroups.flatMap((group) => group.tests)) {
    seen++;
    const shared = nodeSuite.dhKey(field(test, 'private')).agree(field(test, 'public'));
    const isZero = field(test, 'shared').every((byte) => byte === 0);
    if (isZero) zero++;
    const wanted = isZero ? undefined : test['shared'];
    if ((shared && hex(shared)) !== wanted) t.fail(`${test.tcId} ${test.comment}`);
  }
  t.equal(seen, set.numberOfTests);
  t.ok(zero > 0, `${zero} of low order`);
});

t.test('S1004, S4004: Wycheproof Ed25519', { skip }, async (t) => {
  const set = readVectors<WycheproofSet>('wycheproof_ed25519_test.json');
  let seen = 0;
  for (const group of set.testGroups) {
    const key = unhex(group.publicKey?.pk ?? '');
    for (const test of group.tests) {
      seen++;
      const isGood = nodeSuite.verify(key, field(test, 'msg'), field(test, 'sig'));
      if (isGood !== (test.result === 'valid')) t.fail(`${test.tcId} ${test.comment}`);
    }
  }
  t.equal(seen, set.numberOfTests);
});

t.test('S1004, S4004: keys of small order or not in shortest form verify nothing', async (t) => {
  // With A = identity, R = B and S = 1 the equation [S]B = R + [k]A holds for every message.
  const identity = unhex('01'.padEnd(64, '0'));
  const base = ed25519.Point.BASE.toBytes();
  const forged = Uint8Array.from([...base, 1, ...new Uint8Array(31)]);
  t.equal(
    ed25519.verify(forged, identity, identity, { zip215: true }),
    true,
    'the forgery is real',
  );
  const p = '7f'.padStart(64, 'f');
  const keys = [
    identity,
    unhex(`01${'00'.repeat(30)}80`),
    unhex(`ec${p.slice(2)}`),
    unhex(`ed${p.slice(2)}`),
    unhex(`ee${p.slice(2)}`),
    unhex(`ee${'ff'.repeat(31)}`),
    unhex('00'.repeat(32)),
    unhex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'),
    unhex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'),
  ];
  for (const key of keys) t.notOk(nodeSuite.verify(key, identity, forged), hex(key));
  for (const point of keys.filter((each) => !hex(each).startsWith('ed'))) {
    const decoded = ed25519.Point.fromBytes(point, true);
    t.ok(decoded.isSmallOrder(), `${hex(point)} is what the table says`);
  }
});

t.test('S1004, S4004: what is malformed verifies as false', async (t) => {
  const key = nodeSuite.signingKey(new Uint8Array(32).fill(7));
  const message = Uint8Array.of(1, 2, 3);
  const signature = key.sign(message);
  t.ok(nodeSuite.verify(key.publicKey, message, signature), 'the good one');
  t.ok(ed25519.verify(signature, message, key.publicKey), 'noble agrees');
  const empty = new Uint8Array(0);
  t.notOk(nodeSuite.verify(empty, message, signature));
  t.notOk(nodeSuite.verify(key.publicKey.subarray(1), message, signature));
  t.notOk(nodeSuite.verify(key.publicKey, message, empty));
  t.notOk(nodeSuite.verify(key.publicKey, message, signature.subarray(1)));
  t.notOk(nodeSuite.verify(key.publicKey, Uint8Array.of(1, 2), signature));
  t.equal(nodeSuite.dhKey(new Uint8Array(32).fill(9)).agree(empty), undefined);
});

t.test('S1004, S4004: more verifying keys than are kept', async (t) => {
  const message = Uint8Array.of(5);
  const keys = Array.from({ length: 1030 }, (_, i) =>
    nodeSuite.signingKey(Uint8Array.from({ length: 32 }, (__, at) => (at < 2 ? i >> (8 * at) : 3))),
  );
  const verified = (): number =>
    keys.filter((key) => nodeSuite.verify(key.publicKey, message, key.sign(message))).length;
  t.equal(verified(), keys.length);
  t.equal(verified(), keys.length, 'again, after the first were forgotten');
});

t.test('claim 7: node and noble seal the same bytes and open each other’s', async (t) => {
  const bytes = (max: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: max });
  const fixed = (length: number): fc.Arbitrary<Uint8Array> =>
    fc.uint8Array({ minLength: length, maxLength: length });
  fc.assert(
    fc.property(
      fixed(32),
      fixed(12),
      bytes(40),
      bytes(1500),
      fc.nat(),
      (key, nonce, aad, m, at) => {
        const [node, noble] = [nodeSuite.aead, nobleAead];
        const sealed = seal(node, key, nonce, aad, m);
        t.equal(hex(seal(noble, key, nonce, aad, m)), hex(sealed));
        t.same(open(noble, key, nonce, aad, sealed), m);
        t.same(open(node, key, nonce, aad, sealed), m);
        sealed[at % sealed.length] ^= 1 << (at % 8);
        t.equal(open(noble, key, nonce, aad, sealed), undefined);
        t.equal(open(node, key, nonce, aad, sealed), undefined);
      },
    ),
    { numRuns: dose(200) },
  );
});

t.test(
  'claim 7: the AAD may be a view of the same buffer; a short packet does not open',
  async (t) => {
    for (const aead of AEADS) {
      const key = aead.importKey(new Uint8Array(32).fill(1));
      const nonce = new Uint8Array(12);
      const packet = Uint8Array.from({ length: 64 }, (_, i) => i);
      key.seal(nonce, packet.subarray(0, 11), packet, 11, 37);
      t.ok(key.open(nonce, packet.subarray(0, 11), packet, 11, 53), aead.name);
      t.same(
        packet.subarray(0, 48),
        Uint8Array.from({ length: 48 }, (_, i) => i),
      );
      t.notOk(key.open(nonce, packet.subarray(0, 11), packet, 11, 15), 'shorter than a tag');
    }
  },
);
