// Any order of operations by both owners over any link: what is read is a prefix of what was
// written, once and in order; the counts of both ends agree; nothing throws; when all is said both
// fall silent.

import fc from 'fast-check';
import t from 'tap';
import type { Path } from '../core.ts';
import { dose } from './dose.ts';
import type { StreamId } from '../data/connection-types.ts';
import type { Role } from '../data/connection-types.ts';
import type { End } from '../../sim/pair.ts';
import { Pair } from '../../sim/pair.ts';

type Operation =
  | {
      readonly kind: 'open' | 'finish' | 'reset' | 'stop';
      readonly by: Role;
      readonly which: number;
    }
  | { readonly kind: 'write'; readonly by: Role; readonly which: number; readonly bytes: number }
  | { readonly kind: 'read'; readonly by: Role; readonly which: number; readonly bytes: number }
  | { readonly kind: 'message'; readonly by: Role; readonly bytes: number }
  | { readonly kind: 'pass'; readonly ms: number }
  /** The path drops what is larger. */
  | { readonly kind: 'narrow'; readonly bytesMax: number }
  /** The caller gets another address; the old one is dead. */
  | { readonly kind: 'move'; readonly to: Path }
  | {
      readonly kind: 'link';
      readonly loss: number;
      readonly duplicate: number;
      readonly jitter: number;
    };

const by = fc.constantFrom<Role>('caller', 'callee');
const which = fc.nat(5);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constant('open' as const), by, which }),
  { weight: 4, arbitrary: writeOrRead('write') },
  { weight: 4, arbitrary: writeOrRead('read') },
  fc.record({
    kind: fc.constantFrom('finish' as const, 'reset' as const, 'stop' as const),
    by,
    which,
  }),
  fc.record({
    kind: fc.constant('message' as const),
    by,
    bytes: fc.integer({ min: 1, max: 1100 }),
  }),
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(300) }) },
  fc.record({
    kind: fc.constant('narrow' as const),
    bytesMax: fc.constantFrom(1200, 1460, Infinity),
  }),
  fc.record({
    kind: fc.constant('move' as const),
    to: fc.record({
      host: fc.constantFrom('192.0.2.1', '198.51.100.7'),
      port: fc.integer({ min: 1024, max: 65_535 }),
    }),
  }),
  fc.record({
    kind: fc.constant('link' as const),
    loss: fc.double({ min: 0, max: 0.3, noNaN: true }),
    duplicate: fc.double({ min: 0, max: 0.3, noNaN: true }),
    jitter: fc.nat(15),
  }),
);

function writeOrRead<Kind extends 'write' | 'read'>(
  kind: Kind,
): fc.Arbitrary<{ kind: Kind; by: Role; which: number; bytes: number }> {
  const bytes = fc.integer({ min: 0, max: 60_000 });
  return fc.record({ kind: fc.constant(kind), by, which, bytes });
}

/** Byte `offset` of a stream in one direction is a function of all three: a slip shows at once. */
const byteAt = (stream: number, from: Role, offset: number): number =>
  (offset * 31 + (offset >> 8) * 7 + stream * 13 + (from === 'caller' ? 0 : 101)) & 0xff;

class Model {
  readonly pair: Pair;
  readonly streams: StreamId[] = [];
  readonly #written = new Map<string, number>();
  readonly #read = new Map<string, number>();
  readonly #buffer = new Uint8Array(65_536);

  constructor(seed: number, bytes: number | undefined) {
    this.pair = new Pair({
      seed,
      limits: { seconds: 36_000, bytes },
      config: { datagramBytesProbes: [1452, 1472] },
    }).open();
  }

  apply(operation: Operation): void {
    const { pair } = this;
    if (operation.kind === 'pass') return pair.pass(operation.ms);
    if (operation.kind === 'link') {
      const { loss, duplicate, jitter } = operation;
      pair.faults = { ...pair.faults, loss, duplicate, jitterMs: jitter };
      return;
    }
    if (operation.kind === 'narrow') {
      const { bytesMax } = operation;
      pair.filter = (_from, bytes) => bytes.length <= bytesMax;
      return;
    }
    if (operation.kind === 'move') return pair.caller.move(operation.to);
    const end = pair.end(operation.by);
    if (operation.kind === 'message') {
      end.connection.sendDatagram(new Uint8Array(operation.bytes));
    } else if (operation.kind === 'open') {
      const stream = end.connection.openStream();
      if (stream !== undefined) this.streams.push(stream);
    } else {
      const stream = this.streams[operation.which % Math.max(1, this.streams.length)];
      if (stream !== undefined) this.#onStream(end, stream, operation);
    }
    pair.drain();
  }

