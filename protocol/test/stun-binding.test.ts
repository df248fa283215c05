// Binding requests of an endpoint against the server's answers: repeated, given up, answered once
// by whom they went to; and the server, which never says more than it was told.

import fc from 'fast-check';
import t from 'tap';
import type { Path } from '../core.ts';
import { randomRecordId } from '../ids.ts';
import { randomBytes, seededRng } from '../random.ts';
import { ATTRIBUTE, encodeErrorCode, encodeXorAddress } from '../stun/attributes.ts';
import { BindingRequests } from '../stun/binding.ts';
import { STUN_LIMITS } from '../stun/limits.ts';
import { METHOD, decodeMessage, encodeMessage } from '../stun/message.ts';
import { answerBinding, recordAhead } from '../stun/server.ts';
import { type Micros, NEVER, micros, ms } from '../time.ts';
import { dose } from './dose.ts';
import { fuzz } from './fuzz.ts';

const ONE: Path = { host: '192.0.2.1', port: 3478 };
const TWO: Path = { host: '192.0.2.1', port: 3479 };
const FAR: Path = { host: '198.51.100.7', port: 3478 };
const OUTSIDE: Path = { host: '203.0.113.9', port: 40_000 };
const record = randomRecordId(seededRng(3));

interface Sent {
  readonly path: Path;
  readonly bytes: Uint8Array;
  readonly atMs: number;
}

/** Everything that is due at `now`. */
function pollAll(requests: BindingRequests, now: Micros): readonly Sent[] {
  const sent: Sent[] = [];
  const into = new Uint8Array(1_500);
  for (;;) {
    const transmit = requests.pollTransmit(now, into);
    if (transmit === undefined) return sent;
    const bytes = into.slice(0, transmit.size);
    sent.push({ path: transmit.path, bytes, atMs: now / ms(1) });
  }
}

/** Runs until nothing is left to do; `heard` sees each packet. */
function runAll(requests: BindingRequests, heard: (sent: Sent, now: Micros) => void): Micros {
  let now = micros(0);
  for (let turn = 0; turn < 1_000; turn++) {
    requests.handleTimeout(now);
    for (const each of pollAll(requests, now)) heard(each, now);
    const next = requests.nextTimeout();
    if (next === NEVER) return now;
    now = next;
  }
  throw new Error('it never ends');
}

const asking = (servers: readonly Path[]): BindingRequests =>
  new BindingRequests({ rng: seededRng(1), servers, record });

const answerTo = (request: Uint8Array, from = OUTSIDE): Uint8Array =>
  answerBinding(request, from)?.answer ?? new Uint8Array(0);

t.test('S1000: each server is asked with the record, and tells which address it saw', (t) => {
  const requests = asking([ONE, TWO]);
  t.equal(requests.nextTimeout(), 0, 'due at once');
  const sent = pollAll(requests, micros(0));
  t.strictSame(
    sent.map(({ path }) => path),
    [ONE, TWO],
  );
  for (const { path, bytes } of sent) {
    t.equal(bytes.length, STUN_LIMITS.bindingRequestBytes);
    const reply = answerBinding(bytes, OUTSIDE);
    t.equal(reply?.record, record);
    t.ok(reply?.answer !== undefined && reply.answer.length <= 64);
    t.ok(requests.handleDatagram(ms(25) as Micros, { ...path }, answerTo(bytes)));
  }
  t.strictSame(requests.answers(), [
    { server: ONE, mapped: OUTSIDE },
    { server: TWO, mapped: OUTSIDE },
  ]);
  t.equal(requests.mappingVaries, false);
  t.ok(requests.isDone);
  t.equal(requests.nextTimeout(), NEVER);
  t.strictSame(pollAll(requests, ms(500) as Micros), [], 'nothing more is sent');
  t.end();
});

