// A small assembler for WebAssembly: code is a tree of numbers, made by functions named after the
// instructions, and `encodeModule` flattens it into the bytes of a module with one memory and no
// imports. Operands come first, as in the text format's folded form: `i32.add(a, b)`. It knows only
// what the kernel of this folder needs and checks no types: `new WebAssembly.Module` does.
// Source: WebAssembly core specification 2.0 §5 (binary format), SIMD included.

import { asciiBytes } from '../bytes.ts';

/** Instructions: bytes, nested as they were put together. */
export type Code = readonly (number | Code)[];

/** A type of values, as the binary format writes it (§5.3). */
type ValueType = 'i32' | 'i64' | 'v128';

const VALUE_TYPES = { i32: 0x7f, i64: 0x7e, v128: 0x7b } as const;

/** A local variable of a function, or a parameter. */
export interface Local {
  readonly get: Code;
  set(value: Code): Code;
}

/** An unsigned number below 2^31 in LEB128 (§5.2.2). */
function unsigned(value: number): number | Code {
  return value < 0x80 ? value : [(value & 0x7f) | 0x80, unsigned(value >>> 7)];
}

/** A signed number of 32 bits in LEB128 (§5.2.2). */
function signed(value: number): number | Code {
  if (value >= -0x40 && value < 0x40) return value & 0x7f;
  return [(value & 0x7f) | 0x80, signed(value >> 7)];
}

/** A signed number of 64 bits in LEB128 (§5.2.2). */
function signedLong(value: bigint): number | Code {
  if (BigInt.asIntN(31, value) === value) return signed(Number(value));
  return [Number(value & 0x7fn) | 0x80, signedLong(value >> 7n)];
}

type Unary = (value: Code) => Code;
type Binary = (left: Code, right: Code) => Code;
type Load = (address: Code, offset?: number) => Code;
type Store = (address: Code, value: Code, offset?: number) => Code;

const unary =
  (opcode: number | Code): Unary =>
  (value) => [value, opcode];
const binary =
  (opcode: number | Code): Binary =>
  (left, right) => [left, right, opcode];
/** Memory instructions promise no alignment: what they read and write lies where it lies. */
const load =
  (opcode: number | Code): Load =>
  (address, offset = 0) => [address, opcode, 0, unsigned(offset)];
const store =
  (opcode: number | Code): Store =>
  (address, value, offset = 0) => [address, value, opcode, 0, unsigned(offset)];
/** Instructions on vectors: a prefix, and a number in LEB128. */
const simd = (opcode: number): Code => [0xfd, unsigned(opcode)];

/** Instructions on 32-bit integers (§5.4.7). */
export const i32 = {
  const: (value: number): Code => [0x41, signed(value)],
  add: binary(0x6a),
  sub: binary(0x6b),
  and: binary(0x71),
  ltU: binary(0x49),
  leU: binary(0x4d),
  eqz: unary(0x45),
} as const;

/** Instructions on 64-bit integers (§5.4.7). */
export const i64 = {
  const: (value: bigint): Code => [0x42, signedLong(BigInt.asIntN(64, value))],
  load: load(0x29),
  load32U: load(0x35),
  store: store(0x37),
  store32: store(0x3e),
  extendI32U: unary(0xad),
  add: binary(0x7c),
  sub: binary(0x7d),
  mul: binary(0x7e),
  and: binary(0x83),
  or: binary(0x84),
  shl: binary(0x86),
  shrU: binary(0x88),
} as const;

/** Instructions on vectors of 128 bits (§5.4.8). */
export const v128 = {
  /** Four lanes of 32 bits, lane 0 first. */
  const: (...lanes: readonly number[]): Code => [
    simd(12),
    lanes.flatMap((lane) => [0, 8, 16, 24].map((shift) => (lane >>> shift) & 0xff)),
  ],
  load: load(simd(0)),
  load32Splat: load(simd(9)),
  store: store(simd(11)),
  or: binary(simd(80)),
  xor: binary(simd(81)),
  anyTrue: unary(simd(83)),
  /** `lanes`: sixteen indexes into the bytes of `left` (0–15) and `right` (16–31). */
  shuffle: (left: Code, right: Code, lanes: readonly number[]): Code => [
    left,
    right,
    simd(13),
    lanes,
  ],
  /** Each byte of `lanes` picks a byte of `value`. */
  swizzle: binary(simd(14)),
} as const;

