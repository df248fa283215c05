// The frames inside a packet, numbered after RFC 9000 §19 and RFC 9221; one byte of type, then
// varints. Three are our own: CLOSE, QUOTA, EXPIRY. The decoder calls back with numbers and a view
// into the packet, so that nothing is allocated for a frame.
//
//   0x00 PADDING          0x01 PING
//   0x02 ACK              largest, delay (µs), more ranges, first range { gap, range }
//   0x04 RESET_STREAM     stream, code, final size      0x05 STOP_SENDING  stream, code
//   0x08–0x0f STREAM      stream, [0x04: offset], [0x02: length], bytes; 0x01: the last
//   0x10 MAX_DATA         total                         0x11 MAX_STREAM_DATA  stream, total
//   0x12 MAX_STREAMS      total         0x1a / 0x1b PATH_CHALLENGE / PATH_RESPONSE  8 bytes
//   0x31 DATAGRAM         length, bytes
//   0x40 CLOSE            reason, sent, received, lost
//   0x41 QUOTA            revision, given, wanted, spare
//   0x42 EXPIRY           length, expiry, length, signature

import { DATA_LIMITS } from './limits.ts';
import type { Reader, Writer } from './varint.ts';
import { varintSize } from './varint.ts';
import { SIGNATURE_BYTES } from '../crypto.ts';

/** Frame types; wire format. */
export const FRAME = {
  padding: 0x00,
  ping: 0x01,
  ack: 0x02,
  reset: 0x04,
  stop: 0x05,
  stream: 0x08,
  maxData: 0x10,
  maxStreamData: 0x11,
  maxStreams: 0x12,
  pathChallenge: 0x1a,
  pathResponse: 0x1b,
  datagram: 0x31,
  close: 0x40,
  quota: 0x41,
  expiry: 0x42,
} as const;

const STREAM_FIN = 0x01;
const STREAM_LENGTH = 0x02;
const STREAM_OFFSET = 0x04;

/** Bytes of a path challenge and of its response (RFC 9000 §19.17). */
export const CHALLENGE_BYTES = 8;

/** An ACK, descending: `edges` holds first and last packet number of each range, inclusive. */
export interface AckFrame {
  largest: number;
  delayMicros: number;
  /** smallest, largest, smallest, largest …; only `ranges` pairs count. */
  readonly edges: number[];
  ranges: number;
}

/** A QUOTA: cumulative totals (design §5). */
export interface QuotaNumbers {
  readonly revision: number;
  readonly given: number;
  readonly wanted: number;
  readonly spare: number;
}

/** What a CLOSE says. */
export interface CloseNumbers {
  readonly code: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly lostBytes: number;
}

/** Takes frames one by one. Views and the AckFrame are borrowed until the call returns. */
export interface FrameHandler {
  onAck(ack: AckFrame): void;
  onReset(stream: number, code: number, finalSize: number): void;
  onStop(stream: number, code: number): void;
  /** The data is `bytes[start, end)`. */
  onStream(
    stream: number,
    offset: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    fin: boolean,
  ): void;
  onMaxData(total: number): void;
  onMaxStreamData(stream: number, total: number): void;
  onMaxStreams(total: number): void;
  onPathChallenge(token: Uint8Array): void;
  onPathResponse(token: Uint8Array): void;
  onDatagram(bytes: Uint8Array, start: number, end: number): void;
  onClose(close: CloseNumbers): void;
  onQuota(quota: QuotaNumbers): void;
  onExpiry(expiry: Uint8Array, signature: Uint8Array): void;
}

const ack: AckFrame = { largest: 0, delayMicros: 0, edges: [], ranges: 0 };

/**
 * Reads all frames of one authenticated packet.
 * Returns whether it asks for an acknowledgement; undefined when the packet is malformed or empty.
 * Whatever the handler throws passes through.
 */
export function decodeFrames(reader: Reader, handler: FrameHandler): boolean | undefined {
  if (reader.at >= reader.end) return undefined;
  let eliciting = false;
  while (reader.at < reader.end) {
    const type = reader.bytes[reader.at++];
    if (type === FRAME.padding) continue;
    if (type !== FRAME.ack && type !== FRAME.close) eliciting = true;
    if (!decodeFrame(reader, type, handler)) return undefined;
  }
  return eliciting;
}

function decodeFrame(reader: Reader, type: number, handler: FrameHandler): boolean {
  if (type >= FRAME.stream && type <= (FRAME.stream | 0x07)) {
    return decodeStream(reader, type, handler);
  }
  switch (type) {
    case FRAME.ping:
      return true;
    case FRAME.ack:
      if (!decodeAck(reader)) return false;
      handler.onAck(ack);
      return true;
    case FRAME.datagram: {
      const length = reader.varint();
      const start = reader.skip(length);
      if (reader.failed) return false;
      handler.onDatagram(reader.bytes, start, start + length);
      return true;
    }
    case FRAME.pathChallenge:
    case FRAME.pathResponse: {
      const start = reader.skip(CHALLENGE_BYTES);
      if (reader.failed) return false;
      const token = reader.bytes.subarray(start, start + CHALLENGE_BYTES);
      if (type === FRAME.pathChallenge) handler.onPathChallenge(token);
      else handler.onPathResponse(token);
      return true;
    }
    case FRAME.expiry:
      return decodeExpiry(reader, handler);
    default:
      return decodeNumbers(reader, type, handler);
  }
}

