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
    const runs = new TalkRuns(session, context);
    session.onStream = (stream) => void runs.begin(stream);
  },
};

type Hook = ServicesConfig['run'][number];

/** The runs of one talk: each stream is one. */
class TalkRuns {
  readonly #session: Session;
  readonly #context: ServiceContext;
  readonly #hook: Hook | undefined;
  /** At most `at_once`. */
  readonly #running = new Set<HookProcess>();
  /** What the owner has heard already: a caller may ask again and again. */
  readonly #told = new Set<NotRun>();

  constructor(session: Session, context: ServiceContext) {
    this.#session = session;
    this.#context = context;
    const name = session.info.service.slice(RUN_PREFIX.length);
    this.#hook = context.config.run.find((each) => each.name === name);
    void session.ended.then(() => {
      for (const hook of this.#running) hook.stop();
    });
  }

  /** One run; never rejects. */
  async begin(stream: TalkStream): Promise<void> {
    const { home, log } = this.#context;
    const { info } = this.#session;
    const hook = this.#hook;
    if (hook === undefined) return this.#notRun(stream, 'no-hook');
    // What could not be started is not tried again in this talk.
    if (this.#told.has('hook-not-started')) return this.#notRun(stream, 'hook-not-started');
    const giveBack = takePlace(home.folder, info.service, hook.at_once);
    if (giveBack === undefined) return this.#notRun(stream, 'hook-busy');
    const started = startHook(hook.command, info, log);
    if (started === undefined) {
      giveBack();
      return this.#notRun(stream, 'hook-not-started');
    }
    this.#running.add(started);
    // The end of its stream is its own.
    stream.once('close', () => started.stop());
    await join(stream, started);
    this.#running.delete(started);
    giveBack();
  }

  #notRun(stream: TalkStream, why: NotRun): void {
    const { service, peer } = this.#session.info;
    if (!this.#told.has(why)) {
      this.#context.log.warn('hook-not-run', { service, peer: peer.name, why });
    }
    this.#told.add(why);
    stream.stopReading();
    stream.end(encodeOutcome({ kind: 'notRun', why }));
  }
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
