// ChaCha20-Poly1305 by whichever is faster for a message's length (ADR 0012): our WebAssembly
// kernel for datagrams, node:crypto for what is longer, and for the first messages of a process.
// The kernel is used only once it has shown, in this process, that it gives the RFC's bytes and
// node:crypto's; else node:crypto does all.

import { asciiBytes, sameBytes } from '../bytes.ts';
import { type Aead, type AeadKey, KEY_BYTES, NONCE_BYTES, TAG_BYTES } from '../crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import { type BoundedAead, instantiateWasmAead } from './wasm-aead.ts';

/**
 * Bytes of plaintext up to which the kernel is used. Fixed, not timed at start: a probe of a few
 * milliseconds in a process that is still compiling says little, and being off costs little, since
 * both take much the same time over a wide range around it (bench/aead.ts shows where).
 */
export const CROSSOVER_BYTES = 8_192;

/** Lengths of the self-test: both widths of a batch, and what happens at their edges. */
const TEST_LENGTHS = [0, 1, 63, 192, 193, 448, 449, 960, 1_200, 1_473] as const;
const TEST_AAD_BYTES = 13;

/**
 * The kernel is made for the first key that has sealed or opened so many messages. Talks soon have;
 * a channel to the manager takes days, and a terminal that only waits goes without the kernel's
 * memory, and without its 20 ms at start.
 */
const KERNEL_FROM_MESSAGES = 64;

/**
 * [claim 7]: the kernel for short messages and `other` for long ones, named `wasm+<other>`; `other`
 * itself if the kernel cannot run here or does not agree with it. Until `kernelFrom` messages of
 * one key are done nobody knows, and `other` does all; then it takes some 10 ms, once.
 */
export function aeadBySize(
  other: Aead,
  { kernelFrom = KERNEL_FROM_MESSAGES }: { readonly kernelFrom?: number } = {},
): Aead {
  const choice = new KernelChoice(other, kernelFrom);
  return {
    get name() {
      const { kernel } = choice;
      return kernel === undefined ? other.name : `${kernel.name}+${other.name}`;
    },
    importKey: (bytes) => new KeyBySize(choice, bytes),
  };
}

/** Whether this process uses the kernel, decided when it is first worth it. */
class KernelChoice {
  readonly other: Aead;
  /** Messages of one key, and counted no further. */
  readonly kernelFrom: number;
  kernel: BoundedAead | undefined;
  #isMade = false;

  constructor(other: Aead, kernelFrom: number) {
    this.other = other;
    this.kernelFrom = kernelFrom;
  }

  /** Makes the kernel and tries it, the first time; undefined if it is not to be used. */
  make(): BoundedAead | undefined {
    if (!this.#isMade) {
      this.#isMade = true;
      const kernel = instantiateWasmAead();
      if (kernel !== undefined && isRight(kernel, this.other)) this.kernel = kernel;
    }
    return this.kernel;
  }
}

class KeyBySize implements AeadKey {
  readonly #choice: KernelChoice;
  readonly #bytes: Uint8Array;
  #messages = 0;
  /** Undefined until the kernel is there, and where it never will be. */
  #short: AeadKey | undefined;
  #aadBytesMax = 0;
  /** Imported when first needed. */
  #long: AeadKey | undefined;

  constructor(choice: KernelChoice, bytes: Uint8Array) {
    this.#choice = choice;
    this.#bytes = new Uint8Array(bytes);
    if (choice.kernel !== undefined) this.#useKernel(choice.kernel);
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): void {
    this.#keyFor(aad.length, length).seal(nonce, aad, buffer, start, length);
  }

  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): boolean {
    return this.#keyFor(aad.length, length - TAG_BYTES).open(nonce, aad, buffer, start, length);
  }

  #keyFor(aadLength: number, textLength: number): AeadKey {
    if (this.#short === undefined) this.#countMessage();
    if (
      this.#short !== undefined &&
      textLength <= CROSSOVER_BYTES &&
      aadLength <= this.#aadBytesMax
    ) {
      return this.#short;
    }
    return (this.#long ??= this.#choice.other.importKey(this.#bytes));
  }

  #countMessage(): void {
    if (this.#messages > this.#choice.kernelFrom) return;
    this.#messages += 1;
    if (this.#messages <= this.#choice.kernelFrom) return;
    const kernel = this.#choice.make();
    if (kernel !== undefined) this.#useKernel(kernel);
  }

  #useKernel(kernel: BoundedAead): void {
    this.#short = kernel.importKey(this.#bytes);
    this.#aadBytesMax = kernel.aadBytesMax;
  }
}

/**
 * Whether an Aead gives the bytes of RFC 8439 §2.8.2, those of another one at some lengths, opens
 * them again and refuses them with a bit turned over. The same inputs each time: it is the machine
 * and the compiler of WebAssembly that are tried here, and the tests try the rest.
 */
export function isRight(aead: Aead, other: Aead): boolean {
  if (!knowsTheRfc(aead)) return false;
  const rng = seededRng(8_439);
  for (const length of TEST_LENGTHS) {
    const bytes = randomBytes(rng, KEY_BYTES);
    const [key, reference] = [aead.importKey(bytes), other.importKey(bytes)];
    const nonce = randomBytes(rng, NONCE_BYTES);
    const aad = randomBytes(rng, TEST_AAD_BYTES);
    const message = randomBytes(rng, length + TAG_BYTES);
    const sealed = message.slice();
    const wanted = message.slice();
    key.seal(nonce, aad, sealed, 0, length);
    reference.seal(nonce, aad, wanted, 0, length);
    if (!sameBytes(sealed, wanted)) return false;
    const forged = sealed.slice();
    forged[length] ^= 1;
    if (key.open(nonce, aad, forged, 0, forged.length)) return false;
    if (!key.open(nonce, aad, sealed, 0, sealed.length)) return false;
    if (!sameBytes(sealed.subarray(0, length), message.subarray(0, length))) return false;
  }
  return true;
}

function knowsTheRfc(aead: Aead): boolean {
  const text = asciiBytes(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, " +
      'sunscreen would be it.',
  );
  const key = Uint8Array.from({ length: KEY_BYTES }, (_, i) => 0x80 + i);
  const nonce = Uint8Array.of(7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47);
  const aad = Uint8Array.of(0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7);
  const sealed = new Uint8Array(text.length + TAG_BYTES);
  sealed.set(text);
  aead.importKey(key).seal(nonce, aad, sealed, 0, text.length);
  const tag = [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a];
  tag.push(0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91);
  return sameBytes(sealed.subarray(text.length), Uint8Array.from(tag));
}
