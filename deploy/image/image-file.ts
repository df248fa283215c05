// Image files of disks as they are downloaded: plain, or packed with xz, gzip or zstd, which the
// system's own programs unpack. What a file is, its first bytes say, not its name.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { EXIT, NakodoError, errorCode } from '../../protocol/errors.ts';
import { runTool, toolEnvironment, toolPath } from '../tools.ts';
import { type Partition, SECTOR, decodePartitions } from './partition-table.ts';

/** Bytes that are looked at to say what a file is. */
const MAGIC_BYTES = 6;
/** Pieces in which a file is written; a piece of zeros becomes a hole. */
const PIECE = 64 * 1024;
const ZEROS = Buffer.alloc(PIECE);
/** Bytes of a program's errors that are kept. */
const ERRORS_KEPT = 2_000;

interface Packing {
  readonly magic: readonly number[];
  readonly program: string;
}
const PACKINGS: readonly Packing[] = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], program: 'xz' },
  { magic: [0x1f, 0x8b], program: 'gzip' },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], program: 'zstd' },
];
const ZIP = [0x50, 0x4b, 0x03, 0x04];

/** What is known of an image once it was read through. */
export interface ImageSurvey {
  /** Unpacked. */
  readonly bytes: number;
  /** Of the unpacked bytes, in hex. */
  readonly sha256: string;
  readonly partitions: readonly Partition[];
}

const badImage = (path: string, what: string): NakodoError =>
  new NakodoError(
    'bad-image',
    `${path} ${what}`,
    'give a disk image: .img, or that packed as .img.xz, .img.gz or .img.zst',
    EXIT.usage,
  );

/**
 * Reads an image through: its size unpacked, its hash and its partitions. A packed file that is
 * damaged or cut off is found out here, before anything is written anywhere.
 * @throws NakodoError `bad-image`, `no-image` or `no-tool`.
 */
export async function surveyImage(
  path: string,
  onProgress: (doneBytes: number) => void = () => undefined,
): Promise<ImageSurvey> {
  const hash = createHash('sha256');
  let first = Buffer.alloc(0);
  let bytes = 0;
  for await (const chunk of imageChunks(path)) {
    if (first.length < SECTOR) first = Buffer.concat([first, chunk.subarray(0, SECTOR)]);
    hash.update(chunk);
    bytes += chunk.length;
    onProgress(bytes);
  }
  const partitions = soundPartitions(path, decodePartitions(first), bytes);
  return { bytes, sha256: hash.digest('hex'), partitions };
}

/**
 * The partitions of an unpacked image or of a card, in the order of their numbers.
 * @throws NakodoError `bad-image` if it has none, or is shorter than they are.
 */
export async function imagePartitions(path: string): Promise<readonly Partition[]> {
  const partitions = decodePartitions(await firstBytes(path, SECTOR));
  const file = await stat(path);
  return soundPartitions(path, partitions, file.isBlockDevice() ? Infinity : file.size);
}

function soundPartitions(
  path: string,
  partitions: readonly Partition[] | undefined,
  bytes: number,
): readonly Partition[] {
  if (partitions === undefined || partitions.length === 0) {
    throw badImage(path, 'is no image of a disk: it has no partition table');
  }
  const end = Math.max(...partitions.map((each) => each.startByte + each.bytes));
  if (end > bytes) throw badImage(path, `is cut off: ${bytes} bytes, its partitions need ${end}`);
  return partitions;
}

/** The unpacked bytes of an image, in the chunks in which they come. */
export async function* imageChunks(path: string): AsyncGenerator<Buffer> {
  const program = await unpacker(path);
  if (program === undefined) {
    yield* createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>;
    return;
  }
  const child = spawn(program, ['-dc', '--', path], {
    env: toolEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  let errors = '';
  child.stderr.on('data', (text: Buffer) => (errors = (errors + text).slice(-ERRORS_KEPT)));
  try {
    yield* child.stdout as Readable as AsyncIterable<Buffer>;
    const [code] = await closed;
    if (code !== 0) throw badImage(path, `cannot be unpacked: ${errors.trim()}`);
  } finally {
    child.kill();
  }
}

/** The program that unpacks a file; undefined if it is not packed. */
async function unpacker(path: string): Promise<string | undefined> {
  const magic = await firstBytes(path, MAGIC_BYTES);
  const begins = (with_: readonly number[]): boolean =>
    with_.every((value, at) => magic[at] === value);
  if (begins(ZIP)) throw badImage(path, 'is a zip archive; unzip it first');
  const packing = PACKINGS.find((each) => begins(each.magic));
  if (packing !== undefined && toolPath(packing.program) === undefined) {
    const next = `apt-get install ${packing.program === 'xz' ? 'xz-utils' : packing.program}`;
    throw new NakodoError('no-tool', `${path} is packed with ${packing.program}`, next);
  }
  return packing?.program;
}

async function firstBytes(path: string, count: number): Promise<Uint8Array> {
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    const bytes = new Uint8Array(count);
    await file.read(bytes, 0, count, 0);
    return bytes;
  } catch (error) {
    const why = errorCode(error);
    const what = why === 'ENOENT' ? 'is not there' : `cannot be read (${why})`;
    throw new NakodoError('no-image', `the image ${path} ${what}`, 'check the path', EXIT.usage);
  } finally {
    await file?.close();
  }
}

/** Writes the unpacked bytes of `image` to a new file at `path`, with holes where it has zeros. */
export async function unpackImage(image: string, path: string): Promise<void> {
  const file = await open(path, 'wx');
  try {
    let at = 0;
    for await (const chunk of imageChunks(image)) {
      for (let from = 0; from < chunk.length; from += PIECE) {
        const piece = chunk.subarray(from, from + PIECE);
        if (!piece.equals(ZEROS.subarray(0, piece.length))) await writeWhole(file, piece, at);
        at += piece.length;
      }
    }
    await file.truncate(at);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function writeWhole(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/**
 * Gives an image that was made at `work` its name, packed with xz if that ends in `.xz`: whole, or
 * not at all. Returns its size unpacked, in bytes.
 */
export async function finishImage(work: string, out: string): Promise<number> {
  const { size } = await stat(work);
  if (!out.endsWith('.xz')) {
    await runTool('sync', [work]);
    await rename(work, out);
    return size;
  }
  const packed = `${work}.xz`;
  try {
    await rm(packed, { force: true });
    await runTool('xz', ['-T0', '-k', work]);
    await runTool('sync', [packed]);
    await rename(packed, out);
  } finally {
    await rm(packed, { force: true });
  }
  return size;
}
