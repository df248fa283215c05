// `ping`, `run` and `pipe` as users run them: real processes at both ends, exit codes, content on
// its own descriptors, and an agent that leaves no command behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import { type Running, folder, run, serve, terminal } from './program.ts';

/** What TERM3's owner lets others run. */
const HOOKS = {
  hello: 'echo hello; echo beside >&2; exit 7',
  fine: 'echo fine',
  endless: 'exec yes',
  stubborn: "trap '' TERM; echo $$; while :; do sleep 1; done",
};

interface Street {
  readonly one: string;
  readonly three: string;
  readonly callee: Running;
  /** A command of TERM1 to its end. */
  readonly say: (...args: readonly string[]) => ReturnType<typeof run>;
}

/** A server and two terminals; TERM1 may do nothing yet. */
async function street(t: Test): Promise<Street> {
  const base = folder(t);
  const [server, one, three] = ['s', '1', '3'].map((name) => join(base, name));
  await serve(t, server);
  const [, callee] = await Promise.all([
    terminal(t, { server, home: one, name: 'TERM1' }),
    terminal(t, { server, home: three, name: 'TERM3' }),
  ]);
  const tables = Object.entries(HOOKS).map(([name, script]) => {
    const path = join(base, 'bin', name);
    mkdirSync(join(base, 'bin'), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return `[[run]]\nname = "${name}"\ncommand = "${path}"\n`;
  });
  writeFileSync(join(three, 'agent.toml'), tables.join('\n'));
  const say: Street['say'] = (...args) => run([...args, '--home', one]);
  return { one, three, callee, say };
}

const MAIN = join(import.meta.dirname, '..', 'main.js');

/** A command with its standard streams in our hands. */
function piped(t: Test, args: readonly string[]): ChildProcess {
  const words = ['-u', 'NODE_OPTIONS', process.execPath, MAIN, ...args];
  const child = spawn('env', words, { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin?.on('error', () => {});
  t.teardown(() => child.kill());
  return child;
}

const read = (stream: Readable | null): Promise<Buffer> => buffer(stream ?? Readable.from([]));

t.test('ping and run: answers, exit codes, what is refused and what a limit ends', async (t) => {
  const { three, callee, say } = await street(t);
  const quick = ['--count', '3', '--interval', '100ms'];
  t.equal((await say('ping', 'TERM3', ...quick, '--wait', '300ms')).exit, 3, 'not on the list');
  const services = ['ping', ...Object.keys(HOOKS).map((name) => `run:${name}`)];
  await run(['allow', 'TERM1', '--service', ...services, '--bytes', '1MB', '--home', three]);

  const words = await say('ping', 'TERM3', ...quick);
  t.equal(words.exit, 0, words.stderr);
  t.match(words.stdout, /^TERM3 \(\w{32}\) agreed; introduced in .*, on the LAN 127\.0\.0\.1:\d+/);
  t.match(words.stdout, /^Granted: .*, 1 MB\.\n1: .* ms\n2: /m);
  t.match(words.stdout, /^3 sent, 3 came back, 0 lost; round trip .* at least, .* average/m);
  const cut = await say('ping', 'TERM3', '--count', '99', '--for', '1s', '--no-extend', '--json');
  t.equal(cut.exit, 4, 'the time is up');
  t.match(cut.said, { reason: 'time', lost: Number, error: { code: 'time' } });

  const fine = await say('run', 'TERM3', 'fine');
  t.strictSame([fine.exit, fine.stdout, fine.stderr], [0, 'fine\n', '']);
  const failed = await say('run', 'TERM3', 'hello');
  t.strictSame([failed.exit, failed.stdout], [1, 'hello\n']);
  t.match(failed.stderr, /^beside\nnakodo: hello at TERM3 ended with exit code 7\nnext: /);
  const passed = await say('run', 'TERM3', 'hello', '--exit-code');
  t.strictSame([passed.exit, passed.stderr], [7, 'beside\n']);
  const json = await say('run', 'TERM3', 'hello', '--json');
  t.equal(json.stdout, 'hello\n');
  t.match(JSON.parse(json.stderr.split('\n')[1]), { exitCode: 7, error: { code: 'hook-failed' } });
  const over = await say('run', 'TERM3', 'endless', '--bytes', '100kB', '--no-extend');
  t.equal(over.exit, 4, over.stderr);
  t.equal((await say('run', 'TERM3', 'Not a hook')).exit, 2);

  const left = piped(t, ['run', 'TERM3', 'stubborn', '--home', join(three, '..', '1')]);
  const [said] = (await once(left.stdout ?? left, 'data')) as [Buffer];
  const pid = Number(said.toString());
  t.ok(process.kill(pid, 0), 'it runs');
  t.equal(await callee.end(), 0);
  t.throws(() => process.kill(pid, 0), 'an agent that has stopped leaves no command behind');
});

t.test(
  'pipe: from standard input there to standard output here, one after the other',
  async (t) => {
    const { one, three, say } = await street(t);
    await run(['allow', 'TERM1', '--service', 'pipe', '--home', three]);
    const nobody = await say('pipe', 'TERM3');
    t.equal(nobody.exit, 1);
    t.match(
      nobody.stderr,
      /nobody there takes a pipe now\nnext: start there: nakodo pipe --accept/,
    );
    t.equal((await say('pipe', 'NOBODY', '--wait', '300ms')).exit, 3);
    t.equal((await run(['pipe', 'TERM3', '--home', join(three, 'none')])).exit, 5);
    t.equal((await say('pipe')).exit, 2);
    t.equal((await say('pipe', 'TERM3', '--keep')).exit, 2);

    const content = randomBytes(300_000);
    const accept = piped(t, ['pipe', '--accept', '--json', '--home', three]);
    const accepted = Promise.all([read(accept.stdout), read(accept.stderr)]);
    accept.stdin?.end('back');
    /** Calls until the waiting command is known. */
    const send = async (bytes: Uint8Array | string): Promise<Buffer> => {
      for (;;) {
        const call = piped(t, ['pipe', 'TERM3', '--home', one]);
        call.stdin?.end(bytes);
        const [out, err] = await Promise.all([read(call.stdout), read(call.stderr)]);
        if (call.exitCode === null) await once(call, 'close');
        if (call.exitCode === 0) return out;
        if (!err.includes('pipe --accept')) throw new Error(err.toString());
      }
    };
    t.equal((await send(content)).toString(), 'back');
    const [out, err] = await accepted;
    t.ok(out.equals(content));
    t.match(JSON.parse(err.toString()), { inputBytes: 4, outputBytes: 300_000, to: 'TERM1' });

    const keep = piped(t, ['pipe', '--accept', '--keep', 'TERM1', '--home', three]);
    let heard = '';
    keep.stdout?.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    for (const word of ['one ', 'two ', 'three']) await send(word);
    await until(() => heard === 'one two three', 'all three came');
    t.equal(heard, 'one two three');
    keep.stdout?.destroy();
    const last = piped(t, ['pipe', 'TERM3', '--home', one]);
    last.stdin?.write('four');
    const [exit] = (await once(keep, 'close')) as [number | null];
    t.equal(exit, 0, 'quietly, when nobody reads any more');
    t.match((await read(last.stderr)).toString(), /TERM3 closed its end/);
  },
);
