// A peer that is who it says and breaks the rules: frames of our own making, properly sealed,
// against a real connection. Each broken rule ends the talk as `protocol-error`; nothing throws;
// memory stays.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import type { Path } from '../core.ts';
import { Connection } from '../data/connection.ts';
import type { ConnectionEvent, StreamId } from '../data/connection-types.ts';
import {
  FRAME,
  type FrameHandler,
  decodeFrames,
  writeDatagram,
  writeNumbers,
  writeStreamHead,
} from '../data/frame.ts';
import { Handshake } from '../data/handshake.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { HEADER_BYTES, receiverIndex } from '../data/packet.ts';
import { Protection } from '../data/protection.ts';
import { Reader, Writer } from '../data/varint.ts';
import { randomSessionId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import { after, micros, ms } from '../time.ts';

const PATH: Path = { host: '192.0.2.1', port: 1 };

/** A caller made of bare parts in front of a real callee. */
class RawCaller {
  readonly callee: Connection;
  readonly events: ConnectionEvent[] = [];
  /** Opened plaintexts of the callee. */
  readonly heard: Uint8Array[] = [];
  now = micros(1_000_000);
  readonly #protection: Protection;
  #packetNumber = 0;

  constructor(bytes?: number) {
    const rng = seededRng(3);
    const suite = nodeSuite;
    const [callerKey, calleeKey] = [0, 1].map(() => suite.dhKey(randomBytes(rng, 32)));
    const session = randomSessionId(rng);
    const sessionKey = randomBytes(rng, 32);
    const grantBytes = randomBytes(rng, 50);
    this.callee = new Connection({
      role: 'callee',
      session,
      grantBytes,
      limits: { seconds: 3600, bytes },
      sessionKey,
      localKey: calleeKey,
      remotePublicKey: callerKey.publicKey,
      suite,
      rng,
      paths: [PATH],
    });
    const handshake = new Handshake({
      role: 'caller',
      suite,
      prologue: grantBytes,
      sessionKey,
      localKey: callerKey,
      remotePublicKey: calleeKey.publicKey,
      ephemeral: suite.dhKey(randomBytes(rng, 32)),
    });
    const buffer = new Uint8Array(2000);
    const [calleeIndex, callerIndex] = (['callee', 'caller'] as const).map((role) =>
      receiverIndex(suite, session, role),
    );
    const size = handshake.writeInitiation(calleeIndex, buffer);
    this.callee.handleDatagram(this.now, PATH, buffer.slice(0, size));
    const transmit = this.callee.pollTransmit(this.now, buffer);
    if (transmit === undefined) throw new Error('no response');
    handshake.readResponse(buffer.slice(0, transmit.size));
    const { secrets } = handshake;
    if (secrets === undefined) throw new Error('no secrets');
    this.#protection = new Protection({
      suite,
      secrets,
      localIndex: callerIndex,
      remoteIndex: calleeIndex,
    });
    this.say(numbers(FRAME.ping));
  }

  /** Seals frames into one packet and hears what the callee answers. */
  say(...frames: readonly Uint8Array[]): void {
    const payload = Buffer.concat(frames);
    const packet = new Uint8Array(HEADER_BYTES + payload.length + 16);
    packet.set(payload, HEADER_BYTES);
    this.#protection.seal(packet, this.#packetNumber++, payload.length);
    this.callee.handleDatagram(this.now, PATH, packet);
    this.hear();
  }

  hear(): void {
    const buffer = new Uint8Array(2000);
    for (let turns = 0; turns < 1000; turns++) {
      let event = this.callee.pollEvent();
      for (; event !== undefined; event = this.callee.pollEvent()) this.events.push(event);
      const transmit = this.callee.pollTransmit(this.now, buffer);
      if (transmit === undefined) break;
      const bytes = buffer.slice(0, transmit.size);
      const opened = this.#protection.open(bytes);
      if (opened !== undefined) this.heard.push(bytes.slice(opened.start, opened.end));
    }
    let event = this.callee.pollEvent();
    for (; event !== undefined; event = this.callee.pollEvent()) this.events.push(event);
  }

  pass(milliseconds: number): void {
    this.now = after(this.now, ms(milliseconds));
    this.callee.handleTimeout(this.now);
    this.hear();
  }

  get reason(): string | undefined {
    const ended = this.events.find((event) => event.kind === 'ended');
    return ended?.reason;
  }
}

function frame(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  const bytes = new Uint8Array(70_000);
  writer.reset(bytes, 0, bytes.length);
  write(writer);
  return bytes.slice(0, writer.at);
}
const numbers = (type: number, ...values: readonly number[]): Uint8Array =>
  frame((writer) => writeNumbers(writer, type, ...values));
