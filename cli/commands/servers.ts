// `serve`, `broker`, `session-manager`: the two servers, in one process or in two [¶0028]. Both
// speak TLS 1.3 with a certificate of their own, made at the first start; `--plain` is for trying
// things on one machine.

import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Command } from 'commander';
import type { BrokerShell } from '../../broker/shell/broker-shell.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { ServerCertificate } from '../../protocol/io/server-certificate.ts';
import type { Rng } from '../../protocol/random.ts';
import type {
  ManagerShellOptions,
  RunningManager,
} from '../../session-manager/shell/manager-shell.ts';
import type { RelayOptions, RelayServers } from '../../session-manager/shell/relay-servers.ts';
import { homeWords, makeHome, shellWord } from '../home.ts';
import { readManagerKey } from '../manager-key.ts';
import type { Output } from '../output.ts';
import type { Serving } from '../server-socket.ts';
import { untilEnded } from '../signals.ts';
import { type CommonOptions, declare, portOption, runs } from './command.ts';
import {
  type StunPortOptions,
  type StunServerOptions,
  type TurnOptions,
  relayOf,
  stunPorts,
  stunPortsOf,
  stunServers,
  stunServersOf,
  turnServers,
} from './meeting-options.ts';

interface ListenOptions extends CommonOptions {
  readonly listen: string;
  readonly plain?: boolean;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}
interface BrokerOptions extends ListenOptions, StunPortOptions {
  readonly managerPub: string;
}
interface EnrolmentOptions extends ListenOptions, TurnOptions {
  readonly httpPort: number;
  readonly publicUrl?: string;
  readonly explain?: boolean;
  readonly forgetKeys?: boolean;
}
interface ManagerOptions extends EnrolmentOptions, StunServerOptions {
  readonly broker: string;
  readonly brokerPin?: string;
}
type ServeOptions = EnrolmentOptions & StunPortOptions;

const MQTTS_PORT = 8883;
const MQTT_PORT = 1883;
const HTTP_PORT = 8183;
/** Hex digits of a pin that a person is shown. */
const PIN_SHOWN = 16;
const TLS =
  'TLS 1.3 with a certificate of its own, made at the first start. Terminals know its key by\n' +
  'their ticket; a certificate that runs out, or another key, needs nobody to enrol again.';
const APART =
  'In two processes the session manager starts first: it makes the manager.pub that the broker\n' +
  'needs, and waits for the tls.pin that the broker makes.';
const RELAY =
  'Terminals behind NATs are shown their own address by STUN on two UDP ports, and meet\n' +
  'directly; those who cannot need a relay, like coturn: docs/server.md.';

/** Adds `serve`, `broker` and `session-manager`. */
export function declareServers(program: Command): void {
  const serve = declare(program, {
    usage: 'serve',
    summary: 'Run broker and session manager in one process.',
    details: `${TLS}\n${RELAY}`,
    examples: [
      'nakodo serve --home ./server',
      'nakodo serve --listen 0.0.0.0 --public-url https://nakodo.example:8183',
      'nakodo serve --turn turn.example:3480 --turn-secret-file ./turn.secret',
      'nakodo serve --plain --mqtt-port 0 --http-port 0 --json',
    ],
  });
  listening(serve);
  mqttPort(serve);
  stunPorts(serve);
  enrolment(serve);
  turnServers(serve);
  runs<ServeOptions>(serve, runServe);

  const broker = declare(program, {
    usage: 'broker',
    summary: 'Run the trigger broker alone.',
    details: `${TLS}\n${APART}`,
    examples: ['nakodo broker --manager-pub ./manager/manager.pub --home ./broker'],
  });
  listening(broker);
  mqttPort(broker);
  stunPorts(broker);
  broker.requiredOption('--manager-pub <file>', "the session manager's public key, in its home");
  runs<BrokerOptions>(broker, runBroker);

  const manager = declare(program, {
    usage: 'session-manager',
    summary: 'Run the session manager alone; ready when its broker is.',
    details: `${TLS}\n${APART}`,
    examples: [
      'nakodo session-manager --broker mqtts://127.0.0.1:8883 --broker-pin ./broker/tls.pin',
    ],
  });
  listening(manager);
  manager.requiredOption('--broker <url>', 'the broker, as terminals reach it too');
  manager.option('--broker-pin <file>', 'tls.pin in the home of the broker; may appear later');
  enrolment(manager);
  stunServers(manager);
  turnServers(manager);
  runs<ManagerOptions>(manager, runManager);
}

