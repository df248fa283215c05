// `agent`: the terminal as a program, started by hand or by systemd (Type=notify). It comes up
// whatever the network does: a boot must not wait for a server that is away. It is ready when its
// commands are served and its standing is known: registered, or not and why, or not yet enrolled.

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { Agent } from '../../device/agent.ts';
import type { AgentAtStart } from '../../device/services/agent-settings.ts';
import type { ServicesConfig } from '../../device/services/config.ts';
import type { ServiceManager } from '../../device/shell/service/notify.ts';
import type { Watchdog, Watched } from '../../device/shell/service/watchdog.ts';
import { RELAY_POLICIES, type RelayPolicy } from '../../protocol/address.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { LocalServer } from '../../protocol/io/local-socket.ts';
import type { Log } from '../../protocol/io/log.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { makeAgentHome } from '../home.ts';
import type { Output } from '../output.ts';
import { onHangup, untilEnded } from '../signals.ts';
import {
  type CommonOptions,
  boundedDurationOption,
  declare,
  durationOption,
  runs,
} from './command.ts';

/** Milliseconds after which a service counts as up though nobody knows yet how it stands. */
const STANDING_MS_MAX = 25_000;
const CONFIG_FILE = 'agent.toml';

interface AgentCommandOptions extends CommonOptions {
  readonly pollEvery?: number;
  readonly keepalive?: number;
  readonly broker?: string;
  readonly address?: string;
  readonly relay?: RelayPolicy;
  readonly trace?: string;
  readonly config?: string;
  readonly socketGroup?: string;
}

/** Adds `agent`. */
export function declareAgent(program: Command): void {
  const agent = declare(program, {
    usage: 'agent',
    summary: 'Run this terminal: registered, reachable by name for those on its list.',
    details: [
      'It runs until SIGINT or SIGTERM, and then ends its talks with a word to the server. SIGHUP',
      'reads the settings again and says what is wrong with them; the allow-list and what services',
      'may do are read anew at every question anyway. What [agent] in the settings says at the',
      'start holds where no option says otherwise; settings that cannot be read then mean --relay',
      'only, until they are mended and the agent is restarted. With --relay only, no peer learns',
      'where this terminal is, since nothing goes but through the relay; with never, nothing does.',
      'Under systemd it is a service of Type=notify with a watchdog.',
    ].join('\n'),
    examples: [
      'nakodo agent',
      'nakodo agent --poll-every 5m --home ./term1',
      'nakodo agent --keepalive 5m --trace ./traces',
      'nakodo agent --relay never',
    ],
    exits: [EXIT.refused, EXIT.unreachable],
  });
  agent
    .addOption(durationOption('--poll-every <time>', 'disconnect, and look for calls this often'))
    .addOption(
      boundedDurationOption('--keepalive <time>', 'ping the broker this often (60s)', {
        minMs: IO_LIMITS.linkKeepAliveSecondsMin * MS_PER_SECOND,
        maxMs: IO_LIMITS.linkKeepAliveSecondsMax * MS_PER_SECOND,
      }),
    )
    .option('--address <ip>', 'bind UDP to this address of the machine, and tell no other')
    .addOption(
      new Option('--relay <when>', 'pass through a relay of the server (if-needed)').choices(
        RELAY_POLICIES,
      ),
    )
    .option('--trace <dir>', 'write a qlog file for each talk there, for viewers like qvis')
    .option('--broker <url>', "another way to the broker than the server's: mqtts://HOST:PORT")
    .option('--config <file>', 'the settings of this terminal (else agent.toml in its home)')
    .option('--socket-group <group>', 'who is in this group may use the commands as well');
  runs<AgentCommandOptions>(agent, runAgent);
}

/** The terminal as a program: claim 19. */
async function runAgent(output: Output, options: AgentCommandOptions): Promise<ExitCode> {
  const [{ serviceManager }, { configReader }, ofAgent, { processLog }] = await Promise.all([
    import('../../device/shell/service/notify.ts'),
    import('../../device/services/config.ts'),
    import('../../device/services/agent-settings.ts'),
    import('../process-log.ts'),
  ]);
  const home = makeAgentHome(options.home);
  const log = processLog(output.json);
  const manager = serviceManager(process.env, log);
  const configPath = options.config ?? join(home, CONFIG_FILE);
  const readConfig = configReader(configPath);
  const ended = untilEnded();
  const settings = (so?: string): ServicesConfig | undefined => {
    const read = readConfig();
    if ('config' in read) return read.config;
    log.error('config-unreadable', { why: read.problem, so });
    return undefined;
  };
  // A device that nobody can reach any more is worse than one that runs as if it had no settings;
  // but it tells nobody an address that its owner may want to be told to nobody.
  const so = options.relay === undefined ? ofAgent.RELAY_ONLY_WORDS : undefined;
  const atStart = ofAgent.agentAtStart(settings(so)?.agent, overriddenBy(options));
  onHangup(() => {
    const now = settings();
    if (now === undefined) return;
    log.info('settings-read');
    const why = ofAgent.settingsDrift(now.agent, atStart);
    if (why !== undefined) log.warn('settings-differ', { why });
  });
  return new AgentRun(output, { home, options, atStart, configPath, log, manager, ended }).run();
}

/** What options say in place of the settings. */
function overriddenBy(options: AgentCommandOptions): AgentAtStart['overridden'] {
  const { relay, address, broker, keepalive, pollEvery, socketGroup } = options;
  const said = { relay, address, broker, keepalive, poll_every: pollEvery };
  const keys = Object.entries({ ...said, socket_group: socketGroup })
    .filter(([, value]) => value !== undefined)
    .map(([key]) => key as keyof ServicesConfig['agent']);
  return new Set(keys);
}