t.test('a silent server is asked 8 times, faster than the RFC, and then given up', (t) => {
  const sent: Sent[] = [];
  const requests = asking([ONE]);
  const end = runAll(requests, (each) => sent.push(each));
  t.strictSame(
    sent.map(({ atMs }) => atMs),
    [0, 75, 175, 375, 575, 775, 975, 1_175],
  );
  t.equal(new Set(sent.map(({ bytes }) => bytes.join())).size, 1, 'one transaction');
  t.equal(end, ms(1_175 + STUN_LIMITS.bindingPatienceMs));
  t.ok(requests.isDone);
  t.strictSame(requests.answers(), []);
  t.equal(requests.mappingVaries, undefined);
  const late = answerTo(sent[0].bytes);
  t.ok(requests.handleDatagram(end, ONE, late));
  t.strictSame(requests.answers(), [], 'too late');
  t.end();
});

t.test('two ports of one host that see different addresses: the mapping varies', (t) => {
  const seen = (ports: readonly number[], servers: readonly Path[]): boolean | undefined => {
    const requests = asking(servers);
    for (const [at, { path, bytes }] of pollAll(requests, micros(0)).entries()) {
      const port = ports[at];
      if (port > 0) requests.handleDatagram(micros(9), path, answerTo(bytes, { ...OUTSIDE, port }));
    }
    return requests.mappingVaries;
  };
  t.equal(seen([5_000, 5_001], [ONE, TWO]), true);
  t.equal(seen([5_000, 5_000], [ONE, TWO]), false);
  t.equal(seen([5_000, 0], [ONE, TWO]), undefined, 'one did not answer');
  t.equal(seen([5_000, 5_001], [ONE, FAR]), undefined, 'two hosts may be reached by two ways');
  t.equal(seen([5_000, 5_000, 5_001], [ONE, FAR, TWO]), true);
  t.end();
});

t.test('spoofed, replayed, from the wrong server or somebody else: nothing changes', (t) => {
  const requests = asking([ONE, FAR]);
  const [first] = pollAll(requests, micros(0));
  const lie = answerTo(first.bytes, { host: '192.0.2.66', port: 666 });
  const { transaction } = decodeMessage(first.bytes) ?? { transaction: new Uint8Array(12) };
  t.ok(requests.handleDatagram(micros(1), FAR, lie), 'ours, but from another server');
  t.ok(requests.handleDatagram(micros(1), { ...ONE, port: 9 }, lie));
  t.ok(requests.handleDatagram(micros(1), { ...ONE, via: 2 }, lie), 'at another endpoint');
  t.notOk(requests.handleDatagram(micros(1), ONE, lie.with(8, lie[8] ^ 1)), 'a CRC that is wrong');
  t.notOk(requests.handleDatagram(micros(1), ONE, first.bytes), 'our own request, sent back');
  const guessed = encodeMessage({
    stunClass: 'success',
    method: METHOD.binding,
    transaction: transaction.with(0, transaction[0] ^ 1),
    attributes: [[ATTRIBUTE.xorMappedAddress, encodeXorAddress(OUTSIDE, transaction) ?? lie]],
  });
  t.notOk(requests.handleDatagram(micros(1), ONE, guessed), 'another transaction');
  t.notOk(requests.handleDatagram(micros(1), ONE, randomBytes(seededRng(1), 64)));
  t.strictSame(requests.answers(), []);
  t.ok(requests.handleDatagram(micros(2), ONE, answerTo(first.bytes)), 'the positive control');
  t.strictSame(requests.answers(), [{ server: ONE, mapped: OUTSIDE }]);
  t.ok(requests.handleDatagram(micros(3), ONE, lie), 'a second answer');
  t.strictSame(requests.answers(), [{ server: ONE, mapped: OUTSIDE }]);
  t.end();
});

t.test('a server that refuses, or tells no address, is not asked again', (t) => {
  const requests = asking([ONE, TWO, FAR]);
  const [one, two, far] = pollAll(requests, micros(0));
  const says = (
    { path, bytes }: Sent,
    stunClass: 'success' | 'error',
    attribute: readonly [number, Uint8Array],
  ): void => {
    const transaction = bytes.slice(8, 20);
    const attributes = [attribute];
    const answer = encodeMessage({ stunClass, method: METHOD.binding, transaction, attributes });
    t.ok(requests.handleDatagram(micros(5), path, answer));
  };
  says(one, 'error', [ATTRIBUTE.errorCode, encodeErrorCode(500, 'no')]);
  says(two, 'success', [ATTRIBUTE.mappedAddress, new Uint8Array(8)]);
  t.notOk(requests.isDone);
  const nowhere = encodeXorAddress({ ...OUTSIDE, port: 0 }, far.bytes.slice(8, 20));
  says(far, 'success', [ATTRIBUTE.xorMappedAddress, nowhere ?? new Uint8Array(0)]);
  t.ok(requests.isDone);
  t.strictSame(requests.answers(), []);
  t.end();
});

