// The end that has a file: sends its content on a stream, from where the other end stands, and
// hears what became of it.

import { type Hash, createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { sameBytes } from '../../../protocol/bytes.ts';
import type { StreamReader } from './stream-reader.ts';
import { transferError } from './transfer-error.ts';
import { type Reply, frame, isAskedFirst, reply, start } from './wire.ts';

/** Content that can be read from any place. */
export interface Content {
  readonly size: number;
  /** The bytes from `at` to `end`, in order. @throws `file-changed` where they are not there. */
  chunks(at: number, end: number): AsyncIterable<Uint8Array>;
  /** @throws `file-changed` if it is not what it was when it was opened. */
  check(): Promise<void>;
}

/** What is told of a file that is given, and how. */
interface GiveOptions {
  /** As the file is called there. */
  readonly path: string;
  readonly resumes: boolean;
  /** Bytes that need not be sent, once, and bytes that were handed to the talk. */
  readonly onBytes?: ((length: number) => void) | undefined;
  /** Resolves when so many further bytes may be sent. */
  readonly pace?: ((length: number) => Promise<void>) | undefined;
}

/** What the other end made of it. */
export interface GivenFile {
  readonly path: string;
  /** Its path there. */
  readonly savedAs: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly size: number;
  /** Bytes that were there already. */
  readonly resumedAt: number;
  readonly wasThere: boolean;
}

/**
 * Sends one file on a stream [S1005], and waits for the answer.
 * `reader`: reads the stream, of which nothing was read that this needs.
 * @throws NakodoError of transfer-error.ts, or what the stream failed of.
 */
export async function giveFile(
  stream: Duplex,
  reader: StreamReader,
  content: Content,
  options: GiveOptions,
): Promise<GivenFile> {
  const { path, onBytes } = options;
  const { size } = content;
  const begins = isAskedFirst({ size, resumes: options.resumes })
    ? await agree(stream, reader, content, path)
    : { at: 0, hash: createHash('sha256') };
  onBytes?.(begins.at);
  const answer = reader.frame(reply);
  let isAnswered = false;
  const onAnswer = (): void => void (isAnswered = true);
  answer.then(onAnswer, onAnswer);
  try {
    await sendContent(stream, content, begins, { ...options, isOver: () => isAnswered });
  } catch (error) {
    if (stream.destroyed) throw stream.errored ?? error;
    // The other end hears of it by the end that comes too early.
    stream.end();
    await answer.catch(() => {});
    throw error;
  }
  const sha256 = begins.hash.digest();
  if (!isAnswered) stream.write(sha256);
  stream.end();
  const { savedAs, wasThere } = checked(await answer, sha256, path);
  // Read to its end the stream is over, and nothing of it is left in the talk.
  if ((await reader.take(1)) !== undefined) stream.destroy();
  return {
    path,
    savedAs,
    sha256: sha256.toString('hex'),
    size,
    resumedAt: begins.at,
    wasThere: wasThere === true,
  };
}

/** Ends a stream whose parameters offer a folder, and hears whether it was made. */
export async function offerFolder(
  stream: Duplex,
  reader: StreamReader,
  path: string,
): Promise<{ readonly savedAs: string }> {
  stream.end();
  const said = await reader.frame(reply);
  stream.destroy();
  if (said?.code !== 'ok') throw transferError(said?.code ?? 'bad-answer', path);
  return { savedAs: said.savedAs ?? path };
}

interface Begins {
  readonly at: number;
  /** Of everything before it; goes on with what is sent. */
  readonly hash: Hash;
}

/** Hears how much is there, and says where the content begins: there, if it is the same so far. */
async function agree(
  stream: Duplex,
  reader: StreamReader,
  content: Content,
  path: string,
): Promise<Begins> {
  const first = await heard(reader, path);
  const had = first.bytes ?? 0;
  let hash = createHash('sha256');
  let at = 0;
  if (had > 0 && had <= content.size) {
    for await (const chunk of content.chunks(0, had)) {
      // As large as the file: not for somebody who has gone.
      if (stream.destroyed) throw stream.errored ?? new Error('the stream was given up');
      hash.update(chunk);
    }
    const { sha256 } = await heard(reader, path);
    if (sha256 !== undefined && sameBytes(sha256, hash.copy().digest())) at = had;
    else hash = createHash('sha256');
  }
  stream.write(frame(start, { at }));
  return { at, hash };
}

/** What a sink says before content flows. @throws why it wants none. */
async function heard(reader: StreamReader, path: string): Promise<Reply> {
  const said = await reader.frame(reply);
  if (said?.code === 'have') return said;
  throw transferError(said?.code ?? 'bad-answer', path);
}

async function sendContent(
  stream: Duplex,
  content: Content,
  { at, hash }: Begins,
  { onBytes, pace, isOver }: GiveOptions & { readonly isOver: () => boolean },
): Promise<void> {
  for await (const chunk of content.chunks(at, content.size)) {
    if (isOver()) return;
    const hasRoom = stream.write(chunk);
    hash.update(chunk);
    if (!hasRoom) await roomIn(stream);
    onBytes?.(chunk.length);
    await pace?.(chunk.length);
  }
  await content.check();
}

/** Resolves when the stream takes more; rejects when it is gone. */
export async function roomIn(stream: Duplex): Promise<void> {
  if (!stream.writableNeedDrain && !stream.destroyed) return;
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  if (stream.destroyed) throw stream.errored ?? new Error('the stream was given up');
  stream.once('close', onClose);
  try {
    await once(stream, 'drain', { signal: gone.signal });
  } catch (error) {
    throw stream.errored ?? error;
  } finally {
    stream.off('close', onClose);
  }
}

function checked(
  said: Reply | undefined,
  sha256: Uint8Array,
  path: string,
): Reply & { readonly savedAs: string } {
  const { code, sha256: received, savedAs } = said ?? { code: 'bad-answer' };
  if (said === undefined || code !== 'ok') throw transferError(code, path);
  if (savedAs === undefined) throw transferError('bad-answer', path);
  if (received === undefined || !sameBytes(received, sha256)) {
    throw transferError('hash-differs', path);
  }
  return { ...said, savedAs };
}
