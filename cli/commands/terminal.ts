// `enroll`, `agent`, `status`: a terminal gets its name [S1001's precondition], runs, and says how
// it is. The agent is the terminal; the other commands are visits.

import { Argument, type Command } from 'commander';
import type { Path } from '../../protocol/core.ts';
import type { TransportState } from '../../protocol/data/connection-types.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { LocalServer } from '../../protocol/io/local-socket.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import { askAgent } from '../ask.ts';
import { homeWords, makeHome } from '../home.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { type Output, table } from '../output.ts';
import { untilEnded } from '../signals.ts';
import { type CommonOptions, declare, durationOption, runs } from './command.ts';

interface EnrollOptions {
  readonly name?: string;
}
interface AgentOptions extends CommonOptions {
  readonly pollEvery?: number;
  readonly broker?: string;
  readonly address?: string;
  readonly trace?: string;
}

/** Adds `enroll`, `agent` and `status`. */
export function declareTerminal(program: Command): void {
  const enroll = declare(program, {
    usage: 'enroll',
    summary: "Redeem the operator's ticket: this terminal gets its name and its server.",
    examples: ['nakodo enroll nakodo1… --name TERM1', 'nakodo enroll nakodo1… --home ./term1'],
    exits: [EXIT.unreachable],
  });
  enroll
    .addArgument(new Argument('<ticket>', 'what `nakodo ticket` printed'))
    .option('--name <name>', 'the wanted name, where the ticket does not fix it');
  runs<EnrollOptions>(enroll, runEnroll);

  const agent = declare(program, {
    usage: 'agent',
    summary: 'Run this terminal: registered, reachable by name for those on its list.',
    examples: [
      'nakodo agent',
      'nakodo agent --poll-every 5m --home ./term1',
      'nakodo agent --trace ./traces',
    ],
    exits: [EXIT.unreachable],
  });
  agent
    .addOption(durationOption('--poll-every <time>', 'disconnect, and look for calls this often'))
    .option('--address <ip>', 'bind UDP to this address of the machine, and tell no other')
    .option('--trace <dir>', 'write a qlog file for each talk there, for viewers like qvis')
    .option('--broker <url>', "another way to the broker than the server's: mqtts://HOST:PORT");
  runs<AgentOptions>(agent, runAgent);

  const status = declare(program, {
    usage: 'status',
    summary: 'Say whether this terminal is registered, and what talks it has.',
    details: [
      "Below the table, for each talk: the peer's address, the round trip, the size of a datagram",
      'that the path carries, congestion control and what it is doing, bytes that may be under',
      'way in each direction, packets sent again, and the implementation of the encryption.',
    ].join('\n'),
    examples: ['nakodo status', 'nakodo status --json'],
    exits: [EXIT.unreachable],
  });
  runs<object>(status, runStatus);
}

async function runEnroll(
  output: Output,
  options: EnrollOptions & CommonOptions,
  [ticket]: readonly string[],
): Promise<ExitCode> {
  const name = options.name === undefined ? undefined : terminalName(options.name);
  const [{ enrol }, { nodeSuite }, { entropy }] = await Promise.all([
    import('../../device/shell/enrol.ts'),
    import('../../protocol/io/node-crypto.ts'),
    import('../../protocol/io/entropy.ts'),
  ]);
  const home = makeHome(options.home);
  const enrolled = await enrol({ home, ticket, name, suite: nodeSuite, rng: entropy });
  const next = `Next: nakodo agent${homeWords(options.home)}`;
  output.result(enrolled, `This terminal is ${enrolled.name} (${enrolled.id}).\n${next}`);
  return EXIT.done;
}

