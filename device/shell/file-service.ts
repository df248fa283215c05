// The service `file`: S1005 and S4005 with a file. One stream a file:
//   →  opening {"file", parameters: CBOR {0: name, 1: size}} | content | SHA-256 (32) | FIN
//   ←  CBOR {0: code ("ok" or why not), 1: SHA-256 received, 2: saved under this name} | FIN
// The receiver writes `inbox/.part-…` and gives the file its name only when size and hash are
// right.

import { type Hash, createHash } from 'node:crypto';
import { type FileHandle, link, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { once } from 'node:events';
import { decodeCbor, encodeCbor } from '../../protocol/control/cbor.ts';
import { bytes, field, optional, record, text, uint } from '../../protocol/control/schema.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { NakodoError, errorCode } from '../../protocol/errors.ts';
import { syncFolder } from '../../protocol/io/files.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { Service } from '../services/service.ts';
import { endError } from './call-error.ts';
import type { Session } from './session.ts';
import type { TalkStream } from './talk-stream.ts';

/** The name of this service in grants and allow-lists. */
export const FILE_SERVICE = 'file';

/** Files for this terminal's inbox. */
export const fileService: Service = {
  matches: (name) => name === FILE_SERVICE,
  serve: (session, { home, log }) => receiveFiles(session, home.inbox, log),
};

/** Bytes of a file's name in UTF-8: file systems take 255, less what `.9999` adds. */
export const FILE_NAME_BYTES_MAX = 250;
const HASH_BYTES = 32;
const ANSWER_BYTES_MAX = 512;
/** Files of one name in an inbox: `name`, `name.1` … */
const SAME_NAME_MAX = 9_999;
const PARTIAL = '.part-';

/** What the opening of a file's stream says of it. */
export const parameters = record({
  name: field(0, text(FILE_NAME_BYTES_MAX)),
  size: field(1, uint(Number.MAX_SAFE_INTEGER)),
});
/** What its receiver says at its end. */
export const answer = record({
  code: field(0, text(32)),
  sha256: optional(1, bytes(HASH_BYTES)),
  savedAs: optional(2, text(FILE_NAME_BYTES_MAX + 8)),
});

/** A file to send, as its owner named it. */
interface FileToSend {
  readonly name: string;
  readonly size: number;
}

/** A file that arrived, as the receiver answered. */
interface DeliveredFile {
  readonly name: string;
  readonly savedAs: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly size: number;
}

/**
 * Sends files over a talk, one after another [S1005].
 * `content`: all files' bytes in their order, exactly their sizes; read as the talk takes them.
 * `onProgress`: bytes of content handed to the talk so far.
 * @throws NakodoError with the reason of the end as its code (exit 4 for a limit), `source-short`,
 *   or as the receiver answered: `disk-full`, `bad-name`, `size-differs`, `hash-differs`.
 */
export async function sendFiles(
  session: Session,
  files: readonly FileToSend[],
  content: AsyncIterable<Uint8Array>,
  onProgress: (sentBytes: number) => void,
): Promise<readonly DeliveredFile[]> {
  const source = new Source(content);
  const delivered: DeliveredFile[] = [];
  let sentBytes = 0;
  try {
    for (const file of files) {
      const onSent = (length: number): void => {
        sentBytes += length;
        onProgress(sentBytes);
      };
      delivered.push(await sendFile(session, file, source, onSent));
    }
    return delivered;
  } catch (error) {
    // The end of the talk explains whatever broke because of it.
    if (session.end !== undefined) throw endError(session.end.reason);
    throw error;
  } finally {
    await source.close();
  }
}

/**
 * Takes the files that a peer sends in one talk [S4005] into `inbox`: all streams of it.
 * `onFile`: called for every file that has its final name.
 */
export function receiveFiles(
  session: Session,
  inbox: string,
  log: Log,
  onFile: (file: DeliveredFile) => void = () => {},
): void {
  let count = 0;
  session.on('stream', (stream) => {
    count += 1;
    const partial = join(inbox, `${PARTIAL}${session.info.session}-${count}`);
    receiveFile(stream, inbox, partial).then(onFile, (error: unknown) => {
      log.warn('file-not-received', { code: errorCode(error), peer: session.info.peer.name });
    });
  });
}

/**
 * Removes what a terminal that was killed in mid-transfer has left in its inbox; `isLive`: whether
 * a talk is under way now. An inbox that cannot be read is told when a file comes.
 */
export async function removePartials(
  inbox: string,
  isLive: (session: string) => boolean,
): Promise<void> {
  const names = await readdir(inbox).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(PARTIAL))) {
    if (isLive(name.slice(PARTIAL.length).replace(/-\d+$/, ''))) continue;
    await rm(join(inbox, name), { force: true }).catch(() => {});
  }
}

