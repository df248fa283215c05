// The packaged agent on another processor: the files out of the .deb, started with the words of its
// unit, by the Node of Debian for that processor under qemu-user. Emulation is 20 to 40 times
// slower than this machine, so whoever waits here waits for an event, and for long.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { EMULATOR, type PiArchitecture } from '../arm64/emulated-root.ts';
import { runTool, toolEnvironment } from '../tools.ts';

/** What tap's `t` offers for clearing away. */
interface Teardown {
  teardown(clear: () => unknown): void;
}

/** How a command ended, and what it said. */
interface Said {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The program of the package on that processor, with a home of its own. */
export class EmulatedTerminal {
  readonly home: string;
  readonly #emulator: string;
  readonly #node: readonly string[];
  /** The unit's words between node and the home: flags, program, `agent`. */
  readonly #words: readonly string[];
  readonly #config: string;

  private constructor(parts: {
    readonly home: string;
    readonly emulator: string;
    readonly root: string;
    readonly words: readonly string[];
    readonly config: string;
  }) {
    this.home = parts.home;
    this.#emulator = parts.emulator;
    this.#node = ['-L', parts.root, join(parts.root, 'usr/bin/node')];
    this.#words = parts.words;
    this.#config = parts.config;
  }

  /** Unpacks `deb` in `folder`; `root` is that of `architecture`. */
  static async unpack(where: {
    readonly architecture: PiArchitecture;
    readonly root: string;
    readonly deb: string;
    readonly folder: string;
  }): Promise<EmulatedTerminal> {
    const { architecture, root, deb, folder } = where;
    const files = join(folder, 'package');
    await runTool('dpkg-deb', ['-x', deb, files]);
    const unit = readFileSync(join(files, 'usr/lib/systemd/system/nakodo.service'), 'utf8');
    const line = /^ExecStart=\/usr\/bin\/node (.*) --home (\S+) --config (\S+)$/m.exec(unit);
    if (line === null) throw new Error('the unit starts the agent in another way');
    const [, words, , config] = line;
    // Its group is made by systemd-sysusers when the package is installed, which it is not here.
    const settings = readFileSync(join(files, config), 'utf8').replace(/^socket_group/m, '#$&');
    writeFileSync(join(folder, 'agent.toml'), settings);
    return new EmulatedTerminal({
      home: join(folder, 'home'),
      emulator: EMULATOR[architecture],
      root,
      words: words.split(' ').map((word) => word.replace(/^\/usr\/lib\//, `${files}$&`)),
      config: join(folder, 'agent.toml'),
    });
  }

  /** Node itself, as that processor has it. */
  node(args: readonly string[]): Promise<Said> {
    return this.#run(args);
  }

  /** Runs a command of the program to its end: `enroll`, `allow` … */
  command(args: readonly string[]): Promise<Said> {
    return this.#run([...this.#words.slice(0, -1), ...args]);
  }

  async #run(args: readonly string[]): Promise<Said> {
    const child = this.#spawn(args);
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (text: Buffer) => (stdout += text.toString()));
    child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()));
    const [exit] = (await once(child, 'close')) as [number | null];
    return { exit, stdout, stderr };
  }

  #spawn(args: readonly string[]): ChildProcess {
    return spawn(this.#emulator, [...this.#node, ...args], {
      env: toolEnvironment({ NAKODO_HOME: this.home }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /**
   * Starts the agent as the unit does, and resolves when it says that it is ready. `kill` ends it
   * as a power cut would: at once, without a word.
   */
  async start(
    t: Teardown,
  ): Promise<{ readonly ready: Record<string, unknown>; readonly kill: () => Promise<void> }> {
    const options = ['--home', this.home, '--config', this.#config, '--json'];
    const child = this.#spawn([...this.#words, ...options]);
    const closed = once(child, 'close');
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await closed;
    };
    t.teardown(kill);
    let said = '';
    child.stderr?.on('data', (text: Buffer) => (said += text.toString()));
    const lines = createInterface({ input: child.stdout ?? process.stdin });
    const ready = new Promise<Record<string, unknown>>((resolve) => {
      lines.on('line', (line) => {
        said += `${line}\n`;
        if (!line.startsWith('{"ready":true')) return;
        resolve(JSON.parse(line) as Record<string, unknown>);
      });
    });
    const ended = closed.then(([exit]) => {
      throw new Error(`the agent ended with ${exit}: ${said}`);
    });
    return { ready: await Promise.race([ready, ended as Promise<never>]), kill };
  }
}

/** Whether a folder holds the same bytes as `file` under that name. */
export const holds = (folder: string, name: string, file: string): boolean =>
  existsSync(join(folder, name)) && readFileSync(join(folder, name)).equals(readFileSync(file));
