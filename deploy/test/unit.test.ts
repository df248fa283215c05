// The units as systemd judges them: every line is understood, and what a service that was taken
// over could do is little.

import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { toolPath, tryTool } from '../tools.ts';

/** From 0 (may do nothing) to 10: systemd-analyze(1), `security`. */
const EXPOSURE_MAX = 3;
/** Of systemd 252, Debian bookworm: newer ones know more. */
const SERVICES = [
  'deb/nakodo.service',
  'deb/nakodo-provision.service',
  'server/nakodo-server.service',
];
const OTHERS = ['deb/nakodo.path', 'deb/nakodo-provision.path'];

const deploy = join(repositoryRoot(), 'deploy');
const analyze = toolPath('systemd-analyze');
const skip = analyze === undefined ? 'there is no systemd-analyze' : false;

/** The units in a folder of their own, with programs and manual that are there. */
async function unitFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-units-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const path of [...SERVICES, ...OTHERS]) {
    const text = await readFile(join(deploy, path), 'utf8');
    const made = text
      .replaceAll('@NODE_FLAGS@ ', '')
      .replaceAll(/^ExecStart=\S+/gm, 'ExecStart=/bin/true')
      .replaceAll(/^Documentation=.*\n/gm, '');
    await writeFile(join(folder, path.replace(/.*\//, '')), made);
  }
  return folder;
}

t.test('systemd understands every line of every unit', { skip }, async (t) => {
  const folder = await unitFolder();
  const units = (await readdir(folder)).map((name) => join(folder, name));
  t.equal(units.length, SERVICES.length + OTHERS.length);
  const { exit, stderr } = await tryTool('systemd-analyze', ['verify', ...units]);
  const ours = stderr.split('\n').filter((line) => /nakodo/.test(line));
  t.same(ours, []);
  t.equal(exit, 0);
  const wrong = join(folder, 'wrong.service');
  await writeFile(wrong, '[Service]\nExecStart=/bin/true\nProtectEverything=yes\n');
  const control = await tryTool('systemd-analyze', ['verify', wrong]);
  t.match(control.stderr, /ProtectEverything/, 'and it would say so');
});

t.test('exposure of every service is at most 3', { skip }, async (t) => {
  const folder = await unitFolder();
  const exposureOf = async (path: string): Promise<number> => {
    const args = ['security', '--offline=true', '--no-pager', path];
    const { stdout } = await tryTool('systemd-analyze', args);
    return Number(/exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
  };
  for (const path of SERVICES) {
    const exposure = await exposureOf(join(folder, path.replace(/.*\//, '')));
    t.comment(`${path}: ${exposure}`);
    t.ok(exposure <= EXPOSURE_MAX, `${path}: ${exposure}`);
  }
  const open = join(folder, 'open.service');
  await writeFile(open, '[Service]\nExecStart=/bin/true\n');
  t.ok((await exposureOf(open)) > 2 * EXPOSURE_MAX, 'a unit without any of it is exposed');
});
