// A service manager's end of sd_notify(3), for tests: perl reads the datagrams, since Node has no
// Unix datagram sockets; perl is in Debian's base.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const RECEIVER = `use Socket; $| = 1;
socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die;
print "bound\\n";
while (defined recv($s, my $m, 65536, 0)) { $m =~ s/\\n/|/g; print "$m\\n"; }`;

/** A listening service manager. */
export interface NotifyReceiver {
  /** For $NOTIFY_SOCKET. */
  readonly path: string;
  /** Every message so far, its variables joined by `|`; barriers are left out. */
  readonly messages: readonly string[];
  /** Resolves with the first message, of those so far and to come, that is wanted. */
  message(isWanted: (message: string) => boolean): Promise<string>;
}

/** Listens until the test is over. */
export async function notifyReceiver(test: {
  teardown(clear: () => unknown): void;
}): Promise<NotifyReceiver> {
  const folder = mkdtempSync(join(tmpdir(), 'nk-'));
  const path = join(folder, 'notify');
  const child: ChildProcess = spawn('perl', ['-e', RECEIVER, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  test.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
    rmSync(folder, { recursive: true, force: true });
  });
  if (child.stdout === null) throw new Error('no pipe');
  const lines = createInterface(child.stdout);
  const messages: string[] = [];
  lines.on('line', (line) => {
    if (line !== 'bound' && line !== 'BARRIER=1') messages.push(line);
  });
  await once(lines, 'line');
  return {
    path,
    messages,
    async message(isWanted) {
      for (;;) {
        const found = messages.find(isWanted);
        if (found !== undefined) return found;
        await once(lines, 'line');
      }
    },
  };
}

/** Why this machine cannot run these tests; false: it can. */
export async function noNotify(): Promise<string | false> {
  for (const program of ['systemd-notify', 'perl']) {
    const child = spawn(program, ['--version'], { stdio: 'ignore' });
    const [outcome] = (await Promise.race([once(child, 'exit'), once(child, 'error')])) as [
      unknown,
    ];
    if (outcome !== 0) return `${program} is not here`;
  }
  return false;
}
