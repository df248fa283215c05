// The operator's record (S6001): show it, verify that nobody changed it, take it out, move its past
// away. Verifying is done here and not by the server, with the manager's public key alone, so that
// it can be done on another machine and by somebody who trusts neither.

import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Argument, type Command, Option } from 'commander';
import {
  EXIT,
  type ExitCode,
  NakodoError,
  UsageError,
  errorCode,
  errorMessage,
} from '../../protocol/errors.ts';
import { PATH_CLASSES } from '../../protocol/address.ts';
import { wayWords } from '../../device/shell/way.ts';
import type { Receipt } from '../../protocol/identity/receipt.ts';
import type { LogVerifier } from '../../session-manager/log-verify.ts';
import type { VerifyView } from '../../session-manager/shell/log-operations.ts';
import type { LogView } from '../../session-manager/shell/views.ts';
import { askServer, askServerRows } from '../ask.ts';
import { homeFolder } from '../home.ts';
import { readManagerKey } from '../manager-key.ts';
import type { Output } from '../output.ts';
import { type CommonOptions, countOption, declare, runs } from './command.ts';

interface LogOptions extends CommonOptions {
  readonly last: number;
  readonly managerPub?: string;
  readonly receipt: readonly string[];
}

const LAST_ENTRIES = 1_000;
/** Receipts of one run: more are verified in several. */
const RECEIPTS_MAX = 64;
const FILE_MODE = 0o600;

/** Adds `log`. */
export function declareLog(program: Command): void {
  const log = declare(program, {
    usage: 'log',
    summary: 'Show the log of beginnings and ends, verify it, or move its past into a file.',
    details:
      'verify checks the log of the running server, or files that `export` and `archive` made,\n' +
      'archives first. It needs public keys only, and no server for files.',
    examples: [
      'nakodo log',
      'nakodo log verify --receipt ~/.nakodo/receipt',
      'nakodo log export log.txt',
      'nakodo log archive 2026.log',
      'nakodo log verify 2026.log log.txt --manager-pub ./manager.pub',
    ],
    exits: [EXIT.unreachable],
  });
  log
    .addArgument(
      new Argument('[action]', 'what to do with it').choices(['verify', 'export', 'archive']),
    )
    .addArgument(new Argument('[files...]', 'verify: read these; export, archive: write this one'))
    .addOption(countOption('--last <n>', 'show so many entries, the newest', LAST_ENTRIES))
    .option('--manager-pub <file>', "the manager's public key (else manager.pub in the home)")
    .addOption(
      new Option('--receipt <file>', 'a terminal’s receipt; may be given several times')
        .default([])
        .argParser((file, files: readonly string[]) => [...files, file]),
    );
  runs<LogOptions>(log, (output, options, [action, ...files]) => {
    if (action === 'verify') return verifyLog(output, options, files);
    if (action === undefined) return showLog(output, options);
    if (files.length !== 1) {
      throw new UsageError('usage', `log ${action} takes the name of one file to write`);
    }
    return action === 'export'
      ? exportLog(output, options, files[0])
      : archiveLog(output, options, files[0]);
  });
}

async function showLog(output: Output, options: LogOptions): Promise<ExitCode> {
  const entries = await askServerRows<LogView>(options.home, { op: 'log', last: options.last });
  const lines = entries.map(({ sequence, time, kind, ...facts }) => {
    const shown = Object.entries(facts).flatMap(([name, value]) => {
      if (name === 'hash') return [];
      const path = name === 'path' && PATH_CLASSES.find((of) => of === value);
      return [`${name}=${path ? wayWords({ class: path }) : value}`];
    });
    return [String(sequence).padStart(6), time, kind, ...shown].join('  ');
  });
  output.result(entries, entries.length === 0 ? 'The log is empty.' : lines.join('\n'));
  return EXIT.done;
}

async function verifyLog(
  output: Output,
  options: LogOptions,
  files: readonly string[],
): Promise<ExitCode> {
  const check = await openCheck(options);
  try {
    for (const file of files) await check.file(file);
    if (files.length === 0) await check.server(options.home, 'head');
  } catch (error) {
    // The server found its store changed behind its back.
    if (errorCode(error) !== 'log-damaged') throw error;
    return output.error(error, { ok: false, at: 0, why: errorMessage(error) });
  }
  const view = check.finish();
  if (!view.ok) return output.error(damaged(view), view);
  output.result(view, wholeWords(view));
  return EXIT.done;
}

/** Writes all that the server keeps; what is written is verified on its way. */
async function exportLog(output: Output, options: LogOptions, path: string): Promise<ExitCode> {
  const check = await openCheck(options);
  await writeNew(path, (write) => check.server(options.home, 'head', write));
  const view = check.finish();
  if (!view.ok) return output.error(damaged(view), { ...view, file: path });
  output.result({ ...view, file: path }, `${path}: ${wholeWords(view)}`);
  return EXIT.done;
}

/**
 * Moves everything up to now into a file. The server forgets it only when the file is on disk and
 * was verified as it lies there.
 */
async function archiveLog(output: Output, options: LogOptions, path: string): Promise<ExitCode> {
  const sent = await openCheck(options);
  await writeNew(path, (write) => sent.server(options.home, 'archive', write));
  const check = await openCheck(options);
  await check.file(path);
  const view = check.finish();
  if (!view.ok) return output.error(damaged(view), { ...view, file: path });
  const last = view.from + view.entries - 1;
  await askServer(options.home, { op: 'archived', sequence: last, hash: view.head });
  const moved = `entries ${view.from} to ${last} are in ${path} and no longer in the store`;
  output.result({ ...view, file: path }, `Archived: ${moved}. Keep it with its backups.`);
  return EXIT.done;
}