/** Whether a name may become a file in an inbox: a plain base name that shows what it is. */
export function isFileName(name: string): boolean {
  if (name === '' || name === '.' || name === '..' || name.startsWith(PARTIAL)) return false;
  if (Buffer.byteLength(name) > FILE_NAME_BYTES_MAX) return false;
  // Slashes of both kinds, control characters, lone surrogates, and what turns text around.
  return !/[/\\\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/u.test(name);
}

async function sendFile(
  session: Session,
  file: FileToSend,
  source: Source,
  onSent: (length: number) => void,
): Promise<DeliveredFile> {
  if (!isFileName(file.name)) throw notDelivered('bad-name', file.name);
  const stream = session.openStream(FILE_SERVICE, encodeCbor(parameters, file));
  const reply = readAnswer(stream);
  // It may fail before anybody waits for it.
  reply.catch(() => {});
  const hash = createHash('sha256');
  try {
    await sendContent(stream, file, source, hash, onSent);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  const sha256 = hash.digest();
  if (!stream.isStopped) stream.write(sha256);
  stream.end();
  const { code, sha256: received, savedAs } = await reply;
  if (code !== 'ok' || savedAs === undefined) throw notDelivered(code, file.name);
  if (received === undefined || !sameBytes(received, sha256)) {
    throw notDelivered('hash-differs', file.name);
  }
  return { name: file.name, savedAs, sha256: sha256.toString('hex'), size: file.size };
}

async function sendContent(
  stream: TalkStream,
  file: FileToSend,
  source: Source,
  hash: Hash,
  onSent: (length: number) => void,
): Promise<void> {
  let left = file.size;
  while (left > 0 && !stream.isStopped) {
    const chunk = await source.take(left);
    if (chunk === undefined) {
      throw new NakodoError(
        'source-short',
        `${file.name} ended ${left} bytes before its size`,
        'send it again when nothing writes to it',
      );
    }
    hash.update(chunk);
    left -= chunk.length;
    if (!stream.write(chunk)) await roomIn(stream);
    onSent(chunk.length);
  }
}

/** Resolves when the stream takes more; rejects when it is gone. */
async function roomIn(stream: TalkStream): Promise<void> {
  if (stream.destroyed) throw stream.errored ?? endError('peer-gone');
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  stream.once('close', onClose);
  try {
    await once(stream, 'drain', { signal: gone.signal });
  } catch (error) {
    throw stream.errored ?? error;
  } finally {
    stream.off('close', onClose);
  }
}

async function readAnswer(stream: TalkStream): Promise<{
  readonly code: string;
  readonly sha256?: Uint8Array | undefined;
  readonly savedAs?: string | undefined;
}> {
  const parts: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop must not destroy the stream: content may still be on its way.
  for await (const part of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > ANSWER_BYTES_MAX) break;
    parts.push(part);
  }
  const decoded = decodeCbor(answer, Buffer.concat(parts));
  return decoded ?? { code: 'bad-answer' };
}

async function receiveFile(
  stream: TalkStream,
  inbox: string,
  partial: string,
): Promise<DeliveredFile> {
  try {
    const wanted = decodeCbor(parameters, stream.parameters);
    if (wanted === undefined || !isFileName(wanted.name)) throw fault('bad-name');
    const file = await receivePartial(stream, wanted.size, partial);
    const savedAs = await giveName(partial, inbox, wanted.name);
    stream.end(Buffer.from(encodeCbor(answer, { code: 'ok', sha256: file, savedAs })));
    const sha256 = Buffer.from(file).toString('hex');
    return { name: wanted.name, savedAs, sha256, size: wanted.size };
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {});
    if (!stream.destroyed) {
      stream.end(Buffer.from(encodeCbor(answer, { code: answerCode(error) })));
      stream.stopReading();
    }
    throw error;
  }
}

