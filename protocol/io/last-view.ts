// A part of a buffer as an array of its own. Bulk goes from one buffer at one size, and a view made
// for each datagram would be a good part of all garbage, so the last one is kept.

/** Views of which the last one is given again; it keeps that buffer until there is another. */
export class LastView {
  #view: Uint8Array = new Uint8Array(0);

  /** `buffer[offset, offset + length)`; shared with whoever asks for the same. */
  of(buffer: ArrayBufferLike, offset: number, length: number): Uint8Array {
    const view = this.#view;
    if (view.buffer === buffer && view.byteOffset === offset && view.length === length) return view;
    this.#view = new Uint8Array(buffer, offset, length);
    return this.#view;
  }
}
