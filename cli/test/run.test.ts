// `run` on real sockets and real processes: input, both outputs and the end of a hook, its
// environment, its bounds, and that nothing of it is left when its talk is over.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { RunOutcome } from '../../device/services/run-frames.ts';
import { errorCode } from '../../protocol/errors.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { runOnce } from '../run.ts';
import { CommandTalk, type TalkWish } from '../talk.ts';
import { folder } from './program.ts';
import { servedPair } from './served-pair.ts';

/** Writes programs of a device's owner; returns the agent.toml that makes hooks of them. */
function hooks(at: string, scripts: Readonly<Record<string, string>>, more = ''): string {
  mkdirSync(at, { recursive: true });
  return Object.entries(scripts)
    .map(([name, script]) => {
      const path = join(at, name);
      writeFileSync(path, `#!/bin/sh\n${script}\n`);
      chmodSync(path, 0o755);
      return `[[run]]\nname = "${name}"\ncommand = "${path}"\n${more}`;
    })
    .join('\n');
}

interface Ran {
  readonly outcome: RunOutcome;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Two terminals of which the second has these hooks and allows the first all of them. */
async function hooked(
  t: Test,
  scripts: Readonly<Record<string, string>>,
  more = '',
): Promise<{
  readonly begin: (hook: string, wish?: Partial<TalkWish>) => Promise<CommandTalk>;
  readonly runHook: (hook: string, input?: Uint8Array) => Promise<Ran>;
}> {
  const settings = hooks(folder(t), scripts, more);
  const services = [...Object.keys(scripts), 'missing'].map((name) => `run:${name}`);
  const { callerHome } = await servedPair(t, { settings, services });
  const begin = (hook: string, wish: Partial<TalkWish> = {}): Promise<CommandTalk> =>
    CommandTalk.begin({ to: 'TERM3', service: `run:${hook}`, ...wish }, { home: callerHome });
  const runHook = async (hook: string, input: Uint8Array = new Uint8Array()): Promise<Ran> => {
    const talk = await begin(hook);
    const ran = await ranOver(talk, input);
    await talk.done();
    return ran;
  };
  return { begin, runHook };
}

async function ranOver(talk: CommandTalk, input: Uint8Array): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const said = Promise.all([buffer(stdout), buffer(stderr)]);
  const outcome = await runOnce(talk, { stdin: Readable.from([input]), stdout, stderr });
  stdout.end();
  stderr.end();
  const [out, err] = await said;
  return { outcome, stdout: out, stderr: err.toString() };
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

t.test('input, output and error of a hook are its own, byte for byte, and its end', async (t) => {
  const { runHook } = await hooked(t, {
    cat: 'echo reading >&2; cat; echo read >&2',
    fails: 'echo why >&2; exit 3',
    dies: 'kill -9 $$',
    deaf: 'exec <&-; sleep 0.2; echo done',
  });
  const content = randomBytes(1_500_000);
  const same = await runHook('cat', content);
  t.ok(same.stdout.equals(content));
  t.equal(same.stderr, 'reading\nread\n');
  t.strictSame(same.outcome, { kind: 'exited', code: 0 });
  const failed = await runHook('fails', content);
  t.strictSame(failed.outcome, { kind: 'exited', code: 3 });
  t.equal(failed.stderr, 'why\n');
  t.strictSame((await runHook('dies')).outcome, { kind: 'killed', signal: 9 });
  const deaf = await runHook('deaf', randomBytes(6_000_000));
  t.equal(deaf.stdout.toString(), 'done\n', 'more than every window, and nobody reads it');
});

t.test('a hook knows who called, gets no words of theirs and little else', async (t) => {
  process.env.NAKODO_TEST_SECRET = 'ours';
  t.teardown(() => delete process.env.NAKODO_TEST_SECRET);
  const { runHook } = await hooked(t, { env: 'echo "$# $PWD"; exec /usr/bin/env' });
  const { stdout } = await runHook('env');
  const [first, ...lines] = stdout.toString().trimEnd().split('\n');
  t.equal(first, '0 /');
  const known = Object.fromEntries(lines.map((line) => line.split('=', 2) as [string, string]));
  t.match(known, {
    NAKODO_PEER: 'TERM1',
    NAKODO_PEER_ID: /^[a-z2-7]{32}$/,
    NAKODO_SESSION: /^[a-z2-7]{26}$/,
    NAKODO_SERVICE: 'run:env',
    PATH: /^\/usr\/local\/sbin:/,
  });
  t.equal(process.env.NAKODO_TEST_SECRET, 'ours', 'this process has more');
  t.notOk('NAKODO_TEST_SECRET' in known);
});

t.test('a hook that is not there, or cannot be started, is told as such', async (t) => {
  const { runHook } = await hooked(t, { gone: '', plain: '' }, '');
  t.match((await runHook('missing')).outcome, { kind: 'notRun', why: 'no-hook' });
  const settings = '[[run]]\nname = "gone"\ncommand = "/nowhere/at/all"\n';
  const { callerHome } = await servedPair(t, { settings, services: ['run:gone', 'run:plain'] });
  const talk = await CommandTalk.begin({ to: 'TERM3', service: 'run:gone' }, { home: callerHome });
  const { outcome } = await ranOver(talk, new Uint8Array());
  t.match(outcome, { kind: 'notRun', why: 'hook-not-started' });
  await talk.done();
});

t.test(
  'a hook without its execute bit is told as such; a broken agent.toml serves nobody',
  async (t) => {
    const at = folder(t);
    const settings = hooks(at, { plain: 'echo never' });
    chmodSync(join(at, 'plain'), 0o644);
    const { callee, callerHome } = await servedPair(t, { settings, services: ['run:plain'] });
    const begin = (): Promise<CommandTalk> =>
      CommandTalk.begin({ to: 'TERM3', service: 'run:plain' }, { home: callerHome });
    const first = await begin();
    const { outcome } = await ranOver(first, new Uint8Array());
    t.match(outcome, { kind: 'notRun', why: 'hook-not-started' });
    await first.done();
    writeFileSync(join(callee.home.folder, 'agent.toml'), '[[run]]\nname = 1\n');
    const second = await begin();
    t.equal(await ranOver(second, new Uint8Array()).catch(errorCode), 'stream-refused');
    second.giveUp();
  },
);

t.test('one talk with 64 streams gets as many runs as the owner permits', async (t) => {
  const { begin } = await hooked(t, { slow: 'cat' }, 'at_once = 3\n');
  const talk = await begin('slow');
  const inputs = Array.from({ length: 60 }, () => new PassThrough());
  const sink = (): PassThrough => new PassThrough().resume();
  const runs = inputs.map((stdin) => runOnce(talk, { stdin, stdout: sink(), stderr: sink() }));
  const told: RunOutcome[] = [];
  for (const each of runs) void each.then((outcome) => told.push(outcome));
  await until(() => told.length === 57, '57 are refused');
  t.ok(told.every((outcome) => outcome.kind === 'notRun' && outcome.why === 'hook-busy'));
  for (const stdin of inputs) stdin.end();
  const all = await Promise.all(runs);
  t.equal(all.filter((outcome) => outcome.kind === 'exited').length, 3);
  const { outcome } = await ranOver(talk, new Uint8Array());
  t.strictSame(outcome, { kind: 'exited', code: 0 }, 'their places are free again');
  await talk.done();
});

t.test('S5007: what ignores SIGTERM is killed when its talk ends, with its children', async (t) => {
  const { begin } = await hooked(t, {
    stubborn: "trap '' TERM; sleep 300 & echo $$ $!; while :; do wait; sleep 1; done",
  });
  const talk = await begin('stubborn');
  const stdout = new PassThrough();
  const over = runOnce(talk, { stdin: new PassThrough(), stdout, stderr: new PassThrough() });
  const [said] = (await once(stdout, 'data')) as [Buffer];
  const pids = said.toString().trim().split(' ').map(Number);
  t.ok(pids.length === 2 && pids.every(isAlive), 'both run');
  talk.giveUp();
  t.equal(await over.catch(errorCode), 'local');
  await until(() => !pids.some(isAlive), 'both are gone');
  t.notOk(pids.some(isAlive));
});

t.test('who writes without end is held by a peer that never reads, and ends with it', async (t) => {
  const { begin } = await hooked(t, { endless: 'echo $$; exec yes' });
  const talk = await begin('endless');
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const over = runOnce(talk, { stdin: new PassThrough(), stdout, stderr });
  const [said] = (await once(stdout, 'data')) as [Buffer];
  stdout.pause();
  const pid = Number(said.toString().split('\n')[0]);
  const waiting = (): number => stdout.writableLength + stdout.readableLength;
  await until(() => waiting() > 0, 'its output comes');
  const stands = await untilStill(waiting);
  t.ok(stands > 0 && stands < 1_000_000, `${stands} bytes wait here`);
  t.ok(isAlive(pid), 'it waits');
  talk.giveUp();
  stdout.resume();
  t.equal(await over.catch(errorCode), 'local');
  await until(() => !isAlive(pid), 'it is gone');
  t.notOk(isAlive(pid));
});

t.test('whoever left the group and holds the output open is not waited for', async (t) => {
  const { runHook } = await hooked(t, {
    daemon: [
      "setsid sh -c 'echo $$ > $0; exec sleep 300' $0.pid &",
      'while [ ! -s $0.pid ]; do :; done',
      'cat $0.pid',
    ].join('\n'),
  });
  const { stdout, outcome } = await runHook('daemon');
  const daemon = Number(stdout.toString());
  t.ok(isAlive(daemon), 'the run ended before it');
  process.kill(daemon, 'SIGKILL');
  t.strictSame(outcome, { kind: 'exited', code: 0 });
});
