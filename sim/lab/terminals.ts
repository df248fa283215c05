// The real program in a lab: a server with its STUN and, if wanted, coturn as its relay, and
// terminals that are enrolled and run, all as processes of `nakodo` in namespaces of their own; and
// what their owners ask them. Homes are in a temporary folder, gone with the lab.

import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { isIPv6 } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { atExit } from './clean-up.ts';
import { kernelScript } from './kernel-settings.ts';
import type { Lab, Ran } from './lab.ts';
import { has } from './namespaces.ts';

const ROOT = dirname(dirname(dirname(import.meta.dirname)));
const MAIN = join(ROOT, 'out', 'cli', 'main.js');
/** Where the relay listens, on the server's host. */
export const RELAY_PORT = 3_480;
/** What manager and relay share. */
export const RELAY_SECRET = 'known-to-the-manager-and-to-the-relay';
const HTTP_PORT = 8_183;
/** Milliseconds for a process to say that it is ready, on a busy machine. */
const READY_MS_MAX = 30_000;
/** Started at the same time: a machine has few processors. */
const AT_ONCE = 3;
/** Of standard error, for reports. */
const STDERR_CHARACTERS_MAX = 4_000;
const EVERYBODY = '[[allow]]\nname = "*"\n';

/** What a command of the program said. */
export interface Said extends Ran {
  /** Its JSON; empty if it said none. */
  readonly said: Readonly<Record<string, unknown>>;
}

/** How the program is set up. */
export interface TerminalsPlan {
  /** Host of the lab that the server, and the relay, are on. */
  readonly server: string;
  /** Hosts that are terminals, each with the name that it has. */
  readonly terminals: readonly string[];
  readonly hasRelay: boolean;
  /** Terminals come to the server by IPv6. */
  readonly isIpv6?: boolean;
  /** Options of each agent. */
  readonly options?: readonly string[];
}

/** A server and terminals that run. */
export class Terminals {
  readonly lab: Lab;
  readonly #plan: TerminalsPlan;
  readonly #folder: string;
  readonly #forget: () => void;
  readonly #running = new Map<string, ChildProcess>();
  readonly #words = new Map<string, string>();

  private constructor(lab: Lab, plan: TerminalsPlan) {
    this.lab = lab;
    this.#plan = plan;
    this.#folder = mkdtempSync(join(tmpdir(), 'nk-lab-'));
    this.#forget = atExit(() => rmSync(this.#folder, { recursive: true, force: true }));
  }

  /** Why there is no relay here, or undefined. */
  static relayMissing(): string | undefined {
    return has('turnserver') ? undefined : 'the relay needs turnserver (Debian: coturn)';
  }

