// The proof on a Pi's processor, the long way, in `make prove`: a whole Debian trixie for arm64
// under emulation, the package installed by its apt with what it depends on, set up by a file on
// the boot partition, run as its own user; a file, a power cut, another file. The short way is
// arm64.test.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { folder, run, serve, terminal } from '../../cli/test/program.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { inRoot, noSystemRoot, unpackSystemRoot } from '../arm64/system-root.ts';
import { freshPackage } from '../fresh-package.ts';
import { repositoryFile, toolEnvironment } from '../tools.ts';
import { holds } from './emulated-agent.ts';

const TIMEOUT_MS = 1_700_000;
/** How long the callee has to say yes: under emulation, on a machine that does much else. */
const WAIT = '5m';
t.setTimeout(TIMEOUT_MS);
const skip = IS_PROOF ? noSystemRoot() : 'ten minutes and a mirror of Debian: in make prove';
const PERMISSIONS = 0o7777;

/** Starts the agent with the words of its unit, as its user; resolves when it is ready. */
async function start(
  t: { teardown(clear: () => unknown): void },
  root: string,
): Promise<{ readonly ready: Record<string, unknown>; readonly kill: () => Promise<void> }> {
  const unit = readFileSync(join(root, 'usr/lib/systemd/system/nakodo.service'), 'utf8');
  const [, words] = /^ExecStart=(.*)$/m.exec(unit) ?? [];
  const as = ['runuser', '-u', 'nakodo', '--', ...words.split(' '), '--json'];
  const script = repositoryFile('deploy/image/in-root.sh');
  const child: ChildProcess = spawn('sh', [script, root, 'aarch64', ...as], {
    env: toolEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  // What is in the namespace goes with it, killed by the kernel: no agent is asked.
  const kill = async (): Promise<void> => {
    child.kill('SIGTERM');
    await closed;
  };
  t.teardown(kill);
  let said = '';
  child.stderr?.on('data', (text: Buffer) => (said += text.toString()));
  const ready = new Promise<Record<string, unknown>>((resolve) => {
    createInterface({ input: child.stdout ?? process.stdin }).on('line', (line) => {
      said += `${line}\n`;
      if (line.startsWith('{"ready":true')) resolve(JSON.parse(line) as Record<string, unknown>);
    });
  });
  const ended = closed.then(([exit]) => {
    throw new Error(`the agent ended with ${exit}: ${said}`);
  });
  return { ready: await Promise.race([ready, ended as Promise<never>]), kill };
}

t.test(
  'claim 19: installed by apt on arm64, set up from the boot partition, run as its user',
  { skip, timeout: TIMEOUT_MS },
  async (t) => {
    const base = mkdtempSync(join(tmpdir(), 'nakodo-arm64-'));
    t.teardown(() => rmSync(base, { recursive: true, force: true }));
    const at = (name: string): string => join(base, name);
    const root = at('root');
    await unpackSystemRoot(root, (line) => line.endsWith(' …') && t.comment(line));
    copyFileSync(await freshPackage(folder(t)), join(root, 'root/nakodo.deb'));
    const installed = await inRoot(root, ['apt-get', 'install', '-y', '/root/nakodo.deb']);
    t.match(installed, /Setting up nakodo/);
    t.equal((await inRoot(root, ['node', '-p', 'process.arch'])).trim(), 'arm64');
    const units = ['nakodo.service', 'nakodo-provision.service'];
    const enabled = await inRoot(root, ['systemctl', 'is-enabled', ...units]);
    t.equal(enabled, 'enabled\nenabled\n');

    await serve(t, at('server'));
    await terminal(t, { server: at('server'), home: at('desk'), name: 'DESK' });
    const { said } = await run(['ticket', '--home', at('server'), '--json']);
    const settings = join(root, 'boot/firmware/nakodo.toml');
    const list = '[[allow]]\nname = "DESK"\nservices = ["file"]\n';
    writeFileSync(settings, `ticket = "${String(said?.ticket)}"\nname = "PI"\n${list}`);
    await inRoot(root, ['nakodo', 'provision', '--home', '/var/lib/nakodo']);
    t.notOk(existsSync(settings), 'the ticket is gone from the boot partition');

    const home = join(root, 'var/lib/nakodo');
    const user = statSync(home).uid;
    t.not(user, 0, 'the state has a user of its own');
    const send = async (name: string, bytes: number): Promise<void> => {
      writeFileSync(at(name), randomBytes(bytes));
      const sent = await run(['send', 'PI', at(name), '--wait', WAIT, '--home', at('desk')]);
      t.equal(sent.exit, 0, sent.stderr);
      t.ok(holds(join(home, 'inbox'), name, at(name)), `${name} is there, whole`);
      t.equal(statSync(join(home, 'inbox', name)).uid, user);
    };
    const before = await start(t, root);
    t.match(before.ready, { name: 'PI' }, 'enrolled by itself');
    const socket = statSync(join(home, 'agent.sock'));
    t.equal(socket.mode & PERMISSIONS, 0o660);
    t.equal(socket.uid, user);
    await send('one.bin', 1_000_000);
    await before.kill();
    const after = await start(t, root);
    t.equal(after.ready.id, before.ready.id, 'it is who it was');
    await send('two.bin', 300_000);
    const verified = await run(['log', 'verify', '--home', at('server'), '--json']);
    t.match(verified.said, { ok: true });
  },
);
