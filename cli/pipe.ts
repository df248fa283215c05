// A talk joined with a command's own input and output: as a stream (`pipe`) or as messages
// (`live`). Each direction goes at the pace of its slower end and ends by itself; a terminal that
// somebody types into keeps no talk alive that the peer has ended.

import type { Duplex, Readable, Writable } from 'node:stream';
import { LIVE_HEAD_BYTES, type LiveCounts, joinLive } from '../device/services/live-talk.ts';
import { ended, passOn } from '../device/services/pump.ts';
import { EXIT, NakodoError, errorCode } from '../protocol/errors.ts';
import { CommandTalk } from './talk.ts';

/** A command's own ends. */
export interface OwnEnds {
  /** A terminal (`isTTY`) ends when the peer does. */
  readonly source: Readable & { readonly isTTY?: boolean };
  readonly sink: Writable;
  /** Hears how many bytes went out and came in since the last time. */
  readonly onBytes?: (sent: number, received: number) => void;
}

/** A talk that was asked for, or waited for, and the stream of it. */
export interface OpenPipe {
  readonly talk: CommandTalk;
  readonly stream: Duplex;
}

/**
 * Waits for a talk of `pipe` or `live`, of one peer or of anybody, and takes its first stream.
 * Further ones lie until the talk ends: to take each, if only to give it up, would let a peer fill
 * the agent's socket with our connections.
 * @throws NakodoError `agent-not-running`, `peer-left`, why the talk ended.
 */
export async function acceptPipe(
  wish: { readonly service: string; readonly from?: string | undefined },
  options: Parameters<typeof CommandTalk.accept>[1],
): Promise<OpenPipe> {
  let onStream: (take: number) => void = () => {};
  const first = new Promise<number>((resolve) => {
    onStream = resolve;
  });
  const talk = await CommandTalk.accept(wish, { ...options, onStream: (take) => onStream(take) });
  const left = talk.ended.then((): never => {
    throw new NakodoError(
      'peer-left',
      `${talk.open.peer.name} ended the talk before it began to send`,
      'wait again',
    );
  });
  const stream = await talk.takeStream(await Promise.race([first, left]));
  return { talk, stream };
}

/**
 * Joins both directions until both are over. A sink that is closed gives the stream up.
 * @throws NakodoError `nobody-accepts`, `pipe-closed`, the limit that ended the talk; the error of
 *   the source.
 */
export async function joinPipe({ talk, stream }: OpenPipe, ends: OwnEnds): Promise<void> {
  const { source, sink, onBytes } = ends;
  let isGivenUp = false;
  const outwards = async (): Promise<void> => {
    const passing = passOn(source, stream, (bytes) => onBytes?.(bytes, 0));
    const isTaken = await untilEnd(source, passing);
    if (isGivenUp) return;
    if (!isTaken) throw stream.errored ?? closedError(talk.open.peer.name);
    await ended(stream);
  };
  const inwards = async (): Promise<void> => {
    if (await passOn(stream, sink, (bytes) => onBytes?.(0, bytes))) {
      endTyping(source);
    } else {
      isGivenUp = true;
      stream.destroy();
      source.destroy();
    }
  };
  // Nobody may be writing or reading when it breaks.
  const broken = new Promise<never>((_, reject) => stream.once('error', reject));
  const both = Promise.all([inwards(), outwards()]);
  await explained(talk, stream, Promise.race([both, broken]));
}

/** The same with datagram messages of `frameBytes`; resolves with what became of them. */
export async function joinLivePipe(
  { talk, stream }: OpenPipe,
  ends: OwnEnds,
  options: { readonly frameBytes: number; readonly jitterMs: number },
): Promise<LiveCounts> {
  const { frameBytes, jitterMs } = options;
  const most = talk.open.maxMessageBytes - LIVE_HEAD_BYTES;
  if (frameBytes > most) throw frameTooLong(frameBytes, most);
  const messages = await talk.messages();
  // What cannot be sent any more is told by the stream.
  const send = (message: Uint8Array): Promise<void> => messages.send(message).catch(() => {});
  const ways = { control: stream, send, arriving: messages.arriving() };
  const { source } = ends;
  const onReceived = (): void => endTyping(source);
  try {
    const joined = joinLive(ways, { ...ends, frameBytes, jitterMs, onReceived });
    return await explained(talk, stream, joined);
  } finally {
    messages.close();
  }
}

/** A source that was ended from here has ended like any other. */
async function untilEnd(source: Readable, passing: Promise<boolean>): Promise<boolean> {
  try {
    return await passing;
  } catch (error) {
    if (!source.destroyed || source.errored !== null) throw error;
    return true;
  }
}

/** Nobody has to type ^D when the peer has gone. */
function endTyping(source: OwnEnds['source']): void {
  if (source.isTTY === true) source.destroy();
}

/** Waits for the work; its failure is said as one of a pipe. */
async function explained<T>(talk: CommandTalk, stream: Duplex, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const why = stream.errored ?? error;
    stream.destroy();
    throw pipeError(why, talk.open);
  }
}

/** Ends of a stream that are the peer's own decision. */
const CLOSED = new Set(['done', 'local', 'stream-reset']);

function pipeError(error: unknown, { peer, service }: CommandTalk['open']): unknown {
  const code = errorCode(error);
  if (code === 'stream-refused') {
    const live = service === 'live' ? ' --live' : '';
    return new NakodoError(
      'nobody-accepts',
      `${peer.name} agreed, but nobody there takes a ${service} now`,
      `start there: nakodo pipe${live} --accept — or have its agent.toml answer: [${service}]`,
    );
  }
  return CLOSED.has(code) ? closedError(peer.name) : error;
}

function closedError(peer: string): NakodoError {
  return new NakodoError(
    'pipe-closed',
    `${peer} closed its end before everything was through`,
    'see what happened to the program there, then call again',
  );
}

function frameTooLong(frameBytes: number, most: number): NakodoError {
  return new NakodoError(
    'frame-too-long',
    `a message of ${frameBytes} bytes does not fit this path`,
    `choose --frame ${most} or less`,
    EXIT.usage,
  );
}