/** One verification: parts in their order, then the verdict. */
interface Check {
  file(path: string): Promise<void>;
  /** What the running server keeps; `write` gets the same bytes. */
  server(
    home: string | undefined,
    use: 'head' | 'archive',
    write?: (bytes: Uint8Array) => Promise<void>,
  ): Promise<void>;
  finish(): VerifyView;
}

async function openCheck(options: LogOptions): Promise<Check> {
  const [{ nodeSuite }, verifying, { LogReader }, { verifyView }] = await Promise.all([
    import('../../protocol/io/node-crypto.ts'),
    import('../../session-manager/log-verify.ts'),
    import('../../session-manager/shell/log-file.ts'),
    import('../../session-manager/shell/log-operations.ts'),
  ]);
  const ownKey = join(homeFolder(options.home), 'manager.pub');
  const managerKey = await readManagerKey(options.managerPub ?? ownKey);
  const receipts = await readReceipts(options.receipt, managerKey);
  const verifier: LogVerifier = new verifying.LogVerifier({
    suite: nodeSuite,
    managerKey,
    receipts,
  });
  return {
    async file(path) {
      const reader = new LogReader(verifier);
      const { fileError } = await import('../../protocol/io/files.ts');
      try {
        for await (const chunk of createReadStream(path)) {
          if (!reader.take(chunk as Uint8Array)) break;
        }
      } catch (error) {
        throw fileError(error, path, 'read');
      }
      reader.end();
    },
    async server(home, use, write) {
      const reader = new LogReader(verifier, use);
      await askServer(
        home,
        { op: 'exportLog', use },
        {
          onData: async (bytes) => {
            reader.take(bytes);
            await write?.(bytes);
          },
        },
      );
      reader.end();
    },
    finish: () => verifyView(verifier.finish(), managerKey),
  };
}

/** @throws NakodoError `bad-receipt`. */
async function readReceipts(
  paths: readonly string[],
  managerKey: Uint8Array,
): Promise<readonly Receipt[]> {
  if (paths.length > RECEIPTS_MAX) {
    throw new UsageError('usage', `at most ${RECEIPTS_MAX} receipts are checked at a time`);
  }
  const [{ readFileIfAny }, { openReceipt }, { nodeSuite }] = await Promise.all([
    import('../../protocol/io/files.ts'),
    import('../../protocol/identity/receipt.ts'),
    import('../../protocol/io/node-crypto.ts'),
  ]);
  const receipts: Receipt[] = [];
  for (const path of paths) {
    const bytes = await readFileIfAny(path);
    const receipt = bytes && openReceipt(nodeSuite, managerKey, bytes);
    if (receipt === undefined) {
      throw new NakodoError(
        'bad-receipt',
        bytes === undefined
          ? `there is no file ${path}`
          : `${path} is not a receipt that this manager signed`,
        'give the file `receipt` of a terminal’s home, and the manager.pub of its manager',
      );
    }
    receipts.push(receipt);
  }
  return receipts;
}

/** Makes a file that was not there, durably; leaves none behind if that fails. */
async function writeNew(
  path: string,
  fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const { fileError, syncFolder } = await import('../../protocol/io/files.ts');
  const file = await openNew(path);
  try {
    await fill((bytes) => file.writeFile(bytes));
    await file.sync();
    await file.close();
    await syncFolder(dirname(path));
  } catch (error) {
    await file.close().catch(() => {});
    await rm(path, { force: true });
    throw error instanceof NakodoError ? error : fileError(error, path, 'write');
  }
}

async function openNew(path: string): Promise<FileHandle> {
  const { fileError } = await import('../../protocol/io/files.ts');
  try {
    return await open(path, 'wx', FILE_MODE);
  } catch (error) {
    throw errorCode(error) === 'EEXIST' ? alreadyThere(path) : fileError(error, path, 'create');
  }
}

const alreadyThere = (path: string): NakodoError =>
  new NakodoError(
    'file-exists',
    `${path} is there already, and a log is never written over`,
    'name a file that is not there yet',
    EXIT.usage,
  );

function wholeWords(view: Extract<VerifyView, { readonly ok: true }>): string {
  const { entries, from, head, signatures, receipts } = view;
  const tail = from > 1 ? ` from number ${from} on` : '';
  const signed = `${counted(signatures.checked, 'signature')} of terminals checked`;
  const unknown =
    signatures.unknown === 0
      ? ''
      : `, ${signatures.unknown} not, for their keys stand in an archive`;
  const held =
    receipts.checked === 0 ? '' : `, ${counted(receipts.checked, 'receipt')} checked and true`;
  const other =
    receipts.elsewhere === 0 ? '' : `, ${receipts.elsewhere} are about entries that are not here`;
  const checked = `${signed}${unknown}${held}${other}`;
  return `The log is whole: ${counted(entries, 'entry')}${tail}, ${checked}, head ${head}.`;
}

/** `1 entry`, `2 entries`. */
const counted = (count: number, noun: string): string =>
  count === 1 ? `1 ${noun}` : `${count} ${noun.replace(/y$/, 'ie')}s`;

const damaged = ({ at, why }: Extract<VerifyView, { readonly ok: false }>): NakodoError =>
  new NakodoError(
    'log-damaged',
    `the log is not what was written: ${why} (entry ${at})`,
    'name archives first, in their order; else keep a copy of the store, or the file, as it is, ' +
      'and compare it with a backup',
  );
