// Where MQTT packets begin and how long they say they are (MQTT 3.1.1 §2.2), read off a byte stream
// before anything is kept of it: Aedes would hold 128 MiB of a packet that is only announced
// (design §4, Guard). Looks at fixed headers only; what stands in a packet is Aedes' to judge.

/** What the stream showed: all well, a packet longer than allowed, or a length that is none. */
export type LengthVerdict = 'ok' | 'too-long' | 'malformed';

/** The remaining length has at most four bytes of seven bits each (§2.2.3). */
const LENGTH_BYTES_MAX = 4;
const LENGTH_BITS = 7;
const CONTINUES = 0x80;

/** A scanner of one direction of one connection, fed chunk by chunk. */
export class PacketLengths {
  readonly #packetBytesMax: number;
  /** Bytes of the current packet's body that are still to come. */
  #bodyLeft = 0;
  /** Bytes of the current fixed header so far, its first byte included; 0 between packets. */
  #headerBytes = 0;
  #length = 0;
  #verdict: LengthVerdict = 'ok';
  #packets = 0;

  /** `packetBytesMax`: most bytes of one packet, fixed header included. */
  constructor(packetBytesMax: number) {
    this.#packetBytesMax = packetBytesMax;
  }

  /** Packets that have begun. */
  get packets(): number {
    return this.#packets;
  }

  /** Reads on; the first verdict that is not `ok` stays. `chunk`: borrowed, any length. */
  feed(chunk: Uint8Array): LengthVerdict {
    let at = 0;
    while (at < chunk.length && this.#verdict === 'ok') {
      if (this.#bodyLeft > 0) {
        const skipped = Math.min(this.#bodyLeft, chunk.length - at);
        this.#bodyLeft -= skipped;
        at += skipped;
        continue;
      }
      this.#header(chunk[at]);
      at += 1;
    }
    return this.#verdict;
  }

  #header(byte: number): void {
    this.#headerBytes += 1;
    if (this.#headerBytes === 1) {
      this.#packets += 1;
      return;
    }
    const lengthBytes = this.#headerBytes - 1;
    this.#length |= (byte & ~CONTINUES) << (LENGTH_BITS * (lengthBytes - 1));
    if ((byte & CONTINUES) !== 0) {
      if (lengthBytes === LENGTH_BYTES_MAX) this.#verdict = 'malformed';
      return;
    }
    if (this.#headerBytes + this.#length > this.#packetBytesMax) this.#verdict = 'too-long';
    this.#bodyLeft = this.#length;
    this.#headerBytes = 0;
    this.#length = 0;
  }
}
