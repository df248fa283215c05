// Memory that what was read is handed out in: one block, piece after piece, so that a read costs
// the bytes it delivers and no block of its own. A piece is its receiver's for good; a block is
// freed when all its pieces are.

/** Bytes of a block: chosen by us; a receiver that keeps one byte keeps this much. */
const BLOCK_BYTES = 64 * 1024;
/** Below this the rest of a block is left unused: at most a sixteenth. */
const REST_BYTES_MIN = 4 * 1024;

const NOTHING = Buffer.alloc(0);

/** Read memory of the streams of one session. */
export class ReadSlab {
  #room = NOTHING;

  /** Where to read into: at least 4 KiB, at most 64 KiB; what it holds is undefined. */
  get room(): Buffer {
    if (this.#room.length < REST_BYTES_MIN) this.#room = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    return this.#room;
  }

  /** The first `length` bytes of `room` belong to the caller now. */
  take(length: number): Buffer {
    const taken = this.#room.subarray(0, length);
    this.#room = this.#room.subarray(length);
    return taken;
  }
}
