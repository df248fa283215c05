// The WebAssembly kernel by itself: RFC 8439, Wycheproof, and its agreement with node:crypto and
// noble over all lengths of a datagram.

import fc from 'fast-check';
import t from 'tap';
import { asciiBytes } from '../bytes.ts';
import { nodeAead } from '../io/node-crypto.ts';
import { nobleAead } from '../noble-aead.ts';
import { difference, isSame, open, sample, seal, wasmAead } from './aead-samples.ts';
import type { Sample } from './aead-samples.ts';
import { dose } from './dose.ts';
import { hex, readVectors, skip, unhex } from './vectors.ts';

const LENGTH_MAX = 4_200;
const AAD_MAX = 64;
const SUNSCREEN = asciiBytes(
  "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, " +
    'sunscreen would be it.',
);
const counting = (first: number, count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => first + i);

t.test('claim 7: RFC 8439 §2.3.2 and §2.4.2, ChaCha20 from block 1 on', async (t) => {
  const key = wasmAead.importKey(counting(0, 32));
  const stream = seal(key, {
    ...sample(0, 0, 0),
    nonce: unhex('000000090000004a00000000'),
    text: new Uint8Array(64),
  });
  t.equal(
    hex(stream.subarray(0, 64)),
    '10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e' +
      'd2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e',
  );
  const sealed = seal(key, {
    ...sample(0, 0, 0),
    nonce: unhex('000000000000004a00000000'),
    text: SUNSCREEN,
  });
  t.equal(
    hex(sealed.subarray(0, SUNSCREEN.length)),
    '6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b' +
      'f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8' +
      '07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736' +
      '5af90bbf74a35be6b40b8eedf2785e42874d',
  );
});

t.test('claim 7: RFC 8439 A.5: opens', async (t) => {
  const text = new TextEncoder().encode(
    'Internet-Drafts are draft documents valid for a maximum of six months and may be updated, ' +
      'replaced, or obsoleted by other documents at any time. It is inappropriate to use ' +
      'Internet-Drafts as reference material or to cite them other than as /“work in progress./”',
  );
  const each: Sample = {
    key: unhex('1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0'),
    nonce: unhex('000000000102030405060708'),
    aad: unhex('f33388860000000000004e91'),
    text,
  };
  const key = wasmAead.importKey(each.key);
  const sealed = seal(key, each);
  t.equal(text.length, 265);
  t.equal(hex(sealed.subarray(0, 16)), '64a0861575861af460f062c79be643bd');
  t.equal(hex(sealed.subarray(text.length)), 'eead9d67890cbb22392336fea1851f38');
  t.same(open(key, each, sealed), text);
});

t.test('claim 7: every length comes out as from node:crypto and noble', async (t) => {
  const all = dose(300, 20);
  let compared = 0;
  for (let length = 0; length <= LENGTH_MAX; length += length < all ? 1 : 37) {
    const each = sample(length, length % (AAD_MAX + 1), length);
    const wrong = difference(each, nodeAead) ?? difference(each, nobleAead);
    if (wrong !== undefined) t.fail(`${length} bytes: ${wrong}`);
    compared++;
  }
  for (let aadLength = 0; aadLength <= 512; aadLength++) {
    const wrong = difference(sample(aadLength, aadLength, 77), nodeAead);
    if (wrong !== undefined) t.fail(`${aadLength} bytes of additional data: ${wrong}`);
  }
  const long = sample(1, wasmAead.aadBytesMax, wasmAead.textBytesMax);
  t.equal(difference(long, nodeAead), undefined, 'as much of both as there is room for');
  for (const length of [8_191, 8_192, 16_000, wasmAead.textBytesMax]) {
    t.equal(difference(sample(length, 20, length), nodeAead), undefined, `${length}`);
  }
  t.ok(compared > 300, `${compared} lengths`);
});

