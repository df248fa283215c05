// The AEAD of production, which chooses by size and only after a self-test; and how the kernel
// treats keys and buffers that are not its own.

import t from 'tap';
import type { Aead } from '../crypto.ts';
import { CROSSOVER_BYTES, aeadBySize, isRight } from '../io/aead-by-size.ts';
import { nodeAead } from '../io/node-crypto.ts';
import { nobleAead } from '../noble-aead.ts';
import { isSame, open, sample, seal, wasmAead } from './aead-samples.ts';

t.test('claim 7: a key is a copy, of a Buffer too; the nonce is only read', async (t) => {
  const each = sample(3, 5, 100);
  const bytes = Buffer.from(each.key);
  for (const aead of [wasmAead, nodeAead, aeadBySize(nodeAead, { kernelFrom: 0 })]) {
    const key = aead.importKey(bytes);
    const sealed = seal(key, each);
    bytes.fill(0);
    t.same(seal(key, each), sealed, aead.name);
    bytes.set(each.key);
    const nonce = each.nonce.slice();
    seal(key, { ...each, nonce });
    t.same(nonce, each.nonce);
  }
});

t.test('claim 7: in place inside a larger Buffer, additional data before it', async (t) => {
  const { key: bytes, nonce } = sample(4, 0, 0);
  const key = wasmAead.importKey(bytes);
  const whole = Buffer.from(Array.from({ length: 400 }, (_, i) => i & 0xff));
  const packet = whole.subarray(100, 300);
  key.seal(nonce, packet.subarray(0, 11), packet, 11, 173);
  t.notSame(packet.subarray(11, 184), whole.subarray(0, 173));
  t.ok(key.open(nonce, packet.subarray(0, 11), packet, 11, 189));
  const wanted = Array.from({ length: 400 }, (_, i) => i & 0xff);
  t.same([...whole.subarray(0, 284)], wanted.slice(0, 284));
  t.same([...whole.subarray(300)], wanted.slice(300));
});

t.test('claim 7: misuse throws and changes nothing', async (t) => {
  const each = sample(5, 5, 32);
  const key = wasmAead.importKey(each.key);
  const buffer = new Uint8Array(64);
  const big = new Uint8Array(wasmAead.textBytesMax + 64);
  t.throws(() => wasmAead.importKey(each.key.subarray(1)), /32 bytes/);
  t.throws(() => key.seal(each.nonce, each.aad, buffer, 0, 49), /room/);
  t.throws(() => key.seal(each.nonce.subarray(1), each.aad, buffer, 0, 32), /12 bytes/);
  t.throws(() => key.seal(each.nonce, each.aad, big, 0, wasmAead.textBytesMax + 1), /fits/);
  t.throws(
    () => key.seal(each.nonce, new Uint8Array(wasmAead.aadBytesMax + 1), buffer, 0, 32),
    /fits/,
  );
  t.throws(() => key.open(each.nonce, each.aad, buffer, 40, 32), /all there/);
  t.ok(buffer.every((byte) => byte === 0));
});

t.test('claim 7: by size: short ones by the kernel, long ones by the other', async (t) => {
  const lengths: number[] = [];
  const counted: Aead = {
    name: 'counted',
    importKey(bytes) {
      const key = nodeAead.importKey(bytes);
      return {
        seal(nonce, aad, buffer, start, length) {
          lengths.push(length);
          key.seal(nonce, aad, buffer, start, length);
        },
        open(nonce, aad, buffer, start, length) {
          lengths.push(length - 16);
          return key.open(nonce, aad, buffer, start, length);
        },
      };
    },
  };
  const aead = aeadBySize(counted, { kernelFrom: 0 });
  t.equal(aead.name, 'counted', 'nothing asked of it yet');
  const first = sample(1, 0, 1);
  seal(aead.importKey(first.key), first);
  t.equal(aead.name, 'wasm+counted');
  lengths.length = 0;
  const edges = [0, 1_472, CROSSOVER_BYTES, CROSSOVER_BYTES + 1, 65_507];
  for (const length of edges) {
    const each = sample(length, 13, length);
    const key = aead.importKey(each.key);
    const sealed = seal(key, each);
    t.ok(isSame(sealed, seal(nodeAead.importKey(each.key), each)), `${length} bytes`);
    t.ok(isSame(open(key, each, sealed), each.text));
  }
  t.same(lengths, [CROSSOVER_BYTES + 1, CROSSOVER_BYTES + 1, 65_507, 65_507]);
  lengths.length = 0;
  const long = sample(9, wasmAead.aadBytesMax + 1, 100);
  t.same(open(aead.importKey(long.key), long, seal(aead.importKey(long.key), long)), long.text);
  t.same(lengths, [100, 100], 'long additional data goes to the other');
});

t.test('claim 7: the kernel is made for the key that has done many messages', async (t) => {
  const aead = aeadBySize(nodeAead, { kernelFrom: 3 });
  const each = sample(7, 13, 100);
  const wanted = seal(nodeAead.importKey(each.key), each);
  for (let keys = 0; keys < 5; keys++) {
    const key = aead.importKey(each.key);
    const sealed = seal(key, each);
    t.ok(isSame(sealed, wanted));
    t.ok(isSame(open(key, each, sealed), each.text));
    t.equal(aead.name, 'node', 'two messages of each key');
  }
  const key = aead.importKey(each.key);
  const early = aead.importKey(each.key);
  for (let messages = 0; messages < 6; messages++) {
    t.equal(aead.name, messages <= 3 ? 'node' : 'wasm+node');
    t.ok(isSame(seal(key, each), wanted));
  }
  t.ok(isSame(open(early, each, wanted), each.text), 'a key that was there before');
  t.ok(isSame(open(aead.importKey(each.key), each, wanted), each.text), 'and one that came after');
  const other = aeadBySize(nodeAead, { kernelFrom: 3 });
  t.equal(other.name, 'node', 'each decides for itself');
});

t.test('claim 7: an AEAD that differs in one bit does not pass the self-test', async (t) => {
  /** node:crypto with a fault in messages of `length` bytes. */
  const faulty = (length: number, fault: 'seal' | 'open'): Aead => ({
    name: 'faulty',
    importKey(bytes) {
      const key = nodeAead.importKey(bytes);
      return {
        seal(nonce, aad, buffer, start, count) {
          key.seal(nonce, aad, buffer, start, count);
          if (fault === 'seal' && count === length) buffer[start + count] ^= 0x80;
        },
        open(nonce, aad, buffer, start, count) {
          const isOpen = key.open(nonce, aad, buffer, start, count);
          return fault === 'open' && count === length + 16 ? !isOpen : isOpen;
        },
      };
    },
  });
  t.ok(isRight(wasmAead, nodeAead));
  t.ok(isRight(nobleAead, nodeAead));
  for (const length of [0, 63, 114, 193, 449, 1_473]) {
    t.notOk(isRight(faulty(length, 'seal'), nodeAead), `${length}`);
  }
  t.notOk(isRight(faulty(960, 'open'), nodeAead));
  const refused = aeadBySize(faulty(63, 'seal'), { kernelFrom: 0 });
  const each = sample(3, 13, 64);
  for (let messages = 0; messages < 3; messages++) seal(refused.importKey(each.key), each);
  t.equal(refused.name, 'faulty', 'and then the other does all');
});
