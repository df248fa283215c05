// Ranges against a plain set of numbers, and the pages that stream bytes lie in: the two structures
// that every byte of a talk passes through.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { PagePool, PagedBuffer } from '../data/paged-buffer.ts';
import { Ranges } from '../data/ranges.ts';

const rows = (ranges: Ranges): number[][] =>
  Array.from({ length: ranges.count }, (_, i) => [ranges.start(i), ranges.end(i)]);

const rangesOf = (...pairs: readonly (readonly [number, number])[]): Ranges => {
  const ranges = new Ranges();
  for (const [start, end] of pairs) ranges.insert(start, end);
  return ranges;
};

t.test('ranges that touch become one', async (t) => {
  t.strictSame(rows(rangesOf([0, 5], [5, 9])), [[0, 9]]);
  t.strictSame(rows(rangesOf([5, 9], [0, 5])), [[0, 9]]);
  t.strictSame(rows(rangesOf([0, 2], [4, 6], [2, 4])), [[0, 6]]);
  t.strictSame(rows(rangesOf([0, 2], [4, 6], [8, 9], [1, 8])), [[0, 9]]);
  t.strictSame(rows(rangesOf([3, 3])), []);
});

t.test('what is excepted stays out', async (t) => {
  const lost = new Ranges();
  lost.insertExcept(0, 20, rangesOf([2, 4], [8, 30]));
  t.strictSame(rows(lost), [
    [0, 2],
    [4, 8],
  ]);
});

t.test('ranges are the set that they stand for', async (t) => {
  const step = fc.tuple(
    fc.constantFrom('insert', 'insert', 'remove', 'drop'),
    fc.nat(60),
    fc.nat(12),
  );
  const result = fc.check(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const ranges = new Ranges();
      const model = new Set<number>();
      for (const [what, start, length] of steps) {
        const before = ranges.count;
        const growth = ranges.growth(start, start + length);
        if (what === 'drop') {
          const count = Math.min(before, 1 + (length % 3));
          for (let i = 0; count > 0 && i < ranges.end(count - 1); i++) model.delete(i);
          ranges.dropFirst(1 + (length % 3));
        } else if (what === 'insert') {
          ranges.insert(start, start + length);
          for (let i = start; i < start + length; i++) model.add(i);
          if (length > 0 && ranges.count !== before + growth) return false;
        } else {
          ranges.remove(start, start + length);
          for (let i = start; i < start + length; i++) model.delete(i);
        }
      }
      const isSorted = rows(ranges).every(
        ([start, end], i) => start < end && (i === 0 || ranges.end(i - 1) < start),
      );
      const isSame = Array.from({ length: 80 }, (_, i) => i).every(
        (i) => ranges.has(i) === model.has(i),
      );
      return isSorted && isSame && ranges.size === model.size;
    }),
    { numRuns: dose(2000) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('bytes come back from pages as they went in, and pages are used again', async (t) => {
  const pool = new PagePool();
  const buffer = new PagedBuffer(pool);
  const page = DATA_LIMITS.pageBytes;
  const bytes = Uint8Array.from({ length: page * 3 }, (_, i) => i * 7);
  const into = new Uint8Array(bytes.length);
  for (let offset = 100; offset < page * 20; offset += page * 2) {
    buffer.write(offset + page, bytes, page, bytes.length);
    buffer.write(offset, bytes, 0, page);
    buffer.read(offset, into, 0, bytes.length);
    t.ok(Buffer.from(into).equals(bytes));
    buffer.discard(offset + page * 2);
  }
  buffer.clear();
  const first = pool.take();
  pool.give(first);
  t.equal(pool.take(), first);
});
