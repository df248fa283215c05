// `send` and `get` from the user's files to the other terminal's disk and back, on real sockets:
// what the commands do, in this process, and what they say, as a user runs them.

import { randomBytes } from 'node:crypto';
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FILE_LIMITS } from '../../device/services/file/limits.ts';
import { encodeAsk } from '../../device/services/file/wire.ts';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { ALLOW_TERM1, type RealWorld, registeredPair } from '../../device/test/real-world.ts';
import type { Agent } from '../../device/agent.ts';
import type { LocalServer } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import { destinationOf, fileFetcher, filesOf, listThere } from '../get-files.ts';
import { Output } from '../output.ts';
import { fileSender } from '../send-files.ts';
import { CommandTalk, type TalkWish } from '../talk.ts';
import { TransferProgress } from '../transfer-progress.ts';
import { type Transferred, transfer } from '../transfer.ts';
import { planFiles } from '../user-files.ts';
import { folder, run } from './program.ts';

const QUIET = { hear: () => {}, known: () => ({}) };
const A_DAY_AGO = Math.floor(Date.now() / 1_000) - 86_400;

interface Town {
  readonly world: RealWorld;
  readonly caller: Agent;
  readonly callee: Agent;
  /** A folder of the user's. */
  readonly base: string;
  readonly inbox: string;
  readonly outbox: string;
}

/** Two terminals that serve their commands. */
async function town(test: Test): Promise<Town> {
  const short = { connection: { idleTimeoutMs: 1_500, keepAliveMs: 300 } };
  const { world, caller, callee } = await registeredPair(test, undefined, short);
  const servers: LocalServer[] = [];
  for (const agent of [caller, callee]) {
    const configPath = join(agent.home.folder, 'agent.toml');
    servers.push(await serveAgent(agent, { log: silentLog, configPath }));
  }
  test.teardown(() => Promise.all(servers.map((each) => each.close())));
  const outbox = join(callee.home.folder, 'outbox');
  return { world, caller, callee, base: folder(test), inbox: callee.home.inbox, outbox };
}

interface How {
  readonly wish?: Partial<TalkWish>;
  readonly resumes?: boolean;
  readonly bytesPerSecond?: number;
  readonly onAgain?: () => void;
  /** A file begins to be sent. */
  readonly onFile?: () => void;
}

/** What became of one file: what is there of either kind. */
interface Done {
  readonly path: string;
  readonly savedAs?: string;
  readonly resumedAt?: number;
  readonly wasThere?: boolean;
  readonly error?: { readonly code: string };
}

interface Sent extends Omit<Transferred<object>, 'outcomes'> {
  readonly outcomes: readonly Done[];
}

async function send(
  { caller }: Town,
  paths: readonly string[],
  { wish, resumes = true, bytesPerSecond, onAgain = () => {}, onFile }: How = {},
): Promise<Sent> {
  const plan = await planFiles(paths, '');
  const sendOne = fileSender({ resumes, replaces: false, bytesPerSecond });
  return transfer({
    home: caller.home.folder,
    wish: { to: 'TERM3', service: 'file', ...wish },
    words: QUIET,
    progress: new TransferProgress(new Output(true)),
    jobs: async () => plan.files,
    pass: (talk, file, meter) => {
      onFile?.();
      return sendOne(talk, file, meter);
    },
    onAgain,
  });
}

async function get(
  { caller }: Town,
  path: string,
  dest: string,
  { wish, resumes = true, bytesPerSecond, onAgain = () => {} }: How = {},
): Promise<Sent> {
  const place = await destinationOf(dest, 1);
  const replaces = false;
  return transfer({
    home: caller.home.folder,
    wish: { to: 'TERM3', service: 'get', ...wish },
    words: QUIET,
    progress: new TransferProgress(new Output(true)),
    jobs: async (talk) => filesOf(await listThere(talk, path), path, place.name),
    pass: await fileFetcher({ folder: place.folder, replaces, resumes, bytesPerSecond }),
    onAgain,
  });
}

