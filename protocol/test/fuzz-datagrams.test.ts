// Everything that a UDP datagram can hold, spoiled: the three kinds of packet before anything is
// proven, the handshake in both roles, sealed packets, and the frames inside a genuine one.

import t from 'tap';
import { sameBytes } from '../bytes.ts';
import type { DhKey } from '../crypto.ts';
import {
  FRAME,
  type FrameHandler,
  decodeFrames,
  writeDatagram,
  writeExpiry,
  writeNumbers,
  writePathFrame,
  writeStreamHead,
} from '../data/frame.ts';
import { Handshake } from '../data/handshake.ts';
import {
  HANDSHAKE_HEADER_BYTES,
  HANDSHAKE_PACKET_BYTES,
  HEADER_BYTES,
  encodeHandshakeHeader,
  encodeTransportHeader,
  indexOf,
  keyPhaseOf,
  packetKind,
  packetNumberOf,
} from '../data/packet.ts';
import { Protection } from '../data/protection.ts';
import { Reader, Writer } from '../data/varint.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { fuzz } from './fuzz.ts';

const ROOM = 4_096;
const CALLER_INDEX = 0xaaaa_aaaa;
const CALLEE_INDEX = 0xbbbb_bbbb;
const suite = nodeSuite;
const key = (fill: number): DhKey => suite.dhKey(new Uint8Array(32).fill(fill));
const CALLER = key(1);
const CALLEE = key(2);

function handshake(role: 'caller' | 'callee', ephemeral = role === 'caller' ? 3 : 4): Handshake {
  return new Handshake({
    role,
    suite,
    prologue: new TextEncoder().encode('the grant'),
    sessionKey: new Uint8Array(32).fill(5),
    localKey: role === 'caller' ? CALLER : CALLEE,
    remotePublicKey: (role === 'caller' ? CALLEE : CALLER).publicKey,
    ephemeral: key(ephemeral),
  });
}

function written(write: (into: Uint8Array) => number): Uint8Array {
  const into = new Uint8Array(ROOM);
  return into.slice(0, write(into));
}

const initiations = [3, 6].map((ephemeral) =>
  written((into) => handshake('caller', ephemeral).writeInitiation(CALLEE_INDEX, into)),
);
const responses = [4, 7].map((ephemeral) => {
  const callee = handshake('callee', ephemeral);
  if (callee.readInitiation(initiations[0]) !== 'fresh') throw new Error('not genuine');
  return written((into) => callee.writeResponse(CALLER_INDEX, into));
});
const secrets = { send: new Uint8Array(32).fill(1), receive: new Uint8Array(32).fill(2) };

function protection(role: 'caller' | 'callee'): Protection {
  const isCaller = role === 'caller';
  const { send, receive } = secrets;
  return new Protection({
    suite,
    secrets: isCaller ? secrets : { send: receive, receive: send },
    localIndex: isCaller ? CALLER_INDEX : CALLEE_INDEX,
    remoteIndex: isCaller ? CALLEE_INDEX : CALLER_INDEX,
  });
}

function sealed(packetNumber: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(HEADER_BYTES + payload.length + 16);
  packet.set(payload, HEADER_BYTES);
  protection('caller').seal(packet, packetNumber, payload.length);
  return packet;
}

const packets = [0, 1, 77, 2 ** 40].map((packetNumber) =>
  sealed(packetNumber, new Uint8Array(16 + (packetNumber % 100)).fill(FRAME.ping)),
);

t.test('any bytes for a packet: one of three kinds, read as it was written, or none', async (t) => {
  fuzz(t, {
    what: 'packet',
    valid: [...initiations, ...responses, ...packets],
    read: (bytes) => {
      const kind = packetKind(bytes);
      if (kind === undefined) return undefined;
      const again = bytes.slice();
      again.fill(0, 0, kind === 'transport' ? HEADER_BYTES : HANDSHAKE_HEADER_BYTES);
      const receiverIndex = indexOf(bytes);
      if (kind !== 'transport') encodeHandshakeHeader(again, kind, receiverIndex);
      else {
        const packetNumber = packetNumberOf(bytes);
        encodeTransportHeader(again, { keyPhase: keyPhaseOf(bytes), receiverIndex, packetNumber });
      }
      return again;
    },
  });
});