/** Instructions on vectors of four 32-bit lanes (§5.4.8). */
export const i32x4 = {
  add: binary(simd(174)),
  shl: (value: Code, count: number): Code => [value, i32.const(count), simd(171)],
  shrU: (value: Code, count: number): Code => [value, i32.const(count), simd(173)],
} as const;

const EMPTY_BLOCK = 0x40;

/** Runs `body` if `condition` is not zero. */
export const when = (condition: Code, body: Code, otherwise?: Code): Code => [
  condition,
  [0x04, EMPTY_BLOCK],
  body,
  otherwise === undefined ? [] : [0x05, otherwise],
  0x0b,
];

/** Runs `body` as long as `condition` is not zero before it. */
export const loopWhile = (condition: Code, body: Code): Code => [
  [0x03, EMPTY_BLOCK],
  when(condition, [body, 0x0c, 1]),
  0x0b,
];

/** A function being written: hands out locals, and turns into its two parts of a module. */
export class FunctionWriter {
  readonly #parameters: readonly ValueType[];
  readonly #locals: ValueType[] = [];
  readonly #result: ValueType | undefined;
  #body: Code = [];

  constructor(parameters: readonly ValueType[], result?: ValueType) {
    this.#parameters = parameters;
    this.#result = result;
  }

  parameter(index: number): Local {
    return variable(index);
  }

  local(type: ValueType): Local {
    this.#locals.push(type);
    return variable(this.#parameters.length + this.#locals.length - 1);
  }

  locals(type: ValueType, count: number): readonly Local[] {
    return Array.from({ length: count }, () => this.local(type));
  }

  write(...code: Code): void {
    this.#body = [this.#body, code];
  }

  /** §5.3.6. */
  get type(): Code {
    const results = this.#result === undefined ? [] : [this.#result];
    return [0x60, vector(this.#parameters.map(typeByte)), vector(results.map(typeByte))];
  }

  /** §5.5.13, without its size; each local is a group of its own. */
  get code(): Code {
    const locals = vector(this.#locals.map((type) => [1, typeByte(type)]));
    return [locals, this.#body, 0x0b];
  }
}

const typeByte = (type: ValueType): number => VALUE_TYPES[type];

function variable(index: number): Local {
  const number = unsigned(index);
  return { get: [0x20, number], set: (value) => [value, 0x21, number] };
}

/** A vector of the binary format: how many, then each (§5.1.3). */
const vector = (parts: Code): Code => [unsigned(parts.length), parts];
const name = (text: string): Code => vector([...asciiBytes(text)]);

/** Appends the bytes of a tree of code. By index: cold, `for … of` takes several times as long. */
function append(into: number[], code: Code): void {
  for (let at = 0; at < code.length; at++) {
    const part = code[at];
    if (typeof part === 'number') into.push(part);
    else append(into, part);
  }
}

/** Appends what `write` appends, behind its size in the five bytes that it may have (§5.2.2). */
function appendSized(into: number[], write: () => void): void {
  const start = into.length;
  into.push(0, 0, 0, 0, 0);
  write();
  const size = into.length - start - 5;
  for (let i = 0; i < 5; i++) into[start + i] = ((size >>> (7 * i)) & 0x7f) | (i < 4 ? 0x80 : 0);
}

/**
 * The bytes of a module (§5.5) that imports nothing, has `pages` pages of 64 KiB that never grow,
 * exported as `memory`, and exports the functions under their names (ASCII).
 */
export function encodeModule(
  pages: number,
  functions: Readonly<Record<string, FunctionWriter>>,
): Uint8Array<ArrayBuffer> {
  const bytes = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const names = Object.keys(functions);
  const written = Object.values(functions);
  const section = (id: number, content: Code): void => {
    bytes.push(id);
    appendSized(bytes, () => append(bytes, content));
  };
  section(1, vector(written.map((each) => each.type)));
  section(3, vector(written.map((_, index) => unsigned(index))));
  section(5, vector([[1, unsigned(pages), unsigned(pages)]]));
  const exports = names.map((text, index): Code => [name(text), 0, unsigned(index)]);
  section(7, vector([[name('memory'), 2, 0], ...exports]));
  bytes.push(10);
  appendSized(bytes, () => {
    append(bytes, [unsigned(written.length)]);
    for (const { code } of written) appendSized(bytes, () => append(bytes, code));
  });
  return new Uint8Array(bytes);
}
