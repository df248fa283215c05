// Frames as a test wants them, honest or not, for `misbehaving-peer.ts`. Nothing is checked here:
// a number may be a lie.

import { FRAME, writeDatagram, writeNumbers, writeStreamHead } from '../data/frame.ts';
import type { Ranges } from '../data/ranges.ts';
import { Writer } from '../data/varint.ts';

const ROOM = 70_000;

/** A frame of its own making. */
export function frame(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  const bytes = new Uint8Array(ROOM);
  writer.reset(bytes, 0, bytes.length);
  write(writer);
  return bytes.slice(0, writer.at);
}

/** A frame that is a type and numbers, whatever they are. */
export function numbers(type: number, ...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(1 + values.length * 8);
  const writer = new Writer();
  writer.reset(bytes, 0, bytes.length);
  writeNumbers(writer, type, ...values);
  return bytes.subarray(0, writer.at);
}

/** STREAM with `length` bytes of `fill`. */
export function data(
  stream: number,
  offset: number,
  length: number,
  fin = false,
  fill = 0,
): Uint8Array {
  const bytes = new Uint8Array(32 + length);
  const writer = new Writer();
  writer.reset(bytes, 0, bytes.length);
  writeStreamHead(writer, stream, offset, length, fin);
  bytes.fill(fill, writer.at, writer.at + length);
  return bytes.subarray(0, writer.at + length);
}

/** DATAGRAM with `length` bytes. */
export function message(length: number): Uint8Array {
  const bytes = new Uint8Array(9 + length);
  const writer = new Writer();
  writer.reset(bytes, 0, bytes.length);
  writeDatagram(writer, new Uint8Array(length));
  return bytes.subarray(0, writer.at);
}

/** An ACK of exactly `[smallest, largest]`. */
export const ackOf = (smallest: number, largest: number, delay = 0): Uint8Array =>
  numbers(FRAME.ack, largest, delay, 0, largest - smallest);

/** An ACK of `[smallest, largest]` but for one number between them. */
export const ackBut = (smallest: number, missing: number, largest: number): Uint8Array =>
  missing <= smallest || missing >= largest
    ? ackOf(missing === smallest ? smallest + 1 : smallest, largest)
    : numbers(FRAME.ack, largest, 0, 1, largest - missing - 1, 0, missing - 1 - smallest);

/** As many copies of a frame as fill `bytes`. */
export function repeated(each: Uint8Array, bytes = 1100): Uint8Array {
  const count = Math.max(1, Math.floor(bytes / each.length));
  const all = new Uint8Array(count * each.length);
  for (let at = 0; at < all.length; at += each.length) all.set(each, at);
  return all;
}

/** An ACK of the newest ranges. */
export function honestAck(ranges: Ranges): Uint8Array {
  const top = ranges.count - 1;
  const least = Math.max(0, top - 20);
  const values = [ranges.end(top) - 1, 0, top - least, ranges.end(top) - 1 - ranges.start(top)];
  for (let i = top - 1; i >= least; i--) {
    values.push(ranges.start(i + 1) - ranges.end(i) - 1, ranges.end(i) - 1 - ranges.start(i));
  }
  return numbers(FRAME.ack, ...values);
}
