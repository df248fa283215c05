// Every bound of the services `file` and `get`: value, unit, why. All chosen by us. Those marked
// "wire" are part of the protocol (docs/wire.md): both ends have to agree on them.

import { assert } from '../../../protocol/assert.ts';
import { DATA_LIMITS } from '../../../protocol/data/limits.ts';

export const FILE_LIMITS = {
  /** Bytes of one name in UTF-8: file systems take 255, less what `.9999` adds. Wire. */
  nameBytesMax: 250,
  /** Bytes of a relative path: with the rest of an opening it fits 1024. Wire. */
  pathBytesMax: 900,
  /** Names in a path: each folder on the way is open while its files are. Wire. */
  depthMax: 64,
  /** Files of one name in a folder: `name`, `name.1` … Each offer of the name looks at them all. */
  sameNameMax: 999,
  /**
   * Bytes from which a sender asks first how much is there: below it the question costs more than
   * sending again. Nothing smaller is kept of a transfer that broke. Wire.
   */
  resumeBytesLeast: 256 * 1024,
  /** Bytes of one CBOR frame beside the content; the longest holds a path. Wire. */
  frameBytesMax: 1_024,
  /**
   * Streams of one command at the same time, and what a large file counts for among them. The agent
   * serves no more of one talk: a peer that lets its streams lie keeps nobody else waiting.
   */
  streamsAtOnce: 16,
  largeFileShare: 8,
  /** Files that one agent writes or reads at once: in all talks, of one peer; others wait. */
  filesAtOnce: 256,
  filesAtOnceOfPeer: 64,
  /** Bytes written between two looks whether the room that an owner wants kept is there. */
  roomCheckBytes: 1024 * 1024,
  /** Files and folders of one command, or of one listing. */
  entriesMax: 100_000,
  /** Bytes of one read, and of a listing that are written at once. */
  chunkBytes: 128 * 1024,
  listingChunkBytes: 16 * 1024,
  /** Bytes of one write; a large file on its way holds two such pieces. */
  pieceBytes: 64 * 1024,
  /** Partial files kept in one folder: number, bytes of all, milliseconds since the last byte. */
  partialsMax: 32,
  partialBytesMax: 16 * 2 ** 30,
  partialAgeMs: 7 * 24 * 60 * 60 * 1000,
  /** Milliseconds by which a time may differ and be the same: FAT counts in steps of 2 s. */
  modifiedToleranceMs: 2_000,
  /** Calls after the first one, when the path to the peer is lost; pauses double from the first. */
  callsAgainMax: 4,
  callAgainFirstMs: 1_000,
} as const;

assert(FILE_LIMITS.streamsAtOnce < DATA_LIMITS.streamsMax, 'a listing has room beside the files');
assert(FILE_LIMITS.largeFileShare <= FILE_LIMITS.streamsAtOnce, 'a large file fits');
assert(FILE_LIMITS.pathBytesMax < FILE_LIMITS.frameBytesMax, 'a path fits a frame');
