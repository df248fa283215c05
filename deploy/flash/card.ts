// Writing an image to a card and reading it back. Both go past the page cache (O_DIRECT, open(2)):
// progress is that of the card, and what is compared is what the card holds. O_EXCL has the kernel
// refuse a device that is in use, also in namespaces that we do not see.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { EXIT, NakodoError, errorCode } from '../../protocol/errors.ts';

/** Bytes written and read at once, a multiple of any card's block. */
const WINDOW = 4 * 1024 * 1024;
/** A page of WebAssembly's memory. */
const WASM_PAGE = 64 * 1024;

/** Hears how far the work is, in bytes of the image. */
type OnBytes = (doneBytes: number) => void;

/** Memory that begins at a page's start, as O_DIRECT wants it; Buffers begin anywhere. */
function alignedMemory(): Uint8Array {
  const memory = new WebAssembly.Memory({ initial: WINDOW / WASM_PAGE });
  return new Uint8Array(memory.buffer, 0, WINDOW);
}

/**
 * Writes `chunks` to the beginning of the device, and returns when the card has them. The last
 * block is filled up with zeros to `blockBytes`.
 * Returns the SHA-256 of what came in `chunks`, in hex.
 * @throws NakodoError `in-use`, `not-allowed` or `write-failed`.
 */
export async function writeCard(
  device: { readonly path: string; readonly blockBytes: number },
  chunks: AsyncIterable<Uint8Array>,
  onBytes: OnBytes,
): Promise<string> {
  const { path, blockBytes } = device;
  const file = await openCard(path, constants.O_WRONLY | constants.O_DIRECT | constants.O_EXCL);
  const hash = createHash('sha256');
  const window = alignedMemory();
  let at = 0;
  let filled = 0;
  const flush = async (): Promise<void> => {
    const whole = Math.ceil(filled / blockBytes) * blockBytes;
    window.fill(0, filled, whole);
    await writeAt(file, window.subarray(0, whole), at);
    at += filled;
    filled = 0;
    onBytes(at);
  };
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      for (let from = 0; from < chunk.length;) {
        const piece = chunk.subarray(from, from + WINDOW - filled);
        window.set(piece, filled);
        filled += piece.length;
        from += piece.length;
        if (filled === WINDOW) await flush();
      }
    }
    if (filled > 0) await flush();
    await file.sync();
  } catch (error) {
    if (error instanceof NakodoError) throw error;
    throw failed('write-failed', `writing to ${path} failed at byte ${at}`, error);
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/** The SHA-256 of the first `bytes` bytes that the device holds, in hex. */
export async function readCard(
  { path, blockBytes }: { readonly path: string; readonly blockBytes: number },
  bytes: number,
  onBytes: OnBytes,
): Promise<string> {
  const file = await openCard(path, constants.O_RDONLY | constants.O_DIRECT);
  const hash = createHash('sha256');
  const window = alignedMemory();
  try {
    for (let at = 0; at < bytes;) {
      const left = Math.ceil((bytes - at) / blockBytes) * blockBytes;
      const { bytesRead } = await file.read(window, 0, Math.min(WINDOW, left), at);
      const counted = Math.min(bytesRead, bytes - at);
      if (counted <= 0) throw new Error('it ends early');
      hash.update(window.subarray(0, counted));
      at += counted;
      onBytes(at);
    }
  } catch (error) {
    throw failed('read-failed', `what was written to ${path} cannot be read back`, error);
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function openCard(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EBUSY') {
      const next = 'unmount it wherever it is mounted (also in containers), then again';
      throw new NakodoError('in-use', `the kernel says that ${path} is in use`, next, EXIT.refused);
    }
    if (code === 'EACCES' || code === 'EPERM') {
      const next = 'run it as root: sudo make flash …';
      throw new NakodoError('not-allowed', `you may not write to ${path}`, next, EXIT.refused);
    }
    throw failed('no-open', `${path} cannot be opened`, error);
  }
}

function failed(code: string, what: string, error: unknown): NakodoError {
  const next = 'take another card or reader; dmesg says what the kernel saw';
  return new NakodoError(code, `${what} (${errorCode(error)})`, next);
}