interface RunOptions {
  readonly home: string;
  readonly options: AgentCommandOptions;
  readonly atStart: AgentAtStart;
  readonly configPath: string;
  readonly log: Log;
  readonly manager: ServiceManager | undefined;
  /** Resolves when it is to end. */
  readonly ended: Promise<void>;
}

/** One run, from the ticket that may be pending to the last end notice. */
class AgentRun implements Watched {
  readonly #output: Output;
  readonly #with: RunOptions;
  #agent: Agent | undefined;
  #commands: LocalServer | undefined;
  #watchdog: Watchdog | undefined;
  #isReady = false;

  constructor(output: Output, options: RunOptions) {
    this.#output = output;
    this.#with = options;
  }

  health(): ReturnType<Agent['health']> {
    return this.#agent?.health() ?? { coreLateMs: 0, link: { state: 'down' } };
  }

  status(): string {
    if (this.#agent === undefined) return 'not enrolled yet, waits for its server';
    const { name, registered, nextPollSeconds, talks, troubles } = this.#agent.status();
    if (nextPollSeconds !== undefined) return `${name} sleeps until its next poll`;
    if (!registered) return `${name} is not registered: ${troubles.link ?? 'connecting'}`;
    return `${name} is registered, ${talks.length} ${talks.length === 1 ? 'talk' : 'talks'}`;
  }

  async run(): Promise<ExitCode> {
    const { manager, log, ended } = this.#with;
    const { stopHooks } = await import('../../device/services/hook-process.ts');
    if (manager !== undefined) {
      const { Watchdog } = await import('../../device/shell/service/watchdog.ts');
      this.#watchdog = new Watchdog(manager, this, log);
    }
    try {
      if (await this.#enrol()) {
        await this.#start();
        await ended;
      }
    } finally {
      const told = this.#watchdog?.stopping();
      await this.#commands?.close();
      await this.#agent?.stop();
      await stopHooks();
      await told;
    }
    return EXIT.done;
  }

  /** Redeems a ticket from the boot partition, if one is pending; false: it was told to end. */
  async #enrol(): Promise<boolean> {
    const { home, log, ended } = this.#with;
    const [pending, { nodeSuite }, { entropy }] = await Promise.all([
      import('../../device/shell/pending.ts'),
      import('../../protocol/io/node-crypto.ts'),
      import('../../protocol/io/entropy.ts'),
    ]);
    if ((await pending.loadProvisioned(home))?.pending === undefined) return true;
    // It may take as long as the network does.
    this.#ready();
    const giveUp = new AbortController();
    void ended.then(() => giveUp.abort());
    const { signal } = giveUp;
    const done = await pending.enrolPending({ home, suite: nodeSuite, rng: entropy, log, signal });
    return done !== 'stopped';
  }

  async #start(): Promise<void> {
    const { home, options, atStart, configPath, log, ended } = this.#with;
    const [{ Agent }, { serveAgent }, { refuseIfRefused }] = await Promise.all([
      import('../../device/agent.ts'),
      import('../../device/shell/agent-operations.ts'),
      import('../../device/shell/pending.ts'),
    ]);
    const { keepalive, pollEvery } = options;
    const inSettings = atStart.settings;
    try {
      this.#agent = await Agent.start({
        home,
        log,
        udpBind: options.address ?? inSettings.address,
        brokerUrl: options.broker ?? inSettings.broker,
        relay: options.relay ?? inSettings.relay,
        stun: inSettings.stun,
        traceFolder: options.trace,
        keepaliveSeconds:
          keepalive === undefined ? inSettings.keepalive : Math.round(keepalive / MS_PER_SECOND),
        pollSeconds: pollEvery === undefined ? inSettings.poll_every : pollSeconds(pollEvery),
      });
    } catch (error) {
      // Why it is not enrolled is more than that it is not.
      if (error instanceof NakodoError && error.code === 'not-enrolled')
        await refuseIfRefused(home);
      throw error;
    }
    const agent = this.#agent;
    const known = new Promise<void>((resolve) => {
      agent.onStanding(() => {
        resolve();
        if (this.#isReady) this.#watchdog?.tellStatus();
      });
    });
    const socketGroup = options.socketGroup ?? inSettings.socket_group;
    this.#commands = await serveAgent(agent, { log, configPath, socketGroup, atStart });
    void agent.registered.then(() => this.#sayReady(agent));
    const late = setTimeout(() => this.#ready(), STANDING_MS_MAX);
    await Promise.race([known, ended]);
    clearTimeout(late);
    this.#ready();
  }

  /** To systemd: what waits for this service may go on. */
  #ready(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    void this.#watchdog?.ready();
  }

  /** To a person or a script: both servers know this terminal [S1000, S1001]. */
  #sayReady({ name, id }: Agent): void {
    const { trace } = this.#with.options;
    const words = [
      `${name} is ready (${id}). Ctrl-C ends it.`,
      ...(trace === undefined ? [] : [`Each talk is traced in ${trace}.`]),
    ];
    this.#output.result({ ready: true, name, id }, words.join('\n'));
  }
}

function pollSeconds(milliseconds: number): number {
  const seconds = Math.round(milliseconds / MS_PER_SECOND);
  if (seconds >= 1) return seconds;
  throw new NakodoError('bad-poll', 'a terminal polls at most once a second', 'try 1s', EXIT.usage);
}
