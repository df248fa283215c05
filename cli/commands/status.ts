// `status`: how this terminal is, from its running agent: who it is, whether the broker is there,
// what talks there are, how fast, how much is left of them, and what its owner has to look after.
// With --json it prints what the agent says: fields are added there, none is renamed.

import type { Command } from 'commander';
import type { RelaySource } from '../../device/services/agent-settings.ts';
import type { AgentStatus } from '../../device/shell/agent-types.ts';
import { wayWords } from '../../device/shell/way.ts';
import { EXIT, type ExitCode, NakodoError, errorCode } from '../../protocol/errors.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import { askAgent } from '../ask.ts';
import { terminalFolder } from '../home.ts';
import { type Output, table } from '../output.ts';
import { relayPolicyWords } from '../way-words.ts';
import { type CommonOptions, declare, runs } from './command.ts';

type TalkStatus = AgentStatus['talks'][number];

/** Adds `status`. */
export function declareStatus(program: Command): void {
  const status = declare(program, {
    usage: 'status',
    summary: 'Say whether this terminal is registered, and what talks it has.',
    details: [
      'First how it stands with its broker, and since when; then what needs its owner. For each',
      'talk: what was sent and received, how much a second in the last seconds, and what is left',
      'of its time and bytes. Below: its way (on the LAN, direct, through a relay) and where that',
      'leads, the round trip, the size of a datagram that it carries, congestion control and what',
      'that is doing, bytes that may be under way in each direction, packets sent again, and the',
      'implementation of the encryption.',
      'Something is wrong and it does not say what? See nakodo doctor.',
    ].join('\n'),
    examples: ['nakodo status', 'nakodo status --json'],
    exits: [EXIT.unreachable],
  });
  runs<object>(status, runStatus);
}

async function runStatus(output: Output, options: CommonOptions): Promise<ExitCode> {
  let answer: Record<string, unknown>;
  try {
    answer = await askAgent(options.home, { op: 'status' });
  } catch (error) {
    throw (await whyNotEnrolled(error, options.home)) ?? error;
  }
  output.result(answer, words(answer as unknown as Parameters<typeof words>[0]));
  return EXIT.done;
}

/** An agent that has no name yet does not answer: what keeps it from one stands in its home. */
async function whyNotEnrolled(
  error: unknown,
  option: string | undefined,
): Promise<NakodoError | undefined> {
  if (errorCode(error) !== 'agent-not-running') return undefined;
  const { provisioningTrouble } = await import('../../device/shell/pending.ts');
  // Who may not read it hears only that nothing is running.
  const trouble = await provisioningTrouble(terminalFolder(option)).catch(() => undefined);
  if (trouble === undefined) return undefined;
  const next =
    'if it does not go by itself: ask the operator for a new ticket, nakodo enroll TICKET';
  return new NakodoError('not-enrolled-yet', trouble, next, EXIT.unreachable);
}

interface ShownStatus extends AgentStatus {
  readonly talksNotShown: number;
  readonly relayBy?: RelaySource;
}

function words(status: ShownStatus): string {
  const { name, id, questions, endNotices, talks, talksNotShown, troubles, relay } = status;
  return [
    `${name} (${id}): ${stateWords(status)}`,
    brokerWords(status),
    listWords(status.list),
    ...(relay === 'if-needed' ? [] : [`relay: ${relayPolicyWords(relay, status.relayBy)}`]),
    ...Object.values(troubles)
      .filter((trouble) => trouble !== undefined)
      .map((trouble) => `! ${trouble}`),
    ...questions.map(
      (asked) => `${asked.name} wants ${asked.service} and waits: nakodo approve ${asked.name}`,
    ),
    ...(endNotices > 0 ? [`${endNotices} ends not yet told to the server`] : []),
    talks.length === 0 ? 'No talk is under way.' : table(talks.map(row)),
    ...(talksNotShown > 0 ? [`and ${talksNotShown} older ones`] : []),
    ...talks.map(transportWords),
  ].join('\n');
}

function stateWords({ registered, link, nextPollSeconds }: AgentStatus): string {
  if (nextPollSeconds !== undefined) return `asleep, polls in ${time(nextPollSeconds)}`;
  if (registered) return 'registered';
  return link === 'up' ? 'not registered yet' : 'not registered, the server cannot be reached';
}

function brokerWords({ broker }: AgentStatus): string {
  const { url, keepaliveSeconds, upSeconds, heardSecondsAgo, retrySeconds } = broker;
  if (upSeconds !== undefined) {
    const heard = heardSecondsAgo === undefined ? '' : `, heard ${time(heardSecondsAgo)} ago`;
    const pings = `pinged each ${time(keepaliveSeconds)}`;
    return `broker ${url}: up for ${time(upSeconds)}${heard}, ${pings}`;
  }
  const next = retrySeconds === undefined ? '' : `, tried again in ${time(retrySeconds)}`;
  return `broker ${url}: down${next}`;
}

function listWords({ entries, changedAt }: AgentStatus['list']): string {
  if (changedAt === undefined) return 'list: none, nobody is allowed';
  const count = entries === undefined ? 'cannot be read' : counted(entries);
  const age = Math.max(0, Date.now() - changedAt) / MS_PER_SECOND;
  return `list: ${count}, changed ${time(age)} ago`;
}

function row({ session, role, peer, service, talk, rates }: TalkStatus): Record<string, string> {
  const { counts, secondsLeft, bytesLeft } = talk;
  return {
    session,
    with: peer.name,
    as: role,
    service,
    state: talk.state,
    sent: formatSize(counts.sentBytes),
    received: formatSize(counts.receivedBytes),
    'out/s': formatSize(Math.round(rates.sent)),
    'in/s': formatSize(Math.round(rates.received)),
    'time left': time(secondsLeft),
    'bytes left': bytesLeft === undefined ? 'any' : formatSize(bytesLeft),
  };
}

/** How a talk gets through: where to, how far, in what pieces, held back by what. */
function transportWords({ session, class: way, meeting, talk }: TalkStatus): string {
  const { rttMs, transport } = talk;
  const { aead, datagramBytes, congestionControl, phase, lostPackets } = transport;
  const [out, back] = [transport.congestionWindow, transport.receiveWindow].map(formatSize);
  return [
    `${session}: ${wayWords({ class: way, path: talk.path, meeting })}`,
    ...(rttMs === undefined ? [] : [`round trip ${rttMs.toFixed(1)} ms`]),
    `datagrams of ${datagramBytes} bytes`,
    `${congestionControl} (${phase})`,
    `windows ${out} out and ${back} in`,
    `${lostPackets} lost`,
    aead,
  ].join(', ');
}

const counted = (entries: number): string => (entries === 1 ? '1 entry' : `${entries} entries`);

/** As people say it: no finer than a second. */
const time = (seconds: number): string => formatDuration(Math.round(seconds) * MS_PER_SECOND);