/** Same, but for the receiver index, which is no part of the handshake. */
const isOneOf = (genuine: readonly Uint8Array[], bytes: Uint8Array): boolean =>
  genuine.some((each) =>
    sameBytes(each.subarray(HANDSHAKE_HEADER_BYTES), bytes.subarray(HANDSHAKE_HEADER_BYTES)),
  );

t.test('any bytes for an initiation: genuine, or refused', async (t) => {
  let callee = handshake('callee');
  fuzz(t, {
    what: 'initiation',
    valid: initiations,
    read: (bytes) => {
      const found = callee.readInitiation(bytes);
      if (found === undefined) return undefined;
      callee = handshake('callee');
      if (found === 'fresh' && isOneOf(initiations, bytes)) return bytes;
      throw new Error('a handshake that nobody made was taken');
    },
  });
});

t.test('any bytes for a response: genuine, or refused', async (t) => {
  const asked = (): Handshake => {
    const caller = handshake('caller');
    caller.writeInitiation(CALLEE_INDEX, new Uint8Array(HANDSHAKE_PACKET_BYTES));
    return caller;
  };
  let caller = asked();
  fuzz(t, {
    what: 'response',
    valid: responses,
    read: (bytes) => {
      if (!caller.readResponse(bytes)) return undefined;
      caller = asked();
      if (isOneOf(responses, bytes)) return bytes;
      throw new Error('a handshake that nobody made was taken');
    },
  });
});

t.test('any bytes for a sealed packet: what was sealed, or nothing', async (t) => {
  fuzz(t, {
    what: 'sealed packet',
    valid: packets,
    read: (bytes) => {
      // Each opens once, and in place: an end of its own for each case, and a copy.
      if (protection('callee').open(bytes.slice()) === undefined) return undefined;
      if (packets.some((packet) => sameBytes(packet, bytes))) return bytes;
      throw new Error('what nobody sealed was opened');
    },
  });
});

/** What a decoder calls back with, written as frames again. */
class Rewriter implements FrameHandler {
  readonly #writer = new Writer();
  readonly #into = new Uint8Array(ROOM);

  constructor() {
    this.#writer.reset(this.#into, 0, ROOM);
  }

  get bytes(): Uint8Array {
    return this.#into.slice(0, this.#writer.at);
  }

