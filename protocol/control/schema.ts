// A message is declared once, as a record of typed fields with integer keys. From that one
// declaration come the TypeScript type, the strict reader and writer, the CDDL of docs/wire.md and
// the arbitraries of the tests.
// Readers return undefined for anything that does not fit; they never throw and never coerce.

import type { DeviceId, ManagerId, Name, RecordId, RequestId, SessionId } from '../ids.ts';
import { isDeviceId, isManagerId, isName, isRandomId } from '../ids.ts';
import { LIMITS } from '../limits.ts';

/** What a type is, for whoever describes it (`cddl.ts`) or makes examples of it (tests). */
type Form =
  | { readonly is: 'uint'; readonly max: number }
  | { readonly is: 'exactly'; readonly value: number }
  | { readonly is: 'text' | 'ascii'; readonly max: number }
  | { readonly is: NamedForm }
  | { readonly is: 'bytes'; readonly min: number; readonly max: number }
  | { readonly is: 'address' }
  | { readonly is: 'bool' }
  | { readonly is: 'word'; readonly words: readonly CodedWord[] }
  | { readonly is: 'list'; readonly of: Type<unknown>; readonly max: number }
  | { readonly is: 'record'; readonly fields: readonly FieldForm[] };

/** A word and the number that stands for it on the wire. */
export interface CodedWord {
  readonly code: number;
  readonly word: string;
}

/** Texts of a fixed alphabet. */
type NamedForm = 'device-id' | 'random-id' | 'manager-id' | 'name' | 'url';

/** One field of a record, in key order. */
export interface FieldForm {
  readonly property: string;
  readonly key: number;
  readonly required: boolean;
  readonly type: Type<unknown>;
}

/** A wire type: what it accepts, what it writes, what it is. */
export interface Type<T> {
  /** `value`: as the CBOR decoder gives it (maps as Map). */
  read(value: unknown): T | undefined;
  write(value: T): unknown;
  readonly form: Form;
}

/** The type of the values that a wire type reads and writes. */
export type Infer<S> = S extends Type<infer T> ? T : never;

const UINT32_MAX = 0xffff_ffff;

/** One whole number and nothing else: a version, a kind. */
export function exactly(value: number): Type<number> {
  return {
    read: (number) => (number === value ? value : undefined),
    write: (number) => number,
    form: { is: 'exactly', value },
  };
}

/** Whole numbers from 0 to `max` (at most 2^53 − 1). */
export function uint(max: number): Type<number> {
  return {
    read(value) {
      const number = typeof value === 'bigint' ? Number(value) : value;
      if (typeof number !== 'number' || !Number.isSafeInteger(number)) return undefined;
      return number >= 0 && number <= max ? number : undefined;
    },
    // The encoder makes a float of a number above 32 bits; only a bigint stays an integer.
    write: (value) => (value > UINT32_MAX ? BigInt(value) : value),
    form: { is: 'uint', max },
  };
}

function guarded<T extends string>(accepts: (text: string) => boolean, form: Form): Type<T> {
  return {
    read: (value) => (typeof value === 'string' && accepts(value) ? (value as T) : undefined),
    write: (value) => value,
    form,
  };
}

// Texts end up in logs and on terminals; a lone surrogate is not UTF-8, though cbor-x lets it pass.
const UNFIT = /[\p{Cc}\p{Cs}]/u;
const ASCII = /^[!-~]+$/;
const URL_SHAPE = /^(?:https?|mqtts?):\/\/[!-~]+$/;

/** Text of 0 to `max` UTF-8 bytes without control characters. */
export const text = (max: number): Type<string> =>
  guarded((value) => value.length <= max && utf8Length(value) <= max && !UNFIT.test(value), {
    is: 'text',
    max,
  });
/** 1 to `max` printable ASCII characters, no blank. */
export const ascii = (max: number): Type<string> =>
  guarded((value) => value.length <= max && ASCII.test(value), { is: 'ascii', max });
/** Identifiers by their form, see `protocol/ids.ts`. */
export const deviceId: Type<DeviceId> = guarded(isDeviceId, { is: 'device-id' });
export const managerId: Type<ManagerId> = guarded(isManagerId, { is: 'manager-id' });
export const sessionId: Type<SessionId> = guarded(isRandomId, { is: 'random-id' });
export const requestId: Type<RequestId> = guarded(isRandomId, { is: 'random-id' });
export const recordId: Type<RecordId> = guarded(isRandomId, { is: 'random-id' });
export const name: Type<Name> = guarded(isName, { is: 'name' });
/** An http, https, mqtt or mqtts URL of at most LIMITS.urlMax characters, by its shape. */
export const url: Type<string> = guarded(
  (value) => value.length <= LIMITS.urlMax && URL_SHAPE.test(value),
  { is: 'url' },
);

