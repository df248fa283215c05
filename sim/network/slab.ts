// Copies of datagrams without an allocation each: they are cut from slabs, as Node's own sockets
// cut theirs, so a core that took the whole `.buffer` for its datagram would be found here, too.

/** What is cut from one slab; whoever keeps a datagram keeps its slab. */
const SLAB_BYTES = 65_536;
/** Longer ones get memory of their own. */
const CUT_BYTES_MAX = 2_048;

/** Where copies are taken from. */
export class Slab {
  #slab = new ArrayBuffer(0);
  #used = 0;

  /** A copy that nobody else writes to. */
  copy(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (length > CUT_BYTES_MAX) return bytes.slice();
    if (this.#used + length > this.#slab.byteLength) {
      this.#slab = new ArrayBuffer(SLAB_BYTES);
      this.#used = 0;
    }
    const copy = new Uint8Array(this.#slab, this.#used, length);
    this.#used += length;
    copy.set(bytes);
    return copy;
  }
}
