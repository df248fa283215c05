// `serve`, `broker`, `session-manager`: the two servers, in one process or in two [¶0028].
// For now both listen on loopback only and without TLS, and say so.

import { isIPv4 } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Command } from 'commander';
import type { BrokerShell } from '../../broker/shell/broker-shell.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { Rng } from '../../protocol/random.ts';
import type {
  ManagerShellOptions,
  RunningManager,
} from '../../session-manager/shell/manager-shell.ts';
import { homeWords, makeHome } from '../home.ts';
import { readManagerKey } from '../manager-key.ts';
import type { Output } from '../output.ts';
import type { Serving } from '../server-socket.ts';
import { untilEnded } from '../signals.ts';
import { type CommonOptions, declare, portOption, runs } from './command.ts';

interface ListenOptions extends CommonOptions {
  readonly listen: string;
}
interface BrokerOptions extends ListenOptions {
  readonly managerPub: string;
  readonly mqttPort: number;
}
interface ManagerOptions extends ListenOptions {
  readonly broker: string;
  readonly httpPort: number;
  readonly publicUrl?: string;
}
type ServeOptions = Omit<ManagerOptions, 'broker'> & { readonly mqttPort: number };

const MQTT_PORT = 1883;
const HTTP_PORT = 8183;
const PLAIN = 'For now it listens on loopback only and without TLS.';

/** Adds `serve`, `broker` and `session-manager`. */
export function declareServers(program: Command): void {
  const serve = declare(program, {
    usage: 'serve',
    summary: 'Run broker and session manager in one process.',
    details: PLAIN,
    examples: ['nakodo serve --home ./server', 'nakodo serve --mqtt-port 0 --http-port 0 --json'],
  });
  listening(serve);
  mqttPort(serve);
  enrolment(serve);
  runs<ServeOptions>(serve, runServe);

  const broker = declare(program, {
    usage: 'broker',
    summary: 'Run the trigger broker alone.',
    details: PLAIN,
    examples: ['nakodo broker --manager-pub ./manager/manager.pub --mqtt-port 1883'],
  });
  listening(broker);
  mqttPort(broker);
  broker.requiredOption('--manager-pub <file>', "the session manager's public key, in its home");
  runs<BrokerOptions>(broker, runBroker);

  const manager = declare(program, {
    usage: 'session-manager',
    summary: 'Run the session manager alone; ready when its broker is.',
    details: PLAIN,
    examples: ['nakodo session-manager --broker mqtt://127.0.0.1:1883 --home ./manager'],
  });
  listening(manager);
  manager.requiredOption('--broker <url>', 'the broker, as terminals reach it too');
  enrolment(manager);
  runs<ManagerOptions>(manager, runManager);
}

const listening = (command: Command): Command =>
  command.option('--listen <addr>', 'a loopback address', '127.0.0.1');

const mqttPort = (command: Command): Command =>
  command.addOption(portOption('--mqtt-port <n>', 'of the broker; 0: any free one', MQTT_PORT));

const enrolment = (command: Command): Command =>
  command
    .addOption(portOption('--http-port <n>', 'for enrolment; 0: any free one', HTTP_PORT))
    .option('--public-url <url>', 'how terminals reach --http-port; stands in tickets');

/** What was opened, to be closed in reverse order. */
type Opened = { close(): Promise<void> }[];

/** Broker and manager in one process [¶0028], for terminals that are others: claim 22. */
async function runServe(output: Output, options: ServeOptions): Promise<ExitCode> {
  refuseOpenNetwork(options.listen);
  const home = makeHome(options.home);
  const parts = await serverParts(output);
  const { managerPublicKey } = await import('../../session-manager/shell/manager-shell.ts');
  return running(output, options, async (opened) => {
    const serving = await openOperator(home, opened);
    const key = await managerPublicKey(home, parts.suite, parts.rng);
    const broker = await openBroker(options, [key], parts);
    opened.push(broker);
    const connect = (): Duplex => broker.connect();
    const manager = await openManager(options, home, { url: broker.url, connect }, parts);
    opened.push(manager);
    serving.operations = manager.operations;
    await manager.ready;
    return { mqtt: broker.port, udp: null, http: manager.httpPort };
  });
}

