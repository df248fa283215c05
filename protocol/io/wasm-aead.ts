// The SIMD kernel of protocol/aead as an Aead: one instance and one memory for all keys of the
// process, made when first asked for. A message is copied into that memory and back, which costs
// some 100 ns. A key's bytes lie in its AeadKey, are copied in for each message, and the kernel
// zeroes them before it returns: a key ends when nobody holds it any more. What the memory keeps
// until the next message is a message.

import { assert } from '../assert.ts';
import { AEAD_MEMORY, type AeadKernel, encodeAeadKernel } from '../aead/chacha20-poly1305.ts';
import { type Aead, type AeadKey, KEY_BYTES, NONCE_BYTES, TAG_BYTES } from '../crypto.ts';
import { LastView } from './last-view.ts';

const WORD_BYTES = 4;
const KEY_WORDS = KEY_BYTES / WORD_BYTES;
const PAD_BYTES = 16;

/** An Aead whose messages have a greatest length: longer ones are the caller's misuse. */
export interface BoundedAead extends Aead {
  /** Of the plaintext, and of the additional data. */
  readonly textBytesMax: number;
  readonly aadBytesMax: number;
}

/**
 * [claim 7]: instantiates the kernel; undefined where WebAssembly or its 128-bit SIMD is missing.
 * Takes a few milliseconds. Not checked against anything: io/aead-by-size.ts does that.
 */
export function instantiateWasmAead(): BoundedAead | undefined {
  const instance = instantiate();
  if (instance === undefined) return undefined;
  return {
    name: 'wasm',
    textBytesMax: AEAD_MEMORY.textBytesMax,
    aadBytesMax: AEAD_MEMORY.aadBytesMax,
    importKey: (bytes) => new WasmAeadKey(instance, bytes),
  };
}

/** The kernel and its memory, by bytes and by words. */
interface Instance {
  readonly kernel: AeadKernel;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly views: {
    readonly source: LastView;
    readonly sealed: LastView;
    readonly opened: LastView;
  };
}

function instantiate(): Instance | undefined {
  if (typeof WebAssembly === 'undefined') return undefined;
  const code = encodeAeadKernel();
  if (!WebAssembly.validate(code)) return undefined;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code));
  const { memory, run } = exports as unknown as AeadKernel & { memory: WebAssembly.Memory };
  const buffer = memory.buffer as ArrayBuffer;
  return {
    kernel: { run },
    bytes: new Uint8Array(buffer),
    words: new Uint32Array(buffer),
    views: { source: new LastView(), sealed: new LastView(), opened: new LastView() },
  };
}

class WasmAeadKey implements AeadKey {
  readonly #instance: Instance;
  readonly #key: Uint32Array;

  constructor(instance: Instance, bytes: Uint8Array) {
    assert(bytes.length === KEY_BYTES, 'an AEAD key has 32 bytes');
    this.#instance = instance;
    // A copy, by bytes: `slice` of a Buffer is none.
    this.#key = new Uint32Array(new Uint8Array(bytes).buffer);
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): void {
    assert(start + length + TAG_BYTES <= buffer.length, 'there is room for the tag');
    const { kernel, bytes, views } = this.#instance;
    const text = this.#place(nonce, aad, length);
    bytes.set(views.source.of(buffer.buffer, buffer.byteOffset + start, length), text);
    kernel.run(aad.length, length, 0);
    buffer.set(views.sealed.of(bytes.buffer, text, length + TAG_BYTES), start);
  }

  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): boolean {
    if (length < TAG_BYTES) return false;
    assert(start + length <= buffer.length, 'the sealed bytes are all there');
    const { kernel, bytes, views } = this.#instance;
    const textLength = length - TAG_BYTES;
    const text = this.#place(nonce, aad, textLength);
    bytes.set(views.source.of(buffer.buffer, buffer.byteOffset + start, length), text);
    if (kernel.run(aad.length, textLength, 1) !== 1) return false;
    // Only now, so that plaintext which is not authentic never reaches the caller's buffer.
    buffer.set(views.opened.of(bytes.buffer, AEAD_MEMORY.opened, textLength), start);
    return true;
  }

  /** Writes everything but the text into the kernel's memory, and returns where that belongs. */
  #place(nonce: Uint8Array, aad: Uint8Array, textLength: number): number {
    assert(nonce.length === NONCE_BYTES, 'a nonce has 12 bytes');
    assert(textLength >= 0 && textLength <= AEAD_MEMORY.textBytesMax, 'the text fits');
    assert(aad.length <= AEAD_MEMORY.aadBytesMax, 'the additional data fits');
    const { bytes, words } = this.#instance;
    for (let i = 0; i < KEY_WORDS; i++) words[AEAD_MEMORY.key / WORD_BYTES + i] = this.#key[i];
    for (let i = 0; i < NONCE_BYTES; i++) bytes[AEAD_MEMORY.nonce + i] = nonce[i];
    let at: number = AEAD_MEMORY.stream;
    for (let i = 0; i < aad.length; i++) bytes[at++] = aad[i];
    while (at % PAD_BYTES !== 0) bytes[at++] = 0;
    return at;
  }
}
