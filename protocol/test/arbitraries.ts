// Examples of every wire type, made by fast-check from the same declarations that the code runs on,
// and the ways in which valid bytes are spoiled.

import fc from 'fast-check';
import { type Kind, MESSAGE_TYPES, type Message } from '../control/messages.ts';
import type { FieldForm, Type } from '../control/schema.ts';

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'.split('');
const PRINTABLE = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at));
const NAME_REST = 'ABCxyz019._@+-'.split('');

const base32Text = (length: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...BASE32), minLength: length, maxLength: length });

/** Values that a type accepts, the ends of its range often among them. */
export function valuesOf(type: Type<unknown>): fc.Arbitrary<unknown> {
  const { form } = type;
  switch (form.is) {
    case 'uint':
      return fc.oneof(
        fc.maxSafeNat().map((n) => n % (form.max + 1)),
        fc.constantFrom(0, form.max),
      );
    case 'exactly':
      return fc.constant(form.value);
    case 'text':
      return fc
        .string({ unit: 'binary', maxLength: form.max })
        .filter((text) => Buffer.byteLength(text) <= form.max && !/[\p{Cc}\p{Cs}]/u.test(text));
    case 'ascii':
      return fc.string({
        unit: fc.constantFrom(...PRINTABLE),
        minLength: 1,
        maxLength: form.max,
      });
    case 'device-id':
      return base32Text(32);
    case 'random-id':
      return base32Text(26);
    case 'manager-id':
      return base32Text(32).map((text) => `manager-${text}`);
    case 'name':
      return fc
        .tuple(
          fc.constantFrom('A', 'a', '0'),
          fc.string({ unit: fc.constantFrom(...NAME_REST), maxLength: 63 }),
        )
        .map(([first, rest]) => first + rest);
    case 'url':
      return fc.constantFrom('http://127.0.0.1:8080/', 'mqtts://example.org', 'https://[::1]:1/x');
    case 'bytes':
      return fc.oneof(
        fc.uint8Array({ minLength: form.min, maxLength: Math.min(form.max, form.min + 40) }),
        fc.constant(new Uint8Array(form.max)),
      );
    case 'address':
      return fc.oneof(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
      );
    case 'bool':
      return fc.boolean();
    case 'word':
      return fc.constantFrom(...form.words.map(({ word }) => word));
    case 'list':
      return fc.array(valuesOf(form.of), { maxLength: Math.min(form.max, 6) });
    case 'record':
      return recordsOf(form.fields);
  }
}

/** Messages of one kind. */
export function messagesOf(kind: Kind): fc.Arbitrary<Message> {
  const { form } = MESSAGE_TYPES[kind];
  const fields = form.is === 'record' ? form.fields : [];
  return recordsOf(fields.filter(({ key }) => key > 1)).map(
    (value) => ({ kind, ...value }) as Message,
  );
}

/** Valid bytes with a few bytes changed, put in, taken out, or cut off. */
export function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    how: fc.constantFrom('set', 'flip', 'insert', 'remove', 'cut', 'repeat'),
    where: fc.nat(0xffff),
    what: fc.nat(255),
  });
  return fc.tuple(valid, fc.array(change, { minLength: 1, maxLength: 3 })).map(([bytes, list]) => {
    const changed = [...bytes];
    for (const { how, where, what } of list) {
      const at = where % Math.max(changed.length, 1);
      if (how === 'set') changed[at] = what;
      if (how === 'flip') changed[at] = (changed[at] ?? 0) ^ (1 << (what & 7));
      if (how === 'insert') changed.splice(at, 0, what);
      if (how === 'remove') changed.splice(at, 1);
      if (how === 'cut') changed.length = at;
      if (how === 'repeat') changed.splice(at, 0, ...changed.slice(at, at + (what & 15)));
    }
    return Uint8Array.from(changed);
  });
}

function recordsOf(fields: readonly FieldForm[]): fc.Arbitrary<Record<string, unknown>> {
  const values = Object.fromEntries(
    fields.map(({ property, required, type }) => [
      property,
      required ? valuesOf(type) : fc.option(valuesOf(type), { nil: undefined, freq: 3 }),
    ]),
  );
  return fc.record(values);
}
