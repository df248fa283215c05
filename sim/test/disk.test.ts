// What survives a crash, on a good disk and on a bad one: what had been confirmed, and nothing that
// was still on its way.

import fc from 'fast-check';
import t from 'tap';
import { micros } from '../../protocol/time.ts';
import { Disk } from '../parties/disk.ts';

const at = micros;

t.test('what had reached the disk is there, what was on its way is not', async (t) => {
  const disk = new Disk<string>();
  disk.put(at(10), 'a', 'one', at(12));
  disk.put(at(20), 'b', 'two', at(120));
  disk.crash(at(50));
  t.strictSame([...disk.rows()], [['a', 'one']]);
  disk.crash(at(200));
  t.strictSame([...disk.rows()], [['a', 'one']], 'a crash forgets what was on its way for good');
});

t.test(
  'the newest word about a record counts, and one not written yet is taken back',
  async (t) => {
    const disk = new Disk<string>();
    disk.put(at(10), 'a', 'begun', at(110));
    disk.put(at(20), 'a', undefined, at(22));
    disk.crash(at(30));
    t.equal(disk.rows().size, 0);
    disk.put(at(40), 'a', 'one', at(42));
    disk.put(at(50), 'a', 'two', at(52));
    disk.crash(at(60));
    t.equal(disk.rows().get('a'), 'two');
  },
);

t.test('a bad disk loses what is young, and only that', async (t) => {
  const disk = new Disk<string>();
  disk.put(at(10), 'a', 'old', at(12));
  disk.put(at(900), 'a', 'young', at(902));
  disk.crash(at(1_000), 500);
  t.equal(disk.rows().get('a'), 'old');
  disk.damage('a', 'torn');
  disk.damage('b', 'torn');
  t.strictSame([...disk.rows()], [['a', 'torn']], 'only what is there can be torn');
});

t.test('on a good disk every confirmed write is there, however many there were', async (t) => {
  const write = fc.record({ key: fc.constantFrom('a', 'b', 'c'), value: fc.nat(9) });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 200 }), (writes) => {
      const disk = new Disk<number>();
      const expected = new Map<string, number>();
      writes.forEach(({ key, value }, index) => {
        disk.put(at(10 * index), key, value, at(10 * index + 2));
        expected.set(key, value);
      });
      disk.crash(at(10 * writes.length));
      for (const [key, value] of expected) if (disk.rows().get(key) !== value) return false;
      return disk.rows().size === expected.size;
    }),
  );
  t.pass('for all of them');
});
