// The kernel as a module: what it is made of, what it may reach, what it leaves behind; and the
// assembler that writes it.

import t from 'tap';
import {
  type Code,
  FunctionWriter,
  encodeModule,
  i32,
  i64,
  loopWhile,
  v128,
  when,
} from '../aead/assembler.ts';
import { AEAD_MEMORY, type AeadKernel, encodeAeadKernel } from '../aead/chacha20-poly1305.ts';
import { nodeAead } from '../io/node-crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import { dose } from './dose.ts';
import { hex } from './vectors.ts';

/** The function made of `code`, called with `value`. */
function run(value: number, code: (f: FunctionWriter) => Code): number {
  const f = new FunctionWriter(['i32'], 'i32');
  f.write(code(f));
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(encodeModule(1, { f })));
  return (exports as unknown as { readonly f: (value: number) => number }).f(value);
}

t.test('claim 7: the kernel validates, imports nothing and is the same each time', async (t) => {
  const code = encodeAeadKernel();
  t.ok(WebAssembly.validate(code));
  const module = new WebAssembly.Module(code);
  t.same(WebAssembly.Module.imports(module), []);
  t.same(
    WebAssembly.Module.exports(module).map(({ name, kind }) => `${name} ${kind}`),
    ['memory memory', 'run function'],
  );
  t.same(encodeAeadKernel(), code);
  t.ok(code.length < 16_384, `${code.length} bytes`);
});

t.test('claim 7: no key stays in the kernel, and it writes where it may', async (t) => {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(encodeAeadKernel()));
  const { memory, run } = exports as unknown as AeadKernel & { memory: WebAssembly.Memory };
  const bytes = new Uint8Array(memory.buffer);
  t.equal(bytes.length, 65_536, 'it does not grow');
  const rng = seededRng(3);
  for (const length of [0, 100, 1_472, AEAD_MEMORY.textBytesMax]) {
    for (const opening of [0, 1] as const) {
      bytes.fill(0);
      const key = randomBytes(rng, 32);
      bytes.set(key, AEAD_MEMORY.key);
      bytes.set(randomBytes(rng, length), AEAD_MEMORY.stream);
      t.ok(Buffer.from(bytes).includes(Buffer.from(key)), 'the search finds it before');
      run(0, length, opening);
      t.notOk(Buffer.from(bytes).includes(Buffer.from(key)), `${length}`);
      const secret = bytes.subarray(AEAD_MEMORY.key, AEAD_MEMORY.nonce);
      const authenticator = bytes.subarray(AEAD_MEMORY.authenticator, AEAD_MEMORY.tag);
      t.ok([...secret, ...authenticator].every((byte) => byte === 0));
      const zeros = bytes.subarray(AEAD_MEMORY.tag + 16, AEAD_MEMORY.stream);
      t.ok(
        zeros.every((byte) => byte === 0),
        'nothing between the tag and the stream',
      );
    }
  }
});

t.test('claim 7: what memory held before makes no difference', async (t) => {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(encodeAeadKernel()));
  const { memory, run } = exports as unknown as AeadKernel & { memory: WebAssembly.Memory };
  const bytes = new Uint8Array(memory.buffer);
  const rng = seededRng(4);
  for (let i = 0; i < dose(200); i++) {
    const [key, nonce, text] = [randomBytes(rng, 32), randomBytes(rng, 12), randomBytes(rng, i)];
    // All that is written may hold anything: only the 64 zeros are taken for granted.
    bytes.fill(0xff, AEAD_MEMORY.stream);
    bytes.fill(0xff, AEAD_MEMORY.authenticator, AEAD_MEMORY.zeros);
    bytes.set(key, AEAD_MEMORY.key);
    bytes.set(nonce, AEAD_MEMORY.nonce);
    bytes.set(text, AEAD_MEMORY.stream);
    run(0, i, 0);
    const wanted = new Uint8Array(i + 16);
    wanted.set(text);
    nodeAead.importKey(key).seal(nonce, new Uint8Array(0), wanted, 0, i);
    const sealed = bytes.slice(AEAD_MEMORY.stream, AEAD_MEMORY.stream + i + 16);
    if (hex(sealed) !== hex(wanted)) t.fail(`${i} bytes`);
  }
  t.equal(run(0, 16, 1), 0, 'and what is there by chance is not authentic');
});

t.test('the assembler writes numbers, branches and loops as WebAssembly reads them', async (t) => {
  for (const value of [0, 1, -1, 63, 64, -64, -65, 127, 128, 8_191, 8_192, 2 ** 31 - 1, -(2 ** 31)])
    t.equal(
      run(0, () => i32.const(value)),
      value,
    );
  const sum = (f: FunctionWriter): Code => {
    const [left, total] = [f.parameter(0), f.local('i32')];
    const body = [
      total.set(i32.add(total.get, left.get)),
      left.set(i32.sub(left.get, i32.const(1))),
    ];
    return [loopWhile(left.get, body), total.get];
  };
  t.equal(run(100, sum), 5_050);
  t.equal(run(0, sum), 0, 'a loop may run not at all');
  const choose = (f: FunctionWriter): Code => {
    const result = f.local('i32');
    const [small, large] = [result.set(i32.const(1)), result.set(i32.const(2))];
    return [when(i32.ltU(f.parameter(0).get, i32.const(10)), small, large), result.get];
  };
  t.same([run(9, choose), run(10, choose)], [1, 2]);
  // More than 127 locals and an offset above 127: numbers of two bytes.
  const far = (f: FunctionWriter): Code => {
    const locals = f.locals('i64', 200);
    return [
      locals[199].set(i64.const(-(2n ** 63n))),
      i64.store(f.parameter(0).get, locals[199].get, 300),
      v128.anyTrue(v128.load(i32.const(300))),
    ];
  };
  t.equal(run(0, far), 1);
});

t.test('the assembler leaves types to WebAssembly, which refuses them', async (t) => {
  const f = new FunctionWriter(['i32'], 'i32');
  f.write(i64.const(1n));
  t.notOk(WebAssembly.validate(encodeModule(1, { f })));
});
