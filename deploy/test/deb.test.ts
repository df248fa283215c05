// The package, looked into without being installed: what it holds, whose it is, what it asks for;
// that the same sources make the same bytes; and that its manual, completion and settings say what
// the program does. Installed it is in install.test.ts.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { gunzipSync } from 'node:zlib';
import { VERSION } from '../../cli/program.ts';
import { parseConfig } from '../../device/services/config.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { buildBundle } from '../bundle/bundle.ts';
import { buildDeb, packagedProgram } from '../deb/package.ts';
import { bashCompletion } from '../deb/completion.ts';
import { afterWords, manualPage } from '../deb/manual.ts';
import { runTool, toolPath, tryTool } from '../tools.ts';

const BYTES_MAX = 400_000;
const EPOCH = 1_790_000_000;
const root = repositoryRoot();
const skip = toolPath('dpkg-deb') === undefined ? 'there is no dpkg-deb' : false;

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk deb-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function built(test: Test, version?: string): Promise<string> {
  const out = await folder(test);
  const bundle = await buildBundle(root, out);
  const nodeFlags = ['--one', '--two=2'];
  return buildDeb({ root, bundle, nodeFlags, out, epoch: EPOCH, version });
}

/** Files of a package: path → mode, owner, text. */
async function contents(deb: string): Promise<Map<string, { mode: string; owner: string }>> {
  const listed = await runTool('dpkg-deb', ['--contents', deb]);
  const rows = listed
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/\s+/));
  return new Map(rows.map(([mode, owner, , , , path]) => [path, { mode, owner }]));
}