/** A tree with everything in it that is carried; answers with its files. */
function plant(at: string): readonly string[] {
  mkdirSync(join(at, 'a', 'b'), { recursive: true });
  mkdirSync(join(at, 'empty'));
  const files = ['a/b/large', 'a/été', 'a/run.sh', 'none'];
  for (const [number, path] of files.entries()) {
    writeFileSync(join(at, path), randomBytes([700_000, 1_000, 10, 0][number]));
    utimesSync(join(at, path), A_DAY_AGO, A_DAY_AGO + number);
  }
  chmodSync(join(at, 'a/run.sh'), 0o755);
  return files;
}

t.test('S1005: a tree arrives as it is: contents, folders, times, executable bits', async (t) => {
  const all = await town(t);
  const { base, inbox, outbox } = all;
  const files = plant(join(base, 'tree'));
  const same = (there: string): void => {
    for (const path of files) {
      const [ours, theirs] = [join(base, 'tree', path), join(there, path)];
      t.ok(readFileSync(ours).equals(readFileSync(theirs)), path);
      t.equal(statSync(theirs).mtimeMs, statSync(ours).mtimeMs, `${path}: time`);
      t.equal(statSync(theirs).mode & 0o100, statSync(ours).mode & 0o100, `${path}: x`);
    }
    t.strictSame(readdirSync(join(there, 'empty')), []);
  };
  const { outcomes, end } = await send(all, [join(base, 'tree')]);
  t.equal(outcomes.length, 5);
  t.match(end, { reason: 'done' });
  same(join(inbox, 'tree'));
  t.equal(statSync(join(inbox, 'tree/a/run.sh')).mode & 0o777, 0o700);
  t.equal(statSync(join(inbox, 'tree/none')).mode & 0o777, 0o600);
  t.strictSame(readdirSync(inbox), ['tree'], 'no partial files are left');
  const again = await send(all, [join(base, 'tree')]);
  t.ok(
    again.outcomes.every(({ wasThere, path }) => wasThere === true || path.endsWith('empty')),
    'nothing is saved twice',
  );

  mkdirSync(outbox);
  execFileSync('cp', ['-a', join(base, 'tree'), outbox]);
  const fetched = await get(all, 'tree', join(base, 'got'));
  t.equal(fetched.outcomes.length, 5);
  same(join(base, 'got'));
  const umask = process.umask();
  t.equal(statSync(join(base, 'got/none')).mode & 0o777, 0o666 & ~umask, 'as its user makes files');
  t.equal(statSync(join(base, 'got/a/run.sh')).mode & 0o777, 0o777 & ~umask);
});

t.test('claim 15: a limit ends it; the same command again goes on, both ways', async (t) => {
  const all = await town(t);
  const { base, inbox, outbox } = all;
  const content = randomBytes(2_000_000);
  writeFileSync(join(base, 'x'), content);
  mkdirSync(outbox);
  writeFileSync(join(outbox, 'x'), content);
  const wish = { bytes: 1_200_000, extend: false };
  const partial = (names: readonly string[]): boolean =>
    names.some((name) => /^\.part-[0-9a-f]{32}$/.test(name));

  const cut = send(all, [join(base, 'x')], { wish });
  await t.rejects(cut, { cause: { code: 'quota', exit: 4 } });
  await until(() => partial(readdirSync(inbox)));
  t.notOk(existsSync(join(inbox, 'x')), 'nothing under its final name');
  const sent = await send(all, [join(base, 'x')]);
  t.ok(Number(sent.outcomes[0]?.resumedAt) > 900_000, String(sent.outcomes[0]?.resumedAt));
  t.ok(content.equals(readFileSync(join(inbox, 'x'))));

  const here = join(base, 'here');
  mkdirSync(here);
  await t.rejects(get(all, 'x', here, { wish }), { cause: { code: 'quota', exit: 4 } });
  await until(() => partial(readdirSync(here)));
  t.notOk(existsSync(join(here, 'x')));
  const got = await get(all, 'x', here);
  t.ok(Number(got.outcomes[0]?.resumedAt) > 900_000, String(got.outcomes[0]?.resumedAt));
  t.ok(content.equals(readFileSync(join(here, 'x'))));
  t.strictSame(readdirSync(here), ['x']);
});