  #onStream(end: End, stream: StreamId, operation: Operation): void {
    const { connection } = end;
    if (operation.kind === 'finish') connection.finish(stream);
    else if (operation.kind === 'reset') connection.reset(stream, 1);
    else if (operation.kind === 'stop') connection.stop(stream, 2);
    else if (operation.kind === 'write') this.#write(end, stream, operation.bytes);
    else if (operation.kind === 'read') this.read(end, stream, operation.bytes);
  }

  #write(end: End, stream: StreamId, bytes: number): void {
    const key = `${end.role} ${stream}`;
    const offset = this.#written.get(key) ?? 0;
    const data = Uint8Array.from({ length: bytes }, (_, i) => byteAt(stream, end.role, offset + i));
    const taken = end.connection.write(stream, data);
    if (taken < 0 || taken > bytes) throw new Error('write took more than it was given');
    this.#written.set(key, offset + taken);
  }

  /** Reads up to `bytes` and checks every one of them. */
  read(end: End, stream: StreamId, bytes: number): number {
    const from: Role = end.role === 'caller' ? 'callee' : 'caller';
    const key = `${from} ${stream}`;
    const offset = this.#read.get(key) ?? 0;
    const length = end.connection.read(stream, this.#buffer.subarray(0, bytes));
    for (let i = 0; i < length; i++) {
      if (this.#buffer[i] !== byteAt(stream, from, offset + i)) throw new Error('a foreign byte');
    }
    if (length > 0) this.#read.set(key, offset + length);
    if ((this.#read.get(key) ?? 0) > (this.#written.get(key) ?? 0)) throw new Error('invented');
    return length;
  }

  /** Reads everything, until the talk has nothing left to do. */
  settle(): void {
    const { pair } = this;
    pair.faults = { ...pair.faults, loss: 0, duplicate: 0 };
    pair.filter = () => true;
    for (const end of [pair.caller, pair.callee]) {
      end.onEvent = (event) => {
        if (event.kind !== 'readable') return;
        while (this.read(end, event.stream, 65_536) > 0);
      };
      for (const stream of this.streams) while (this.read(end, stream, 65_536) > 0);
    }
    pair.drain();
    pair.pass(10_000);
  }
}

const property = (limited: boolean) =>
  fc.property(
    fc.nat(1_000_000),
    fc.integer({ min: 1, max: 400_000 }),
    fc.array(operation, { minLength: 5, maxLength: 60 }),
    (seed, bytes, operations) => {
      const model = new Model(seed, limited ? bytes : undefined);
      for (const one of operations) model.apply(one);
      model.settle();
      const { pair } = model;
      pair.caller.connection.close(pair.now, 'done');
      if (!pair.runToEnd()) throw new Error('it does not end');
      for (let steps = 0; pair.step(); steps++) if (steps > 1000) throw new Error('not silent');
      const [a, b] = [pair.caller.counts, pair.callee.counts];
      if (a === undefined || b === undefined) throw new Error('no counts');
      const sums = `${JSON.stringify([pair.caller.ended, pair.callee.ended])}`;
      if (limited && a.sentBytes + b.sentBytes > bytes) throw new Error(`over quota: ${sums}`);
      // Who moves without a word just as the other says CLOSE hears nothing of it: two generals.
      const hasMoved = operations.some(({ kind }) => kind === 'move');
      if (hasMoved && pair.caller.reason !== pair.callee.reason) return;
      if (pair.caller.reason !== pair.callee.reason) throw new Error(`reasons: ${sums}`);
      if (a.sentBytes !== b.receivedBytes + a.lostBytes) throw new Error(`caller's sum: ${sums}`);
      if (b.sentBytes !== a.receivedBytes + b.lostBytes) throw new Error(`callee's sum: ${sums}`);
    },
  );

t.test('any operations over any link, not limited in bytes', async (t) => {
  const result = fc.check(property(false), { numRuns: dose(60) });
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('claim 15: any operations over any link, within a quota', async (t) => {
  const result = fc.check(property(true), { numRuns: dose(60) });
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});