t.test('only our own servers are told the record; there are 8 servers at most', (t) => {
  const requests = new BindingRequests({
    rng: seededRng(1),
    servers: [ONE],
    foreignServers: [FAR],
    record,
  });
  const asked = pollAll(requests, micros(0)).map(({ bytes }) => bytes);
  const records = asked.map((bytes) => answerBinding(bytes, OUTSIDE)?.record);
  t.strictSame(records, [record, undefined]);
  t.strictSame(asked.map(recordAhead), records, 'a server in haste finds it in front');
  for (let size = 0; size < 50; size++) t.equal(recordAhead(asked[0].slice(0, size)), undefined);
  t.throws(() => asking(Array.from({ length: 9 }, () => ONE)), { code: 'too-many-servers' });
  t.end();
});

t.test('T9: the server answers with less than it was told, or not at all', (t) => {
  const transaction = randomBytes(seededRng(5), 12);
  const paths = fc.record({
    host: fc.oneof(fc.ipV4(), fc.ipV6()),
    port: fc.integer({ min: 1, max: 0xffff }),
  });
  const attributes = fc.array(
    fc.tuple(fc.constantFrom(0x0003, 0x0024, 0x7fff, ATTRIBUTE.filling), fc.uint8Array()),
    { maxLength: 6 },
  );
  let answered = 0;
  fc.assert(
    fc.property(paths, attributes, (from, attributes) => {
      const { binding: method } = METHOD;
      const bytes = encodeMessage({ stunClass: 'request', method, transaction, attributes });
      const reply = answerBinding(bytes, from);
      if (reply === undefined) return false;
      const { answer } = reply;
      if (answer === undefined) return true;
      answered += 1;
      const isRefused = attributes.some(([type]) => type < 0x8000);
      const stunClass = decodeMessage(answer)?.stunClass;
      return answer.length <= bytes.length && stunClass === (isRefused ? 'error' : 'success');
    }),
    { numRuns: dose(500) },
  );
  t.ok(answered > 0);
  const bare = encodeMessage({
    stunClass: 'request',
    method: METHOD.binding,
    transaction,
    attributes: [],
  });
  t.strictSame(answerBinding(bare, OUTSIDE), { answer: undefined, record: undefined });
  t.end();
});

t.test('what is no Binding request is not answered', (t) => {
  const transaction = randomBytes(seededRng(5), 12);
  const filling = [[ATTRIBUTE.filling, new Uint8Array(100)] as const];
  const content = { transaction, attributes: filling };
  const said = (stunClass: 'request' | 'indication' | 'success' | 'error', method: number) =>
    answerBinding(encodeMessage({ stunClass, method, ...content }), OUTSIDE);
  t.ok(said('request', METHOD.binding)?.answer);
  for (const stunClass of ['indication', 'success', 'error'] as const)
    t.equal(said(stunClass, METHOD.binding), undefined);
  t.equal(said('request', METHOD.allocate), undefined);
  t.equal(answerBinding(randomBytes(seededRng(6), 128), OUTSIDE), undefined);
  t.end();
});

t.test('any bytes at the server: at most one answer, never longer than they', (t) => {
  const valid = pollAll(asking([ONE]), micros(0)).map(({ bytes }) => bytes);
  fuzz(t, {
    what: 'Binding request',
    valid: [...valid, valid[0].slice(0, 20).with(2, 0).with(3, 0)],
    again: 'settled',
    read: (bytes) => {
      const reply = answerBinding(bytes, OUTSIDE);
      if (reply === undefined) return undefined;
      if (reply.answer !== undefined && reply.answer.length > bytes.length) throw new Error('long');
      // A request of the same kind stands for what was read.
      return valid[0];
    },
  });
  t.end();
});