const listening = (command: Command): Command =>
  command
    .option('--listen <addr>', 'an address of this machine', '127.0.0.1')
    .option('--tls-cert <file>', 'a certificate (PEM) in place of its own; with --tls-key')
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--plain', 'no TLS; on 127.0.0.1 or ::1 only');

const mqttPort = (command: Command): Command =>
  command.addOption(
    portOption(
      '--mqtt-port <n>',
      `of the broker; 0: any free one (default: ${MQTTS_PORT}, with --plain ${MQTT_PORT})`,
    ),
  );

const enrolment = (command: Command): Command =>
  command
    .addOption(portOption('--http-port <n>', 'for enrolment; 0: any free one', HTTP_PORT))
    .option('--public-url <url>', 'how terminals reach --http-port; stands in tickets')
    .option('--explain', 'tell refused callers why: it also tells them who exists')
    .option('--forget-keys', 'believe no former TLS key: with a new one, after a theft');

/** What was opened, to be closed in reverse order. */
type Opened = { close(): Promise<void> }[];

/** Broker and manager in one process [¶0028], for terminals that are others: claim 22. */
async function runServe(output: Output, options: ServeOptions): Promise<ExitCode> {
  const { managerPublicKey } = await import('../../session-manager/shell/manager-shell.ts');
  const { checkPlaces } = await import('../../session-manager/shell/manager-places.ts');
  const { listen, publicUrl, plain } = options;
  checkPlaces({ listen, publicUrl, isTls: plain !== true });
  const relay = await relayOf(options);
  const home = makeHome(options.home);
  const parts = await serverParts(output);
  return running(output, options, async (opened) => {
    const serving = await openOperator(home, opened);
    const key = await managerPublicKey(home, parts.suite, parts.rng);
    const tls = await certificate(options, home, parts);
    const broker = await openBroker(options, [key], tls, parts);
    opened.push(broker);
    const connect = (): Duplex => broker.connect();
    const url = brokerUrl(options, broker);
    const stun = broker.stunPorts === undefined ? [] : [broker.stunPorts];
    const reach = { broker: { url, connect }, stun, relay: await openRelay(relay, opened, parts) };
    const manager = await openManager(options, home, reach, tls, parts);
    opened.push(manager);
    serving.operations = manager.operations;
    await manager.ready;
    return { ports: { ...portsOf(broker), http: manager.httpPort }, pin: tls?.pin };
  });
}

/** The trigger broker as a program: claim 21. */
async function runBroker(output: Output, options: BrokerOptions): Promise<ExitCode> {
  const key = await readManagerKey(options.managerPub);
  const parts = await serverParts(output);
  return running(output, options, async (opened) => {
    // Without TLS it keeps nothing.
    const home = options.plain === true ? '' : makeHome(options.home);
    const tls = await certificate(options, home, parts);
    const broker = await openBroker(options, [key], tls, parts);
    opened.push(broker);
    if (tls !== undefined) {
      output.remark(`For its session manager: --broker-pin ${shellWord(join(home, 'tls.pin'))}`);
    }
    return { ports: { ...portsOf(broker), http: null }, pin: tls?.pin };
  });
}

/** The session manager as a program: claim 20. */
async function runManager(output: Output, options: ManagerOptions): Promise<ExitCode> {
  const { checkPlaces } = await import('../../session-manager/shell/manager-places.ts');
  const { listen, publicUrl, plain } = options;
  const place = { url: options.broker, pinFile: options.brokerPin };
  checkPlaces({ broker: place, listen, publicUrl, isTls: plain !== true });
  const relay = await relayOf(options);
  const home = makeHome(options.home);
  const parts = await serverParts(output);
  return running(output, options, async (opened) => {
    const serving = await openOperator(home, opened);
    const tls = await certificate(options, home, parts);
    output.remark(`Its key is in ${home}/manager.pub. Waiting for the broker …`);
    const stun = stunServersOf(options);
    const reach = { broker: place, stun, relay: await openRelay(relay, opened, parts) };
    const manager = await openManager(options, home, reach, tls, parts);
    opened.push(manager);
    serving.operations = manager.operations;
    await manager.ready;
    return { ports: { mqtt: null, udp: null, http: manager.httpPort }, pin: tls?.pin };
  });
}

/** A broker's ports: TCP, and the two of its STUN server. */
const portsOf = ({ port, stunPorts: stun }: BrokerShell): Ready['ports'] => ({
  mqtt: port,
  udp: stun?.port ?? null,
  udp2: stun?.otherPort ?? null,
});

