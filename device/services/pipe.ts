// The services `pipe` and `live` where no command waits for them: a command of the owner's answers
// (`[pipe]`, `[live]` in agent.toml), a recorder, a player or a camera. What the peer sends is its
// input, its output goes back, and its standard error is its owner's affair. One command to a talk;
// without any, the talk's stream is refused.

import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from '../shell/session.ts';
import type { TalkStream } from '../shell/talk-stream.ts';
import { takePlace } from './hook-places.ts';
import { type HookProcess, startHook } from './hook-process.ts';
import {
  LIVE_FRAME_BYTES,
  LIVE_JITTER_MS,
  LIVE_SERVICE,
  PIPE_SERVICE,
  joinLive,
} from './live-talk.ts';
import { ended, feedChild, passOn } from './pump.ts';
import type { Service, ServiceContext } from './service.ts';

/** Milliseconds that a peer has to end a talk whose command has ended. */
const PEER_ENDS_MS = 1_000;
const UNREF = { ref: false };

/** Joins a command with a talk; resolves when its output is over. */
type Joins = (session: Session, stream: TalkStream, hook: HookProcess) => Promise<void>;

/** Answers `pipe` with the owner's command. */
export const pipeService: Service = answering(PIPE_SERVICE, joinStream);
/** Answers `live` with the owner's command. */
export const liveService: Service = answering(LIVE_SERVICE, joinMessages);

function answering(service: 'pipe' | 'live', joins: Joins): Service {
  return {
    matches: (name) => name === service,
    serve(session, context) {
      const answer = context.config[service];
      if (answer === undefined) {
        context.log.info('nobody-accepts', { service, peer: session.info.peer.name });
        return;
      }
      let isTaken = false;
      session.onStream = (stream) => {
        if (isTaken) stream.refuse();
        else void run(session, stream, { ...answer, joins, context });
        isTaken = true;
      };
    },
  };
}

interface Answer {
  readonly command: string;
  readonly at_once: number;
  readonly joins: Joins;
  readonly context: ServiceContext;
}

/** One command for one talk; never rejects. */
async function run(session: Session, stream: TalkStream, answer: Answer): Promise<void> {
  const { command, at_once: most, joins, context } = answer;
  const { log, home } = context;
  const { service } = session.info;
  const giveBack = takePlace(home.folder, service, most);
  if (giveBack === undefined) {
    log.warn('hook-not-run', { service, why: 'hook-busy' });
    stream.refuse();
    return;
  }
  const hook = startHook(command, session.info, log);
  if (hook === undefined) {
    giveBack();
    stream.refuse();
    return;
  }
  // Its talk's end, or its stream's, is its own.
  void session.ended.then(() => hook.stop());
  stream.once('close', () => hook.stop());
  hook.child.stderr.resume();
  const [end] = await Promise.all([
    hook.ended,
    joins(session, stream, hook).catch(() => hook.stop()),
  ]);
  giveBack();
  if (end.kind === 'exited' && end.code === 0) {
    await parted(stream);
    // The peer ends the talk; one that still sends hears that nobody is left to read it.
    session.finish('done');
  } else {
    log.warn('hook-failed', { service, ...end });
    stream.destroy();
  }
}

/** Ends our direction; resolves when the peer has ended its own, or some time later. */
async function parted(stream: TalkStream): Promise<void> {
  const closed = new Promise<void>((resolve) => stream.once('close', resolve));
  await ended(stream).catch(() => {});
  if (!stream.destroyed) await Promise.race([closed, delay(PEER_ENDS_MS, undefined, UNREF)]);
}

/** Both directions of a stream. */
async function joinStream(_: Session, stream: TalkStream, { child }: HookProcess): Promise<void> {
  void feedChild(stream, child.stdin);
  // An output that is closed before its end was held open by somebody else: what came counts.
  await passOn(child.stdout, stream).catch(() => {});
}

/** Both directions of messages. */
function joinMessages(session: Session, stream: TalkStream, { child }: HookProcess): Promise<void> {
  const send = (message: Uint8Array): boolean => session.sendDatagram(message);
  return new Promise((onSent, reject) => {
    joinLive(
      { control: stream, send, arriving: session.datagrams() },
      {
        source: child.stdout,
        sink: child.stdin,
        frameBytes: LIVE_FRAME_BYTES,
        jitterMs: LIVE_JITTER_MS,
        onSent,
        onReceived: () => child.stdin.end(),
      },
    ).catch(reject);
  });
}
