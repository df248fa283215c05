// `nakodo fleet` as a user runs it: a report in words, as JSON, as a page; a policy of the user's
// own; wrong use before anything starts; too few file descriptors; Ctrl-C and a process that dies
// in the middle. Whatever happens, nothing stays behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { type Result, folder, run } from './program.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');
// The last three wait more than they work: at the same time they take as long as one.
t.jobs = 3;

const HAS_PROC = existsSync('/proc/self/task');
const SMALL = ['--terminals', '8', '--for', '2s', '--rate', '20', '--wait', '500ms', '--plain'];
const STEADY = ['--profile', 'always-on=1'];

/** Fields of a report that are looked at. */
interface Report {
  readonly version: number;
  readonly ok: boolean;
  readonly fleet: Readonly<Record<string, unknown>>;
  readonly calls: Readonly<Record<string, number>>;
  readonly log: Readonly<Record<string, unknown>>;
  readonly kept: string | null;
}

const reportOf = ({ said }: Result): Report => said as unknown as Report;

t.test('claim 22: a drawn fleet, its report as JSON and as a page', async (t) => {
  const [home, pages] = [folder(t), folder(t)];
  const page = join(pages, 'report.html');
  const more = ['--home', home, '--html', page, '--json', '--strict', '--apart', '--seed', '5'];
  const result = await run(['fleet', ...SMALL, ...STEADY, ...more]);
  t.equal(result.exit, 0, result.stderr);
  t.equal(result.stderr, '', 'no progress beside JSON');
  const { version, ok, fleet, calls, log } = reportOf(result);
  t.match({ version, ok }, { version: 1, ok: true });
  t.match(fleet, { terminals: 8, registered: 8, processes: 2, seed: 5, tls: false, apart: true });
  t.ok(calls.due > 10 && calls.introduced > 0 && calls.refused > 0);
  t.match(calls, { wronglyIntroduced: 0, wronglyRefused: 0, damaged: 0, missed: 0 });
  t.equal(calls.delivered, calls.introduced);
  t.match(log, { isVerified: true, forbidden: 0, begun: calls.introduced });
  t.match(Object.keys((result.said?.cpu ?? {}) as object).toSorted(), [
    'broker',
    'manager',
    'terminals',
  ]);
  t.match(readFileSync(page, 'utf8'), /^<!doctype html>[^]*<svg[^]*<\/html>\n$/);
  t.strictSame(readdirSync(home), [], 'no home stays behind');
  const manual = readFileSync(join(repositoryRoot(), 'docs', 'fleet.md'), 'utf8');
  for (const field of Object.keys(result.said ?? {})) t.ok(manual.includes(`\`${field}`), field);
  for (const count of Object.keys(calls)) t.ok(manual.includes(`.${count}\``), count);
  const { stdout } = await run(['fleet', '--help']);
  const flags = [...stdout.matchAll(/^  (--[a-z-]+)/gm)].map(([, flag]) => flag);
  t.ok(flags.length > 15);
  for (const flag of flags) t.match(manual, new RegExp(`^\\| \`${flag}[ \`]`, 'm'), flag);
});

t.test('a policy of the user’s own, over TLS: the report in words', async (t) => {
  const [home, policies] = [folder(t), folder(t)];
  const policy = join(policies, 'policy.toml');
  writeFileSync(
    policy,
    '[[terminal]]\nname = "GATE"\n[[group]]\nname = "cam"\ncount = 4\nprofile = "polling"\n' +
      '[[terminal]]\nname = "thief"\nprofile = "hostile"\n' +
      '[[allow]]\ncallee = "GATE"\ncaller = "cam"\nservices = ["frames"]\nbytes = "1MB"\n' +
      '[[allow]]\ncallee = "cam"\ncaller = "GATE"\n[[deny]]\ncallee = "cam-2"\ncaller = "GATE"\n',
  );
  const how = ['--for', '3s', '--wait', '500ms', '--poll-every', '1s', '--processes', '1'];
  const where = ['--home', home, '--keep'];
  const { exit, stdout, stderr } = await run(['fleet', '--policy', policy, ...how, ...where]);
  t.equal(exit, 0, stdout + stderr);
  t.match(stdout, /^fleet +6 terminals.* over TLS: 1 always-on, 4 polling, 1 hostile$/m);
  t.match(stdout, /^introduced +[1-9]\d* .* as the policy has it, 0 against it/m);
  t.match(stdout, /^log +verifies: /m);
  t.match(stdout, /Nothing was introduced or delivered that should not have been\./);
  t.match(stderr, /^calling, /m, 'progress in lines, as this is no terminal');
  const kept = /The homes are in (.*)\.\n/.exec(stdout)?.[1] ?? '';
  t.ok(existsSync(join(kept, 'server', 'manager.pub')), 'the homes were kept, as was asked');
});

