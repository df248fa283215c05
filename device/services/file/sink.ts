// The end that wants a file: takes its content from a stream to a folder, and answers. A talk that
// breaks leaves what has arrived for the next one.

import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { sameBytes } from '../../../protocol/bytes.ts';
import type { Arrival, ComingFile } from './arrival.ts';
import type { Landing } from './landing.ts';
import type { StreamReader } from './stream-reader.ts';
import { transferCode, transferError } from './transfer-error.ts';
import { HASH_BYTES, type Reply, frame, isAskedFirst, reply, start } from './wire.ts';

/** A file that has arrived, whole, verified and on the disk. */
interface TakenFile {
  readonly path: string;
  /** Its path in the folder. */
  readonly savedAs: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly size: number;
  /** Bytes that an earlier try had left; `size`: the same file was there. */
  readonly resumedAt: number;
  readonly wasThere: boolean;
}

/** What a sink is told and asked on its way. */
interface SinkOptions {
  /** Bytes that need not come, once, and bytes that have come. */
  readonly onBytes?: ((length: number) => void) | undefined;
  /** Resolves when so many further bytes may be read. */
  readonly pace?: ((length: number) => Promise<void>) | undefined;
}

/**
 * Takes one file [S4005]; answers on the stream, whatever happens.
 * `reader`: reads the stream, up to where the content begins.
 * @throws NakodoError of transfer-error.ts, or what the stream failed of.
 */
export async function takeFile(
  stream: Duplex,
  reader: StreamReader,
  landing: Landing,
  coming: ComingFile,
  options: SinkOptions = {},
): Promise<TakenFile> {
  let arrival: Arrival | undefined;
  try {
    arrival = await landing.begin(coming);
    const taken = await receive(stream, reader, arrival, coming, options);
    arrival = undefined;
    const { savedAs, wasThere } = taken;
    const sha256 = Buffer.from(taken.sha256, 'hex');
    stream.end(frame(reply, { code: 'ok', sha256, savedAs, wasThere }));
    return taken;
  } catch (error) {
    const isBroken = stream.destroyed || stream.errored !== null;
    const code = transferCode(error, isBroken ? '' : 'not-stored');
    if (code === '') {
      await arrival?.keepPartial().catch(() => {});
      throw stream.errored ?? error;
    }
    await arrival?.giveUp().catch(() => {});
    refuse(stream, code);
    throw transferError(code, coming.path);
  }
}

/** Says why a file, or what else was asked for, is not taken, and reads no further. */
export function refuse(stream: Duplex, code: string): void {
  if (stream.destroyed) return;
  stream.end(frame(reply, { code }));
  stopReading(stream);
}

/** Nothing more is read; where the talk is not at hand, the stream is given up. */
function stopReading(stream: Duplex): void {
  if ('stopReading' in stream && typeof stream.stopReading === 'function') stream.stopReading();
  else stream.once('finish', () => stream.destroy());
}

async function receive(
  stream: Duplex,
  reader: StreamReader,
  arrival: Arrival,
  coming: ComingFile,
  { onBytes, pace }: SinkOptions,
): Promise<TakenFile> {
  const { path, size } = coming;
  let resumedAt = 0;
  let hash = createHash('sha256');
  if (isAskedFirst(coming)) {
    const { had } = arrival;
    const say = (more: Partial<Reply>): void => {
      stream.write(frame(reply, { code: 'have', bytes: had, ...more }));
    };
    say({});
    if (had > 0) {
      // The other end hashes at the same time.
      hash = await arrival.hashOfHad(() => !stream.destroyed);
      say({ sha256: hash.copy().digest() });
    }
    const begins = await reader.frame(start);
    if (begins === undefined || (begins.at !== had && begins.at !== 0)) {
      throw transferError('bad-answer', path);
    }
    resumedAt = begins.at;
    if (had > 0 && resumedAt === 0) {
      hash = createHash('sha256');
      await arrival.restart();
    }
  }
  onBytes?.(resumedAt);
  let left = size - resumedAt;
  while (left > 0) {
    const content = await reader.take(left);
    if (content === undefined) throw transferError('file-changed', path);
    left -= content.length;
    hash.update(content);
    const written = arrival.write(content);
    if (written !== undefined) await written;
    onBytes?.(content.length);
    if (pace !== undefined) await pace(content.length);
  }
  const sha256 = hash.digest();
  const told = await reader.exactly(HASH_BYTES);
  if (told.length < HASH_BYTES) throw transferError('file-changed', path);
  if ((await reader.take(1)) !== undefined) throw transferError('size-differs', path);
  if (!sameBytes(told, sha256)) throw transferError('hash-differs', path);
  const { savedAs, wasThere } = await arrival.place(sha256);
  return { path, savedAs, sha256: sha256.toString('hex'), size, resumedAt, wasThere };
}