/** Writes content to the partial file at the disk's pace; returns its verified SHA-256. */
async function receivePartial(
  stream: TalkStream,
  size: number,
  partial: string,
): Promise<Uint8Array> {
  const hash = createHash('sha256');
  const file = await open(partial, 'wx', 0o600);
  const trailer: Uint8Array[] = [];
  let received = 0;
  try {
    const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const chunk of chunks) {
      const content = chunk.subarray(0, Math.max(0, size - received));
      received += chunk.length;
      if (received > size + HASH_BYTES) throw fault('size-differs');
      hash.update(content);
      await writeAll(file, content);
      if (content.length < chunk.length) trailer.push(chunk.subarray(content.length));
    }
    if (received !== size + HASH_BYTES) throw fault('size-differs');
    const sha256 = hash.digest();
    if (!sameBytes(Buffer.concat(trailer), sha256)) throw fault('hash-differs');
    await file.sync();
    return sha256;
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, content: Uint8Array): Promise<void> {
  let at = 0;
  while (at < content.length) at += (await file.write(content, at)).bytesWritten;
}

/** Gives the partial file its name, or `name.1` …, never in place of another file. */
async function giveName(partial: string, inbox: string, name: string): Promise<string> {
  for (let copy = 0; copy <= SAME_NAME_MAX; copy++) {
    const savedAs = copy === 0 ? name : `${name}.${copy}`;
    const path = join(inbox, savedAs);
    try {
      await claimName(partial, path);
      await syncFolder(inbox);
      return savedAs;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
  }
  throw fault('name-taken');
}

async function claimName(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path);
    await rm(partial);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
    // A file system without hard links (FAT on a memory card): claim the name, then take it.
    const claim = await open(path, 'wx', 0o600);
    await claim.close();
    await rename(partial, path);
  }
}

/** Content of several files in one iterable, taken in pieces that end where a file ends. */
class Source {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(content: AsyncIterable<Uint8Array>) {
    this.#chunks = content[Symbol.asyncIterator]();
  }

  /** At most `max` bytes, at least one; undefined at the end. */
  async take(max: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, max);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

const ANSWER_CODES = ['bad-name', 'size-differs', 'hash-differs', 'name-taken', 'disk-full'];

function fault(code: string): NakodoError {
  return new NakodoError(code, `the file was not taken: ${code}`, 'send it again');
}

/** What the sender hears: our own codes, a full disk, or nothing in particular. */
function answerCode(error: unknown): string {
  const code = errorCode(error);
  if (ANSWER_CODES.includes(code)) return code;
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'not-stored';
}

function notDelivered(code: string, name: string): NakodoError {
  const words: Readonly<Record<string, readonly [string, string]>> = {
    'disk-full': [
      "the other terminal's disk is full",
      'ask its owner to make room, then send again',
    ],
    'bad-name': ['no terminal takes a file of this name', 'rename it'],
    'name-taken': ['its inbox holds too many files of this name', 'rename it'],
    'size-differs': ['what arrived has another size', 'send it again when nothing writes to it'],
    'hash-differs': ['what arrived is not what was sent', 'send it again'],
  };
  const [message, next] = words[code] ?? ['the other terminal could not store it', 'ask its owner'];
  return new NakodoError(code, `${name} was not delivered: ${message}`, next);
}