/** The trigger broker as a program: claim 21. */
async function runBroker(output: Output, options: BrokerOptions): Promise<ExitCode> {
  refuseOpenNetwork(options.listen);
  const key = await readManagerKey(options.managerPub);
  const parts = await serverParts(output);
  return running(output, options, async (opened) => {
    const broker = await openBroker(options, [key], parts);
    opened.push(broker);
    return { mqtt: broker.port, udp: null, http: null };
  });
}

/** The session manager as a program: claim 20. */
async function runManager(output: Output, options: ManagerOptions): Promise<ExitCode> {
  refuseOpenNetwork(options.listen);
  const home = makeHome(options.home);
  const parts = await serverParts(output);
  return running(output, options, async (opened) => {
    const serving = await openOperator(home, opened);
    const manager = await openManager(options, home, { url: options.broker }, parts);
    opened.push(manager);
    serving.operations = manager.operations;
    output.remark(`Its key is in ${home}/manager.pub. Waiting for the broker …`);
    await manager.ready;
    return { mqtt: null, udp: null, http: manager.httpPort };
  });
}

/** Opens a server, says that it is ready, and closes it when it is told to end. */
async function running(
  output: Output,
  options: CommonOptions,
  open: (opened: Opened) => Promise<Readonly<Record<string, number | null>>>,
): Promise<ExitCode> {
  const opened: Opened = [];
  const ended = untilEnded();
  try {
    const ports = await Promise.race([open(opened), ended]);
    if (ports !== undefined) {
      output.result({ ready: true, ports }, readyWords(ports, options.home));
      await ended;
    }
  } finally {
    for (const part of opened.toReversed()) await part.close();
  }
  return EXIT.done;
}

function readyWords(
  ports: Readonly<Record<string, number | null>>,
  home: string | undefined,
): string {
  const shown = Object.entries(ports).flatMap(([name, port]) =>
    port === null ? [] : [`${name} ${port}`],
  );
  return [
    `Ready: ${shown.join(', ')}. It listens on loopback only and without TLS for now.`,
    ...(ports.http === null ? [] : [`Next: nakodo ticket --name TERM1${homeWords(home)}`]),
    'Ctrl-C ends it; talks that run go on.',
  ].join('\n');
}

/** What both servers are made of. */
interface ServerParts {
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: Clock;
  readonly log: Log;
}

async function serverParts(output: Output): Promise<ServerParts> {
  const [{ nodeSuite }, { entropy }, { Clock }, { processLog }] = await Promise.all([
    import('../../protocol/io/node-crypto.ts'),
    import('../../protocol/io/entropy.ts'),
    import('../../protocol/io/clock.ts'),
    import('../process-log.ts'),
  ]);
  return { suite: nodeSuite, rng: entropy, clock: new Clock(), log: processLog(output.json) };
}

async function openOperator(home: string, opened: Opened): Promise<Serving> {
  const { serveOperator } = await import('../server-socket.ts');
  const serving: Serving = { operations: undefined };
  opened.push(await serveOperator(home, serving));
  return serving;
}

async function openBroker(
  options: ListenOptions & { readonly mqttPort: number },
  managerKeys: readonly Uint8Array[],
  { suite, clock, log }: ServerParts,
): Promise<BrokerShell> {
  const { startBroker } = await import('../../broker/shell/broker-shell.ts');
  const { listen, mqttPort: port } = options;
  return startBroker({ listen, port, managerKeys, suite, clock, log });
}

async function openManager(
  options: Omit<ManagerOptions, 'broker'>,
  home: string,
  broker: ManagerShellOptions['broker'],
  parts: ServerParts,
): Promise<RunningManager> {
  const { startManager } = await import('../../session-manager/shell/manager-shell.ts');
  const { listen: httpListen, httpPort, publicUrl } = options;
  return startManager({
    home,
    broker,
    httpListen,
    httpPort,
    ...(publicUrl === undefined ? {} : { publicUrl }),
    ...parts,
  });
}

/** Until there is TLS, nothing of ours is open to a network. @throws NakodoError (exit 2). */
function refuseOpenNetwork(listen: string): void {
  if ((isIPv4(listen) && listen.startsWith('127.')) || listen === '::1') return;
  throw new NakodoError(
    'plain-not-loopback',
    `this release has no TLS yet, and ${listen} is not a loopback address`,
    'listen on 127.0.0.1 or ::1',
    EXIT.usage,
  );
}
