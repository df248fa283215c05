// What a terminal asks of its memory card, which wears by being written to: nothing while it waits,
// also for a broker that is away, and little for a talk. Counted by the kernel's calls: two agents,
// as a user runs them, under strace.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { run } from './program.ts';
import { allowing, openTown } from '../../sim/fleet/town.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');
/** Whatever changes a file, a name or a disk. */
const CALLS = [
  'openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,sync',
  'rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir',
  'chmod,fchmod,fchmodat,utimensat,copy_file_range,sendfile,msync,io_uring_enter',
].join(',');
const IDLE_SECONDS = IS_PROOF ? 120 : 1;
/** The promise: of one talk, on each side, beside the content of files. */
const PER_TALK_MAX = 10;
const FILE_BYTES = 20_000;

const whyNot = (): string | false => {
  const { status } = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']);
  return status === 0 ? false : 'strace is not there, or may not trace';
};

/** A change of something in a home; `path`: below it. */
interface Change {
  readonly call: string;
  readonly path: string;
}

/** An agent whose calls are written down. */
class TracedAgent {
  readonly home: string;
  readonly #log: string;
  #stderr = '';

  constructor(place: string, name: string) {
    this.home = join(place, name);
    this.#log = join(place, `${name}.strace`);
  }

  async start(test: Test): Promise<void> {
    // -D: the program is our own child, and strace is its; it hears our signals.
    const traced = ['-D', '-f', '-y', '-qq', '-o', this.#log, '-e', `trace=${CALLS}`];
    const program = ['env', '-u', 'NODE_OPTIONS', process.execPath, MAIN];
    const args = [...traced, ...program, 'agent', '--home', this.home, '--json'];
    const child = spawn('strace', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const closed = once(child, 'close');
    test.teardown(async () => {
      child.kill('SIGTERM');
      await closed;
    });
    child.stderr.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
    await once(child.stdout, 'data');
  }

  /** Whether it said this on its standard error. */
  heard(word: string): boolean {
    return this.#stderr.includes(word);
  }

  /** Lines that it said on its standard error, for the journal. */
  get lines(): number {
    return this.#stderr.split('\n').length - 1;
  }

  /** Everything so far, oldest first. */
  get changes(): readonly Change[] {
    return readFileSync(this.#log, 'utf8')
      .split('\n')
      .flatMap((row) => {
        const call = /^\d+\s+(\w+)\(/.exec(row)?.[1];
        const at = row.lastIndexOf(this.home);
        if (call === undefined || at < 0 || / = -1 /.test(row)) return [];
        if (call === 'openat' && !/O_CREAT|O_WRONLY|O_RDWR/.test(row)) return [];
        const path = row.slice(at + this.home.length).split(/[>"]/)[0];
        return [{ call, path }];
      });
  }
}

/** To write one file durably: open, write, fsync, rename, fsync of its folder. */
const RECEIPT_CALLS = 5;

/** Whether it makes, names or removes something, or has the disk written. */
const counts = ({ call }: Change): boolean =>
  /^(open|creat|rename|link|unlink|mkdir|f.*sync)/.test(call);

const isContent = ({ path }: Change): boolean => path.startsWith('/inbox');

const words = (changes: readonly Change[]): string =>
  changes.map(({ call, path }) => `${call} ${path}`).join(', ');

const isReceipt = ({ call, path }: Change): boolean =>
  call.startsWith('rename') && path === '/receipt';
const isForgotten = ({ call, path }: Change): boolean =>
  call.startsWith('unlink') && path.startsWith('/ends/');

t.test('a terminal that waits writes nothing, a talk ten times', { skip: whyNot() }, async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const agents = [new TracedAgent(town.folder, 'TERM1'), new TracedAgent(town.folder, 'TERM3')];
  const [caller] = agents;
  await town.enrol('TERM1', '');
  await town.enrol('TERM3', `${allowing('TERM1')}services = ["file"]\n`);
  await Promise.all(agents.map((agent) => agent.start(t)));
  await until(() => town.broker.stats().registered === 2, 'both are registered');

  const idle = async (what: string): Promise<void> => {
    const before = agents.map(({ changes, lines }) => ({ changes: changes.length, lines }));
    const begun = performance.now();
    const isOver = (): boolean => performance.now() - begun > IDLE_SECONDS * 1_000;
    await until(isOver, 'the time to pass', 2 * IDLE_SECONDS * 1_000);
    for (const [at, agent] of agents.entries()) {
      const made = agent.changes.slice(before[at].changes);
      // The receipt of the last talk may be written ten seconds after the one before.
      const late = made.some(isReceipt) ? RECEIPT_CALLS : 0;
      t.equal(made.length, late, `${what}: ${words(made)}`);
      t.ok(agent.lines - before[at].lines <= 1, `${what}: hardly a line for the journal`);
    }
  };
  await idle('registered');

  const file = join(town.folder, 'small.bin');
  writeFileSync(file, Buffer.alloc(FILE_BYTES, 7));
  /** How often each of both wrote until `isLast` was on disk: records of the talk, and the rest. */
  const talk = async (isLast: (change: Change) => boolean, args: readonly string[] = []) => {
    const before = agents.map(({ changes }) => changes.length);
    const { exit, stderr } = await run(['send', 'TERM3', file, '--home', caller.home, ...args]);
    t.equal(exit, 0, stderr);
    const counted: { readonly ends: number; readonly rest: number }[] = [];
    for (const [at, agent] of agents.entries()) {
      const made = (): readonly Change[] =>
        agent.changes.slice(before[at]).filter((change) => !isContent(change));
      const isDone = (): boolean => made().some(isLast) && made().at(-1)?.call === 'fsync';
      await until(isDone, 'the last write');
      const weighty = made().filter(counts);
      t.comment(`${weighty.length} of ${made().length} calls: ${words(weighty)}`);
      const ends = weighty.filter(({ path }) => path.startsWith('/ends')).length;
      counted.push({ ends, rest: weighty.length - ends });
    }
    return counted;
  };
  const first = await talk(isReceipt);
  for (const { rest } of first) t.equal(rest, 8, 'a pin and a receipt, four each');
  const lasting = await talk(isForgotten, ['--rate', '30kB', '--no-resume']);
  for (const { ends, rest } of lasting) {
    t.equal(ends, 6, 'its record is made, and forgotten');
    t.ok(rest <= 4, 'a receipt, now or ten seconds after the last one');
    t.ok(ends + 4 <= PER_TALK_MAX, 'the promise');
  }

  await town.broker.close();
  for (const agent of agents) await until(() => agent.heard('link-down'), 'it notices');
  await idle('the broker is away');
});
