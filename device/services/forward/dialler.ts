// Streams that the peer opens, each led to a TCP connection that this terminal makes: the callee of
// `port:N`, and the caller of `listen:N`. A target that does not answer is told to the peer by the
// code of its stream's reset.

import { createConnection } from 'node:net';
import type { Session } from '../../shell/session.ts';
import { STREAM_CODE } from '../../shell/stream-opening.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import type { Connections } from './connections.ts';
import { FORWARD_LIMITS } from './limits.ts';

/** Where connections are made to. */
export interface Target {
  /** A literal address, or a name of the local network. */
  readonly host: string;
  readonly port: number;
}

/** Takes a stream of the peer's, and connects; `onFailed` hears the system's code. */
export function dial(
  session: Session,
  stream: TalkStream,
  target: Target,
  connections: Connections,
  onFailed: (code: string) => void = () => {},
): void {
  const socket = createConnection({ ...target, allowHalfOpen: true });
  const give = (code: string): void => {
    clearTimeout(late);
    socket.destroy();
    if (stream.destroyed) return;
    stream.refuse(STREAM_CODE.noTarget);
    connections.refused(code);
    onFailed(code);
  };
  const onError = (error: NodeJS.ErrnoException): void => give(error.code ?? 'unknown');
  // The peer gave up, or the talk ended, before there was a connection.
  const onGone = (): void => {
    clearTimeout(late);
    socket.destroy();
  };
  const late = setTimeout(() => give('ETIMEDOUT'), FORWARD_LIMITS.connectMs);
  socket.on('error', onError);
  stream.once('close', onGone);
  socket.once('connect', () => {
    clearTimeout(late);
    socket.off('error', onError);
    stream.off('close', onGone);
    connections.join(session, stream, socket);
  });
}