const data = (stream: number, offset: number, length: number, fin = false): Uint8Array =>
  frame((writer) => {
    writeStreamHead(writer, stream, offset, length, fin);
    writer.at += length;
  });
const message = (length: number): Uint8Array =>
  frame((writer) => writeDatagram(writer, new Uint8Array(length)));

const BROKEN: Readonly<Record<string, readonly (readonly Uint8Array[])[]>> = {
  'a packet without frames': [[]],
  'an unknown frame': [[Uint8Array.of(0x33, 0, 0)]],
  'a frame cut off': [[Uint8Array.of(FRAME.maxStreamData, 0x40)]],
  'an ACK of a packet never sent': [[numbers(FRAME.ack, 1_000_000, 0, 0, 0)]],
  'an ACK whose ranges run below zero': [[numbers(FRAME.ack, 0, 0, 0, 5)]],
  'an ACK of too many ranges': [[numbers(FRAME.ack, 0, 0, 64, 0)]],
  'stream data beyond its limit': [[data(0, DATA_LIMITS.initialMaxStreamData, 1)]],
  'an offset that would overflow': [[numbers(0x0c, 0, Number.MAX_SAFE_INTEGER), new Uint8Array(9)]],
  'data on streams beyond the limit': [[data(DATA_LIMITS.streamsMax * 2, 0, 1)]],
  'data on a stream of ours that we did not open': [[data(1, 0, 1)]],
  'data after the end': [[data(0, 0, 10, true)], [data(0, 10, 1)]],
  'another final size': [[data(0, 0, 10, true)], [data(0, 0, 5, true)]],
  'an end before what was sent': [[data(0, 0, 10)], [data(0, 0, 5, true)]],
  'a reset below what was sent': [[data(0, 0, 10)], [numbers(FRAME.reset, 0, 1, 5)]],
  'a reset to a size beyond the limit': [[numbers(FRAME.reset, 0, 1, 2 ** 40)]],
  'a CLOSE without a known reason': [[numbers(FRAME.close, 99, 0, 0, 0)]],
  'a gift received that we never made': [[numbers(FRAME.quota, 0, 0, 5, 0)]],
};

for (const [what, packets] of Object.entries(BROKEN)) {
  t.test(`a peer that sends ${what} ends the talk`, async (t) => {
    const raw = new RawCaller();
    for (const frames of packets) {
      t.equal(raw.reason, undefined);
      raw.say(...frames);
    }
    t.equal(raw.reason, 'protocol-error');
    const last = raw.heard.at(-1) ?? new Uint8Array(1);
    t.equal(last[0], FRAME.close, 'it is told');
    t.equal(last[1], 10, 'and why');
  });
}

t.test('an ACK of a packet number that was left out ends the talk (RFC 9000 §21.4)', async (t) => {
  const raw = new RawCaller();
  // Each challenge is answered in a packet of its own, so that packet `turn` was sent, or left out.
  let turn = 0;
  for (; turn < DATA_LIMITS.skipEveryMax + 10 && raw.reason === undefined; turn++) {
    raw.say(numbers(FRAME.pathChallenge), new Uint8Array(8));
    raw.pass(5);
    raw.say(numbers(FRAME.ack, turn, 0, 0, turn));
  }
  t.equal(raw.reason, 'protocol-error');
  t.ok(turn > DATA_LIMITS.skipEveryMin / 2, `after ${turn}`);
});

t.test('claim 15: a peer that sends more than the grant ends the talk', async (t) => {
  const raw = new RawCaller(1000);
  raw.say(data(0, 0, 1000));
  t.equal(raw.reason, undefined);
  raw.say(message(1));
  t.equal(raw.reason, 'protocol-error');
});

t.test('gaps without end are not kept, and cost no acknowledged byte', async (t) => {
  const raw = new RawCaller();
  const gaps = DATA_LIMITS.gapsMax;
  for (let i = 0; i < gaps + 200; i++) raw.say(data(0, 1 + i * 2, 1));
  t.equal(raw.reason, undefined);
  raw.say(data(0, 0, 1 + gaps * 2));
  const into = new Uint8Array(10_000);
  const stream = 0 as StreamId;
  t.equal(raw.callee.read(stream, into), 1 + gaps * 2, 'what lay beyond was never taken');
  raw.say(data(0, 1 + gaps * 2, 500));
  t.equal(raw.callee.read(stream, into), 500);
});

