// `pipe`: standard input of this command becomes standard output of one at another terminal, and
// the other way round; with --live as datagram messages, for what is worth nothing when it is late.

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode, NakodoError, UsageError } from '../../protocol/errors.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { formatSize } from '../../protocol/units.ts';
import type { Output } from '../output.ts';
import type { OpenPipe, OwnEnds } from '../pipe.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { boundedDurationOption, declare, ownOption, runs } from './command.ts';
import { type TalkWords, talkWords } from './talk-words.ts';

const JITTER_MS_MAX = 2_000;
const PROGRESS_MS = 500;

interface PipeOptions extends CallOptions {
  readonly accept?: boolean;
  readonly keep?: boolean;
  readonly live?: boolean;
  readonly frame?: number;
  readonly jitter?: number;
}

/** Adds `pipe`. */
export function declarePipe(program: Command): void {
  const pipe = declare(program, {
    usage: 'pipe',
    summary: 'Join standard input and output with those of a command at another terminal.',
    details: [
      'One side calls: nakodo pipe NAME. The other one waits: nakodo pipe --accept. What goes into',
      'the one comes out of the other, both ways. Each direction ends when its input does; the',
      'command ends when both have ended, or quietly when nobody reads its output any more. An',
      'input that is a terminal ends when the peer has ended.',
      'With --keep, --accept takes one talk after the other and sends nothing.',
      '',
      'The callee permits it in its list (the service pipe; with --live: live). In place of a',
      'waiting command its agent may run one: [pipe] and [live] in agent.toml, as told in',
      'docs/services.md.',
      '',
      '--live carries datagram messages, each sent once: what is lost stays lost, what is late is',
      'dropped, nothing is slowed down. The input needs a pace of its own, as a camera has, or a',
      'microphone. Bytes are cut into messages of --frame; they come out in order, and a gap is',
      'waited for as long as --jitter says.',
      '',
      'Standard output is content: with --json what became of it is one line on standard error.',
    ].join('\n'),
    examples: [
      'nakodo pipe --accept TERM1 > backup.tar',
      'tar c photos | nakodo pipe TERM3',
      'arecord -t raw -f cd | nakodo pipe --live TERM3',
      'nakodo pipe --live --accept --jitter 80ms | aplay -t raw -f cd',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  addCallOptions(
    pipe.addArgument(new Argument('[name]', 'whom to call; with --accept: wait for nobody else')),
  )
    .option('--accept', 'wait for a peer that calls, in place of calling')
    .option('--keep', 'with --accept: take one talk after the other')
    .option('--live', 'datagram messages: late ones are dropped, nothing is sent twice')
    .addOption(ownOption('--frame <size>', 'with --live: bytes of a message (1152)', frameBytes))
    .addOption(
      boundedDurationOption('--jitter <time>', 'with --live: wait so long for a gap (40ms)', {
        minMs: 0,
        maxMs: JITTER_MS_MAX,
      }),
    );
  runs<PipeOptions>(pipe, runPipe);
}

const FRAME_BYTES_MAX = 65_535;

function frameBytes(text: string): number {
  const bytes = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (bytes >= 1 && bytes <= FRAME_BYTES_MAX) return bytes;
  throw new UsageError('bad-frame', `It must be a number of bytes, 1 to ${FRAME_BYTES_MAX}.`);
}

type PipeModule = typeof import('../pipe.ts');

/** What a run works with. */
interface PipeRun {
  readonly module: PipeModule;
  readonly output: Output;
  readonly options: PipeOptions;
  readonly service: string;
  readonly frameBytes: number;
  readonly jitterMs: number;
}

async function runPipe(
  plain: Output,
  options: PipeOptions,
  [name]: readonly (string | undefined)[],
): Promise<ExitCode> {
  checkUse(options, name);
  const [module, { PIPE_SERVICE, LIVE_SERVICE, LIVE_FRAME_BYTES, LIVE_JITTER_MS }] =
    await Promise.all([import('../pipe.ts'), import('../../device/services/live-talk.ts')]);
  const run: PipeRun = {
    module,
    output: plain.besideContent(),
    options,
    service: options.live === true ? LIVE_SERVICE : PIPE_SERVICE,
    frameBytes: options.frame ?? LIVE_FRAME_BYTES,
    jitterMs: options.jitter ?? LIVE_JITTER_MS,
  };
  if (options.accept === true) {
    return acceptTalks(run, name === undefined ? undefined : terminalName(name));
  }
  return call(run, name ?? '');
}

/** [S1002]: the user names the peer. */
async function call(run: PipeRun, to: string): Promise<ExitCode> {
  const { output, options, service } = run;
  const { CommandTalk } = await import('../talk.ts');
  const wish = wishOf(to, service, options);
  const words = talkWords(output, wish.to, options.extend);
  try {
    const talk = await CommandTalk.begin(wish, { home: options.home, onEvent: words.hear });
    return await joined(run, { talk, stream: await talk.openStream() }, words);
  } catch (error) {
    return output.error(error, words.known());
  } finally {
    output.progressDone();
  }
}

interface Taken extends OpenPipe {
  readonly words: TalkWords;
}

async function acceptTalks(run: PipeRun, from: string | undefined): Promise<ExitCode> {
  const { output, options } = run;
  let next = takeNext(run, from);
  for (;;) {
    try {
      const taken = await next;
      // Whoever calls meanwhile waits its turn.
      if (options.keep === true) next = takeNext(run, from);
      next.catch(() => {});
      const exit = await joined(run, taken, taken.words);
      if (options.keep !== true) return exit;
    } catch (error) {
      const exit = output.error(error);
      if (options.keep !== true || !(error instanceof TalkFailure)) return exit;
      next = takeNext(run, from);
    }
  }
}

/** A talk that came and came to nothing: another one may do better. */
class TalkFailure extends NakodoError {}

async function takeNext(run: PipeRun, from: string | undefined): Promise<Taken> {
  const { module, output, options, service } = run;
  const words = talkWords(output, from ?? 'the caller', true);
  let isTalk = false;
  try {
    const pipe = await module.acceptPipe(
      { service, from },
      {
        home: options.home,
        onEvent: (told) => {
          if (told.event === 'accepting') output.progress(`waiting for ${from ?? 'a caller'} …`);
          if (told.event === 'introduced') isTalk = true;
          words.hear(told);
        },
      },
    );
    return { ...pipe, words };
  } catch (error) {
    if (!isTalk || !(error instanceof NakodoError)) throw error;
    throw new TalkFailure(error.code, error.message, error.next, error.exit);
  }
}

/** Joins a talk with our own ends, ends it, and says how it was. */
async function joined(run: PipeRun, pipe: OpenPipe, words: TalkWords): Promise<ExitCode> {
  const { module, output, options } = run;
  const begun = performance.now();
  let [inputBytes, outputBytes] = [0, 0];
  const progress = progressLine(output);
  const ends: OwnEnds = {
    source: options.keep === true ? await emptySource() : process.stdin,
    sink: process.stdout,
    onBytes: (sent, received) => {
      inputBytes += sent;
      outputBytes += received;
      progress(inputBytes, outputBytes);
    },
  };
  const carried = (): object => ({
    inputBytes,
    outputBytes,
    seconds: (performance.now() - begun) / 1000,
  });
  try {
    const counts =
      options.live === true
        ? await module.joinLivePipe(pipe, ends, run)
        : await module.joinPipe(pipe, ends);
    const end = await pipe.talk.done();
    if (output.json) output.result({ ...carried(), ...counts, ...end }, '');
    else if (counts !== undefined && counts.lostMessages > 0) output.warn(lossWords(counts));
    return EXIT.done;
  } catch (error) {
    pipe.talk.giveUp();
    return output.error(error, { ...carried(), ...words.known() });
  } finally {
    output.progressDone();
  }
}

async function emptySource(): Promise<OwnEnds['source']> {
  const { Readable } = await import('node:stream');
  return Readable.from([]);
}

/** One line while a person waits who does not look at the content itself. */
function progressLine(output: Output): (sent: number, received: number) => void {
  let next = 0;
  return (sent, received) => {
    if (process.stdout.isTTY || performance.now() < next) return;
    next = performance.now() + PROGRESS_MS;
    output.progress(`sent ${formatSize(sent)}, received ${formatSize(received)}`);
  };
}

function lossWords(counts: { readonly receivedMessages: number; readonly lostMessages: number }) {
  const { receivedMessages, lostMessages } = counts;
  return `${lostMessages} of ${receivedMessages + lostMessages} messages were lost or too late.`;
}

function checkUse(options: PipeOptions, name: string | undefined): void {
  const { accept, keep, live, frame, jitter, bytes, for: time } = options;
  if (accept !== true && name === undefined) {
    throw wrongUse('nobody is named', 'name whom to call, or wait with --accept');
  }
  if (accept !== true && keep === true) throw wrongUse('--keep is for --accept', 'add --accept');
  if (accept === true && (bytes !== undefined || time !== undefined)) {
    throw wrongUse(
      '--bytes and --for are for those who call',
      'limit callers in the list: nakodo allow',
    );
  }
  if (live !== true && (frame !== undefined || jitter !== undefined)) {
    throw wrongUse('--frame and --jitter are for --live', 'add --live');
  }
}

function wrongUse(message: string, next: string): NakodoError {
  return new NakodoError('usage', message, `${next} — see nakodo pipe --help`, EXIT.usage);
}