t.test('claim 7: seals as node and noble do; refuses every bit turned over', async (t) => {
  let refused = 0;
  const check = (seed: number, aadLength: number, length: number, at: number): void => {
    const each = sample(seed, aadLength, length);
    const wrong = difference(each, seed % 8 === 0 ? nobleAead : nodeAead);
    if (wrong !== undefined) throw new Error(wrong);
    const key = wasmAead.importKey(each.key);
    const sealed = seal(key, each);
    const parts = { aad: each.aad.slice(), nonce: each.nonce.slice(), sealed };
    // One bit of everything that the tag stands for.
    const places = [parts.aad, parts.nonce, parts.sealed];
    let place = at % (places.reduce((sum, part) => sum + part.length, 0) * 8);
    for (const part of places) {
      if (place >= 0 && place < part.length * 8) part[place >> 3] ^= 1 << (place & 7);
      place -= part.length * 8;
    }
    if (open(key, { ...each, ...parts }, parts.sealed) !== undefined) throw new Error('opened');
    refused++;
  };
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat({ max: AAD_MAX }),
      fc.oneof(fc.nat({ max: 600 }), fc.nat({ max: LENGTH_MAX })),
      fc.nat(),
      check,
    ),
    { numRuns: dose(2_000, 500) },
  );
  t.ok(refused >= dose(2_000, 500), `${refused} forgeries refused`);
});

t.test('claim 7: of one message, each bit turned over is refused', async (t) => {
  for (const length of [0, 31, 200]) {
    const each = sample(length, 13, length);
    const key = wasmAead.importKey(each.key);
    const sealed = seal(key, each);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      sealed[bit >> 3] ^= 1 << (bit & 7);
      if (open(key, each, sealed) !== undefined) t.fail(`bit ${bit} of ${length}`);
      sealed[bit >> 3] ^= 1 << (bit & 7);
    }
    t.same(open(key, each, sealed), each.text, 'the genuine one opens');
  }
});

t.test('claim 7: what is cut short or made longer is refused', async (t) => {
  const each = sample(1, 13, 300);
  const key = wasmAead.importKey(each.key);
  const sealed = seal(key, each);
  for (let length = 0; length < sealed.length; length++) {
    if (open(key, each, sealed.subarray(0, length)) !== undefined) t.fail(`${length} bytes`);
  }
  t.equal(open(key, each, Uint8Array.from([...sealed, 0])), undefined);
  t.equal(open(key, { ...each, aad: Uint8Array.from([...each.aad, 0]) }, sealed), undefined);
  t.equal(open(key, { ...each, aad: each.aad.subarray(1) }, sealed), undefined);
  t.same(open(key, each, sealed), each.text);
});

t.test('claim 7: keys share the memory of the kernel and nothing else', async (t) => {
  const samples = Array.from({ length: 500 }, (_, i) => sample(i, i % 40, (i * 37) % 1_500));
  const keys = samples.map((each) => wasmAead.importKey(each.key));
  // Twice, so that each key has had all the others between its messages.
  for (let turn = 0; turn < 2; turn++) {
    for (const [i, each] of samples.entries()) {
      const sealed = seal(keys[i], each);
      if (!isSame(sealed, seal(nodeAead.importKey(each.key), each))) t.fail(`key ${i} seals`);
      const stranger = keys[(i + 1) % keys.length];
      if (open(stranger, each, sealed) !== undefined) t.fail(`key ${i + 1} opens`);
      if (!isSame(open(keys[i], each, sealed), each.text)) t.fail(`key ${i} does not open`);
    }
  }
  t.equal(new Set(keys).size, 500);
});

t.test('claim 7: Wycheproof ChaCha20-Poly1305 by the kernel alone', { skip }, async (t) => {
  const set = readVectors<WycheproofSet>('wycheproof_chacha20_poly1305_test.json');
  let [opened, refused] = [0, 0];
  for (const group of set.testGroups.filter((each) => each.ivSize === 96)) {
    for (const test of group.tests) {
      const each = {
        key: unhex(test.key),
        nonce: unhex(test.iv),
        aad: unhex(test.aad),
        text: unhex(test.msg),
      };
      const key = wasmAead.importKey(each.key);
      const sealed = unhex(test.ct + test.tag);
      const plaintext = open(key, each, sealed);
      const isGood = test.result === 'valid';
      if (isGood !== isSame(plaintext, each.text)) t.fail(`${test.tcId} ${test.comment}`);
      if (isGood !== isSame(seal(key, each), sealed)) t.fail(`${test.tcId} ${test.comment}: seal`);
      if (isGood) opened++;
      else refused++;
    }
  }
  t.ok(opened > 200 && refused > 50, `${opened} opened, ${refused} refused`);
});

/** What is read here of Wycheproof's set. */
interface WycheproofSet {
  readonly testGroups: readonly {
    readonly ivSize: number;
    readonly tests: readonly Readonly<
      Record<'key' | 'iv' | 'aad' | 'msg' | 'ct' | 'tag' | 'result' | 'comment', string> & {
        tcId: number;
      }
    >[];
  }[];
}