t.test('a path that is lost is called again, and only what is missing is sent', async (t) => {
  const all = await town(t);
  const { world, base } = all;
  await world.enrol('TERM7', ALLOW_TERM1);
  const home = world.home('TERM7');
  const inbox = join(home, 'inbox');
  const program = new URL('../../device/test/agent-child.js', import.meta.url);
  const child = fork(program, [home, '127.0.7.1']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'message');
  plant(join(base, 'tree'));
  writeFileSync(join(base, 'tree', 'z'), randomBytes(3_000_000));
  let again = 0;
  const sending = send(all, [join(base, 'tree')], {
    bytesPerSecond: 1_500_000,
    wish: { to: 'TERM7', waitMs: 10_000 },
    onAgain: () => (again += 1),
  });
  await until(() => existsSync(join(inbox, 'tree', 'none')));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const callee = await world.agent('TERM7', { udpBind: '127.0.7.1' });
  const served = await serveAgent(callee, { log: silentLog });
  t.teardown(() => served.close());
  const { outcomes, calls } = await sending;
  t.ok(again >= 1 && calls === again + 1, `${calls} calls`);
  t.equal(outcomes.length, 6);
  t.strictSame(
    readdirSync(join(inbox, 'tree')).toSorted(),
    ['a', 'empty', 'none', 'z'],
    'no numbers',
  );
});

t.test('S4005: nothing but the outbox is read, and no link in it is followed', async (t) => {
  const all = await town(t);
  const { base, caller, callee, outbox } = all;
  const home = caller.home.folder;
  const begin = (): Promise<CommandTalk> =>
    CommandTalk.begin({ to: 'TERM3', service: 'get' }, { home });
  const talk = await begin();
  t.match(await listThere(talk, ''), { entries: [], skipped: [] }, 'made when it is asked for');
  symlinkSync(join(callee.home.folder, 'identity.json'), join(outbox, 'key'));
  symlinkSync(callee.home.folder, join(outbox, 'home'));
  execFileSync('mkfifo', [join(outbox, 'fifo')]);
  writeFileSync(join(outbox, 'line\nbreak'), 'x');
  writeFileSync(join(outbox, 'good'), 'x');
  const { entries, skipped } = await listThere(talk, '');
  t.strictSame(
    entries.map(({ path }) => path),
    ['good'],
  );
  t.strictSame(
    skipped.map(({ path, why }) => `${path}: ${why}`),
    [
      'fifo: no regular file',
      'home: a link',
      'key: a link',
      'line\ufffdbreak: a name that cannot be carried',
    ],
  );
  // Asked for by name, past our own checks.
  const asked = async (wanted: 'list' | 'file', path: string): Promise<string> => {
    const stream = await talk.openStream(encodeAsk({ wanted, path, resumes: false }));
    stream.end();
    const said = Buffer.concat((await stream.toArray()) as Buffer[]).toString('latin1');
    return ['no-such-file', 'not-a-file'].find((code) => said.includes(code)) ?? said;
  };
  const paths = ['key', 'home', 'home/identity.json', '..', '../identity.json', '/etc/passwd', ''];
  for (const path of [...paths, 'good/x', 'home/../good', './good', 'good/']) {
    t.equal(await asked('file', path), 'no-such-file', `file ${path}`);
  }
  t.equal(await asked('file', 'fifo'), 'not-a-file');
  for (const path of ['home/x', '..', '/etc', 'x/../..', 'nothing']) {
    t.equal(await asked('list', path), 'no-such-file', `list ${path}`);
  }
  t.notMatch(await asked('list', 'home'), /identity/);
  await talk.done();
  writeFileSync(join(base, 'good'), 'mine');
  const { outcomes } = await get(all, 'good', base);
  t.match(outcomes, [{ savedAs: 'good.1' }], 'nothing of the user’s is overwritten');
});

