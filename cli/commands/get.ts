// `get`: files and folders out of a terminal's outbox. The command speaks the file protocol and
// writes as its user; the agent introduces and carries [S1002].

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode, UsageError } from '../../protocol/errors.ts';
import { formatSize } from '../../protocol/units.ts';
import type { Listing } from '../get-files.ts';
import { type Output, table } from '../output.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { declare, runs, someBytesOption } from './command.ts';

interface GetOptions extends CallOptions {
  readonly list?: boolean;
  readonly to?: string;
  readonly overwrite?: boolean;
  readonly resume: boolean;
  readonly rate?: number;
}

const DETAILS = `
Without a path, or with --list, it says what there is. Paths are those of that list; a folder is
fetched with everything below it, and . is everything that is not hidden (.name): name that. As with
cp, the last of several words is where it goes: a folder that is there or ends with a slash takes
what is fetched, else it becomes the name of the one that is. A single path goes to where you are;
with --to all words are paths.

Each file appears whole or not at all: it is written beside its place under a partial name, checked
against the SHA-256 that was computed there, flushed to the disk, and only then given its name. A
name that is taken gets a number, unless you say --overwrite. Times and executable bits are kept.

If the talk ends in the middle, by a limit (exit 4), a lost path or ^C, get the same again: what is
here already is not fetched twice, also days later, and whatever changed meanwhile begins anew. A
path that is lost is called again by itself, four times.

At the callee the allow-list has to grant the service \`get\`. Nothing is read there but what its
owner put into outbox/ of its home, or into the folder that [get] of its agent.toml names: links in
it are not followed, and no path leads out of it.`;

/** Adds `get`. */
export function declareGet(program: Command): void {
  const fetch = declare(program, {
    usage: 'get',
    summary: 'Fetch files and folders from a terminal by its name, out of its outbox/.',
    details: DETAILS,
    examples: [
      'nakodo get TERM3',
      'nakodo get TERM3 report.pdf',
      'nakodo get TERM3 logs/today.log logs/yesterday.log ~/logs/',
      'nakodo get TERM3 photos ~/holiday --bytes 2GB --for 1h',
      'nakodo get TERM3 . --to everything',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  addCallOptions(
    fetch
      .addArgument(new Argument('<name>', "the callee's name"))
      .addArgument(new Argument('[paths...]', 'what to fetch, and where it goes'))
      .option('--list', 'only say what there is, at and below the paths')
      .option('--to <dir>', 'into this folder; made if it is missing')
      .option('--overwrite', 'in place of files of the same name')
      .option('--no-resume', 'fetch everything anew, whatever is here already'),
  ).addOption(someBytesOption('--rate <size>', 'fetch at most this much a second, like 2MB'));
  runs<GetOptions>(fetch, runGet);
}

/** [S1002]: the user names the peer. */
async function runGet(
  output: Output,
  options: GetOptions,
  [name, ...words]: readonly string[],
): Promise<ExitCode> {
  if (options.list === true || words.length === 0) return runList(output, options, name, words);
  const files = await import('../get-files.ts');
  const { runTransfer } = await import('./transfer-report.ts');
  const { GET_SERVICE } = await import('../../device/services/file/names.ts');
  const [paths, dest] = pathsAndPlace(words, options.to);
  const wanted = paths.map(files.pathThere);
  const wish = wishOf(name, GET_SERVICE, options);
  // Everything has no name of its own that another could stand in for.
  const isMany = wanted.length > 1 || wanted.includes(files.EVERYTHING) || options.to !== undefined;
  const place = await files.destinationOf(dest, isMany ? Infinity : 1);
  const { home, overwrite, resume, rate } = options;
  return runTransfer(output, {
    home,
    wish,
    jobs: async (talk) => {
      const listings = [];
      for (const path of wanted) listings.push(await files.listThere(talk, path));
      return {
        files: listings.flatMap((each, at) => files.filesOf(each, wanted[at], place.name)),
        skipped: listings.flatMap((each, at) => [
          ...each.skipped,
          ...files.hiddenOf(each, wanted[at]),
        ]),
      };
    },
    pass: await files.fileFetcher({
      folder: place.folder,
      replaces: overwrite === true,
      resumes: resume,
      bytesPerSecond: rate,
    }),
    verb: 'Fetched from',
  });
}

/** What is a path there, and what is the place here. */
function pathsAndPlace(
  words: readonly string[],
  to: string | undefined,
): readonly [paths: readonly string[], dest: string] {
  if (to !== undefined) return [words, to];
  if (words.length === 1) return [words, '.'];
  return [words.slice(0, -1), words.at(-1) ?? '.'];
}

async function runList(
  output: Output,
  options: GetOptions,
  name: string,
  words: readonly string[],
): Promise<ExitCode> {
  if (options.to !== undefined) throw new UsageError('usage', '--to needs a path to fetch');
  const { EVERYTHING, listThere, pathThere } = await import('../get-files.ts');
  const { CommandTalk } = await import('../talk.ts');
  const { talkWords } = await import('./talk-words.ts');
  const { GET_SERVICE } = await import('../../device/services/file/names.ts');
  const wanted = words.length === 0 ? [EVERYTHING] : words.map(pathThere);
  const wish = wishOf(name, GET_SERVICE, options);
  const said = talkWords(output, wish.to, options.extend);
  try {
    const talk = await CommandTalk.begin(wish, { home: options.home, onEvent: said.hear });
    const listings: Listing[] = [];
    for (const path of wanted) {
      const listing = listThere(talk, path);
      listings.push(
        await listing.catch((error: unknown) => {
          talk.giveUp();
          throw error;
        }),
      );
    }
    await talk.done();
    const entries = listings.flatMap((each) => each.entries);
    const skipped = listings.flatMap((each) => each.skipped);
    output.result({ to: wish.to, entries, skipped }, await listed({ entries, skipped }));
    return EXIT.done;
  } catch (error) {
    return output.error(error, said.known());
  } finally {
    output.progressDone();
  }
}

async function listed({ entries, skipped }: Listing): Promise<string> {
  const { shown } = await import('../../device/services/file/transfer-error.ts');
  const rows = entries.map(({ kind, path, size = 0, modified }) => ({
    size: kind === 'file' ? formatSize(size) : '',
    changed: modified === undefined ? '' : moment(modified),
    name: shown(path) + (kind === 'folder' ? '/' : ''),
  }));
  const over = skipped.map(({ path, why }) => `passed over: ${shown(path)} (${why})`);
  const all = rows.length === 0 ? 'There is nothing.' : table(rows);
  return [all, ...over].join('\n');
}

/** Local time to the minute: `2026-11-23 12:30`. */
function moment(ms: number): string {
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * MS_PER_MINUTE);
  return Number.isNaN(local.getTime()) ? '' : local.toISOString().slice(0, 16).replace('T', ' ');
}

const MS_PER_MINUTE = 60_000;
