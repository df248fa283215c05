// Poly1305 at its edges: the code of protocol/aead/poly1305.ts in a module of its own, where r, s
// and the message can be chosen, and the whole kernel with messages made so that its accumulator
// passes through the values where carries and the last reduction are decided. The judge is
// Poly1305 as the RFC writes it down, in BigInt.

import { chacha20 } from '@noble/ciphers/chacha.js';
import t from 'tap';
import { FunctionWriter, encodeModule, i32, loopWhile } from '../aead/assembler.ts';
import { Poly1305 } from '../aead/poly1305.ts';
import { nobleAead } from '../noble-aead.ts';
import { type Rng, randomBelow, randomBytes, seededRng } from '../random.ts';
import { isSame, open, seal, wasmAead } from './aead-samples.ts';
import { dose } from './dose.ts';
import { hex, unhex } from './vectors.ts';

const P = (1n << 130n) - 5n;
const CLAMP = 0x0ffffffc0ffffffc0ffffffc0fffffffn;
const TOP = 1n << 128n;
const MESSAGE = 64;
const TAG = 32;

/** Values of the accumulator at which something is decided, and their neighbours. */
const EDGES = [0n, 1n << 32n, 1n << 64n, 1n << 96n, 1n << 128n, 1n << 129n, P].flatMap((edge) =>
  Array.from({ length: 13 }, (_, i) => (edge + BigInt(i - 6) + P) % P),
);

const number = (bytes: Uint8Array): bigint => BigInt(`0x0${hex(Uint8Array.from(bytes).reverse())}`);
const block = (value: bigint): Uint8Array =>
  unhex(BigInt.asUintN(128, value).toString(16).padStart(32, '0')).reverse();
const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** RFC 8439 §2.5.1, `key`: r and s, 16 bytes each. */
function referenceTag(key: Uint8Array, message: Uint8Array): Uint8Array {
  const r = number(key.subarray(0, 16)) & CLAMP;
  let accumulator = 0n;
  for (let at = 0; at < message.length; at += 16) {
    const part = message.subarray(at, at + 16);
    accumulator = ((accumulator + number(Uint8Array.from([...part, 1]))) * r) % P;
  }
  return block(accumulator + number(key.subarray(16)));
}

/** Poly1305 of whole blocks, by the code that the kernel is made of. */
function kernelTag(key: Uint8Array, message: Uint8Array): Uint8Array {
  bytes.set(key);
  bytes.set(message, MESSAGE);
  mac(MESSAGE + message.length);
  return bytes.slice(TAG, TAG + 16);
}

const { bytes, mac } = polyModule();

function polyModule(): { readonly bytes: Uint8Array; readonly mac: (end: number) => void } {
  const f = new FunctionWriter(['i32']);
  const poly = new Poly1305(f);
  const at = f.local('i32');
  f.write(
    poly.begin(i32.const(0)),
    at.set(i32.const(MESSAGE)),
    loopWhile(i32.ltU(at.get, f.parameter(0).get), [
      poly.block(at.get),
      at.set(i32.add(at.get, i32.const(16))),
    ]),
    poly.finish(i32.const(TAG), i32.const(16)),
  );
  const module = new WebAssembly.Module(encodeModule(1, { mac: f }));
  const exports = new WebAssembly.Instance(module).exports as unknown as {
    readonly memory: WebAssembly.Memory;
    readonly mac: (end: number) => void;
  };
  return { bytes: new Uint8Array(exports.memory.buffer), mac: exports.mac };
}

t.test('claim 7: RFC 8439 §2.5.2 and §2.6.2, the judge and the key of a message', async (t) => {
  const key = unhex('85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b');
  const message = new TextEncoder().encode('Cryptographic Forum Research Group');
  t.equal(hex(referenceTag(key, message)), 'a8061dc1305136c6c22b8baf0c0127a9');
  t.same(kernelTag(key, message.subarray(0, 32)), referenceTag(key, message.subarray(0, 32)));
  const each = {
    key: Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i),
    nonce: unhex('000000000001020304050607'),
    aad: new Uint8Array(0),
    text: new Uint8Array(48),
  };
  const sealed = seal(wasmAead.importKey(each.key), each);
  const oneTime = unhex('8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646');
  const lengths = block(48n << 64n);
  const wanted = referenceTag(oneTime, join([sealed.subarray(0, 48), lengths]));
  t.same(sealed.subarray(48), wanted);
});

t.test('claim 7: RFC 8439 A.3, vectors 1 and 7 to 11: whole blocks at the edges', async (t) => {
  const [zero, ones] = ['00'.repeat(16), 'ff'.repeat(16)];
  const digits = (start: string): string => start.padEnd(32, '0');
  const vectors: readonly (readonly [string, string, string, string])[] = [
    [zero, zero, zero.repeat(4), zero],
    [digits('02'), zero, ones, digits('03')],
    [digits('02'), ones, digits('02'), digits('03')],
    [digits('01'), zero, ones + 'f0'.padEnd(32, 'f') + digits('11'), digits('05')],
    [digits('01'), zero, `${ones}fb${'fe'.repeat(15)}${'01'.repeat(16)}`, zero],
    [digits('02'), zero, 'fd'.padEnd(32, 'f'), 'fa'.padEnd(32, 'f')],
    [
      '01000000000000000400000000000000',
      zero,
      'e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000' +
        '0000000000000000000000000000000001000000000000000000000000000000',
      '14000000000000005500000000000000',
    ],
  ];
  for (const [r, s, message, tag] of vectors) {
    const key = unhex(r + s);
    t.equal(hex(referenceTag(key, unhex(message))), tag);
    t.equal(hex(kernelTag(key, unhex(message))), tag);
  }
});

