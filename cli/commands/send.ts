// `send`: files and folders to a terminal's inbox. The command opens them as its user and speaks
// the file protocol; the agent introduces and carries [S1002].

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import type { Output } from '../output.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { declare, runs, someBytesOption } from './command.ts';

interface SendOptions extends CallOptions {
  readonly to?: string;
  readonly overwrite?: boolean;
  readonly resume: boolean;
  readonly rate?: number;
}

const DETAILS = `
Each file arrives whole or not at all: it is written under a partial name, checked against the
SHA-256 that was computed here, flushed to the disk, and only then given its name. Folders are sent
with everything below them, the empty ones too, and keep their names, times and executable bits.
Links below a folder are not followed, and what is no regular file is passed over; both are said.

If the talk ends in the middle, by a limit (exit 4), a lost path or a killed process, send the same
again: what is there already is not sent twice, also days later, and whatever changed meanwhile
begins anew. A path that is lost is called again by itself, four times.

At the callee the allow-list has to grant the service \`file\`. Its owner says in agent.toml where
files land ([file] folder), how large they may be (file_max), how much room has to be left
(keep_free), and what becomes of a name that is taken (overwrite): a number is appended ("number",
the default), the file is replaced ("replace"), or it is refused ("refuse"). A name gets its number
only if another file has it; the same file is not saved twice.`;

/** Adds `send`. */
export function declareSend(program: Command): void {
  const send = declare(program, {
    usage: 'send',
    summary: "Send files and folders to a terminal by its name; they land in its home's inbox/.",
    details: DETAILS,
    examples: [
      'nakodo send TERM3 photo.jpg',
      'nakodo send TERM3 *.log --bytes 200MB --for 15m --rate 2MB',
      'nakodo send TERM3 ~/photos --to 2026/july',
      'nakodo send TERM3 backup.img --no-resume --json',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  addCallOptions(
    send
      .addArgument(new Argument('<name>', "the callee's name"))
      .addArgument(new Argument('<paths...>', 'files and folders'))
      .option('--to <dir>', 'into this folder of the inbox; made if it is missing')
      .option('--overwrite', 'in place of files of the same name, where the owner lets them be')
      .option('--no-resume', 'send everything anew, whatever is there already'),
  ).addOption(someBytesOption('--rate <size>', 'send at most this much a second, like 2MB'));
  runs<SendOptions>(send, runSend);
}

/** [S1002]: the user names the peer. */
async function runSend(
  output: Output,
  options: SendOptions,
  [name, ...paths]: readonly string[],
): Promise<ExitCode> {
  const [{ folderThere, planFiles }, { FILE_SERVICE }, { fileSender }, { runTransfer }] =
    await Promise.all([
      import('../user-files.ts'),
      import('../../device/services/file/names.ts'),
      import('../send-files.ts'),
      import('./transfer-report.ts'),
    ]);
  const { home, resume, overwrite, rate } = options;
  const wish = wishOf(name, FILE_SERVICE, options);
  const plan = await planFiles(paths, folderThere(options.to ?? ''));
  return runTransfer(output, {
    home,
    wish,
    jobs: async () => plan,
    pass: fileSender({ resumes: resume, replaces: overwrite === true, bytesPerSecond: rate }),
    verb: 'Delivered to',
  });
}
