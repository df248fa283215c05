// Files between sessions, as tests of the terminal want them: content from memory, which can be
// stopped, changed or broken on its way.

import type { Duplex } from 'node:stream';
import { silentLog } from '../../protocol/io/log.ts';
import type { Agent } from '../agent.ts';
import { DEFAULT_CONFIG, type ServicesConfig } from '../services/config.ts';
import { inboxRules, receiveFiles } from '../services/file/file-service.ts';
import { type GivenFile, giveFile } from '../services/file/source.ts';
import { StreamReader } from '../services/file/stream-reader.ts';
import { transferError } from '../services/file/transfer-error.ts';
import { encodeOffer } from '../services/file/wire.ts';
import type { Session } from '../shell/session.ts';

/** A file to send: its path there, and how large it says it is. */
interface FileToSend {
  readonly name: string;
  readonly size: number;
  readonly resumes?: boolean;
  readonly replaces?: boolean;
  readonly modified?: number;
}

/** 2026-01-01, when every file of the tests was changed last. */
export const MODIFIED = 1_767_225_600_000;
const CHUNK_BYTES = 60_000;

/** The parameters of a stream that offers a file. */
export function offering({ name, size, ...more }: FileToSend): Uint8Array {
  const { resumes = false, replaces = false, modified = MODIFIED } = more;
  const about = { path: name, size, modified, isExecutable: false, resumes, replaces };
  return encodeOffer({ kind: 'file', ...about });
}

/** What may happen to a file on its way. */
interface OnItsWay extends Omit<FileToSend, 'name' | 'size'> {
  /** Before each chunk of content is handed to the talk, with its place. */
  readonly onChunk?: (at: number) => Promise<void> | void;
}

/** Sends one file whose content is in memory. */
export function sendOne(
  session: Session,
  name: string,
  content: Uint8Array,
  { onChunk, ...more }: OnItsWay = {},
): Promise<GivenFile> {
  const size = content.length;
  const stream: Duplex = session.openStream(undefined, offering({ name, size, ...more }));
  async function* chunks(from: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = from; at < end; at += CHUNK_BYTES) {
      await onChunk?.(at);
      yield content.subarray(at, Math.min(end, at + CHUNK_BYTES));
    }
  }
  return giveFile(
    stream,
    new StreamReader(stream),
    { size, chunks, check: async () => {} },
    { path: name, resumes: more.resumes ?? false },
  );
}

/**
 * Sends files over a talk, one after another. `content`: all files' bytes in their order.
 * `onProgress`: bytes of content handed to the talk so far.
 */
export async function sendFiles(
  session: Session,
  files: readonly FileToSend[],
  content: AsyncIterable<Uint8Array>,
  onProgress: (sentBytes: number) => void = () => {},
): Promise<readonly GivenFile[]> {
  const chunks = content[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  let sent = 0;
  async function* piecesOf(size: number): AsyncGenerator<Uint8Array> {
    for (let left = size; left > 0;) {
      if (rest.length === 0) {
        const next = await chunks.next();
        if (next.done === true) throw transferError('file-changed', 'what is sent');
        rest = next.value;
      }
      const piece = rest.subarray(0, left);
      rest = rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }
  const given: GivenFile[] = [];
  for (const file of files) {
    const stream: Duplex = session.openStream(undefined, offering(file));
    const { name: path, size, resumes = false } = file;
    const source = { size, chunks: () => piecesOf(size), check: async () => {} };
    const onBytes = (length: number): void => onProgress((sent += length));
    given.push(
      await giveFile(stream, new StreamReader(stream), source, { path, resumes, onBytes }),
    );
  }
  return given;
}

/** Has an agent take the files of a talk into its inbox, as it does when it serves commands. */
export function takeFiles(session: Session, { home }: Agent, file?: FileSettings): void {
  const config = { ...DEFAULT_CONFIG, file: { ...DEFAULT_CONFIG.file, ...file } };
  receiveFiles(session, inboxRules(home.folder, config), silentLog);
}

type FileSettings = Partial<ServicesConfig['file']>;
