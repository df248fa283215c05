// What goes onto the wire is whole numbers: windows that a model computed have fractions, and one
// of them once made a talk hang.

import fc from 'fast-check';
import t from 'tap';
import { connectionConfig } from '../data/connection-config.ts';
import type { ConnectionConfig } from '../data/connection-types.ts';
import { CONNECTION_DEFAULTS } from '../data/limits.ts';
import { Reader, Writer } from '../data/varint.ts';
import { Pair } from '../../sim/pair.ts';

t.test('RFC 9000 §16: a varint of what is no whole number is never written', async (t) => {
  const writer = new Writer();
  const bytes = new Uint8Array(16);
  for (const value of [0.5, 1200.25, 2 ** 31 + 0.5, -1, NaN, Infinity, 2 ** 53, -0.1]) {
    writer.reset(bytes, 0, bytes.length);
    t.throws(() => writer.varint(value), { code: 'assertion' }, `${value}`);
    t.equal(writer.at, 0);
  }
  const reader = new Reader();
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writer.reset(bytes, 0, bytes.length);
      writer.varint(value);
      reader.reset(bytes, 0, writer.at);
      return reader.varint() === value && !reader.failed && reader.at === writer.at;
    }),
  );
});

t.test('a configuration of fractions, or none, is refused when it is given', async (t) => {
  t.same(connectionConfig(), CONNECTION_DEFAULTS);
  const wrong: readonly Partial<Record<keyof ConnectionConfig, unknown>>[] = [
    { datagramBytes: 1200.5 },
    { datagramBytes: 1199 },
    { datagramBytesProbes: [1452.5] },
    { windowBytes: 1e6 / 3 },
    { windowBytes: NaN },
    { windowBytesMax: Infinity },
    { streamWindowBytes: 0 },
    { sendBufferBytes: undefined },
    { sendBufferBytesMax: -1 },
    { idleTimeoutMs: 0.5 },
  ];
  for (const config of wrong) {
    const [name] = Object.keys(config);
    const given = config as Partial<ConnectionConfig>;
    t.throws(() => connectionConfig(given), { name: 'UsageError' }, `${name}`);
    t.throws(() => new Pair({ config: given }), { name: 'UsageError' });
  }
});
