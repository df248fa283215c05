// An earlier commit, checked out outside of this repository, built, and gone again: with the
// present node_modules if its lock file wants nothing else, with its own otherwise.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NakodoError } from '../protocol/errors.ts';

const HERE = dirname(dirname(import.meta.dirname));
const LOCK = 'package-lock.json';
const MODULES = 'node_modules';

/** Packages of a lock file: path in node_modules → what is installed there. */
type Packages = Readonly<
  Record<string, { readonly version?: string; readonly optional?: boolean } | undefined>
>;

/** This checkout, as it is built. */
export const PRESENT = HERE;

/** The full name of a commit. @throws NakodoError `no-commit`. */
export function commitOf(ref: string): string {
  try {
    return git('rev-parse', '--verify', '--quiet', `${ref}^{commit}`);
  } catch {
    const next = 'name one of this repository: make bench-against REF=main';
    throw new NakodoError('no-commit', `there is no commit ${ref}`, next);
  }
}

/** Checks the commit out into `folder`, which is not there yet, and builds it. */
export function checkOut(commit: string, folder: string): void {
  // What a bench left behind that was killed.
  git('worktree', 'prune');
  git('worktree', 'add', '--quiet', '--detach', folder, commit);
  if (isSatisfied(folder)) symlinkSync(join(HERE, MODULES), join(folder, MODULES), 'dir');
  else run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], folder);
  run(process.execPath, [join(MODULES, '.bin', 'tsc'), '-p', '.'], folder);
}

/** Forgets the worktree, if it came to one; the repository is as it was. */
export function remove(folder: string): void {
  if (existsSync(folder)) git('worktree', 'remove', '--force', folder);
}

/** Whether all that the commit wants is installed here in that very version. */
function isSatisfied(folder: string): boolean {
  const wanted = packages(join(folder, LOCK));
  const present = packages(join(HERE, MODULES, '.package-lock.json'));
  return Object.entries(wanted).every(
    ([path, want]) =>
      path === '' || want?.optional === true || present[path]?.version === want?.version,
  );
}

function packages(path: string): Packages {
  return (JSON.parse(readFileSync(path, 'utf8')) as { packages: Packages }).packages;
}

function git(...args: readonly string[]): string {
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  return execFileSync('git', args, { cwd: HERE, encoding: 'utf8', stdio: [...stdio] }).trim();
}

function run(program: string, args: readonly string[], cwd: string): void {
  execFileSync(program, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
}
