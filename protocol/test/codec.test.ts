// The control codec: what is written is read back, and what is not exactly one message is refused:
// quickly, without an exception, and never as something that would be written differently.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import { encodeGrant, decodeGrant, expiry, grant } from '../grant.ts';
import { LIMITS } from '../limits.ts';
import { decodeCbor, encodeCbor, isShallow } from '../control/cbor.ts';
import { KINDS } from '../control/cddl.ts';
import { decodeMessage, encodeMessage } from '../control/codec.ts';
import { KIND_NUMBERS, type Message, listEntry } from '../control/messages.ts';
import {
  ascii,
  bool,
  bytes,
  coded,
  field,
  list,
  oneOf,
  optional,
  record,
  text,
  uint,
} from '../control/schema.ts';
import type { Field, Type } from '../control/schema.ts';
import { messagesOf, mutated, valuesOf } from './arbitraries.ts';
import { hex, readVectors, skip, unhex } from './vectors.ts';

const RUNS = { numRuns: dose(60) };
const FUZZ = { numRuns: dose(2_000, 50) };
const anyMessage = fc.oneof(...KINDS.map(messagesOf));

for (const kind of KINDS)
  t.test(`a message '${kind}' is read back as it was written`, async (t) => {
    fc.assert(
      fc.property(messagesOf(kind), (message) => {
        const encoded = encodeMessage(message);
        t.same(decodeMessage(encoded), message);
        t.equal(encoded[headLength(encoded) + 1], 1, 'the wire version stands first');
        const at = headLength(encoded) + 3;
        // 18: one byte follows.
        const number = encoded[at] === 0x18 ? encoded[at + 1] : encoded[at];
        t.equal(number, KIND_NUMBERS[kind], 'then the kind');
      }),
      RUNS,
    );
  });

t.test('a grant and an expiry are read back as they were written', async (t) => {
  for (const type of [grant, expiry] as unknown as readonly Type<unknown>[])
    fc.assert(
      fc.property(valuesOf(type), (value) => {
        const encoded = encodeCbor(type, value);
        t.same(decodeCbor(type, encoded), value);
        t.ok(encoded.length <= LIMITS.grantMessageBytesMax, 'fits a notice');
      }),
      RUNS,
    );
});

t.test('a grant of another version is refused', async (t) => {
  const [value] = fc.sample(valuesOf(grant as unknown as Type<unknown>), { numRuns: 1, seed: 1 });
  const encoded = encodeGrant(value as never);
  t.not(decodeGrant(encoded), undefined);
  encoded[2] = 0;
  t.equal(decodeGrant(encoded), undefined);
});

t.test('mutated messages are refused, or are themselves well written', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(mutated(anyMessage.map(encodeMessage)), (wire) => {
      const message = decodeMessage(wire);
      if (message === undefined) return true;
      accepted += 1;
      return hex(encodeMessage(message)) === hex(wire);
    }),
    FUZZ,
  );
  t.ok(accepted > 20, `mutations inside fields pass (${accepted}), so the reader was reached`);
});

t.test('random bytes are refused without an exception', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (wire) => decodeMessage(wire) === undefined),
    FUZZ,
  );
  t.pass('2,000 cases');
});

t.test('decoding neither keeps nor changes the bytes it was given', async (t) => {
  const message: Message = {
    kind: 'trigger',
    request: 'a'.repeat(26) as never,
    deadlineMs: 5,
    payload: Uint8Array.of(1, 2, 3),
  };
  const wire = encodeMessage(message);
  const before = hex(wire);
  const decoded = decodeMessage(wire);
  t.equal(hex(wire), before);
  wire.fill(0);
  t.same(decoded, message);
});

