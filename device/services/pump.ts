// Bytes from here to there at the pace of the slower one, half-closed when they end. Shared by the
// services that join a stream of a talk with a command or with a program's own input and output.

import type { Readable, Writable } from 'node:stream';
import type { TalkStream } from '../shell/talk-stream.ts';

/** Writes, and waits until more may follow; false: nobody takes it any more. */
export function written(to: Writable, bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    if (to.destroyed || to.writableEnded) resolve(false);
    else to.write(bytes, (error) => resolve(error === undefined || error === null));
  });
}

/**
 * Passes on what comes until its end, or until nobody takes it; does not end `to`. Leaves `from`
 * open. `onBytes` hears how much was taken. True: all of it was passed on. Rejects with the error
 * of `from`.
 */
export async function passOn(
  from: Readable,
  to: Writable,
  onBytes: (count: number) => void = () => {},
): Promise<boolean> {
  const chunks = from.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  for await (const chunk of chunks) {
    if (!(await written(to, chunk))) return false;
    onBytes(chunk.length);
  }
  return true;
}

/**
 * Ends a direction; resolves when the other end has all of it, rejects if it never will. Not by
 * Node's `finished(to, { readable: false })`: of a Duplex that can still be read it says so as soon
 * as end() was called.
 */
export function ended(to: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      if (to.writableFinished) resolve();
      else reject(to.errored ?? new Error('closed before everything was through'));
    };
    if (to.writableFinished || to.closed) {
      over();
      return;
    }
    to.once('finish', resolve);
    to.once('close', over);
    to.end();
  });
}

/**
 * What a peer sends becomes a command's input, and its end too. A command that reads no more has
 * the peer told so. Never rejects.
 */
export async function feedChild(stream: TalkStream, input: Writable): Promise<void> {
  // Closed is closed, also where nothing was being written.
  input.once('close', () => stream.stopReading());
  try {
    await passOn(stream, input);
  } catch {
    // The stream was given up or the talk has ended: whoever started the command hears of it too.
  }
  input.end();
}
