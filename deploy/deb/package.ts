// The package of a terminal for Debian trixie and Raspberry Pi OS, by dpkg-deb alone. Same sources,
// same date: same bytes. What it holds lies in this folder; the program is the bundle, manual and
// completion come from its commands.

import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises';
import { chmod, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { VERSION, programOf } from '../../cli/program.ts';
import { TERMINAL_COMMANDS } from '../../cli/terminal-commands.ts';
import { bashCompletion } from './completion.ts';
import { manualPage } from './manual.ts';
import { controlFile, copyrightFile, debianChangelog } from './papers.ts';
import { runTool } from '../tools.ts';

/** What the package is made of. */
interface DebOptions {
  /** The checkout. */
  readonly root: string;
  /** What `buildBundle` made: the program, what starts it as a service, the terms of its parts. */
  readonly bundle: {
    readonly program: string;
    readonly start: string;
    readonly licenses: string;
  };
  /** What Node is started with. */
  readonly nodeFlags: readonly string[];
  /** Where the package goes. */
  readonly out: string;
  /** Unix seconds that every file in it shows. */
  readonly epoch: number;
  /** Default: the program's. */
  readonly version?: string | undefined;
}

/** Path in the package → content, mode. */
type Tree = Map<string, readonly [content: string | Buffer, mode: number]>;

const DOC = 'usr/share/doc/nakodo';
const UNITS = 'usr/lib/systemd/system';
const CONFFILE = 'etc/nakodo/agent.toml';
const KIB = 1024;
const MS_PER_SECOND = 1000;
const GZIP_LEVEL = 9;
const FILE = 0o644;
const PROGRAM = 0o755;

/** The program as the package has it: what its manual and completion are made of. */
export const packagedProgram = (): ReturnType<typeof programOf> =>
  programOf({ example: 'nakodo send TERM2 photo.jpg', groups: [TERMINAL_COMMANDS] });

/**
 * Builds `nakodo_<version>_all.deb` and returns its path; one of that name is replaced when the new
 * one is whole. @throws NakodoError `tool-failed`, and what files say.
 */
export async function buildDeb(options: DebOptions): Promise<string> {
  const { out, epoch } = options;
  const version = options.version ?? VERSION;
  const work = await mkdtemp(join(tmpdir(), 'nakodo-deb-'));
  try {
    const folder = join(work, 'nakodo');
    const tree = await packageTree(options, version);
    await writeTree(folder, await withControl(options.root, tree, version), epoch);
    const made = join(work, 'made.deb');
    const env = { SOURCE_DATE_EPOCH: `${epoch}` };
    await runTool('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', folder, made], { env });
    const path = join(out, `nakodo_${version}_all.deb`);
    await mkdir(out, { recursive: true });
    await copyFile(made, `${path}.new`);
    await rename(`${path}.new`, path);
    return path;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function packageTree(options: DebOptions, version: string): Promise<Tree> {
  const { root, bundle, nodeFlags } = options;
  const date = new Date(options.epoch * MS_PER_SECOND);
  const part = async (name: string): Promise<string> => {
    const text = await readFile(join(root, 'deploy/deb', name), 'utf8');
    // A line of flags, or none of them and no blank for them.
    return text.replaceAll('@NODE_FLAGS@ ', nodeFlags.map((flag) => `${flag} `).join(''));
  };
  const program = packagedProgram();
  const changelog = await readFile(join(root, 'CHANGELOG.md'), 'utf8');
  const license = await readFile(join(root, 'LICENSE'), 'utf8');
  return new Map<string, readonly [string | Buffer, number]>([
    ['usr/lib/nakodo/nakodo.cjs', [await readFile(bundle.program), PROGRAM]],
    ['usr/lib/nakodo/start.cjs', [await readFile(bundle.start), FILE]],
    ['usr/bin/nakodo', [await part('nakodo.sh'), PROGRAM]],
    [`${UNITS}/nakodo.service`, [await part('nakodo.service'), FILE]],
    [`${UNITS}/nakodo.path`, [await part('nakodo.path'), FILE]],
    [`${UNITS}/nakodo-provision.service`, [await part('nakodo-provision.service'), FILE]],
    [`${UNITS}/nakodo-provision.path`, [await part('nakodo-provision.path'), FILE]],
    ['usr/lib/sysusers.d/nakodo.conf', [await part('sysusers.conf'), FILE]],
    ['usr/lib/sysctl.d/60-nakodo.conf', [await part('sysctl.conf'), FILE]],
    [CONFFILE, [await part('agent.toml'), FILE]],
    ['usr/share/bash-completion/completions/nakodo', [bashCompletion(program), FILE]],
    ['usr/share/man/man1/nakodo.1.gz', [packed(manualPage(program, { version, date })), FILE]],
    [`${DOC}/changelog.gz`, [packed(debianChangelog(changelog, version, date)), FILE]],
    [`${DOC}/copyright`, [copyrightFile(license), FILE]],
    [`${DOC}/LICENSES.gz`, [packed(await readFile(bundle.licenses)), FILE]],
    [`${DOC}/examples/hooks.conf`, [await part('hooks.conf'), FILE]],
    [`${DOC}/examples/user-data`, [await part('user-data'), FILE]],
  ]);
}

/** The same without the time at which it was packed. */
const packed = (content: string | Buffer): Buffer => gzipSync(content, { level: GZIP_LEVEL });

async function withControl(root: string, tree: Tree, version: string): Promise<Tree> {
  const sizes = [...tree.values()].map(([content]) => Math.ceil(content.length / KIB));
  const installedSize = sizes.reduce((sum, size) => sum + size, 0);
  const sums = [...tree]
    .filter(([path]) => path !== CONFFILE)
    .map(([path, [content]]) => `${createHash('md5').update(content).digest('hex')}  ${path}\n`);
  const scripts = await Promise.all(
    ['postinst', 'prerm', 'postrm'].map(async (name) => {
      const text = await readFile(join(root, 'deploy/deb', name), 'utf8');
      return [`DEBIAN/${name}`, [text, PROGRAM]] as const;
    }),
  );
  return new Map<string, readonly [string | Buffer, number]>([
    ...tree,
    ...scripts,
    ['DEBIAN/control', [controlFile({ version, installedSize }), FILE]],
    ['DEBIAN/conffiles', [`/${CONFFILE}\n`, FILE]],
    ['DEBIAN/md5sums', [sums.join(''), FILE]],
  ]);
}

async function writeTree(folder: string, tree: Tree, epoch: number): Promise<void> {
  for (const [path, [content, mode]] of tree) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
    // Whatever the umask of who builds it.
    await chmod(file, mode);
    await utimes(file, epoch, epoch);
  }
  const all = await readdir(folder, { recursive: true, withFileTypes: true });
  const folders = all.filter((entry) => entry.isDirectory());
  for (const path of [folder, ...folders.map((entry) => join(entry.parentPath, entry.name))]) {
    await chmod(path, PROGRAM);
    await utimes(path, epoch, epoch);
  }
}
