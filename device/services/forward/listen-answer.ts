// What the callee of `listen:N` says on the one stream that the caller opens: whether it listens.
// One byte, then the end of the stream.

import { NakodoError } from '../../../protocol/errors.ts';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import { FORWARD_LIMITS } from './limits.ts';

/** The byte. */
export const LISTEN_ANSWER = { listening: 1, taken: 2, failed: 3 } as const;

/** The answer as it is sent. */
export const answerBytes = (answer: number): Uint8Array => Uint8Array.of(answer);

/**
 * Asks whether the callee listens; `port`: its own.
 * @throws NakodoError `port-taken`, `cannot-listen`, or why the stream failed
 */
export async function untilListening(session: Session, port: number): Promise<void> {
  const stream = session.openStream();
  stream.end();
  const said = await firstByte(stream);
  const { name } = session.info.peer;
  if (said === LISTEN_ANSWER.listening) return;
  if (said === LISTEN_ANSWER.taken) {
    throw new NakodoError(
      'port-taken',
      `port ${port} of ${name} is taken by another program`,
      'choose another port there; its list has to allow it (listen:PORT)',
    );
  }
  throw new NakodoError(
    'cannot-listen',
    `${name} cannot listen on its port ${port}`,
    'choose a port from 1024 there; its list has to allow it (listen:PORT)',
  );
}

/** Undefined: nothing was said in time. */
async function firstByte(stream: TalkStream): Promise<number | undefined> {
  const late = setTimeout(() => stream.destroy(), FORWARD_LIMITS.listenAnswerMs);
  try {
    for await (const chunk of stream) return (chunk as Uint8Array)[0];
    return undefined;
  } finally {
    clearTimeout(late);
  }
}
