// The agent under a real service manager: `systemd --user`, in a cgroup and namespaces of its own.
// It hears that the agent is ready and alive, starts one again that hangs, and ends it cleanly. For
// `make prove`, as root, where cgroups may be made.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { folder, run, serve } from './program.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');
const SYSTEMD = '/lib/systemd/systemd';
/** Those of its own hierarchy, of cgroup version 1 and 2; or there is only version 2. */
const CGROUPS = ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup/unified'].filter((at) => existsSync(at));
const ROOTS = CGROUPS.length > 0 ? CGROUPS : ['/sys/fs/cgroup'];
const NAME = `nakodo-test-${process.pid}`;

/** `$1`: its folder, the rest: cgroups to go into. Prints what systemd says of the unit. */
const SCRIPT = `set -e
folder=$1; shift
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system
export XDG_RUNTIME_DIR="$folder" XDG_CONFIG_HOME="$folder" HOME="$folder"
export DBUS_SESSION_BUS_ADDRESS=disabled:
${SYSTEMD} --user --unit=nk.target 2> "$folder/systemd.log" &
show() { systemctl --user show nk.service -p "$1" --value 2> /dev/null; }
say() {
  properties=ActiveState,Result,NRestarts,StatusText,ExecMainStatus
  echo "$1 $(systemctl --user show nk.service -p $properties | tr '\\n' ';')"
}
until_is() { for i in $(seq 150); do [ "$(show $1)" = "$2" ] && return; sleep 0.1; done; }
until_is ActiveState active; say ready
beat=$(show WatchdogTimestampMonotonic)
for i in $(seq 150); do [ "$(show WatchdogTimestampMonotonic)" = $beat ] || break; sleep 0.1; done
[ "$(show WatchdogTimestampMonotonic)" = $beat ] || say alive
kill -STOP $(show MainPID)
until_is NRestarts 1; until_is ActiveState active; say again
systemctl --user stop nk.service; say stopped
`;

/** Without capabilities no process speaks in another one's name: the message is the child's own. */
const unit = (home: string): string => `[Unit]
DefaultDependencies=no
[Service]
Type=notify
NotifyAccess=all
WatchdogSec=3s
CapabilityBoundingSet=
Restart=on-watchdog
RestartSec=100ms
ExecStart="${process.execPath}" "${MAIN}" agent --home "${home}"
`;

/** Why this cannot be tried here; false: it can. */
function cannot(): string | false {
  if (!IS_PROOF) return 'for make prove';
  if (process.getuid?.() !== 0 || !existsSync(SYSTEMD)) return 'it takes root and systemd';
  try {
    for (const root of ROOTS) {
      mkdirSync(join(root, NAME));
      rmdirSync(join(root, NAME));
    }
    execFileSync('unshare', ['-pfm', '--mount-proc', 'true'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'no cgroup may be made here';
  }
}

/** Cgroups for this test, gone when it is over. */
function cgroups(t: Test): readonly string[] {
  return ROOTS.map((root) => {
    const at = join(root, NAME);
    mkdirSync(at);
    t.teardown(() =>
      execFileSync('find', [at, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';']),
    );
    return at;
  });
}

t.test(
  'systemd hears it, starts it again when it hangs, stops it',
  { skip: cannot() },
  async (t) => {
    const base = folder(t);
    const at = (name: string): string => join(base, name);
    await serve(t, at('s'));
    const { said } = await run(['ticket', '--name', 'TERM3', '--home', at('s'), '--json']);
    await run(['enroll', String(said?.ticket), '--home', at('3')]);
    const units = join(base, 'systemd', 'user');
    mkdirSync(units, { recursive: true });
    chmodSync(base, 0o700);
    writeFileSync(join(units, 'nk.service'), unit(at('3')));
    writeFileSync(join(units, 'nk.target'), '[Unit]\nDefaultDependencies=no\nWants=nk.service\n');
    const words = ['-pfm', '--mount-proc', '--kill-child', 'bash', '-c', SCRIPT, 'bash', base];
    const child = spawn('env', ['-u', 'NODE_OPTIONS', 'unshare', ...words, ...cgroups(t)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let told = '';
    child.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await once(child, 'close');
    const [ready, alive, again, stopped] = told.split('\n');
    t.match(ready, /^ready .*ActiveState=active;/);
    t.match(ready, /StatusText=TERM3 is registered, 0 talks;/);
    t.match(alive, /^alive .*NRestarts=0;/);
    t.match(again, /^again .*ActiveState=active;/);
    t.match(again, /NRestarts=1;/);
    t.match(stopped, /^stopped .*ExecMainStatus=0;/);
    t.match(stopped, /ActiveState=inactive;/);
    t.match(stopped, /Result=success;/);
  },
);
