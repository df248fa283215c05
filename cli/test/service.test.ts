// The agent as systemd runs it, in a process of its own: ready whatever the network does, alive
// after a self-check, its talks ended with a word to the server; and its commands for a group.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chmodSync, constants, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { noNotify, notifyReceiver } from '../../device/test/notify-receiver.ts';
import { CommandTalk } from '../talk.ts';
import { folder, run, serve, terminal } from './program.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');
/** Without what tap would have its loaders write, as other users may not. */
const PROGRAM = ['-u', 'NODE_OPTIONS', process.execPath, MAIN];
const cannot = await noNotify();
const STATUS_TRIES_MAX = 30;

interface Service {
  readonly child: ChildProcess;
  /** Resolves with the first line of the log, of those so far and to come, that matches. */
  line(wanted: RegExp): Promise<string>;
  end(): Promise<number | null>;
}

/** An agent as a service, with this environment; ended when the test is over. */
function service(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Service {
  const child = spawn('env', [...PROGRAM, 'agent', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, ...env },
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const end = async (): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    return (await closed)[0];
  };
  t.teardown(end);
  return {
    child,
    end,
    async line(wanted) {
      for (;;) {
        const found = log.split('\n').find((line) => wanted.test(line));
        if (found !== undefined) return found;
        if (child.exitCode !== null) throw new Error(`the agent ended: ${log}`);
        if (child.stderr !== null) await Promise.race([once(child.stderr, 'data'), closed]);
      }
    },
  };
}

/** The terminal of a ticket, enrolled and not running. */
async function enrol(server: string, home: string, name: string): Promise<void> {
  const { said } = await run(['ticket', '--name', name, '--home', server, '--json']);
  await run(['enroll', String(said?.ticket), '--home', home]);
}

t.test(
  'a service is ready when registered, alive, and ends its talks',
  { skip: cannot },
  async (t) => {
    const receiver = await notifyReceiver(t);
    const base = folder(t);
    const at = (name: string): string => join(base, name);
    await serve(t, at('s'));
    await enrol(at('s'), at('3'), 'TERM3');
    const callee = service(t, ['--home', at('3')], {
      NOTIFY_SOCKET: receiver.path,
      WATCHDOG_USEC: '400000',
    });
    await terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' });
    t.equal(
      await receiver.message((message) => message.startsWith('READY=1')),
      'READY=1|STATUS=TERM3 is registered, 0 talks',
    );
    t.match(receiver.messages[0], /^READY=1/, 'nothing was said before');
    await receiver.message((message) => message.startsWith('WATCHDOG=1'));

    const settings = join(at('3'), 'agent.toml');
    writeFileSync(settings, '[agent]\nkeepalive = "often"\n');
    callee.child.kill('SIGHUP');
    t.match(await callee.line(/config-unreadable/), /keepalive/);
    const broken = await run(['status', '--home', at('3')]);
    t.match(broken.stdout, /^! .*agent\.toml.*keepalive/m, 'and its status shows it');
    writeFileSync(settings, '[agent]\nkeepalive = "5m"\n');
    callee.child.kill('SIGHUP');
    await callee.line(/settings-read/);

    await run(['allow', 'TERM1', '--home', at('3')]);
    const talk = await CommandTalk.begin({ to: 'TERM3', service: 'file' }, { home: at('1') });
    await receiver.message((message) => message.endsWith('registered, 1 talk'));
    const { stdout } = await run(['status', '--home', at('3')]);
    t.match(stdout, /^broker mqtts:.*: up for .*, heard .* ago, pinged each 1 min/m);
    t.match(stdout, /^list: 1 entry, changed .* ago/m);
    t.match(stdout, /OUT\/S +IN\/S/);
    t.equal(await callee.end(), 0, 'SIGTERM ends it cleanly');
    await receiver.message((message) => message.startsWith('STOPPING=1'));
    t.equal((await talk.ended).reason, 'local');
    const sessions = await run(['sessions', '--all', '--home', at('s'), '--json']);
    t.match(sessions.said, [{ reason: 'local', calleeReport: { reason: 'local' } }]);
  },
);

t.test('a service comes up without its server, and says so', { skip: cannot }, async (t) => {
  const receiver = await notifyReceiver(t);
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const server = await serve(t, at('s'));
  await enrol(at('s'), at('3'), 'TERM3');
  await server.end();
  writeFileSync(at('settings'), '[agent]\nkeepalive = "5m"\n');
  const agent = service(t, ['--home', at('3'), '--config', at('settings')], {
    NOTIFY_SOCKET: receiver.path,
    WATCHDOG_USEC: '400000',
    WATCHDOG_PID: undefined,
  });
  const ready = await receiver.message((message) => message.startsWith('READY=1'));
  t.match(ready, /STATUS=TERM3 is not registered: .*ECONNREFUSED/);
  await receiver.message((message) =>
    message.startsWith('WATCHDOG=1|STATUS=TERM3 is not registered'),
  );
  const status = await run(['status', '--home', at('3'), '--json']);
  const broker = { keepaliveSeconds: 300 };
  t.match(status.said, { link: 'down', registered: false, broker, settings: at('settings') });
  const doubt = agent.line(/self-check-failed/).then(() => 'failed');
  t.equal(await agent.end(), 0);
  t.not(await Promise.race([doubt, Promise.resolve('sound')]), 'failed');
});

t.test('unreadable settings: a relay only; a change that does not hold yet is said', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  await enrol(at('s'), at('3'), 'TERM3');
  const settings = join(at('3'), 'agent.toml');
  writeFileSync(settings, '[agent]\nrelay = only\n');
  const agent = service(t, ['--home', at('3')], {});
  const line = await agent.line(/config-unreadable/);
  t.match(line, /line 2.*until they are mended and the agent is restarted.* a relay only/);
  const status = async (): Promise<string> => {
    // Its commands are served a moment after its first line.
    let last = await run(['status', '--home', at('3')]);
    for (let tries = 0; last.exit !== 0 && tries < STATUS_TRIES_MAX; tries++) {
      last = await run(['status', '--home', at('3')]);
    }
    return last.stdout;
  };
  const broken = await status();
  t.match(broken, /^relay: only \(its settings are unreadable\)$/m);
  t.match(broken, /^! settings unreadable: until they are mended .* a relay only$/m);
  writeFileSync(settings, '[agent]\nrelay = "never"\n');
  agent.child.kill('SIGHUP');
  const differs =
    /\[agent\] relay is "never" in agent\.toml, "only" in the running agent: restart it/;
  t.match((await agent.line(/settings-differ/)).replaceAll('\\"', '"'), differs);
  t.match(await status(), differs);
  const { stdout } = await run(['doctor', '--home', at('3')]);
  t.match(stdout, /is seen in a call; here: only \(its settings are unreadable\)/);
  t.equal(await agent.end(), 0);

  const optioned = service(t, ['--home', at('3'), '--relay', 'only'], {});
  t.match(await status(), /^relay: only \(by --relay\)$/m);
  t.notMatch(await status(), /restart it/, 'a restart would change nothing');
  t.equal(await optioned.end(), 0);
});

