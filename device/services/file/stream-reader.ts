// Reads a file's stream piece by piece: frames of CBOR, then content. Leaving it does not destroy
// the stream, whose other direction may have something to say.

import type { Duplex } from 'node:stream';
import { decodeCbor } from '../../../protocol/control/cbor.ts';
import type { Type } from '../../../protocol/control/schema.ts';
import { FILE_LIMITS } from './limits.ts';

const LENGTH_BYTES = 2;
const NOTHING = Buffer.alloc(0);

/** The reading direction of one stream. */
export class StreamReader {
  readonly #chunks: AsyncIterator<Buffer, undefined>;
  #rest: Buffer = NOTHING;

  constructor(stream: Duplex) {
    this.#chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
  }

  /** 1 to `max` bytes, as they come; undefined at the end. Throws what the stream failed of. */
  async take(max: number): Promise<Buffer | undefined> {
    let piece = this.#rest;
    while (piece.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      piece = next.value;
    }
    // Content comes in whole chunks but for the last: no views are made of them.
    this.#rest = piece.length > max ? piece.subarray(max) : NOTHING;
    return piece.length > max ? piece.subarray(0, max) : piece;
  }

  /** So many bytes, or fewer at the end. */
  async exactly(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let left = length;
    while (left > 0) {
      const piece = await this.take(left);
      if (piece === undefined) break;
      pieces.push(piece);
      left -= piece.length;
    }
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
  }

  /** The next frame; undefined at the end, and for what is no such frame. */
  async frame<T>(type: Type<T>): Promise<T | undefined> {
    const head = await this.exactly(LENGTH_BYTES);
    if (head.length < LENGTH_BYTES) return undefined;
    const length = head.readUInt16BE();
    if (length > FILE_LIMITS.frameBytesMax) return undefined;
    return decodeCbor(type, await this.exactly(length));
  }
}