t.test('claim 7: extreme limbs of r, extreme blocks', async (t) => {
  const limbs = ['00000000', '01000000', 'fcffff0f', 'ffffff0f', 'ffffffff', '04000000'];
  const blocks = ['00', 'ff', 'fe', '01', '80', '7f'].map((byte) => unhex(byte.repeat(16)));
  let compared = 0;
  const rng = seededRng(1);
  for (let i = 0; i < limbs.length ** 4; i++) {
    const r = [0, 1, 2, 3].map((at) => limbs[Math.floor(i / limbs.length ** at) % limbs.length]);
    const s = blocks[i % blocks.length];
    const key = join([unhex(r.join('')), s]);
    // One block over and over, and a mixture.
    const count = 1 + randomBelow(rng, 40);
    const same = blocks[randomBelow(rng, blocks.length)];
    const mixed = Array.from({ length: count }, () => blocks[randomBelow(rng, blocks.length)]);
    for (const message of [join(mixed.map(() => same)), join(mixed)]) {
      if (!isSame(kernelTag(key, message), referenceTag(key, message))) t.fail(`${hex(key)} ${i}`);
      compared++;
    }
  }
  t.equal(compared, 2 * limbs.length ** 4);
});

t.test('claim 7: accumulators at every edge, between blocks and at the end', async (t) => {
  const rng = seededRng(2);
  let reached = 0;
  for (let i = 0; i < dose(3_000); i++) {
    const key = randomBytes(rng, 32);
    const r = number(key.subarray(0, 16)) & CLAMP;
    const message: Uint8Array[] = [];
    const back = inverse(r);
    let accumulator = 0n;
    for (let at = 0; at < 6; at++) {
      const edge = EDGES[randomBelow(rng, EDGES.length)];
      // Every other time the product is to be at the edge, else the sum before it.
      const sum = at % 2 === 0 ? (edge * back) % P : edge;
      const wanted = (sum - accumulator - TOP + 3n * P) % P;
      if (wanted < TOP) reached++;
      message.push(wanted < TOP ? block(wanted) : randomBytes(rng, 16));
      accumulator = ((accumulator + number(message[at]) + TOP) * r) % P;
    }
    const whole = join(message);
    if (!isSame(kernelTag(key, whole), referenceTag(key, whole))) {
      t.fail(`${hex(key)} ${hex(whole)}`);
    }
  }
  t.ok(reached > dose(3_000), `${reached} edges reached`);
});

t.test('claim 7: the same in the kernel, where ChaCha20 runs beside it', async (t) => {
  let ended = 0;
  for (let i = 0; i < dose(300); i++) {
    const rng = seededRng(1_000 + i);
    const each = { key: randomBytes(rng, 32), nonce: randomBytes(rng, 12), aad: new Uint8Array(0) };
    const oneTime = chacha20(each.key, each.nonce, new Uint8Array(32));
    const blocks = 1 + randomBelow(rng, 100);
    const { ciphertext, isAtEdge } = steered(rng, number(oneTime.subarray(0, 16)) & CLAMP, blocks);
    if (isAtEdge) ended++;
    const lengths = block(BigInt(ciphertext.length) << 64n);
    const sealed = join([ciphertext, referenceTag(oneTime, join([ciphertext, lengths]))]);
    const text = open(wasmAead.importKey(each.key), { ...each, text: ciphertext }, sealed);
    const wanted = open(nobleAead.importKey(each.key), { ...each, text: ciphertext }, sealed);
    if (text === undefined || !isSame(wanted, text)) t.fail(`${i}: ${hex(each.key)}`);
    else if (!isSame(seal(wasmAead.importKey(each.key), { ...each, text }), sealed)) {
      t.fail(`${i}: seals otherwise`);
    }
  }
  t.ok(ended > dose(100), `${ended} ended at an edge`);
});

/**
 * Ciphertext of `blocks` blocks whose sums are at edges where a block can bring that about, the
 * last one so that after the lengths of RFC 8439 §2.8 the accumulator ends at one.
 */
function steered(
  rng: Rng,
  r: bigint,
  blocks: number,
): { readonly ciphertext: Uint8Array; readonly isAtEdge: boolean } {
  const message: Uint8Array[] = [];
  let accumulator = 0n;
  const add = (next: Uint8Array): void => {
    message.push(next);
    accumulator = ((accumulator + number(next) + TOP) * r) % P;
  };
  while (message.length < blocks - 1) {
    const wanted = (EDGES[randomBelow(rng, EDGES.length)] - accumulator - TOP + 3n * P) % P;
    add(wanted < TOP ? block(wanted) : randomBytes(rng, 16));
  }
  const back = inverse(r);
  const lengths = BigInt(16 * blocks) << 64n;
  const lasts = EDGES.map((edge) => {
    const before = (edge * back - lengths - TOP + 2n * P) % P;
    return (before * back - accumulator - TOP + 3n * P) % P;
  }).filter((last) => last < TOP);
  const isAtEdge = lasts.length > 0;
  add(isAtEdge ? block(lasts[randomBelow(rng, lasts.length)]) : randomBytes(rng, 16));
  return { ciphertext: join(message), isAtEdge };
}

/** Modulo p, by Fermat. */
function inverse(value: bigint): bigint {
  let [result, base] = [1n, value];
  for (let exponent = P - 2n; exponent > 0n; exponent >>= 1n) {
    if ((exponent & 1n) === 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}
