// Frames that a hostile end of a talk makes up, in the room of those that its core wanted to send:
// acknowledgements of what was never sent, credit that nobody gave, streams at any offset, ends
// that are none. Everything is sealed rightly: only what it says is wrong.

import {
  FRAME,
  writeDatagram,
  writeExpiry,
  writeNumbers,
  writePathFrame,
  writeStreamHead,
} from '../../protocol/data/frame.ts';
import { Writer } from '../../protocol/data/varint.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';

const HUGE = 2 ** 52;
const STREAMS = 80;
const MOST_DATA = 64;
const EXPIRY_BYTES = 120;
const SIGNATURE_BYTES = 64;

type Made = (writer: Writer, rng: Rng) => void;

/** Numbers near a bound, near nothing, or anything. */
function number(rng: Rng): number {
  switch (randomBelow(rng, 5)) {
    case 0:
      return randomBelow(rng, 8);
    case 1:
      return HUGE + randomBelow(rng, 1_000);
    case 2:
      return 2 ** (6 + randomBelow(rng, 44)) - 1;
    default:
      return randomBelow(rng, 100_000);
  }
}

/** By what is wrong with them. */
const MADE: Readonly<Record<string, Made>> = {
  'an acknowledgement of anything': (writer, rng) => {
    const largest = number(rng);
    const first = randomBelow(rng, 2) === 0 ? largest : randomBelow(rng, 4);
    writeNumbers(writer, FRAME.ack, largest, number(rng), 0, first);
  },
  'an acknowledgement of ranges below nothing': (writer, rng) => {
    const count = 1 + randomBelow(rng, 60);
    writeNumbers(writer, FRAME.ack, 200, 0, count, 1);
    for (let at = 0; at < count && writer.room > 2; at++) {
      writer.byte(randomBelow(rng, 64));
      writer.byte(randomBelow(rng, 64));
    }
  },
  'credit for nothing': (writer, rng) => {
    writeNumbers(writer, FRAME.maxData, number(rng));
    writeNumbers(writer, FRAME.maxStreamData, randomBelow(rng, STREAMS), number(rng));
    writeNumbers(writer, FRAME.maxStreams, number(rng));
  },
  'a quota that nobody gave': (writer, rng) => {
    const revision = randomBelow(rng, 3);
    writeNumbers(writer, FRAME.quota, revision, number(rng), number(rng), number(rng));
  },
  'bytes at any place of any stream': (writer, rng) => {
    const length = Math.min(randomBelow(rng, MOST_DATA), Math.max(0, writer.room - 20));
    if (writer.room < 20 + length) return;
    const isLast = randomBelow(rng, 3) === 0;
    writeStreamHead(writer, randomBelow(rng, STREAMS), number(rng), length, isLast);
    writer.copy(randomBytes(rng, length));
  },
  'an end of any stream': (writer, rng) => {
    writeNumbers(writer, FRAME.reset, randomBelow(rng, STREAMS), 1, number(rng));
    writeNumbers(writer, FRAME.stop, randomBelow(rng, STREAMS), number(rng));
  },
  'a close with false counts': (writer, rng) => {
    writeNumbers(writer, FRAME.close, randomBelow(rng, 20), number(rng), number(rng), number(rng));
  },
  'an expiry that nobody signed': (writer, rng) => {
    writeExpiry(writer, randomBytes(rng, EXPIRY_BYTES), randomBytes(rng, SIGNATURE_BYTES));
  },
  'many challenges': (writer, rng) => {
    while (writePathFrame(writer, FRAME.pathChallenge, randomBytes(rng, 8)));
  },
  'a response to no challenge': (writer, rng) => {
    writePathFrame(writer, FRAME.pathResponse, randomBytes(rng, 8));
  },
  'many messages': (writer, rng) => {
    while (writeDatagram(writer, randomBytes(rng, randomBelow(rng, 8))));
  },
  'no frames at all': (writer, rng) => {
    writer.copy(randomBytes(rng, writer.room));
  },
};

/** What can be made up. */
export const MADE_FRAMES: readonly string[] = Object.keys(MADE);

/** Writes over the frames in `buffer[start, start + length)`; the rest is padding. */
export function overwriteFrames(
  rng: Rng,
  kind: string,
  room: { readonly buffer: Uint8Array; readonly start: number; readonly length: number },
): void {
  const { buffer, start, length } = room;
  buffer.fill(FRAME.padding, start, start + length);
  const writer = new Writer();
  writer.reset(buffer, start, start + length);
  MADE[kind](writer, rng);
}
