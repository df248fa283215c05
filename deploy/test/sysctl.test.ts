// The kernel's settings that we ship, as systemd-sysctl takes them, in namespaces of their own: of
// the network, which has the values, and of mounts, so that nobody else's settings are read and the
// machine keeps its own. Needs root.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { tryTool } from '../tools.ts';

const SYSCTL = '/usr/lib/systemd/systemd-sysctl';
const deploy = join(repositoryRoot(), 'deploy');
const THIN = '/proc/sys/net/ipv4/tcp_thin_linear_timeouts';
const STAMPS = '/proc/sys/net/ipv4/tcp_timestamps';
const LEAST = '/proc/sys/net/ipv4/tcp_rto_min_us';
/** Linux 6.11; before it our line is passed over. */
const hasLeast = existsSync(LEAST);
/** A machine of which we know what it was, with nothing but the file `$1`, as `$2`. */
const MACHINE = [
  'mount -t tmpfs none /etc/sysctl.d',
  'mount -t tmpfs none /usr/lib/sysctl.d',
  `echo 0 > ${THIN}`,
  `echo 1 > ${STAMPS}`,
  ...(hasLeast ? [`echo 200000 > ${LEAST}`] : []),
  'cp "$1" "/usr/lib/sysctl.d/$2"',
];
const SHOW = `echo $(cat ${THIN} ${STAMPS} ${hasLeast ? LEAST : ''})`;
const shown = (...[thin, stamps, least]: readonly number[]): string =>
  `${[thin, stamps, ...(hasLeast ? [least] : [])].join(' ')}\n`;
const UNTOUCHED = shown(0, 1, 200_000);

async function inMachine(file: string, name: string, lines: readonly string[]): Promise<string> {
  const script = ['set -e', ...MACHINE, ...lines].join('\n');
  const words = ['--net', '--mount', 'sh', '-c', script, 'sh', join(deploy, file), name];
  const { exit, stdout, stderr } = await tryTool('unshare', words);
  if (exit !== 0) throw new Error(stderr);
  return stdout;
}

const can = (await tryTool('unshare', ['--net', '--mount', SYSCTL, '--version'])).exit === 0;
const skip = can ? false : 'needs root, namespaces and systemd-sysctl';

t.test('a terminal repeats evenly, a server has no time stamps besides', { skip }, async (t) => {
  const take = (name: string): readonly string[] => [`${SYSCTL} ${name}`, SHOW];
  t.equal(
    await inMachine('deb/sysctl.conf', '60-nakodo.conf', take('60-nakodo.conf')),
    shown(1, 1, 100_000),
  );
  const server = '60-nakodo-server.conf';
  t.equal(await inMachine('server/nakodo-sysctl.conf', server, take(server)), shown(1, 0, 100_000));
  t.equal(await inMachine('deb/sysctl.conf', '60-nakodo.conf', [SHOW]), UNTOUCHED, 'not by itself');
});

t.test('an owner who wants none of it has the last word', { skip }, async (t) => {
  const without = ['ln -s /dev/null /etc/sysctl.d/60-nakodo.conf', `${SYSCTL} 60-nakodo.conf`];
  t.equal(await inMachine('deb/sysctl.conf', '60-nakodo.conf', [...without, SHOW]), UNTOUCHED);
  const postinst = await readFile(join(deploy, 'deb/postinst'), 'utf8');
  t.match(postinst, `${SYSCTL} 60-nakodo.conf || true`, 'as the package asks when it comes');
});