t.test('a file that changes or vanishes there keeps no other from passing', async (t) => {
  const all = await town(t);
  const { base, outbox } = all;
  mkdirSync(outbox);
  for (const name of ['a', 'b', 'c']) writeFileSync(join(outbox, name), randomBytes(600_000));
  const listed = join(base, 'got');
  const fetching = get(all, '', `${listed}/`, { bytesPerSecond: 600_000 });
  await until(() => existsSync(listed) && readdirSync(listed).some((name) => name.startsWith('.')));
  writeFileSync(join(outbox, 'a'), 'other');
  rmSync(join(outbox, 'c'));
  const { outcomes } = await fetching;
  t.match(
    outcomes.toSorted((one, other) => (one.path < other.path ? -1 : 1)),
    [
      { path: 'a', error: { code: 'file-changed' } },
      { path: 'b', savedAs: 'b' },
      { path: 'c', error: { code: 'no-such-file' } },
    ],
  );
  t.strictSame(readdirSync(listed), ['b'], 'nothing half-written is left');
});

t.test('many small files: side by side, with few descriptors, none open before', async (t) => {
  const all = await town(t);
  const { base, inbox } = all;
  mkdirSync(join(base, 'many'));
  const count = 120;
  for (let at = 0; at < count; at++) writeFileSync(join(base, 'many', `f${at}`), `content ${at}`);
  const idle = readdirSync('/proc/self/fd').length;
  let most = 0;
  const onFile = (): void => {
    most = Math.max(most, readdirSync('/proc/self/fd').length);
  };
  const { outcomes } = await send(all, [join(base, 'many')], { onFile });
  t.equal(outcomes.length, count);
  t.equal(readdirSync(join(inbox, 'many')).length, count);
  t.ok(most > idle && most - idle < FILE_LIMITS.streamsAtOnce * 12, `${most - idle} descriptors`);
});

t.test('what the commands say: words, JSON, exit codes', async (t) => {
  const all = await town(t);
  const { base, caller, callee, inbox, outbox } = all;
  const home = ['--home', caller.home.folder];
  writeFileSync(join(base, 'x'), 'content');
  writeFileSync(join(inbox, 'x'), 'other');
  mkdirSync(join(base, 'tree'));
  symlinkSync('/etc', join(base, 'tree', 'etc'));
  const sent = await run(['send', 'TERM3', join(base, 'x'), join(base, 'tree'), ...home]);
  t.equal(sent.exit, 0, sent.stderr);
  t.match(sent.stdout, /^Delivered to TERM3: .*7 B.*\nx was there already; this one is x\.1\.\n$/);
  t.match(sent.stderr, /^passed over: .*tree\/etc \(a link\)\n$/);
  const json = await run(['send', 'TERM3', join(base, 'x'), '--to', 'd/e', '--json', ...home]);
  t.match(json.said, {
    session: String,
    reason: 'done',
    bytes: 7,
    calls: 1,
    files: [{ path: 'd/e/x', savedAs: 'd/e/x', sha256: /^[0-9a-f]{64}$/, wasThere: false }],
    skipped: [],
  });
  mkdirSync(outbox, { recursive: true });
  writeFileSync(join(outbox, 'report'), 'words');
  const list = await run(['get', 'TERM3', ...home]);
  t.match(list.stdout, /^SIZE +CHANGED +NAME\n5 B +\d{4}-\d\d-\d\d \d\d:\d\d +report\n$/);
  const got = await run(['get', 'TERM3', 'report', join(base, 'mine'), '--json', ...home]);
  t.match(got.said, { files: [{ savedAs: 'mine', size: 5 }] });
  t.equal(readFileSync(join(base, 'mine'), 'utf8'), 'words');
  const missing = await run(['get', 'TERM3', 'nothing', base, '--json', ...home]);
  t.equal(missing.exit, 1);
  t.match(missing.said, { error: { code: 'no-such-file' } });
  writeFileSync(join(callee.home.folder, 'agent.toml'), '[file]\nfile_max = "5B"\n');
  const large = await run(['send', 'TERM3', join(base, 'x'), join(base, 'mine'), ...home]);
  t.equal(large.exit, 1);
  t.match(large.stderr, /x did not pass: it is larger.*\nnakodo: 1 of 2 did not pass\nnext: /);
  t.ok(existsSync(join(inbox, 'mine')), 'the other one has passed');
});