/** A server that is ready; `pin`: of its TLS key, absent without TLS. */
interface Ready {
  readonly ports: Readonly<Record<string, number | null>>;
  readonly pin: Uint8Array | undefined;
}

/** Opens a server, says that it is ready, and closes it when it is told to end. */
async function running(
  output: Output,
  options: ListenOptions,
  open: (opened: Opened) => Promise<Ready>,
): Promise<ExitCode> {
  const opened: Opened = [];
  const ended = untilEnded();
  try {
    const ready = await Promise.race([open(opened), ended]);
    if (ready !== undefined) {
      const pin = ready.pin === undefined ? null : Buffer.from(ready.pin).toString('hex');
      output.result({ ready: true, ports: ready.ports, pin }, readyWords(ready, options));
      await ended;
    }
  } finally {
    for (const part of opened.toReversed()) await part.close();
  }
  return EXIT.done;
}

function readyWords({ ports, pin }: Ready, options: ListenOptions): string {
  const shown = Object.entries(ports).flatMap(([name, port]) =>
    port === null ? [] : [`${name} ${port}`],
  );
  const { listen } = options;
  const shownPin = Buffer.from(pin ?? [])
    .toString('hex')
    .slice(0, PIN_SHOWN);
  const how =
    pin === undefined
      ? `Without TLS on ${listen}, for this machine only.`
      : `TLS 1.3 on ${listen}, key ${shownPin}….`;
  return [
    `Ready: ${shown.join(', ')}. ${how}`,
    ...(ports.http === null ? [] : [`Next: nakodo ticket --name TERM1${homeWords(options.home)}`]),
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

/** The server's key and certificate; undefined with `--plain`. */
async function certificate(
  { plain, tlsCert: certFile, tlsKey: keyFile }: ListenOptions,
  home: string,
  { clock }: ServerParts,
): Promise<ServerCertificate | undefined> {
  if (plain === true) {
    if (certFile === undefined && keyFile === undefined) return undefined;
    const next = 'leave one of them out';
    throw new NakodoError('usage', '--plain has no certificate to show', next, EXIT.usage);
  }
  const { loadServerCertificate } = await import('../../protocol/io/server-certificate.ts');
  return loadServerCertificate({ home, certFile, keyFile, clock });
}

async function openBroker(
  options: ListenOptions & StunPortOptions,
  managerKeys: readonly Uint8Array[],
  tls: ServerCertificate | undefined,
  { suite, clock, log }: ServerParts,
): Promise<BrokerShell> {
  const { startBroker } = await import('../../broker/shell/broker-shell.ts');
  const { listen, mqttPort: port = tls === undefined ? MQTT_PORT : MQTTS_PORT } = options;
  const stun = stunPortsOf(options);
  return startBroker({ listen, port, stun, managerKeys, suite, clock, log, ...(tls && { tls }) });
}

/** The relay's names, looked up from now on; undefined: there is no relay. */
async function openRelay(
  relay: RelayOptions | undefined,
  opened: Opened,
  { log }: ServerParts,
): Promise<RelayServers | undefined> {
  if (relay === undefined) return undefined;
  const { RelayServers } = await import('../../session-manager/shell/relay-servers.ts');
  const servers = new RelayServers(relay, log);
  opened.push(servers);
  return servers;
}

/** The broker as terminals are told of it: on the host of the public URL, if there is one. */
function brokerUrl({ publicUrl }: ServeOptions, broker: BrokerShell): string {
  if (publicUrl === undefined || !URL.canParse(publicUrl)) return broker.url;
  const { protocol } = new URL(broker.url);
  return `${protocol}//${new URL(publicUrl).hostname}:${broker.port}`;
}

async function openManager(
  options: EnrolmentOptions,
  home: string,
  reach: Pick<ManagerShellOptions, 'broker' | 'stun' | 'relay'>,
  tls: ServerCertificate | undefined,
  parts: ServerParts,
): Promise<RunningManager> {
  const { startManager } = await import('../../session-manager/shell/manager-shell.ts');
  const { listen: httpListen, httpPort, publicUrl, explain = false, forgetKeys } = options;
  return startManager({
    home,
    ...reach,
    tls,
    httpListen,
    httpPort,
    explain,
    forgetKeys: forgetKeys === true,
    ...(publicUrl === undefined ? {} : { publicUrl }),
    ...parts,
  });
}