t.test('messages that nobody reads push out the oldest', async (t) => {
  const raw = new RawCaller();
  for (let i = 0; i < 200; i++) raw.say(message(1 + (i % 100)));
  let read = 0;
  while (raw.callee.readDatagram() !== undefined) read++;
  t.equal(read, DATA_LIMITS.datagramsReceiveMax);
  t.equal(raw.callee.statistics().droppedMessages, 200 - read);
});

t.test('endless resets open no more streams than allowed and queue no more events', async (t) => {
  const raw = new RawCaller();
  for (let i = 0; i < 64; i++)
    raw.say(numbers(FRAME.reset, i * 2, 1, 0), numbers(FRAME.stop, i * 2, 1));
  t.equal(raw.reason, undefined);
  raw.say(numbers(FRAME.reset, 128 * 2, 1, 0));
  t.equal(raw.reason, 'protocol-error');
});

t.test('a CLOSE ends this end with the same reason, and is answered', async (t) => {
  const raw = new RawCaller();
  raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.equal(raw.reason, 'operator');
  t.equal(raw.heard.at(-1)?.[0], FRAME.close);
  const before = raw.heard.length;
  for (let i = 0; i < 100; i++) raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.ok(raw.heard.length - before <= DATA_LIMITS.closeAnswersMax, 'not without end');
  raw.pass(10_000);
  const silent = raw.heard.length;
  raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.equal(raw.heard.length, silent);
});

t.test('a packet that comes twice counts once', async (t) => {
  const raw = new RawCaller();
  raw.say(message(10));
  const before = raw.callee.counts(raw.now).receivedBytes;
  t.equal(before, 10);
});

const anyFrame = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc
    .tuple(
      fc.constantFrom<number>(...Object.values(FRAME)),
      fc.array(fc.oneof(fc.nat(300), fc.maxSafeNat()), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 20 }),
    )
    .map(([type, values, tail]) => Buffer.concat([numbers(type, ...values), tail])),
  fc.tuple(fc.nat(8), fc.nat(70_000), fc.nat(500), fc.boolean()).map((args) => data(...args)),
  fc.nat(300).map(message),
);

t.test('any frames from a proven peer: taken or refused, never an exception', async (t) => {
  const result = fc.check(
    fc.property(fc.array(fc.array(anyFrame, { maxLength: 4 }), { maxLength: 30 }), (packets) => {
      const raw = new RawCaller(100_000);
      const own = raw.callee.openStream();
      if (own !== undefined) raw.callee.write(own, new Uint8Array(5000));
      for (const frames of packets) {
        raw.say(...frames);
        raw.pass(3);
      }
      const ended = raw.events.filter(({ kind }) => kind === 'ended').length;
      const counts = raw.callee.counts(raw.now);
      return ended <= 1 && counts.receivedBytes >= 0 && counts.lostBytes >= 0;
    }),
    { numRuns: dose(400) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

const ignore = (): void => {};
const HANDLER: FrameHandler = {
  onAck: ignore,
  onReset: ignore,
  onStop: ignore,
  onStream: ignore,
  onMaxData: ignore,
  onMaxStreamData: ignore,
  onMaxStreams: ignore,
  onPathChallenge: ignore,
  onPathResponse: ignore,
  onDatagram: ignore,
  onClose: ignore,
  onQuota: ignore,
  onExpiry: ignore,
};

t.test('any bytes: decoded within their bounds or refused', async (t) => {
  const reader = new Reader();
  const views: number[] = [];
  const handler: FrameHandler = {
    ...HANDLER,
    onStream: (_id, _offset, _bytes, start, end) => views.push(start, end),
    onDatagram: (_bytes, start, end) => views.push(start, end),
  };
  const result = fc.check(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      views.length = 0;
      reader.reset(bytes, 0, bytes.length);
      const eliciting = decodeFrames(reader, handler);
      return (
        (eliciting === undefined || reader.at === bytes.length) &&
        views.every((at, i) => at <= bytes.length && (i % 2 === 0 || at >= views[i - 1]))
      );
    }),
    { numRuns: dose(5_000) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('any datagrams, before and after the handshake: no answer, no exception', async (t) => {
  const raw = new RawCaller();
  const before = raw.heard.length;
  const result = fc.check(
    fc.property(
      fc.uint8Array({ maxLength: 1500 }),
      fc.constantFrom(0, 1, 2, 4, 5),
      (bytes, type) => {
        if (bytes.length > 0) bytes[0] = type;
        raw.callee.handleDatagram(raw.now, { host: '198.51.100.1', port: 7 }, bytes);
        raw.hear();
        return raw.heard.length === before;
      },
    ),
    { numRuns: dose(2_000, 50) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
  t.equal(raw.callee.state(raw.now).state, 'open');
});