/** Frames that are nothing but one to four numbers. */
function decodeNumbers(reader: Reader, type: number, handler: FrameHandler): boolean {
  const count = NUMBERS[type];
  if (count === undefined) return false;
  const a = reader.varint();
  const b = count > 1 ? reader.varint() : 0;
  const c = count > 2 ? reader.varint() : 0;
  const d = count > 3 ? reader.varint() : 0;
  if (reader.failed) return false;
  if (type === FRAME.maxData) handler.onMaxData(a);
  else if (type === FRAME.maxStreamData) handler.onMaxStreamData(a, b);
  else if (type === FRAME.maxStreams) handler.onMaxStreams(a);
  else if (type === FRAME.reset) handler.onReset(a, b, c);
  else if (type === FRAME.stop) handler.onStop(a, b);
  else if (type === FRAME.quota) {
    handler.onQuota({ revision: a, given: b, wanted: c, spare: d });
  } else {
    handler.onClose({ code: a, sentBytes: b, receivedBytes: c, lostBytes: d });
  }
  return true;
}

const NUMBERS: Readonly<Record<number, number | undefined>> = {
  [FRAME.reset]: 3,
  [FRAME.stop]: 2,
  [FRAME.maxData]: 1,
  [FRAME.maxStreamData]: 2,
  [FRAME.maxStreams]: 1,
  [FRAME.close]: 4,
  [FRAME.quota]: 4,
};

function decodeStream(reader: Reader, type: number, handler: FrameHandler): boolean {
  const stream = reader.varint();
  const offset = (type & STREAM_OFFSET) === 0 ? 0 : reader.varint();
  const length = (type & STREAM_LENGTH) === 0 ? reader.end - reader.at : reader.varint();
  const start = reader.skip(length);
  if (reader.failed || offset + length > Number.MAX_SAFE_INTEGER) return false;
  const fin = (type & STREAM_FIN) !== 0;
  handler.onStream(stream, offset, reader.bytes, start, start + length, fin);
  return true;
}

/** RFC 9000 §19.3.1; fills the shared `ack`. */
function decodeAck(reader: Reader): boolean {
  ack.largest = reader.varint();
  ack.delayMicros = reader.varint();
  const more = reader.varint();
  let smallest = ack.largest - reader.varint();
  if (reader.failed || more >= DATA_LIMITS.ackRangesParsed || smallest < 0) return false;
  ack.edges[0] = smallest;
  ack.edges[1] = ack.largest;
  ack.ranges = 1;
  for (let i = 0; i < more; i++) {
    const largest = smallest - reader.varint() - 2;
    smallest = largest - reader.varint();
    if (reader.failed || smallest < 0) return false;
    ack.edges[ack.ranges * 2] = smallest;
    ack.edges[ack.ranges * 2 + 1] = largest;
    ack.ranges++;
  }
  return true;
}

function decodeExpiry(reader: Reader, handler: FrameHandler): boolean {
  const length = reader.varint();
  if (length > DATA_LIMITS.expiryBytesMax) return false;
  const start = reader.skip(length);
  const signatureLength = reader.varint();
  if (signatureLength !== SIGNATURE_BYTES) return false;
  const at = reader.skip(signatureLength);
  if (reader.failed) return false;
  handler.onExpiry(
    reader.bytes.subarray(start, start + length),
    reader.bytes.subarray(at, at + signatureLength),
  );
  return true;
}

/** Writes a frame that is only numbers if it fits. */
export function writeNumbers(writer: Writer, type: number, ...numbers: readonly number[]): boolean {
  let size = 1;
  for (const value of numbers) size += varintSize(value);
  if (size > writer.room) return false;
  writer.byte(type);
  for (const value of numbers) writer.varint(value);
  return true;
}

/** Bytes of data that a STREAM frame may carry in `room`; negative: not even its head fits. */
export function streamRoom(room: number, stream: number, offset: number): number {
  const lengthSize = room > 0x4000 ? 4 : 2;
  return room - 1 - varintSize(stream) - varintSize(offset) - lengthSize;
}

/** Writes the head of a STREAM frame; the caller then writes `length` bytes at `writer.at`. */
export function writeStreamHead(
  writer: Writer,
  stream: number,
  offset: number,
  length: number,
  fin: boolean,
): void {
  writer.byte(FRAME.stream | STREAM_OFFSET | STREAM_LENGTH | (fin ? STREAM_FIN : 0));
  writer.varint(stream);
  writer.varint(offset);
  writer.varint(length);
}

/** Bytes of DATAGRAM payload that fit in `room`; may be negative. */
export const datagramRoom = (room: number): number => room - 1 - (room > 0x4000 ? 4 : 2);

/** Writes a DATAGRAM if it fits. */
export function writeDatagram(writer: Writer, payload: Uint8Array): boolean {
  if (1 + varintSize(payload.length) + payload.length > writer.room) return false;
  writer.byte(FRAME.datagram);
  writer.varint(payload.length);
  writer.copy(payload);
  return true;
}

/** Writes an EXPIRY if it fits. */
export function writeExpiry(writer: Writer, expiry: Uint8Array, signature: Uint8Array): boolean {
  const lengths = varintSize(expiry.length) + varintSize(signature.length);
  if (1 + lengths + expiry.length + signature.length > writer.room) return false;
  writer.byte(FRAME.expiry);
  writer.varint(expiry.length);
  writer.copy(expiry);
  writer.varint(signature.length);
  writer.copy(signature);
  return true;
}

/** Writes a PATH_CHALLENGE or PATH_RESPONSE if it fits. `token`: 8 bytes. */
export function writePathFrame(
  writer: Writer,
  type: typeof FRAME.pathChallenge | typeof FRAME.pathResponse,
  token: Uint8Array,
): boolean {
  if (1 + token.length > writer.room) return false;
  writer.byte(type);
  writer.copy(token);
  return true;
}
