// A message is declared once, as a record of typed fields with integer keys. From that one
// declaration come the TypeScript type, the strict reader and writer, and the CDDL of docs/wire.md.
// Readers return undefined for anything that does not fit; they never throw and never coerce.

import type { DeviceId, Name, RecordId, RequestId, SessionId } from '../ids.ts';
import { isDeviceId, isName, isRandomId } from '../ids.ts';

/** A wire type: what it accepts, what it writes, how CDDL (RFC 8610) says it. */
export interface Type<T> {
  /** `value`: as the CBOR decoder gives it (maps as Map). */
  read(value: unknown): T | undefined;
  write(value: T): unknown;
  readonly cddl: string;
}

export type Infer<S> = S extends Type<infer T> ? T : never;

const UINT32_MAX = 0xffff_ffff;

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
    cddl: `0..${max}`,
  };
}

/** Text of at most `max` UTF-16 units that satisfies `accepts`. */
function guarded<T extends string>(accepts: (text: string) => boolean, cddl: string): Type<T> {
  return {
    read: (value) => (typeof value === 'string' && accepts(value) ? (value as T) : undefined),
    write: (value) => value,
    cddl,
  };
}

export const text = (max: number): Type<string> =>
  guarded((value) => value.length <= max, `tstr .size (0..${max})`);
export const deviceId: Type<DeviceId> = guarded(isDeviceId, 'device-id');
export const sessionId: Type<SessionId> = guarded(isRandomId, 'random-id');
export const requestId: Type<RequestId> = guarded(isRandomId, 'random-id');
export const recordId: Type<RecordId> = guarded(isRandomId, 'random-id');
export const name: Type<Name> = guarded(isName, 'name');

/** Byte strings of `min` to `max` bytes. */
export function bytes(min: number, max: number = min): Type<Uint8Array> {
  return {
    read(value) {
      if (!(value instanceof Uint8Array)) return undefined;
      return value.length >= min && value.length <= max ? value : undefined;
    },
    write: (value) => value,
    cddl: min === max ? `bstr .size ${min}` : `bstr .size (${min}..${max})`,
  };
}

export const bool: Type<boolean> = {
  read: (value) => (typeof value === 'boolean' ? value : undefined),
  write: (value) => value,
  cddl: 'bool',
};

/** One of a few words, written as its position; append, never reorder. */
export function oneOf<const W extends readonly string[]>(...words: W): Type<W[number]> {
  return {
    read: (value) => (typeof value === 'number' ? words[value] : undefined),
    write: (value) => words.indexOf(value),
    cddl: words.map((word, at) => `${at} /* ${word} */`).join(' / '),
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
    cddl: `[0*${max} ${of.cddl}]`,
  };
}

interface Field<T, Required extends boolean> {
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
    cddl: `{ ${ordered
      .map(([property, f]) => `${f.required ? '' : '? '}${f.key}: ${f.type.cddl} /* ${property} */`)
      .join(', ')} }`,
  };
}
