// What the terminals of a fleet say to each other: bytes one way, their hash the other, so that
// both know what arrived. Used by the fleet, and by tests that need a talk to carry something.

import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Session } from '../../device/shell/session.ts';
import { errorCode } from '../../protocol/errors.ts';
import { seededRng } from '../../protocol/random.ts';
import { FLEET_LIMITS } from './limits.ts';

const CHUNK_BYTES = 64 * 1024;
const HASH_BYTES = 32;
const LENGTH_BYTES = 8;
/** What is sent, over and over; the beginning of each delivery says which one it is. */
const CHUNK = new Uint8Array(CHUNK_BYTES);
seededRng(1).fill(CHUNK);

/** Answers every stream with the SHA-256 of what came on it. */
export function answerWithHash(session: Session): void {
  session.on('stream', (stream) => void answer(stream));
}

async function answer(stream: Duplex): Promise<void> {
  try {
    const hash = createHash('sha256');
    // Not destroyed at its end: the other direction is still to be written.
    const chunks = stream.iterator({ destroyOnReturn: false });
    for await (const chunk of chunks) hash.update(chunk as Uint8Array);
    stream.end(hash.digest());
  } catch {
    // The talk ended under way; its end is reported where ends are.
    stream.destroy();
  }
}

/** What became of a delivery; `code`: why the talk ended before. */
type Delivery =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'cut'; readonly code: string };

/**
 * Sends `length` bytes that begin with `mark`, compares the hash that comes back, ends the talk.
 * Takes at most FLEET_LIMITS.deliveryMs, and as long again for the end.
 */
export async function deliver(session: Session, length: number, mark: number): Promise<Delivery> {
  const hash = createHash('sha256');
  const reply: Uint8Array[] = [];
  try {
    const signal = AbortSignal.timeout(FLEET_LIMITS.deliveryMs);
    await pipeline(
      () => hashed(bytesOf(length, mark), hash),
      session.openStream(),
      async (source) => {
        let received = 0;
        for await (const chunk of source as AsyncIterable<Uint8Array>) {
          received += chunk.length;
          // More than a hash is none: what is beyond it is not kept.
          if (received <= 2 * HASH_BYTES) reply.push(Uint8Array.from(chunk));
        }
      },
      { signal },
    );
  } catch (error) {
    session.finish('local');
    return { kind: 'cut', code: session.end?.reason ?? errorCode(error) };
  }
  session.finish('done');
  if (!Buffer.concat(reply).equals(hash.digest())) return { kind: 'damaged' };
  const { reason } = await session.ended;
  return reason === 'done' ? { kind: 'delivered' } : { kind: 'cut', code: reason };
}

function* hashed(
  chunks: Iterable<Uint8Array>,
  hash: { update(bytes: Uint8Array): unknown },
): Generator<Uint8Array, void, undefined> {
  for (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

function* bytesOf(length: number, mark: number): Generator<Uint8Array, void, undefined> {
  const first = new Uint8Array(LENGTH_BYTES);
  new DataView(first.buffer).setFloat64(0, mark);
  yield first.subarray(0, Math.min(length, LENGTH_BYTES));
  for (let left = length - LENGTH_BYTES; left > 0; left -= CHUNK_BYTES) {
    yield CHUNK.subarray(0, Math.min(left, CHUNK_BYTES));
  }
}
