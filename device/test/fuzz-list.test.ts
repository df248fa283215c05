// The owner's list as a file, and what peers say at the beginning and the end of a stream, spoiled.
// A list that is read and written by `allow` is read as the same list.

import fc from 'fast-check';
import t from 'tap';
import { decodeCbor, encodeCbor } from '../../protocol/control/cbor.ts';
import type { Type } from '../../protocol/control/schema.ts';
import { valuesOf } from '../../protocol/test/arbitraries.ts';
import { fuzz } from '../../protocol/test/fuzz.ts';
import { formatListFile, parseListFile } from '../list-file.ts';
import { ask, entry, found, offer, reply, start } from '../services/file/wire.ts';
import { opening } from '../shell/stream-opening.ts';

const PROBLEM_CHARACTERS_MAX = 400;

const LISTS = [
  '',
  'mode = "list"\n\n[[allow]]\nname = "TERM1"\n',
  '[[allow]]\nname = "T*"\nid = "abcdefghijklmnopqrstuvwxyz234567"\nservices = ["file", "*"]\n',
  '[[allow]]\nname = "A"\nbytes = "200MB"\nfor = "90m"\nuntil = "18:00"\nextend = true\n',
  '[[allow]]\nname = "A"\nask = "knock \\"twice\\""\nremember = "8h"\n[[deny]]\nname = "B"\n',
  '# who may\nallow = [{ name = "A", bytes = 1_000, ask = true }]\ndeny = []\n',
];

t.test('S4003: any text for a list file: a list, or a problem in words', async (t) => {
  fuzz(t, {
    what: 'allow-list.toml',
    valid: LISTS.map((text) => new TextEncoder().encode(text)),
    again: 'settled',
    read: (bytes) => {
      const parsed = parseListFile(new TextDecoder().decode(bytes));
      if ('list' in parsed) return new TextEncoder().encode(formatListFile(parsed.list));
      const { problem } = parsed;
      if (problem === '' || problem.length > PROBLEM_CHARACTERS_MAX) {
        throw new Error(`a problem of ${problem.length} characters`);
      }
      return undefined;
    },
  });
});

const RECORDS = {
  'opening of a stream': opening,
  'offer of a file': offer,
  'ask for a file': ask,
  'file that was found': found,
  'line of a listing': entry,
  'answer to a file': reply,
  'place where content begins': start,
} as unknown as Readonly<Record<string, Type<unknown>>>;

for (const [what, type] of Object.entries(RECORDS))
  t.test(`any bytes for the ${what}: that, or none`, async (t) => {
    fuzz(t, {
      what,
      valid: fc
        .sample(valuesOf(type), { numRuns: 60, seed: 5 })
        .map((value) => encodeCbor(type, value)),
      read: (bytes) => {
        const value = decodeCbor(type, bytes);
        return value === undefined ? undefined : encodeCbor(type, value);
      },
    });
  });
