// `send`: the user names the peer [S1002], the agent introduces itself, and the files go directly
// to the callee's inbox.

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import { askAgent } from '../ask.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import type { Output } from '../output.ts';
import {
  type CommonOptions,
  boundedDurationOption,
  declare,
  runs,
  someBytesOption,
} from './command.ts';

interface SendOptions extends CommonOptions {
  readonly wait: number;
  readonly bytes?: number;
  readonly for?: number;
  readonly extend: boolean;
  readonly rate?: number;
}

/** Adds `send`. */
export function declareSend(program: Command): void {
  const send = declare(program, {
    usage: 'send',
    summary: "Send files to a terminal by its name; they land in its home's inbox/.",
    examples: [
      'nakodo send TERM3 photo.jpg',
      'nakodo send TERM3 *.log --bytes 200MB --for 15m --rate 2MB',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  send
    .addArgument(new Argument('<name>', "the callee's name"))
    .addArgument(new Argument('<files...>', 'what to send'))
    .addOption(
      boundedDurationOption('--wait <time>', 'how long the callee has to say yes', {
        minMs: 0,
        maxMs: LIMITS.waitMsMax,
      }).default(LIMITS.waitMsDefault, '5s'),
    )
    .addOption(someBytesOption('--bytes <size>', 'ask for at most this much; the talk ends there'))
    .addOption(
      boundedDurationOption('--for <time>', 'ask for at most this long; the talk ends then', {
        minMs: 1_000,
        maxMs: LIMITS.grantSecondsMax * 1_000,
      }),
    )
    .option('--no-extend', 'do not ask for more when 70 % are used')
    .addOption(someBytesOption('--rate <size>', 'send at most this much a second, like 2MB'));
  runs<SendOptions>(send, runSend);
}

/** What the agent tells while it works. */
interface SendEvent {
  readonly event: 'waiting' | 'introduced' | 'progress' | 'ended';
  readonly session?: string;
  readonly sentBytes?: number;
  readonly ofBytes?: number;
  readonly reason?: string;
}

/** [S1002]: the user names the peer. */
async function runSend(
  output: Output,
  options: SendOptions,
  [to, ...paths]: readonly string[],
): Promise<ExitCode> {
  const { closeUserFiles, contentOf, openUserFiles } = await import('../user-files.ts');
  const callee = terminalName(to);
  const files = await openUserFiles(paths);
  let ended: SendEvent | undefined;
  const progress = progressLine(output, callee);
  try {
    const result = await askAgent(
      options.home,
      {
        op: 'send',
        to: callee,
        files: files.map(({ name, bytes }) => ({ name, size: bytes })),
        waitMs: options.wait,
        bytes: options.bytes,
        seconds: options.for === undefined ? undefined : Math.ceil(options.for / 1000),
        extend: options.extend,
      },
      {
        body: contentOf(files, options.rate),
        onEvent: (told) => {
          const event = told as unknown as SendEvent;
          if (event.event === 'ended') ended = event;
          progress(event);
        },
      },
    );
    output.result(result, delivered(result, callee, files.length));
    return EXIT.done;
  } catch (error) {
    // A talk that came about says how far it got, whatever ended it.
    const { event: _, ...known } = ended ?? { event: 'ended' };
    return output.error(error, known);
  } finally {
    output.progressDone();
    await closeUserFiles(files);
  }
}

function delivered(
  result: Readonly<Record<string, unknown>>,
  callee: string,
  count: number,
): string {
  const bytes = formatSize(Number(result.bytes));
  const rate = formatSize(Number(result.rate));
  const time = formatDuration(Number(result.seconds) * 1000);
  const what = count === 1 ? '1 file' : `${count} files`;
  // A name that is taken there gets a number: who looks for the file wants to know.
  const files = (result.files ?? []) as readonly { name: string; savedAs: string }[];
  const renamed = files
    .filter(({ name, savedAs }) => name !== savedAs)
    .map(({ name, savedAs }) => `\n${name} was there already; this one is ${savedAs}.`);
  return `Delivered to ${callee}: ${what}, ${bytes} in ${time} (${rate}/s).${renamed.join('')}`;
}

/** One line that is drawn again and again while a person waits. */
function progressLine(output: Output, callee: string): (event: SendEvent) => void {
  const started = performance.now();
  return ({ event, sentBytes, ofBytes }) => {
    if (event === 'waiting') output.progress(`waiting for ${callee} to agree …`);
    if (event === 'introduced') output.progress(`${callee} agreed, connecting …`);
    if (event !== 'progress' || sentBytes === undefined || ofBytes === undefined) return;
    const percent = ofBytes === 0 ? 100 : Math.floor((sentBytes / ofBytes) * 100);
    const seconds = (performance.now() - started) / 1000;
    const rate = formatSize(sentBytes / Math.max(seconds, 0.001));
    const bar = '█'.repeat(Math.floor(percent / 5)).padEnd(20, '░');
    output.progress(
      `${bar} ${percent} %  ${formatSize(sentBytes)} of ${formatSize(ofBytes)}, ${rate}/s`,
    );
  };
}
