// What terminals are given: `nakodo.cjs`, the terminal's commands and all that they need in one
// file, `start.cjs`, which starts it faster for a service, and the terms of the packages in it.
// Built from the sources by esbuild; the same sources give the same bytes, wherever they lie.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Metafile, type OutputFile, build } from 'esbuild';
import { VERSION } from '../../cli/program.ts';
import { assert } from '../../protocol/assert.ts';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import { licenseTexts, packagesIn } from './licenses.ts';
import { packageParts } from './packages.ts';

/** What was built, and of what. */
interface Bundle {
  /** `nakodo.cjs`: runs by itself. */
  readonly program: string;
  /** `start.cjs`: runs the program beside it, with a code cache if `CACHE_DIRECTORY` says where. */
  readonly start: string;
  /** The terms of the packages of others. */
  readonly licenses: string;
  /** Length of the program. */
  readonly bytes: number;
  /** Files that have bytes in the program, relative to the checkout, and how many. */
  readonly parts: Readonly<Record<string, number>>;
}

/**
 * Builds the bundle of the checkout `root` into the folder `out`.
 * @throws NakodoError `bundle-version`, `no-license`, and esbuild's errors.
 */
export async function buildBundle(root: string, out: string): Promise<Bundle> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    readonly version: string;
  };
  if (version !== VERSION) throw otherVersion(version);
  const [main, start] = [
    await bundled(root, 'cli/terminal-main.ts'),
    await bundled(root, 'deploy/bundle/start.ts'),
  ];
  const program = join(out, 'nakodo.cjs');
  const starter = join(out, 'start.cjs');
  const licenses = join(out, 'LICENSES');
  await mkdir(out, { recursive: true });
  await writeFile(program, main.file.contents, { mode: 0o755 });
  await writeFile(starter, start.file.contents);
  await writeFile(licenses, licenseTexts(root, packagesIn(main.output)));
  const parts = Object.entries(main.output.inputs)
    .map(([path, { bytesInOutput }]) => [path, bytesInOutput] as const)
    .filter(([, bytes]) => bytes > 0);
  return {
    program,
    start: starter,
    licenses,
    bytes: main.file.contents.length,
    parts: Object.fromEntries(parts),
  };
}

interface Built {
  readonly file: OutputFile;
  readonly output: Metafile['outputs'][string];
}

async function bundled(root: string, entry: string): Promise<Built> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: 'bundle.cjs',
    write: false,
    metafile: true,
    bundle: true,
    minify: true,
    // CommonJS is compiled in one go and starts 10 ms sooner than a module.
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    // What is loaded when it is needed is in this file too.
    supported: { 'dynamic-import': false },
    charset: 'ascii',
    legalComments: 'none',
    logLevel: 'error',
    plugins: [packageParts(root)],
  });
  const [file] = outputFiles;
  const [output] = Object.values(metafile.outputs);
  assert(file !== undefined && output !== undefined, 'one entry makes one file');
  // One other character, and V8 keeps the whole source with two bytes a character.
  const other = file.contents.findIndex((byte) => byte >= 0x80);
  if (other >= 0) throw notAscii(entry, Buffer.from(file.contents).toString('utf8', other - 20));
  return { file, output };
}

function otherVersion(version: string): NakodoError {
  return new NakodoError(
    'bundle-version',
    `package.json says ${version}, cli/program.ts says ${VERSION}`,
    'give both the same version, then build again',
    EXIT.failed,
  );
}

function notAscii(entry: string, rest: string): NakodoError {
  return new NakodoError(
    'bundle-not-ascii',
    `the bundle of ${entry} is not ASCII: ${JSON.stringify(rest.slice(0, 40))}`,
    'write that character as an escape in the source, in regular expressions too',
    EXIT.failed,
  );
}