t.test('wrong use and impossible wishes: before anything starts, what was wrong', async (t) => {
  const [home, policies] = [folder(t), folder(t)];
  const policy = join(policies, 'policy.toml');
  writeFileSync(
    policy,
    '[[group]]\nname = "g"\ncount = 3\n[[allow]]\ncallee = "g"\ncaller = "h"\n',
  );
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['--terminals', '0'], /0 terminals cannot be\nnext: --terminals is from 2/],
    [['--terminals', '-3'], /got '-3'.*\nnext: see nakodo fleet --help/],
    [['--rate', '0/s'], /got '0\/s', wanted one like 50\/s/],
    [['--ramp', '-5/s'], /got '-5\/s'/],
    [['--processes', '9', '--terminals', '8'], /9 processes are more than the 8 terminals\nnext: /],
    [['--profile', 'lazy=5'], /got 'lazy=5', wanted parts like/],
    [['--permit', '150%'], /got '150%'/],
    [['--for', '0s'], /'0s'.*from 1 s/],
    [['--bytes', '0'], /at least 1 byte/],
    [['--policy', policy], /policy\.toml: \[\[allow\]\] number 1 \(line 4\): .*'h'.*\nnext: /],
    [['--policy', policy, '--terminals', '9'], /--terminals is not for --policy/],
    [['--policy', join(policies, 'none.toml')], /there is no policy file .*\nnext: /],
    [['--html', join(policies, 'no', 'page.html')], /cannot be written.*\nnext: /],
    [['--html', policies], /it is a folder\nnext: /],
  ];
  await Promise.all(
    wrong.map(async ([args, expected]) => {
      const { exit, stdout, stderr } = await run(['fleet', ...args, '--home', home]);
      t.equal(exit, 2, args.join(' '));
      t.match(stderr, expected, args.join(' '));
      t.equal(stderr.trimEnd().split('\n').length, 2, stderr);
      t.equal(stdout, '', args.join(' '));
    }),
  );
  t.strictSame(readdirSync(home), []);
});

t.test('too few file descriptors: refused, or a smaller fleet that says so', async (t) => {
  const home = folder(t);
  const limit = 110;
  const args = ['fleet', '--terminals', '90', '--parallel', '4', '--processes', '1', '--plain'];
  const limited = async (more: readonly string[]): Promise<Result> => {
    const words = [process.execPath, MAIN, ...args, ...more, '--home', home];
    const quoted = words.map((word) => `'${word}'`).join(' ');
    return shell(`ulimit -n ${limit} && exec env -u NODE_OPTIONS ${quoted}`);
  };
  const refused = await limited([]);
  t.equal(refused.exit, 1);
  t.match(
    refused.stderr,
    /90 terminals need up to \d+ open files in one process, and 110 are allowed.*\nnext: .*ulimit/,
  );
  const how = ['--for', '1s', '--wait', '500ms', ...STEADY];
  const fewer = await limited([...how, '--fewer-if-needed']);
  t.equal(fewer.exit, 0, fewer.stderr);
  const [, count = ''] =
    /Too few file descriptors for 90 terminals: (\d+) /.exec(fewer.stderr) ?? [];
  t.ok(Number(count) >= 2 && Number(count) < 90, `${count} terminals`);
  t.match(fewer.stdout, new RegExp(`^fleet +${count} terminals \\(of 90 that were asked for`, 'm'));
  t.strictSame(readdirSync(home), []);
});

/** A fleet that would go on for a minute; `calling` resolves when it makes calls. */
function longFleet(
  t: Test,
  home: string,
): {
  readonly child: ChildProcess;
  readonly said: () => string;
  readonly calling: () => Promise<void>;
} {
  const args = ['--terminals', '8', '--for', '60s', '--wait', '500ms', '--plain', '--home', home];
  const words = ['-u', 'NODE_OPTIONS', process.execPath, MAIN, 'fleet', ...args, ...STEADY];
  const child = spawn('env', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const calling = async (): Promise<void> =>
    until(() => /^calling, [1-9]/m.test(err), 'the calls to begin', 30_000);
  return { child, said: () => out, calling };
}

t.test(
  'Ctrl-C ends it with the report so far, and nothing stays behind',
  { buffered: true },
  async (t) => {
    const home = folder(t);
    const { child, said, calling } = longFleet(t, home);
    await calling();
    child.kill('SIGINT');
    const [exit] = (await once(child, 'close')) as [number | null];
    t.equal(exit, 0);
    t.match(said(), /^calls +[1-9]/m);
    t.match(said(), /^log +verifies: /m);
    t.match(said(), /Ended before its time\. Nothing was introduced/);
    t.strictSame(readdirSync(home), []);
  },
);

t.test(
  'a process that dies ends it: the report so far, exit code 1, the others are ended',
  { buffered: true, skip: !HAS_PROC && 'needs /proc to see a process’s children' },
  async (t) => {
    const home = folder(t);
    const { child, said, calling } = longFleet(t, home);
    await calling();
    const { pid } = child;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    t.equal(children.length, 3, 'the servers, and two processes of terminals');
    process.kill(Number(children[2]), 'SIGKILL');
    const [exit] = (await once(child, 'close')) as [number | null];
    t.equal(exit, 1);
    t.match(said(), /Wrong: the process of terminals \d ended: SIGKILL/);
    t.match(said(), /^log +verifies: /m);
    t.strictSame(readdirSync(home), []);
    await until(() => children.every(isGone), 'all to be gone');
    t.pass('all are gone');
  },
);

t.test(
  'who started it is killed: its processes end by themselves',
  { buffered: true, skip: !HAS_PROC && 'needs /proc to see a process’s children' },
  async (t) => {
    const { child, calling } = longFleet(t, folder(t));
    await calling();
    const { pid } = child;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    child.kill('SIGKILL');
    await until(() => children.every(isGone), 'all to be gone');
    t.equal(children.length, 3);
  },
);

/** A process that has ended, whether or not anybody has asked for its exit code yet. */
function isGone(pid: string): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

async function shell(script: string): Promise<Result> {
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [exit] = (await once(child, 'close')) as [number | null];
  return { exit, stdout, stderr, said: undefined };
}
