// What every stream of a talk begins with (docs/wire.md, "Streams"): two bytes of length, then the
// service's name and the service's own parameters in CBOR. Read exactly, so that the first byte
// behind it is the service's.

import { concatBytes } from '../../protocol/bytes.ts';
import { decodeCbor, encodeCbor } from '../../protocol/control/cbor.ts';
import { bytes, field, record, text } from '../../protocol/control/schema.ts';
import type { StreamId, Talk } from '../../protocol/data/connection-types.ts';
import { LIMITS } from '../../protocol/limits.ts';

/** Bytes of a service's own parameters in a stream's opening: chosen by us, a file's name fits. */
export const PARAMETERS_BYTES_MAX = 1_024;
const HEAD_BYTES = 2;
/** CBOR of the longest service name and parameters, with their heads. */
const OPENING_BYTES_MAX = PARAMETERS_BYTES_MAX + LIMITS.serviceNameMax + 16;

/**
 * Codes of RESET_STREAM and STOP_SENDING: its user gave the stream up; nobody takes it there; the
 * port that it leads to does not answer.
 */
export const STREAM_CODE = { givenUp: 1, refused: 2, noTarget: 3 } as const;

/** What a stream begins with: a length, then this. */
export const opening = record({
  service: field(0, text(LIMITS.serviceNameMax)),
  parameters: field(1, bytes(0, PARAMETERS_BYTES_MAX)),
});

/** What the opener of a stream wants. */
interface Opening {
  readonly service: string;
  readonly parameters: Uint8Array;
}

/** The first bytes of a stream. */
export function encodeOpening(wanted: Opening): Uint8Array {
  const encoded = encodeCbor(opening, wanted);
  return concatBytes(Uint8Array.of(encoded.length >> 8, encoded.length & 0xff), encoded);
}

/** An opening that arrives, perhaps in pieces: at most 1.1 KiB are kept. */
export class OpeningReader {
  #got: Uint8Array = new Uint8Array(0);

  /**
   * Reads on; undefined while bytes are missing, `bad` for what is no opening: too long, not the
   * CBOR, or the stream ends within it.
   */
  read(talk: Talk, id: StreamId): Opening | 'bad' | undefined {
    for (;;) {
      const wanted = wholeLength(this.#got) - this.#got.length;
      if (wanted === 0) break;
      if (wholeLength(this.#got) > HEAD_BYTES + OPENING_BYTES_MAX) return 'bad';
      const more = new Uint8Array(wanted);
      const length = talk.read(id, more);
      if (length < 0) return 'bad';
      if (length === 0) return undefined;
      this.#got = concatBytes(this.#got, more.subarray(0, length));
    }
    return decodeCbor(opening, this.#got.subarray(HEAD_BYTES)) ?? 'bad';
  }
}

/** Bytes of an opening, its head included, as far as `got` tells. */
function wholeLength(got: Uint8Array): number {
  if (got.length < HEAD_BYTES) return HEAD_BYTES;
  return HEAD_BYTES + ((got[0] << 8) | got[1]);
}
