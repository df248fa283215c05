// The services `run:NAME`: a peer that may have one reaches a command of the owner's choice
// (`[[run]]` in agent.toml) with its standard input, output and error. The peer chooses no word of
// the command line; what it has to say goes in as input. Each stream of the talk is one run, and so
// many run at once, of all talks together.

import type { Session } from '../shell/session.ts';
import type { TalkStream } from '../shell/talk-stream.ts';
import type { ServicesConfig } from './config.ts';
import { takePlace } from './hook-places.ts';
import { type HookProcess, startHook } from './hook-process.ts';
import { feedChild, written } from './pump.ts';
import { type NotRun, RUN_PREFIX, encodeOutcome, encodeOutput } from './run-frames.ts';
import type { Service, ServiceContext } from './service.ts';

/** Runs the owner's hooks. */
export const runService: Service = {
  matches: (name) => name.startsWith(RUN_PREFIX),
  serve(session, context) {
    const name = session.info.service.slice(RUN_PREFIX.length);
    const hook = context.config.run.find((each) => each.name === name);
    session.onStream = (stream) => {
      if (hook === undefined) notRun(stream, 'no-hook', context);
      else void run(stream, session, hook, context);
    };
  },
};

type Hook = ServicesConfig['run'][number];

/** One run; never rejects. */
async function run(
  stream: TalkStream,
  session: Session,
  hook: Hook,
  context: ServiceContext,
): Promise<void> {
  const giveBack = takePlace(context.home.folder, session.info.service, hook.at_once);
  if (giveBack === undefined) return notRun(stream, 'hook-busy', context);
  const started = startHook(hook.command, session.info, context.log);
  if (started === undefined) {
    giveBack();
    return notRun(stream, 'hook-not-started', context);
  }
  // Its talk's end, or its stream's, is its own.
  void session.ended.then(() => started.stop());
  stream.once('close', () => started.stop());
  await join(stream, started);
  giveBack();
}

function notRun(stream: TalkStream, why: NotRun, { log }: ServiceContext): void {
  log.warn('hook-not-run', { why });
  stream.stopReading();
  stream.end(encodeOutcome({ kind: 'notRun', why }));
}

/** Input, both outputs and the end of a run. */
async function join(stream: TalkStream, hook: HookProcess): Promise<void> {
  const { child, ended } = hook;
  void feedChild(stream, child.stdin);
  const output = async (kind: 'stdout' | 'stderr'): Promise<void> => {
    try {
      for await (const chunk of child[kind] as AsyncIterable<Buffer>) {
        const isWanted = await written(stream, encodeOutput(kind, chunk));
        if (!isWanted || stream.isStopped) hook.stop();
      }
    } catch {
      // Closed before its end, since somebody else holds it open: what was read was passed on.
    }
  };
  const [outcome] = await Promise.all([ended, output('stdout'), output('stderr')]);
  stream.stopReading();
  if (!stream.destroyed) stream.end(encodeOutcome(outcome));
}
