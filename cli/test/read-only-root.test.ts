// A Pi whose root file system is read-only: the agent needs its home, and nothing else that can be
// written. It runs in a mount namespace where everything but the home is read-only.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../protocol/test/until.ts';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { allowing, openTown } from '../../sim/fleet/town.ts';
import { run } from './program.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');

/** Makes all but $1 read-only, shows that it is so, and becomes the rest of its arguments. */
const READ_ONLY_BUT = `
set -e
home="$1"; shift
mount --bind "$home" "$home"
for place in / /tmp /var /var/tmp /home /root /run /dev/shm /work; do
  if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
for place in "$home/.." /tmp /var/tmp /root; do
  if touch "$place/written" 2>/dev/null; then echo "$place can be written" >&2; exit 9; fi
done
exec env -u NODE_OPTIONS HOME=/nowhere "$@"
`;

const mayUnshare = spawnSync('unshare', ['-m', 'mount', '--bind', '/tmp', '/tmp']).status === 0;
const skip = mayUnshare ? false : 'only root may make a mount namespace';

t.test('a terminal works on a read-only root with one folder of its own', { skip }, async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const home = await town.enrol('TERM3', `${allowing('TERM1')}services = ["file", "ping"]\n`);
  const caller = await town.start(await town.enrol('TERM1', ''));
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());

  const program = [process.execPath, MAIN, 'agent', '--home', home, '--json'];
  const child = spawn('unshare', ['-m', 'sh', '-c', READ_ONLY_BUT, 'sh', home, ...program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await Promise.race([
    once(child.stdout, 'data'),
    closed.then(([exit]) => Promise.reject(new Error(`it ended with ${exit}: ${said}`))),
  ]);
  t.notOk(existsSync(join(home, '..', 'written')), 'the rest is read-only');
  await until(() => town.broker.stats().registered === 2, 'it registers');

  const file = join(town.folder, 'small.bin');
  writeFileSync(file, 'content');
  const sent = await run(['send', 'TERM3', file, '--home', caller.home.folder]);
  t.equal(sent.exit, 0, sent.stderr);
  t.equal(readFileSync(join(home, 'inbox', 'small.bin'), 'utf8'), 'content');
  await until(() => existsSync(join(home, 'pins.json')), 'it remembers whom it talked to');
  const { said: status } = await run(['status', '--json', '--home', home]);
  t.match(status, { registered: true, troubles: {} });
  t.strictSame(Object.values(Object(status?.troubles)), [], 'nothing is in its way');

  child.kill('SIGTERM');
  t.strictSame(await closed, [0, null], said);
  t.notMatch(said, /"level":"(?:warn|error)"/, said);
});
