// Messages for the tests of AEADs, and sealing and opening under watch: in the middle of a larger
// buffer, of which nothing else may change.

import type { Aead, AeadKey } from '../crypto.ts';
import { type BoundedAead, instantiateWasmAead } from '../io/wasm-aead.ts';
import { randomBytes, seededRng } from '../random.ts';

/** Bytes around a message that nobody may touch. */
const MARGIN = 5;

/** The kernel by itself, without the choice by size. */
export const wasmAead = kernel();

function kernel(): BoundedAead {
  const aead = instantiateWasmAead();
  if (aead === undefined) throw new Error('this Node has no WebAssembly SIMD');
  return aead;
}

/** A message with everything that belongs to it. */
export interface Sample {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  readonly text: Uint8Array;
}

/** A message that the seed determines. */
export function sample(seed: number, aadLength: number, length: number): Sample {
  const rng = seededRng(seed);
  const bytes = (count: number): Uint8Array => randomBytes(rng, count);
  return { key: bytes(32), nonce: bytes(12), aad: bytes(aadLength), text: bytes(length) };
}

/** Seals in the middle of a larger buffer, and throws if anything around the message changes. */
export function seal(key: AeadKey, { nonce, aad, text }: Sample): Uint8Array {
  const buffer = new Uint8Array(text.length + 16 + 2 * MARGIN).fill(0xaa);
  buffer.set(text, MARGIN);
  key.seal(nonce, aad, buffer, MARGIN, text.length);
  assertMargins(buffer);
  return buffer.slice(MARGIN, -MARGIN);
}

/** The plaintext; undefined if refused, which must leave the buffer as it was. */
export function open(
  key: AeadKey,
  { nonce, aad }: Sample,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const buffer = new Uint8Array(sealed.length + 2 * MARGIN).fill(0xaa);
  buffer.set(sealed, MARGIN);
  const before = Buffer.from(buffer);
  const isOpen = key.open(nonce, aad, buffer, MARGIN, sealed.length);
  assertMargins(buffer);
  if (isOpen) return buffer.slice(MARGIN, MARGIN + sealed.length - 16);
  if (!before.equals(buffer)) throw new Error('a refused message was written to');
  return undefined;
}

function assertMargins(buffer: Uint8Array): void {
  const around = [...buffer.subarray(0, MARGIN), ...buffer.subarray(-MARGIN)];
  if (!around.every((byte) => byte === 0xaa)) throw new Error('wrote outside of the message');
}

/** Whether both are there and the same. */
export const isSame = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && Buffer.compare(a, b) === 0;

/** What is wrong with the kernel's bytes when `other`'s are right; undefined if nothing is. */
export function difference(each: Sample, other: Aead): string | undefined {
  const key = wasmAead.importKey(each.key);
  const sealed = seal(key, each);
  if (!isSame(sealed, seal(other.importKey(each.key), each))) return `seals unlike ${other.name}`;
  return isSame(open(key, each, sealed), each.text) ? undefined : 'does not open what it sealed';
}
