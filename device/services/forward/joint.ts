// One TCP connection joined with one stream of a talk: bytes both ways, each direction ended when
// the other end ends it, a reset for a reset. What one side does not take stays in the other: the
// talk's windows and two turns' worth here bound it. A slow reader holds up its own stream only.

import type { Socket } from 'node:net';
import { errorCode } from '../../../protocol/errors.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import { FORWARD_LIMITS } from './limits.ts';

/** A connection and its stream. */
export interface Joint {
  /** Resets the connection at once; the stream goes with it. */
  cut(): void;
}

/**
 * Joins them until both are over; owns both. `socket`: connected, allowing half-open, paused or not
 * yet read. `onOver`: told once, with the code of what broke the stream, if anything did.
 */
export function join(
  stream: TalkStream,
  socket: Socket,
  onOver: (broken: string | undefined) => void,
): Joint {
  let broken: string | undefined;
  let isOver = false;
  const over = (): void => {
    if (isOver || !socket.destroyed || !stream.destroyed) return;
    isOver = true;
    onOver(broken);
  };
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    // What the peer reads no more goes nowhere: TCP says so with a reset.
    if (stream.isStopped) {
      socket.resetAndDestroy();
      return;
    }
    // write() says no to each chunk of a whole turn, even to one that is taken at once; but only
    // after a no there will be a drain.
    if (!stream.write(chunk) && stream.writableLength > 0) socket.pause();
  });
  stream.on('drain', () => socket.resume());
  socket.on('end', () => stream.end());
  socket.on('error', () => stream.destroy());
  socket.on('close', () => {
    if (!socket.readableEnded || !stream.readableEnded) stream.destroy();
    over();
  });
  stream.on('data', (chunk: Buffer) => {
    if (!socket.write(chunk) && socket.writableLength > FORWARD_LIMITS.socketBytesMax) {
      stream.pause();
    }
  });
  socket.on('drain', () => stream.resume());
  stream.on('end', () => socket.end());
  stream.on('error', (error: Error) => {
    broken = errorCode(error);
  });
  stream.on('close', () => {
    if (broken === 'done') flush(socket);
    else if (!stream.readableEnded || !stream.writableFinished) socket.resetAndDestroy();
    over();
  });
  socket.resume();
  return {
    cut: () => {
      socket.resetAndDestroy();
      stream.destroy();
    },
  };
}

/** The talk is done: what arrived still reaches the connection, which then closes. */
function flush(socket: Socket): void {
  const late = setTimeout(() => socket.destroy(), FORWARD_LIMITS.flushMs);
  socket.once('close', () => clearTimeout(late));
  socket.destroySoon();
}