t.test('it holds program, units, settings and papers, all of them root’s', { skip }, async (t) => {
  const deb = await built(t);
  const files = await contents(deb);
  for (const [path, { owner, mode }] of files) {
    t.equal(owner, 'root/root', path);
    const wanted = path.endsWith('/')
      ? 'drwxr-xr-x'
      : path === './usr/bin/nakodo' || path.endsWith('/nakodo.cjs')
        ? '-rwxr-xr-x'
        : '-rw-r--r--';
    t.equal(mode, wanted, path);
  }
  for (const path of [
    'usr/lib/nakodo/nakodo.cjs',
    'usr/lib/nakodo/start.cjs',
    'usr/lib/systemd/system/nakodo.service',
    'usr/lib/systemd/system/nakodo.path',
    'usr/lib/systemd/system/nakodo-provision.service',
    'usr/lib/systemd/system/nakodo-provision.path',
    'usr/lib/sysusers.d/nakodo.conf',
    'usr/lib/sysctl.d/60-nakodo.conf',
    'etc/nakodo/agent.toml',
    'usr/share/man/man1/nakodo.1.gz',
    'usr/share/bash-completion/completions/nakodo',
    'usr/share/doc/nakodo/copyright',
    'usr/share/doc/nakodo/changelog.gz',
    'usr/share/doc/nakodo/LICENSES.gz',
  ]) {
    t.ok(files.has(`./${path}`), path);
  }
  t.notOk(
    [...files.keys()].some((path) => /\/(var|home|root)\//.test(path)),
    'no state in it',
  );

  const fields = await runTool('dpkg-deb', ['--field', deb]);
  t.match(fields, /^Architecture: all$/m, 'arm64, armhf and amd64 alike');
  t.match(fields, /^Depends: nodejs \(>= 20\.19\), systemd \(>= 247\)$/m);
  t.match(fields, new RegExp(`^Version: ${VERSION}$`, 'm'));
  const inside = await folder(t);
  await runTool('dpkg-deb', ['--raw-extract', deb, join(inside, 'x')]);
  const text = (path: string): Promise<string> => readFile(join(inside, 'x', path), 'utf8');
  t.equal(await text('DEBIAN/conffiles'), '/etc/nakodo/agent.toml\n');
  t.match(await text('usr/bin/nakodo'), 'exec /usr/bin/node /usr/lib/nakodo/nakodo.cjs "$@"');
  t.match(await text('usr/lib/systemd/system/nakodo.service'), 'node --one --two=2 /usr/lib');
  t.match(await text('usr/share/doc/nakodo/copyright'), 'Permission is hereby granted');
  const changelog = gunzipSync(await readFile(join(inside, 'x/usr/share/doc/nakodo/changelog.gz')));
  t.match(changelog.toString(), /^nakodo \(\S+\) trixie; urgency=medium\n\n {2}\* .*\n/);
  t.match(changelog.toString(), / -- .* <\S+>  \w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\n$/);
  const sums = ['-c', 'cd "$1" && md5sum --check --quiet DEBIAN/md5sums', 'sh', join(inside, 'x')];
  t.equal(await runTool('sh', sums), '', 'every file as its sum says');
  t.ok((await stat(deb)).size <= BYTES_MAX, `${(await stat(deb)).size} bytes`);
  t.comment(`${(await stat(deb)).size} bytes`);
  for (const script of ['postinst', 'prerm', 'postrm']) {
    const checked = await tryTool('sh', ['-n', join(inside, 'x/DEBIAN', script)]);
    t.equal(checked.exit, 0, `${script}: ${checked.stderr}`);
  }
});

t.test(
  'the same sources make the same bytes; another version has another name',
  { skip },
  async (t) => {
    const [one, two] = [await built(t), await built(t)];
    t.ok((await readFile(one)).equals(await readFile(two)));
    t.match(await built(t, '9.8.7'), /nakodo_9\.8\.7_all\.deb$/);
  },
);

t.test('the manual has every command with every option, and can be read', async (t) => {
  const program = packagedProgram();
  const page = manualPage(program, { version: '1.2.3', date: new Date(EPOCH * 1000) });
  t.match(page, /^\.TH NAKODO 1 2026-09-21 "nakodo 1\.2\.3"/);
  t.ok(program.commands.length >= 8);
  const asRead = page
    .replaceAll('\\-', '-')
    .replaceAll('\\(dq', '"')
    .replaceAll('\\&', '')
    .replaceAll(/\\\[u(\w+)\]/g, (_, code: string) => String.fromCodePoint(parseInt(code, 16)));
  for (const command of program.commands) {
    t.ok(asRead.includes(`.SS "nakodo ${command.name()} `), command.name());
    for (const { flags, description } of command.options) {
      t.ok(asRead.includes(`${flags}`), `${command.name()} ${flags}`);
      t.ok(asRead.includes(description), `${command.name()}: ${description}`);
    }
    t.match(afterWords(command), /Examples?:\n[^]*Exit codes:/, command.name());
    for (const line of afterWords(command).split('\n')) t.ok(asRead.includes(line), line);
  }
  if (toolPath('groff') === undefined) return t.pass('there is no groff to read it');
  const { exit, stdout, stderr } = await tryTool('groff', ['-man', '-Tutf8', '-ww', '-z'], {
    input: page,
  });
  t.same([exit, stdout, stderr], [0, '', ''], 'without a warning');
});

t.test('bash completes commands, options, folders and files', async (t) => {
  const script = bashCompletion(packagedProgram());
  const file = join(await folder(t), 'completion');
  await writeFile(file, script);
  t.equal((await tryTool('bash', ['-n', file])).exit, 0);
  const asked = async (...words: readonly string[]): Promise<readonly string[]> => {
    const set = `source '${file}'; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')});
      COMP_CWORD=${words.length - 1}; _nakodo; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return (await runTool('bash', ['-c', set])).split('\n').filter((word) => word !== '');
  };
  t.same(await asked('nakodo', 'prov'), ['provision']);
  t.ok((await asked('nakodo', '')).includes('send'));
  t.same(await asked('nakodo', 'provision', '--fr'), ['--from']);
  t.same(await asked('nakodo', 'status', '--home', '/et'), ['/etc'], 'a folder');
  t.same(await asked('nakodo', 'send', 'TERM1', '/etc/os-rel'), ['/etc/os-release'], 'a file');
  t.same(await asked('nakodo', 'status', '/etc/os-rel'), [], 'no file where none is taken');
  t.same(await asked('nakodo', 'nonsense', '-'), []);
});

t.test(
  'the settings it comes with are understood, and so is every line that is commented out',
  async (t) => {
    const text = await readFile(join(root, 'deploy/deb/agent.toml'), 'utf8');
    t.match(parseConfig(text), { config: { agent: { socket_group: 'nakodo' } } });
    const open = text.replaceAll(/^#(?=[a-z[])/gm, '');
    t.match(parseConfig(open), {
      config: { agent: { keepalive: 60 }, run: [{ name: 'temperature' }], port: [{ port: 8080 }] },
    });
  },
);