t.test('what keeps a terminal from being enrolled is said where its agent is asked', async (t) => {
  const home = folder(t);
  const nothing = await run(['status', '--home', home]);
  t.match(nothing, { exit: 5, stderr: /no agent is running.*\nnext: .*nakodo enroll TICKET/ });
  writeFileSync(join(home, 'provisioning-trouble.txt'), 'the ticket was used before\n');
  const status = await run(['status', '--home', home]);
  t.match(status, { exit: 5, stderr: /the ticket was used before\nnext: .*nakodo enroll/ });
});

/** Users and a group that nobody has here; numbers will do. */
const AGENT = { uid: 31_001, gid: 31_100 };
const MEMBER = { uid: 31_002, gid: 31_100 };
const STRANGER = { uid: 31_003, gid: 31_103 };

/** Runs a command as somebody else. */
async function runAs(
  who: { readonly uid: number; readonly gid: number },
  args: readonly string[],
): Promise<{ readonly exit: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn('env', [...PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    cwd: '/',
    ...who,
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [exit] = (await once(child, 'close')) as [number | null];
  return { exit, stdout, stderr };
}

/** Why this cannot be tried here; false: it can. */
async function noOthers(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'only root can be somebody else';
  const { exit } = await runAs(STRANGER, ['--version']).catch(() => ({ exit: 1 }));
  return exit === 0 ? false : 'another user cannot read this program';
}

const others = await noOthers();
t.test('a group commands, a stranger hears how to come in', { skip: others }, async (t) => {
  const base = folder(t);
  chmodSync(base, 0o755);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  const home = at('3');
  const made = spawn('install', ['-d', '-m', '0700', '-o', '31001', '-g', '31100', home]);
  await once(made, 'close');
  const { said } = await run(['ticket', '--name', 'TERM3', '--home', at('s'), '--json']);
  const enrolled = await run(['enroll', String(said?.ticket), '--home', home]);
  t.equal(enrolled.exit, 0, enrolled.stderr);
  const identity = join(home, 'identity.json');
  t.equal(statSync(identity).uid, AGENT.uid, 'root enrols as the user of the home');
  const agent = spawn(
    process.execPath,
    [MAIN, 'agent', '--home', home, '--socket-group', '31100'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env.PATH },
      cwd: '/',
      ...AGENT,
    },
  );
  const closed = once(agent, 'close');
  t.teardown(async () => {
    agent.kill('SIGTERM');
    await closed;
  });
  await once(agent.stdout, 'data');
  const socket = statSync(join(home, 'agent.sock'));
  t.strictSame([socket.mode & 0o777, socket.gid], [0o660, AGENT.gid]);
  t.equal(statSync(home).mode & 0o777, 0o710);

  const named = ['--home', home];
  const status = await runAs(MEMBER, ['status', ...named]);
  t.match(status, { exit: 0, stdout: /^TERM3 .*registered/ });
  const allow = await runAs(MEMBER, ['allow', 'TERM1', '--service', 'file', ...named]);
  t.match(allow, { exit: 0, stdout: /allow +TERM1 +file/ });
  const allowed = await runAs(MEMBER, ['allowed', ...named]);
  t.match(allowed, { exit: 0, stdout: /TERM1/ });
  const list = join(home, 'allow-list.toml');
  t.match(readFileSync(list, 'utf8'), /name = "TERM1"/);
  t.strictSame([statSync(list).uid, statSync(list).mode & 0o777], [AGENT.uid, 0o600]);
  const deny = await runAs(MEMBER, ['deny', 'TERM9', ...named]);
  t.match(deny, { exit: 0 });
  const wrong = await runAs(MEMBER, ['allow', 'a name with blanks', ...named]);
  t.match(wrong, { exit: 2, stderr: /wanted.*\nnext: / });
  const hook = await runAs(MEMBER, ['allow', 'TERM2', '--ask-command', '/bin/true', ...named]);
  t.match(hook, { exit: 1, stderr: /only the user that the agent runs as.*\nnext: .*sudo/s });
  t.notMatch(readFileSync(list, 'utf8'), /TERM2/);
  const reads = spawn('cat', [identity], { stdio: 'ignore', cwd: '/', ...MEMBER });
  t.not((await once(reads, 'close'))[0], 0, 'a member reads no key');

  const commands = [['status'], ['allow', 'TERM1'], ['allowed']];
  const turned = commands.map((command) => runAs(STRANGER, [...command, ...named]));
  for (const kept of await Promise.all(turned)) {
    t.match(kept, {
      exit: 1,
      stderr: /belongs to another user\nnext: .*sudo adduser \$USER 31100/,
    });
  }
  const examined = await runAs(MEMBER, ['doctor', ...named, '--json']);
  t.match(JSON.parse(examined.stdout), { ok: true }, 'the doctor sees a member nothing wrong');
  const shut = JSON.parse((await runAs(STRANGER, ['doctor', ...named, '--json'])).stdout) as {
    readonly checks: readonly { readonly check: string; readonly verdict: string }[];
  };
  const verdicts = shut.checks.map(({ check, verdict }) => `${check} ${verdict}`);
  const wanted = ['home fail', 'identity unchecked', 'agent fail', 'list unchecked'];
  t.strictSame(verdicts.slice(0, 5), [...wanted, 'settings unchecked'], 'and calls nothing fine');
  const own = await run(['deny', 'TERM8', ...named]);
  t.equal(own.exit, 0, 'root does it as the user of the home');
  t.equal(statSync(list).uid, AGENT.uid);
  accessSync(list, constants.R_OK);
});
