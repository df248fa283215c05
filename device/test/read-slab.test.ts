// The memory that reads are handed out in: pieces are their receivers' for good, and blocks are few
// for what they deliver.

import fc from 'fast-check';
import t from 'tap';
import { ReadSlab } from '../shell/read-slab.ts';

const BLOCK_BYTES = 64 * 1024;

t.test('S1005: pieces never overlap, and a block serves as many as fit', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 60 }), (lengths) => {
      const slab = new ReadSlab();
      const pieces = lengths.map((wanted, index) => {
        const { room } = slab;
        const length = Math.min(wanted, room.length);
        room.fill(index, 0, length);
        return slab.take(length);
      });
      t.ok(pieces.every((piece, index) => piece.every((byte) => byte === index)));
      const blocks = new Set(pieces.map(({ buffer }) => buffer)).size;
      const delivered = pieces.reduce((sum, { length }) => sum + length, 0);
      // At least fifteen sixteenths of every block but the last are used.
      t.ok(blocks <= 1 + delivered / ((BLOCK_BYTES * 15) / 16), `${blocks} for ${delivered}`);
    }),
    { numRuns: 60 },
  );
});
