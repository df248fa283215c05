// `allow`, `deny`, `allowed`: the owner's list, edited by commands and by hand while no agent runs
// (the story's test shows that a running agent obeys at once).

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folder, run } from './program.ts';

/** A time zone in which it is noon, or less than an hour later. */
const AT_NOON = { TZ: `NOON${new Date().getUTCHours() - 12}` };

t.test('claim 8: allow, deny and allowed keep one entry a name, deny included', async (t) => {
  const home = folder(t);
  const allowed = async (): Promise<unknown> =>
    (await run(['allowed', '--home', home, '--json'])).said;
  t.strictSame(await allowed(), []);
  const stored = await run([
    'allow',
    'TERM1',
    '--service',
    'file',
    '--bytes',
    '200MB',
    '--for',
    '1h',
    '--extend',
    '--home',
    home,
    '--json',
  ]);
  const entry = {
    action: 'allow',
    name: 'TERM1',
    services: ['file'],
    bytes: 200_000_000,
    seconds: 3600,
    extend: true,
  };
  t.strictSame(stored.said, entry);
  t.equal(stored.exit, 0);
  t.equal((await run(['deny', 'TERM9', '--home', home])).exit, 0);
  t.strictSame(await allowed(), [entry, { action: 'deny', name: 'TERM9' }]);
  await run(['deny', 'TERM1', '--home', home]);
  t.match(await allowed(), [{ action: 'deny' }, { action: 'deny' }]);
  await run(['allow', 'TERM1', '--until', '18:00', '--home', home], AT_NOON);
  const { stdout } = await run(['allowed', '--home', home]);
  t.match(stdout, /allow +TERM1 .*18:00/);
  t.match(stdout, /deny +TERM9/);
  t.equal(statSync(join(home, 'allow-list.toml')).mode & 0o777, 0o600);
});

t.test('claims 14, 15: --until is a moment, not an hour of every day; what is left', async (t) => {
  const home = folder(t);
  const allow = (...args: readonly string[]): ReturnType<typeof run> =>
    run(['allow', 'support', ...args, '--home', home, '--json'], AT_NOON);
  const past = await allow('--until', '11:59');
  t.equal(past.exit, 2);
  t.match(past.said, { error: { code: 'until-past', message: /11:59 is past/ } });
  t.equal((await allow('--until', '2001-01-31T18:00:00Z')).exit, 2);
  t.equal(existsSync(join(home, 'allow-list.toml')), false, 'nothing was stored');
  const stored = await allow('--until', '18:00', '--bytes', '200MB');
  t.match(String(stored.said?.until), /^\d{4}-\d\d-\d\dT18:00:00[+-]\d\d:00$/);
  const leftSeconds = (Date.parse(String(stored.said?.until)) - Date.now()) / 1_000;
  t.ok(leftSeconds > 5 * 3_600 && leftSeconds <= 6 * 3_600, `${leftSeconds} s from noon to six`);
  const shown = await run(['allowed', '--home', home, '--json']);
  const [entry] = shown.said as unknown as { window: Record<string, number> }[];
  t.match(entry.window, { usedBytes: 0, heldBytes: 0, leftBytes: 200_000_000 });
  t.ok(Math.abs(entry.window.leftSeconds - leftSeconds) < 60);
  const { stdout } = await run(['allowed', '--home', home]);
  t.match(stdout, /UNTIL +LEFT .*\n.*200 MB, 5 h/);
});

t.test('what cannot be an entry is wrong use and changes nothing', async (t) => {
  const home = folder(t);
  await run(['allow', 'TERM1', '--home', home]);
  const before = readFileSync(join(home, 'allow-list.toml'), 'utf8');
  const wrong = [
    ['allow', 'a name with blanks'],
    ['allow', 'TERM1#tooshort'],
    ['allow', 'TERM1', '--bytes', 'many'],
    ['allow', 'TERM1', '--until', 'noon'],
  ];
  for (const args of wrong) {
    const { exit, stderr } = await run([...args, '--home', home]);
    t.equal(exit, 2, args.join(' '));
    t.match(stderr, /wanted.*\nnext: /, args.join(' '));
  }
  t.equal(readFileSync(join(home, 'allow-list.toml'), 'utf8'), before);
});

t.test('a service that nakodo has not may be a program’s, or mistyped: it is said', async (t) => {
  const home = folder(t);
  const allow = (...services: readonly string[]): ReturnType<typeof run> =>
    run(['allow', 'TERM1', '--service', ...services, '--home', home]);
  t.equal((await allow('file', 'ping', 'port:22', 'udp:53', 'listen:*', 'run:x', '*')).stderr, '');
  const mistyped = await allow('file', 'port22', 'port:65536');
  t.equal(mistyped.exit, 0);
  t.match(mistyped.stderr, /^port22 port:65536: for programs of your own only/);
});

t.test('a list that cannot be read says where, and is not overwritten', async (t) => {
  const home = folder(t);
  const path = join(home, 'allow-list.toml');
  const text = '[[allow]]\nname = "TERM1"\nbytess = "1MB"\n';
  writeFileSync(path, text);
  for (const args of [['allowed'], ['allow', 'TERM2']]) {
    const { exit, stderr } = await run([...args, '--home', home]);
    t.equal(exit, 1);
    t.match(stderr, /line 1.*bytess.*\nnext: /);
  }
  t.equal(readFileSync(path, 'utf8'), text);
});

t.test('two commands at the same time lose no entry', async (t) => {
  const home = folder(t);
  const names = ['TERM1', 'TERM2', 'TERM3', 'TERM4'];
  await Promise.all(names.map((name) => run(['allow', name, '--home', home])));
  const { said } = await run(['allowed', '--home', home, '--json']);
  const listed = (said as unknown as { name: string }[]).map(({ name }) => name);
  t.strictSame(listed.sort(), names);
  t.notOk(existsSync(join(home, 'allow-list.toml.lock')), 'the lock is gone');
});

t.test('a list written by hand is kept beside the one that is rewritten', async (t) => {
  const home = folder(t);
  const text = '# my sister\n[[allow]]\nname = "TERM1"\n';
  writeFileSync(join(home, 'allow-list.toml'), text);
  const { exit, stderr } = await run(['allow', 'TERM2', '--home', home]);
  t.equal(exit, 0);
  t.match(stderr, /allow-list\.toml\.old/);
  t.equal(readFileSync(join(home, 'allow-list.toml.old'), 'utf8'), text);
  const again = await run(['allow', 'TERM3', '--home', home]);
  t.equal(again.stderr, '', 'our own text needs no copy');
});

t.test('a home that is a file is said to be one', async (t) => {
  const path = join(folder(t), 'file');
  writeFileSync(path, '');
  const { exit, stderr } = await run(['allow', 'TERM1', '--home', path]);
  t.equal(exit, 1);
  t.match(stderr, /home .* cannot be made.*\nnext: .*--home/);
});

t.test('--home wins over $NAKODO_HOME', async (t) => {
  const base = folder(t);
  const one = join(base, 'one');
  const two = join(base, 'two');
  mkdirSync(one);
  await run(['allow', 'TERM1'], { NAKODO_HOME: one });
  await run(['allow', 'TERM2', '--home', two], { NAKODO_HOME: one });
  t.match((await run(['allowed', '--home', one, '--json'])).said, [{ name: 'TERM1' }]);
  t.match((await run(['allowed', '--home', two, '--json'])).said, [{ name: 'TERM2' }]);
});
