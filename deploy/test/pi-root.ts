// A Debian trixie of its own for the package to be installed in: by chroot, where no service runs,
// or booted with its own systemd by systemd-nspawn, as a card is by a Pi. Both share the network of
// this machine, so the server of a test is theirs too. The root is made once and copied.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { MIRROR, SUITE, cacheFolder, cacheKey, madeOnce } from '../arm64/emulated-root.ts';
import { type ToolResult, missingPackages, runTool, toolEnvironment, tryTool } from '../tools.ts';

/** The least that a Pi has, and what shows manual and completion. */
const PACKAGES = ['nodejs', 'systemd', 'dbus', 'man-db', 'bash-completion'];
const TOOLS = { debootstrap: 'debootstrap', unshare: 'util-linux', nsenter: 'util-linux' } as const;
const IN_ROOT = join(repositoryRoot(), 'deploy/image/in-root.sh');
/** Seconds for a boot, and for what is waited for in it. */
const BOOT_SECONDS_MAX = 90;
const WAIT_SECONDS_MAX = 60;

/** What tap's `t` offers for clearing away. */
interface Teardown {
  teardown(clear: () => unknown): void;
}

/** Why the package cannot be installed here; false if it can. */
export function noRoot(): string | false {
  if (!IS_PROOF) return 'a minute and a mirror of Debian: in make prove';
  const missing = missingPackages(TOOLS);
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  return process.getuid?.() === 0 ? false : 'needs root, for chroot';
}

/** Why a root cannot be booted here; false if it can. */
export async function noBoot(): Promise<string | false> {
  const reason = noRoot();
  if (reason !== false) return reason;
  const missing = missingPackages({ 'systemd-nspawn': 'systemd-container' });
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  const words = [...nspawn(await pristine()), '--ephemeral', '/bin/true'];
  const { exit, stderr } = await tryTool('systemd-nspawn', words);
  return exit === 0 ? false : `systemd-nspawn cannot run here: ${stderr.trim()}`;
}

const nspawn = (root: string): readonly string[] => [
  '--quiet',
  `--directory=${root}`,
  '--register=no',
  '--keep-unit',
  '--console=pipe',
];

/** The root that others are copies of. */
async function pristine(): Promise<string> {
  const path = join(await cacheFolder(), `${SUITE}-native-${cacheKey(MIRROR, PACKAGES)}`);
  await madeOnce(path, async (folder) => {
    const include = `--include=${PACKAGES.join(',')}`;
    await runTool('debootstrap', ['--variant=minbase', include, SUITE, folder, MIRROR]);
    // Its users have to come in, and each copy is a machine of its own.
    await chmod(folder, 0o755);
    await writeFile(join(folder, 'etc/machine-id'), 'uninitialized\n');
  });
  return path;
}

/** One copy, gone when the test is over. */
export class PiRoot {
  readonly path: string;
  #started = 0;

  private constructor(path: string) {
    this.path = path;
  }

  /** Copies the root; `debs`: packages, by their path here, for its /root. */
  static async make(test: Teardown, debs: readonly string[]): Promise<PiRoot> {
    const folder = await mkdtemp(join(tmpdir(), 'nk-pi-'));
    test.teardown(() => rm(folder, { recursive: true, force: true }));
    const path = join(folder, 'root');
    await runTool('cp', ['--archive', '--reflink=auto', await pristine(), path]);
    await runTool('cp', [...debs, join(path, 'root')]);
    return new PiRoot(path);
  }

  /** Runs a command in it by chroot, as root; no service is started. */
  run(...words: readonly string[]): Promise<ToolResult> {
    return tryTool('sh', [IN_ROOT, this.path, 'native', ...words]);
  }

  /** The same with a shell's words. */
  shell(words: string): Promise<ToolResult> {
    return this.run('sh', '-c', words);
  }

  /**
   * Starts a command that goes on; resolves with its first line of output, and how to end it with
   * SIGTERM, which gives its exit code.
   */
  async start(
    test: Teardown,
    words: readonly string[],
  ): Promise<{ readonly line: string; readonly end: () => Promise<number | null> }> {
    // Neither signals nor our data come through to it: a pipe by its name does.
    const pipe = `end-${(this.#started += 1)}`;
    await runTool('mkfifo', [join(this.path, 'root', pipe)]);
    const script = `"$@" & pid=$!; cat /root/${pipe}; kill $pid; wait $pid`;
    const child = spawn('sh', [IN_ROOT, this.path, 'native', 'sh', '-c', script, 'sh', ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: toolEnvironment(),
    });
    const closed = once(child, 'close') as Promise<[number | null]>;
    let isEnding = false;
    const end = async (): Promise<number | null> => {
      if (!isEnding) await writeFile(join(this.path, 'root', pipe), '');
      isEnding = true;
      return (await closed)[0];
    };
    test.teardown(end);
    const lines = createInterface(child.stdout);
    const [line] = await Promise.race([once(lines, 'line'), closed]);
    return { line: String(line), end };
  }

  /** Writes a file in it. */
  async write(path: string, text: string, mode = 0o644): Promise<void> {
    const file = join(this.path, path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, text, { mode });
  }

  /** Boots it; shut down when the test is over. `words`: more for systemd-nspawn(1). */
  async boot(test: Teardown, words: readonly string[] = []): Promise<BootedPi> {
    const child = spawn('systemd-nspawn', [...nspawn(this.path), ...words, '--boot'], {
      stdio: 'ignore',
      env: toolEnvironment(),
    });
    const closed = once(child, 'close');
    const down = async (): Promise<void> => {
      // systemd-nspawn(1): an orderly poweroff; the second one is not asked.
      child.kill('SIGTERM');
      await closed;
    };
    test.teardown(down);
    return new BootedPi(await leaderOf(child), down);
  }
}

/** The first process of what nspawn runs, when its system is up. */
async function leaderOf({ pid }: ChildProcess): Promise<string> {
  const script = `
    while :; do
      leader=$(pgrep -P ${pid} | head -n 1)
      [ -z "$leader" ] || case $(nsenter -t "$leader" -a systemctl is-system-running 2>&1) in
        running | degraded) echo "$leader"; exit ;;
      esac
      sleep 0.2
    done`;
  return (await runTool('timeout', [`${BOOT_SECONDS_MAX}`, 'sh', '-c', script])).trim();
}

/** A root that runs. */
class BootedPi {
  readonly #leader: string;
  /** Shuts it down. */
  readonly down: () => Promise<void>;

  constructor(leader: string, down: () => Promise<void>) {
    this.#leader = leader;
    this.down = down;
  }

  /** Runs a shell's words in it, as root. */
  shell(words: string): Promise<ToolResult> {
    const path = 'PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const enter = ['-t', this.#leader, '-a', 'env', '-i', path, 'HOME=/root', 'LC_ALL=C.UTF-8'];
    return tryTool('nsenter', [...enter, 'sh', '-c', words]);
  }

  /** Waits until a shell's words are true; false: that took too long. */
  async until(words: string): Promise<boolean> {
    const often = WAIT_SECONDS_MAX * 5;
    const turn = `{ ${words}; } >/dev/null 2>&1 && exit 0; sleep 0.2`;
    return (await this.shell(`for _ in $(seq ${often}); do ${turn}; done; exit 1`)).exit === 0;
  }
}
