// How often a session makes a terminal touch its disk: an SD card wears by writes. The callee runs
// under strace, and what it does to files from the start of a session to its end is counted, by
// kind. No figures where there is no strace.

import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Children } from '../cli/demo/children.ts';
import type { Figure } from './figures.ts';
import { type IdleCommand, IdleProcess } from './idle-process.ts';
import { has } from '../sim/lab/namespaces.ts';

/** What changes a file, a folder, or makes a disk write. */
const CALLS = [
  'openat,creat,write,pwrite64,writev,pwritev,ftruncate,fallocate,fsync,fdatasync',
  'rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,chmod,fchmod,fchmodat',
].join(',');
const FILE_BYTES = 20_000;
const SESSIONS = 5;
/** A session's last word to the server, and what is stored then. */
const SETTLE_MS = 1_500;
/** How a service names a file in a folder that it has open. */
const OPEN_FOLDER = '"/proc/self/fd/';
const OPENED_TO_WRITE = /O_(WRONLY|RDWR|CREAT)/;

interface Terminal {
  readonly name: string;
  readonly home: string;
}

/** Counts of sessions that ping, and that bring a small file. */
export async function sessionWrites(
  children: Children,
  where: { readonly command: IdleCommand; readonly from: Terminal; readonly to: Terminal },
): Promise<readonly Figure[]> {
  if (!has('strace')) return [];
  const { command, from, to } = where;
  const folder = mkdtempSync(join(tmpdir(), 'nk-writes-'));
  const log = join(folder, 'strace');
  await children.run(['allow', from.name, '--home', to.home]);
  const traced: IdleCommand = {
    ...command,
    program: 'strace',
    // As a grandchild, so that the signal that ends it is the agent's.
    args: [
      '-D',
      '-f',
      '-y',
      '-qq',
      '-o',
      log,
      '-e',
      `trace=${CALLS}`,
      command.program,
      ...command.args,
    ],
  };
  const callee = await IdleProcess.start(traced);
  const caller = await children.serve(['agent', '--home', from.home, '--json']);
  try {
    let files = 0;
    const newFile = (): string => {
      const file = join(folder, `small-${(files += 1)}.bin`);
      writeFileSync(file, randomBytes(FILE_BYTES));
      return file;
    };
    const calls: readonly (readonly [string, () => readonly string[]])[] = [
      ['ping', () => ['ping', to.name, '--count', '3']],
      ['small file', () => ['send', to.name, newFile()]],
    ];
    // Who is behind a name is written down at the first talk.
    await children.run(['ping', to.name, '--count', '1', '--home', from.home]);
    const figures: Figure[] = [];
    for (const [name, argsOf] of calls) {
      await settle();
      const before = changes(log, to.home).length;
      for (let session = 0; session < SESSIONS; session++) {
        const args = argsOf();
        const { exit, stderr } = await children.run([...args, '--home', from.home]);
        if (exit !== 0) throw new Error(`nakodo ${args.join(' ')} ended with ${exit}: ${stderr}`);
        await settle();
      }
      const made = changes(log, to.home).slice(before);
      figures.push({
        name: `disk writes, ${name}`,
        value: made.length / SESSIONS,
        unit: '',
        meaning: `a session, at its callee; of ${SESSIONS}: ${kinds(made)}; ≤ 10`,
      });
    }
    return figures;
  } finally {
    await caller.end();
    await callee.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The names of the calls that changed something under `home`, in order. */
function changes(log: string, home: string): readonly string[] {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((row) => (row.includes(home) || row.includes(OPEN_FOLDER)) && !/ = -1 /.test(row))
    .map((row) => [/^\d+\s+(\w+)\(/.exec(row)?.[1] ?? '', row] as const)
    .filter(([call, row]) => call !== '' && (call !== 'openat' || OPENED_TO_WRITE.test(row)))
    .map(([call]) => call);
}

function kinds(calls: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const call of calls) counts.set(call, (counts.get(call) ?? 0) + 1);
  return [...counts].map(([call, count]) => `${count} ${call}`).join(', ') || 'none';
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