const COUNT: Field<number, true> = field(0, uint(1_000));
const SMALL = record({ count: COUNT, note: optional(1, text(8)) });
const REFUSED: readonly (readonly [what: string, wire: string])[] = [
  ['an unknown key', 'a200050505'],
  ['a duplicate key', 'a200050005'],
  ['keys out of order', 'a2016161' + '0005'],
  ['a text key', 'a1613005'],
  ['a missing field', 'a1016161'],
  ['an integer longer than need be', 'a1001805'],
  ['a float for an integer', 'a100f94500'],
  ['a number above its bound', 'a1001903e9'],
  ['a negative number', 'a10020'],
  ['an indefinite map', 'bf0005ff'],
  ['a tag', 'c1a10005'],
  ['null', 'a100f6'],
  ['undefined', 'a100f7'],
  ['a trailing byte', 'a1000500'],
  ['a text that is too long', 'a200050169616161616161616161'],
  ['a text that is too long in UTF-8', 'a200050169e38182e38182e38182'],
  ['a text that is not UTF-8', 'a200050162c328'],
  ['a lone surrogate', 'a200050163eda080'],
  ['a control character', 'a2000501611b'],
  ['an array for a map', '820005'],
  ['nothing at all', ''],
];
t.test('a record is refused for the least thing that is wrong with it', async (t) => {
  t.same(decodeCbor(SMALL, unhex('a20005016161')), { count: 5, note: 'a' }, 'a right one passes');
  for (const [what, wire] of REFUSED) t.equal(decodeCbor(SMALL, unhex(wire)), undefined, what);
});

t.test('nesting ends at its bound', async (t) => {
  const nested = (depth: number): Uint8Array => unhex('81'.repeat(depth) + '00');
  t.equal(isShallow(nested(LIMITS.messageDepthMax)), true);
  t.equal(isShallow(nested(LIMITS.messageDepthMax + 1)), false);
});

t.test('a message over its bound is refused before it is looked at', async (t) => {
  const type = bytes(0, LIMITS.sealedBytesMax);
  const most = encodeCbor(type, new Uint8Array(LIMITS.sealedBytesMax - 3));
  t.equal(most.length, LIMITS.sealedBytesMax);
  t.not(decodeCbor(type, most), undefined);
  t.equal(decodeCbor(type, new Uint8Array(LIMITS.sealedBytesMax + 1)), undefined);
  t.throws(() => encodeCbor(type, new Uint8Array(LIMITS.sealedBytesMax)), { code: 'assertion' });
});

t.test('writing what the other side would drop is our own bug and says so', async (t) => {
  t.throws(() => encodeCbor(uint(10), 11), { code: 'assertion' });
  t.throws(() => encodeCbor(uint(10), 1.5), { code: 'assertion' });
  t.throws(() => encodeCbor(ascii(10), 'a b'), { code: 'assertion' });
  t.throws(() => encodeCbor(oneOf('a', 'b'), 'c' as 'a'), { code: 'assertion' });
});

t.test('words keep their own codes', async (t) => {
  const type = coded([
    { code: 3, word: 'three' },
    { code: 7, word: 'seven' },
  ]);
  t.equal(hex(encodeCbor(type, 'seven')), '07');
  t.equal(decodeCbor(type, unhex('03')), 'three');
  t.equal(decodeCbor(type, unhex('00')), undefined);
});

// --- the public sets -----------------------------------------------------------------------------

const ANYTHING: readonly Type<unknown>[] = [
  uint(Number.MAX_SAFE_INTEGER),
  text(1_000),
  bytes(0, 1_000),
  bool,
  list(uint(1_000), 100),
  list(list(uint(1_000), 100), 100),
  record({ '1': optional(1, uint(100)), '3': optional(3, uint(100)) }),
  list(listEntry, 100),
] as unknown as readonly Type<unknown>[];

const decodeAny = (wire: Uint8Array): unknown => {
  for (const type of ANYTHING) {
    const value = decodeCbor(type, wire);
    if (value !== undefined) return value;
  }
  return undefined;
};

// What the set cannot say in JSON: a201020304 has numbers for keys.
const MAP_OF_2 = { '1': 2, '3': 4 };