/** The terminal as a program: claim 19. Ready when both servers know it [S1000, S1001]. */
async function runAgent(output: Output, options: AgentOptions): Promise<ExitCode> {
  const [{ Agent }, { serveAgent }, { processLog }] = await Promise.all([
    import('../../device/agent.ts'),
    import('../../device/shell/agent-operations.ts'),
    import('../process-log.ts'),
  ]);
  const home = makeHome(options.home);
  const log = processLog(output.json);
  const agent = await Agent.start({
    home,
    log,
    udpBind: options.address,
    brokerUrl: options.broker,
    traceFolder: options.trace,
    pollSeconds: options.pollEvery === undefined ? undefined : pollSeconds(options.pollEvery),
  });
  const ended = untilEnded();
  let commands: LocalServer | undefined;
  try {
    commands = await serveAgent(agent, { log });
    const first = await Promise.race([agent.registered.then(() => 'registered'), ended]);
    if (first === 'registered') {
      const { name, id } = agent;
      const ready = [
        `${name} is ready (${id}). Ctrl-C ends it.`,
        ...(options.trace === undefined ? [] : [`Each talk is traced in ${options.trace}.`]),
      ];
      output.result({ ready: true, name, id }, ready.join('\n'));
    }
    await ended;
  } finally {
    await commands?.close();
    await agent.stop();
  }
  return EXIT.done;
}

function pollSeconds(milliseconds: number): number {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds >= 1) return seconds;
  throw new NakodoError('bad-poll', 'a terminal polls at most once a second', 'try 1s', EXIT.usage);
}

/** The part of the agent's answer that is shown in words. */
interface Status {
  readonly name: string;
  readonly id: string;
  readonly link: 'up' | 'down';
  readonly registered: boolean;
  readonly nextPollSeconds?: number;
  readonly endNotices: number;
  readonly questions: readonly { readonly name: string; readonly service: string }[];
  readonly talks: readonly {
    readonly session: string;
    readonly role: string;
    readonly peer: { readonly name: string };
    readonly service: string;
    readonly talk: {
      readonly state: string;
      readonly counts: { readonly sentBytes: number; readonly receivedBytes: number };
      readonly secondsLeft: number;
      readonly bytesLeft?: number;
      readonly rttMs?: number;
      readonly path?: Path;
      readonly transport: TransportState;
    };
  }[];
  readonly troubles: Readonly<Record<string, string>>;
}

async function runStatus(output: Output, options: CommonOptions): Promise<ExitCode> {
  const answer = await askAgent(options.home, { op: 'status' });
  const status = answer as unknown as Status;
  const rows = status.talks.map(({ session, role, peer, service, talk }) => ({
    session,
    with: peer.name,
    as: role,
    service,
    state: talk.state,
    sent: formatSize(talk.counts.sentBytes),
    received: formatSize(talk.counts.receivedBytes),
    'time left': formatDuration(talk.secondsLeft * 1000),
    'bytes left': talk.bytesLeft === undefined ? 'any' : formatSize(talk.bytesLeft),
  }));
  const lines = [
    `${status.name} (${status.id}): ${stateWords(status)}`,
    ...Object.values(status.troubles).map((trouble) => `! ${trouble}`),
    ...status.questions.map(
      ({ name, service }) => `${name} wants ${service} and waits: nakodo approve ${name}`,
    ),
    ...(status.endNotices > 0 ? [`${status.endNotices} ends not yet told to the server`] : []),
    rows.length === 0 ? 'No talk is under way.' : table(rows),
    ...status.talks.map(({ session, talk }) => transportLine(session, talk)),
  ];
  output.result(answer, lines.join('\n'));
  return EXIT.done;
}

/** How a talk gets through: where to, how far, in what pieces, held back by what. */
function transportLine(
  session: string,
  { path, rttMs, transport }: Status['talks'][0]['talk'],
): string {
  const { aead, datagramBytes, congestionControl, phase, lostPackets } = transport;
  const [out, back] = [transport.congestionWindow, transport.receiveWindow].map(formatSize);
  const where = path === undefined ? 'no path yet' : `${path.host} port ${path.port}`;
  return [
    `${session}: ${where}`,
    ...(rttMs === undefined ? [] : [`round trip ${rttMs.toFixed(1)} ms`]),
    `datagrams of ${datagramBytes} bytes`,
    `${congestionControl} (${phase})`,
    `windows ${out} out and ${back} in`,
    `${lostPackets} lost`,
    aead,
  ].join(', ');
}

function stateWords({ registered, link, nextPollSeconds }: Status): string {
  if (nextPollSeconds !== undefined) {
    return `asleep, polls in ${formatDuration(nextPollSeconds * 1000)}`;
  }
  if (registered) return 'registered';
  return link === 'up' ? 'not registered yet' : 'not registered, the server cannot be reached';
}