function utf8Length(value: string): number {
  let length = 0;
  for (const character of value) {
    const point = character.codePointAt(0) ?? 0;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return length;
}

/** Byte strings of `min` to `max` bytes. */
export function bytes(min: number, max: number = min): Type<Uint8Array> {
  return {
    read(value) {
      if (!(value instanceof Uint8Array)) return undefined;
      return value.length >= min && value.length <= max ? value : undefined;
    },
    write: (value) => value,
    form: { is: 'bytes', min, max },
  };
}

/** An IP address: 4 or 16 bytes. */
export const ipAddress: Type<Uint8Array> = {
  read(value) {
    if (!(value instanceof Uint8Array)) return undefined;
    return value.length === 4 || value.length === 16 ? value : undefined;
  },
  write: (value) => value,
  form: { is: 'address' },
};

/** true or false. */
export const bool: Type<boolean> = {
  read: (value) => (typeof value === 'boolean' ? value : undefined),
  write: (value) => value,
  form: { is: 'bool' },
};

/** One of a few words, written as its position; append, never reorder. */
export function oneOf<const W extends readonly string[]>(...words: W): Type<W[number]> {
  return coded<W[number]>(words.map((word, code) => ({ code, word })));
}

/** One of a few words, written as its own code. */
export function coded<W extends string>(
  words: readonly { readonly code: number; readonly word: W }[],
): Type<W> {
  const byCode = new Map<unknown, W>(words.map(({ code, word }) => [code, word]));
  const byWord = new Map<string, number>(words.map(({ code, word }) => [word, code]));
  return {
    read: (value) => byCode.get(value),
    write: (value) => byWord.get(value),
    form: { is: 'word', words },
  };
}

/** At most `max` items. */
export function list<T>(of: Type<T>, max: number): Type<readonly T[]> {
  return {
    read(value) {
      if (!Array.isArray(value) || value.length > max) return undefined;
      const items: T[] = [];
      for (const raw of value) {
        const item = of.read(raw);
        if (item === undefined) return undefined;
        items.push(item);
      }
      return items;
    },
    write: (value) => value.map((item) => of.write(item)),
    form: { is: 'list', of: of as Type<unknown>, max },
  };
}

/** One field of a record; exported because every declared record's type names it. */
export interface Field<T, Required extends boolean> {
  readonly key: number;
  readonly type: Type<T>;
  readonly required: Required;
}

/** A field that must be there. */
export const field = <T>(key: number, type: Type<T>): Field<T, true> => ({
  key,
  type,
  required: true,
});
/** A field that may be absent (then the property is undefined). */
export const optional = <T>(key: number, type: Type<T>): Field<T, false> => ({
  key,
  type,
  required: false,
});

// `any` cannot be avoided in a heterogeneous constraint; nothing leaks from it.
type Fields = Readonly<Record<string, Field<unknown, boolean>>>;
type FieldType<F> = F extends { readonly type: Type<infer T> } ? T : never;
type RequiredNames<F> = {
  [K in keyof F]: F[K] extends { readonly required: true } ? K : never;
}[keyof F];

/** The TypeScript shape of a record. */
export type Shape<F> = { readonly [K in RequiredNames<F>]: FieldType<F[K]> } & {
  readonly [K in Exclude<keyof F, RequiredNames<F>>]?: FieldType<F[K]> | undefined;
};

/** A CBOR map with ascending integer keys; unknown keys are refused. */
export function record<const F extends Record<string, { key: number; type: unknown }>>(
  declared: F,
): Type<Shape<F>> {
  const fields = declared as unknown as Fields;
  const ordered = Object.entries(fields).sort(([, a], [, b]) => a.key - b.key);
  return {
    read(value) {
      if (!(value instanceof Map)) return undefined;
      const shape: Record<string, unknown> = {};
      let present = 0;
      for (const [property, { key, type, required }] of ordered) {
        if (!value.has(key)) {
          if (required) return undefined;
          shape[property] = undefined;
          continue;
        }
        present += 1;
        const item = type.read(value.get(key));
        if (item === undefined) return undefined;
        shape[property] = item;
      }
      return present === value.size ? (shape as Shape<F>) : undefined;
    },
    write(value) {
      const map = new Map<number, unknown>();
      const shape = value as Readonly<Record<string, unknown>>;
      for (const [property, { key, type }] of ordered) {
        const item = shape[property];
        if (item !== undefined) map.set(key, type.write(item));
      }
      return map;
    },
    form: {
      is: 'record',
      fields: ordered.map(([property, { key, required, type }]) => ({
        property,
        key,
        required,
        type,
      })),
    },
  };
}