interface AppendixItem {
  readonly hex: string;
  readonly decoded?: unknown;
}

t.test('RFC 8949 appendix A: our subset is read, the rest refused', { skip }, async (t) => {
  const items = readVectors<readonly AppendixItem[]>('cbor_appendix_a.json');
  for (const item of items) {
    const value = decodeAny(unhex(item.hex));
    if (!isOurs(item)) t.equal(value, undefined, `${item.hex} refused`);
    else if (value instanceof Uint8Array) t.ok(item.hex.endsWith(hex(value)), item.hex);
    else t.same(JSON.parse(JSON.stringify(value)), item.decoded ?? MAP_OF_2, `${item.hex} read`);
  }
  t.ok(items.filter(isOurs).length >= 20, 'the subset is not empty');
});

/** Unsigned integers we can hold, texts, byte strings, booleans, arrays of numbers, empty maps. */
function isOurs({ hex: wire, decoded }: AppendixItem): boolean {
  const major = Number.parseInt(wire.slice(0, 2), 16) >> 5;
  const indefinite = (Number.parseInt(wire.slice(0, 2), 16) & 31) === 31;
  if (indefinite) return false;
  if (major === 0) return Number.isSafeInteger(decoded);
  if (major === 2) return true;
  if (major === 3) return typeof decoded === 'string' && !/\p{C}/u.test(decoded);
  if (major === 4) return Array.isArray(decoded) && decoded.every(Number.isSafeInteger);
  // The two maps of the set whose keys and values are small numbers.
  return typeof decoded === 'boolean' || wire === 'a0' || wire === 'a201020304';
}

const NOT_WELL_FORMED = ['cbor_fail.json', 'cbor_rfc8949_appendix_f.json'] as const;
for (const file of NOT_WELL_FORMED)
  t.test(`every item of ${file} is refused without an exception`, { skip }, async (t) => {
    const set = readVectors<readonly { readonly hex: string }[] | { readonly hex: string[] }>(file);
    const items = 'hex' in set ? set.hex : set.map((item) => item.hex);
    const accepted = items.filter((wire) => {
      const encoded = unhex(wire);
      return decodeAny(encoded) !== undefined || decodeMessage(encoded) !== undefined;
    });
    t.same(accepted, []);
    t.ok(items.length > 90, `${items.length} items`);
  });

interface HostileCase {
  readonly name: string;
  readonly hex?: string;
  readonly begin?: string;
  readonly repeat?: string;
  readonly times?: number;
  readonly end?: string;
  readonly chain?: string;
  readonly bytes?: number;
}

t.test('hostile items are refused at once and change nothing', { skip }, async (t) => {
  const { cases } = readVectors<{ readonly cases: readonly HostileCase[] }>('cbor_hostile.json');
  for (const hostile of cases) {
    for (const wire of [hostileBytes(hostile), hostileBytes(hostile).subarray(0, 15_000)]) {
      t.equal(decodeAny(wire), undefined, hostile.name);
      t.equal(decodeMessage(wire), undefined, hostile.name);
    }
  }
  t.equal(({} as { isAdmin?: unknown }).isAdmin, undefined);
  t.same(Object.keys(Object.prototype), []);
});

function hostileBytes(hostile: HostileCase): Uint8Array {
  if (hostile.hex !== undefined) return unhex(hostile.hex);
  if (hostile.chain !== undefined) {
    const size = hostile.bytes ?? 0;
    const chain = new DataView(new ArrayBuffer(size));
    for (let at = 0; at + 5 <= size; at += 5) {
      chain.setUint8(at, Number.parseInt(hostile.chain, 16));
      chain.setUint32(at + 1, size - at - 5);
    }
    return new Uint8Array(chain.buffer);
  }
  const { begin = '', repeat = '', times = 0, end = '' } = hostile;
  return unhex(begin + repeat.repeat(times) + end);
}

function headLength(encoded: Uint8Array): number {
  return encoded[0] < 0xb8 ? 1 : 2;
}
