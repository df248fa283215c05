// TURN over TCP: a stream of bytes cut into STUN messages and ChannelData padded to 4 bytes (RFC
// 8656 §3.1, §12.5; RFC 8489 §6.2.2), for networks that block UDP. What is cut goes to a TurnClient
// as a datagram would; what the client sends is padded here.

import { STUN_LIMITS } from './limits.ts';
import { STUN_HEADER_BYTES, padded } from './message.ts';
import { CHANNEL_HEADER_BYTES, isChannelData } from './turn-frames.ts';

/** Bytes that tell how long a frame is: type or channel, and length. */
const PREFIX_BYTES = 4;

/** Cuts one stream; keeps one frame that is not whole yet, at most. */
export class TcpFrames {
  readonly #held = new Uint8Array(STUN_LIMITS.frameBytesMax);
  #length = 0;
  /** Bytes of the frame that is being filled; its prefix, while nothing else is known. */
  #size = PREFIX_BYTES;
  #isBroken = false;

  /** Whether something came that is no TURN: nothing after it can be cut. Close the connection. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** The frames that became whole, in their order, each in an array of its own. */
  push(bytes: Uint8Array): readonly Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let from = 0; from < bytes.length && !this.#isBroken;) {
      const part = bytes.subarray(from, from + this.#size - this.#length);
      this.#held.set(part, this.#length);
      this.#length += part.length;
      from += part.length;
      if (this.#length === PREFIX_BYTES) this.#readPrefix();
      if (this.#length < this.#size || this.#isBroken) continue;
      frames.push(this.#held.slice(0, this.#length));
      this.#length = 0;
      this.#size = PREFIX_BYTES;
    }
    return frames;
  }

  #readPrefix(): void {
    const length = (this.#held[2] << 8) | this.#held[3];
    if (isChannelData(this.#held)) this.#size = CHANNEL_HEADER_BYTES + padded(length);
    else if (this.#held[0] <= 1 && length % 4 === 0) this.#size = STUN_HEADER_BYTES + length;
    else this.#isBroken = true;
  }
}

/**
 * Pads the first `size` bytes of `buffer`, a message that a TurnClient wrote, for a stream; the new
 * size, or 0 if there is no room for it.
 */
export function padForStream(buffer: Uint8Array, size: number): number {
  const total = padded(size);
  if (total > buffer.length) return 0;
  buffer.fill(0, size, total);
  return total;
}