  /** Starts a server, enrols the terminals and starts their agents; each allows everybody. */
  static async start(lab: Lab, plan: TerminalsPlan): Promise<Terminals> {
    const terminals = new Terminals(lab, plan);
    try {
      await terminals.#setKernels();
      if (plan.hasRelay) await terminals.#startRelay();
      await terminals.startServer();
      for (let at = 0; at < plan.terminals.length; at += AT_ONCE) {
        const few = plan.terminals.slice(at, at + AT_ONCE);
        await Promise.all(few.map((name) => terminals.#enrol(name)));
      }
      return terminals;
    } catch (error) {
      await terminals.close();
      throw error;
    }
  }

  /** Home of a terminal, or of the server under its host's name. */
  home(name: string): string {
    return join(this.#folder, name);
  }

  /** Runs a command of a terminal's owner, or of the operator under the server's name. */
  async command(name: string, words: readonly string[], msMax?: number): Promise<Said> {
    const ran = await this.lab.run(
      name,
      'env',
      [...NODE, MAIN, ...words, '--home', this.home(name), '--json'],
      msMax,
    );
    return { ...ran, said: parsed(ran.stdout) };
  }

  /** Starts a command of a terminal's owner that goes on. */
  begin(name: string, words: readonly string[]): ChildProcess {
    const all = [...NODE, MAIN, ...words, '--home', this.home(name), '--json'];
    return this.lab.start(name, 'env', all);
  }

  /** Starts the server, or starts it again. */
  async startServer(): Promise<void> {
    const { server, hasRelay, isIpv6 = false } = this.#plan;
    const { host } = this.lab.side(server);
    const secret = join(this.#folder, 'secret');
    writeFileSync(secret, RELAY_SECRET);
    chmodSync(secret, 0o600);
    await this.#startProgram(server, [
      'serve',
      '--listen',
      isIpv6 ? '::' : '0.0.0.0',
      '--public-url',
      `https://${isIpv6 ? `[${this.lab.address6(server)}]` : host}:${HTTP_PORT}`,
      ...(hasRelay ? ['--turn', ...this.#relayPlaces(), '--turn-secret-file', secret] : []),
    ]);
  }

  /** Starts an agent, or starts it again; options beyond those of the plan. */
  async startAgent(name: string, options: readonly string[] = []): Promise<void> {
    await this.#startProgram(name, ['agent', ...(this.#plan.options ?? []), ...options]);
  }

  /** Ends a terminal's agent, the server or the relay (`relay`). */
  async end(name: string): Promise<void> {
    const child = this.#running.get(name);
    this.#running.delete(name);
    if (child !== undefined) await this.lab.end(child);
  }

  /** The last words on standard error of an agent, the server or the relay. */
  complaints(name: string): string {
    return this.#words.get(name) ?? '';
  }

  /** Process of an agent, of the server or of the relay. */
  pid(name: string): number {
    return this.#running.get(name)?.pid ?? 0;
  }

  /** Keeps the homes for somebody to look at. */
  keep(folder: string): void {
    mkdirSync(folder, { recursive: true });
    cpSync(this.#folder, folder, { recursive: true, filter: (path) => !path.endsWith('.sock') });
  }

  /** Ends everything; the lab stays. */
  async close(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.end(name)));
    this.#forget();
  }

  /** TCP as it is where server and terminals are installed. */
  async #setKernels(): Promise<void> {
    const { server, terminals } = this.#plan;
    const hosts = [[server, kernelScript('server')] as const].concat(
      terminals.map((name) => [name, kernelScript('terminal')] as const),
    );
    for (const [host, script] of hosts) {
      const { exit, stderr } = await this.lab.run(host, 'sh', ['-c', script]);
      if (exit !== 0) throw new Error(`${host} takes no settings: ${stderr}`);
    }
  }

  async #enrol(name: string): Promise<void> {
    const { server } = this.#plan;
    const ticket = await this.command(server, ['ticket', '--name', name]);
    const home = this.home(name);
    const enrolled = await this.command(name, ['enroll', String(ticket.said.ticket)]);
    if (enrolled.exit !== 0)
      throw new Error(
        `${name} is not enrolled: ${enrolled.stdout}${ticket.stdout}${ticket.stderr}`,
      );
    writeFileSync(join(home, 'allow-list.toml'), EVERYBODY);
    await this.startAgent(name);
  }

  async #startProgram(name: string, words: readonly string[]): Promise<void> {
    const child = this.begin(name, words);
    this.#running.set(name, child);
    this.#listen(name, child);
    await new Promise<void>((resolve, reject) => {
      const say = (what: string): void =>
        reject(new Error(`${name} ${what}: ${this.complaints(name)}`));
      const late = setTimeout(() => say('is not ready'), READY_MS_MAX);
      child.stdout?.once('data', (chunk: Buffer) => {
        clearTimeout(late);
        const words = chunk.toString();
        if (parsed(words).ready === true) resolve();
        else say(`said ${words}`);
      });
      child.once('exit', () => say('ended at once'));
    });
  }

  /** The server's addresses, IPv4 first. */
  get #addresses(): readonly string[] {
    const { server } = this.#plan;
    const all = [this.lab.side(server).host, this.lab.address6(server)];
    return [...new Set(all.filter((one) => one !== undefined))];
  }

  /** As the operator names it: both addresses, as those of a name are told. */
  #relayPlaces(): readonly string[] {
    return this.#addresses.map((one) => `${isIPv6(one) ? `[${one}]` : one}:${RELAY_PORT}`);
  }

  async #startRelay(): Promise<void> {
    const { server } = this.#plan;
    // As it is shipped, but for where it listens and what it is told by systemd.
    const shipped = readFileSync(join(ROOT, 'deploy', 'server', 'turnserver.conf'), 'utf8');
    const settings = [
      ...shipped.split('\n').filter((line) => line !== 'syslog'),
      ...this.#addresses.flatMap((one) => [`listening-ip=${one}`, `relay-ip=${one}`]),
      'log-file=stdout',
      `static-auth-secret=${RELAY_SECRET}`,
      `pidfile=${join(this.#folder, 'relay.pid')}`,
      `userdb=${join(this.#folder, 'relay.db')}`,
    ];
    const file = join(this.#folder, 'turnserver.conf');
    writeFileSync(file, `${settings.join('\n')}\n`);
    const child = this.lab.start(server, 'turnserver', ['-c', file]);
    this.#running.set('relay', child);
    this.#listen('relay', child);
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('exit', () => reject(new Error(`the relay ended: ${this.complaints('relay')}`)));
    });
  }

  #listen(name: string, child: ChildProcess): void {
    child.stdout?.resume();
    child.stderr?.on('data', (chunk: Buffer) => {
      const words = (this.#words.get(name) ?? '') + chunk.toString();
      this.#words.set(name, words.slice(-STDERR_CHARACTERS_MAX));
    });
  }
}

/** Test runners put loaders into the environment of each child; the program has no use for them. */
const NODE = ['-u', 'NODE_OPTIONS', '-u', 'NAKODO_HOME', process.execPath];

/** The last line of JSON. */
function parsed(text: string): Readonly<Record<string, unknown>> {
  for (const line of text.trim().split('\n').reverse()) {
    try {
      return JSON.parse(line) as Record<string, unknown>;
    } catch {
      // Words for people.
    }
  }
  return {};
}