  onAck({ largest, delayMicros, edges, ranges }: Parameters<FrameHandler['onAck']>[0]): void {
    const numbers = [largest, delayMicros, ranges - 1, edges[1] - edges[0]];
    for (let at = 1; at < ranges; at++) {
      numbers.push(edges[at * 2 - 2] - edges[at * 2 + 1] - 2, edges[at * 2 + 1] - edges[at * 2]);
    }
    writeNumbers(this.#writer, FRAME.ack, ...numbers);
  }
  onReset(...numbers: readonly number[]): void {
    writeNumbers(this.#writer, FRAME.reset, ...numbers);
  }
  onStop(...numbers: readonly number[]): void {
    writeNumbers(this.#writer, FRAME.stop, ...numbers);
  }
  onStream(
    stream: number,
    offset: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    fin: boolean,
  ): void {
    writeStreamHead(this.#writer, stream, offset, end - start, fin);
    this.#writer.copy(bytes.subarray(start, end));
  }
  onMaxData(total: number): void {
    writeNumbers(this.#writer, FRAME.maxData, total);
  }
  onMaxStreamData(...numbers: readonly number[]): void {
    writeNumbers(this.#writer, FRAME.maxStreamData, ...numbers);
  }
  onMaxStreams(total: number): void {
    writeNumbers(this.#writer, FRAME.maxStreams, total);
  }
  onPathChallenge(token: Uint8Array): void {
    this.#writer.byte(FRAME.pathChallenge);
    this.#writer.copy(token);
  }
  onPathResponse(token: Uint8Array): void {
    this.#writer.byte(FRAME.pathResponse);
    this.#writer.copy(token);
  }
  onDatagram(bytes: Uint8Array, start: number, end: number): void {
    writeDatagram(this.#writer, bytes.subarray(start, end));
  }
  onClose({ code, sentBytes, receivedBytes, lostBytes }: Parameters<FrameHandler['onClose']>[0]) {
    writeNumbers(this.#writer, FRAME.close, code, sentBytes, receivedBytes, lostBytes);
  }
  onQuota({ revision, given, wanted, spare }: Parameters<FrameHandler['onQuota']>[0]): void {
    writeNumbers(this.#writer, FRAME.quota, revision, given, wanted, spare);
  }
  onExpiry(expiry: Uint8Array, signature: Uint8Array): void {
    writeExpiry(this.#writer, expiry, signature);
  }
}

/** One frame of every kind, alone. */
function frames(): readonly Uint8Array[] {
  const one = (write: (writer: Writer) => void): Uint8Array => {
    const writer = new Writer();
    const into = new Uint8Array(ROOM);
    writer.reset(into, 0, ROOM);
    write(writer);
    return into.slice(0, writer.at);
  };
  const data = new Uint8Array(40).fill(9);
  return [
    one((writer) => writeNumbers(writer, FRAME.ack, 50, 100, 2, 3, 0, 5, 70, 0)),
    one((writer) => writeNumbers(writer, FRAME.ack, 90, 100, 2, 3, 0, 5, 70, 0)),
    one((writer) => writeNumbers(writer, FRAME.reset, 4, 9, 1_000)),
    one((writer) => writeNumbers(writer, FRAME.stop, 4, 9)),
    one((writer) => {
      writeStreamHead(writer, 8, 70_000, data.length, true);
      writer.copy(data);
    }),
    Uint8Array.of(FRAME.stream, 4, 1, 2, 3),
    one((writer) => writeNumbers(writer, FRAME.maxData, 2 ** 40)),
    one((writer) => writeNumbers(writer, FRAME.maxStreamData, 4, 2 ** 20)),
    one((writer) => writeNumbers(writer, FRAME.maxStreams, 64)),
    one((writer) => writePathFrame(writer, FRAME.pathResponse, data.subarray(0, 8))),
    Uint8Array.of(FRAME.pathChallenge, ...data.subarray(0, 8)),
    one((writer) => writeDatagram(writer, data)),
    one((writer) => writeNumbers(writer, FRAME.quota, 1, 2, 3, 2 ** 33)),
    one((writer) => writeExpiry(writer, new Uint8Array(100), new Uint8Array(64))),
    one((writer) => writeNumbers(writer, FRAME.close, 3, 10, 20, 30)),
    Uint8Array.of(FRAME.ping, FRAME.padding, FRAME.padding),
  ];
}

t.test('any bytes for frames: calls that can be written again, or a refusal', async (t) => {
  const each = frames();
  // Several in a packet, as they come; the first with no end of its own cannot be in front.
  const whole = each.map((frame, at) => Buffer.concat([each[at - 2] ?? frame, frame]));
  fuzz(t, {
    what: 'frames',
    valid: [...each, ...whole.map((bytes) => Uint8Array.from(bytes))],
    again: 'settled',
    read: (bytes) => {
      const reader = new Reader();
      reader.reset(bytes, 0, bytes.length);
      const rewriter = new Rewriter();
      const isEliciting = decodeFrames(reader, rewriter);
      if (isEliciting === undefined) return undefined;
      if (reader.at !== bytes.length) throw new Error('it did not read to the end');
      // What calls nobody, PING and PADDING, is said by one PING or PADDING in front.
      const front = isEliciting ? FRAME.ping : FRAME.padding;
      const { bytes: again } = rewriter;
      return Uint8Array.of(...(again.length === 0 ? [front] : []), ...again);
    },
  });
});
