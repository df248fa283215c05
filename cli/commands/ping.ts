// `ping`: whether a terminal takes our call, how long it takes to be introduced, and how far away
// it is once both talk directly.

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { formatDuration } from '../../protocol/units.ts';
import type { Output } from '../output.ts';
import type { PingCounts } from '../ping.ts';
import type { OpenTalk } from '../talk.ts';
import { openWayWords } from '../way-words.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { boundedDurationOption, countOption, declare, runs } from './command.ts';
import { talkWords, termsWords } from './talk-words.ts';

const INTERVAL_MS_DEFAULT = 1_000;
/** No shorter: the peer answers 20 a second at most. */
const INTERVAL_MS_MIN = 100;
const INTERVAL_MS_MAX = 3_600_000;
const COUNT_DEFAULT = 5;

interface PingOptions extends CallOptions {
  readonly count: number;
  readonly interval: number;
}

/** Adds `ping`. */
export function declarePing(program: Command): void {
  const ping = declare(program, {
    usage: 'ping',
    summary: 'Ask a terminal for a talk, and measure: consent, set-up, round trip, path.',
    details: [
      'The terminal answers by itself if its list allows you the service ping:',
      '  $ nakodo allow TERM1 --service ping',
      'Each ping is sent once; one that does not come back is lost. No answer at all is exit',
      'code 5: the talk came about, but no messages pass.',
    ].join('\n'),
    examples: ['nakodo ping TERM3', 'nakodo ping TERM3 --count 20 --interval 200ms --json'],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  addCallOptions(ping.addArgument(new Argument('<name>', "the callee's name")))
    .addOption(countOption('--count <n>', 'how many pings', COUNT_DEFAULT))
    .addOption(
      boundedDurationOption('--interval <time>', 'from one to the next', {
        minMs: INTERVAL_MS_MIN,
        maxMs: INTERVAL_MS_MAX,
      }).default(INTERVAL_MS_DEFAULT, '1s'),
    );
  runs<PingOptions>(ping, runPing);
}

/** [S1002]: asks for a talk only to see how it goes. */
async function runPing(
  output: Output,
  options: PingOptions,
  [to]: readonly string[],
): Promise<ExitCode> {
  const [{ CommandTalk }, { pingTalk }, { PING_SERVICE }] = await Promise.all([
    import('../talk.ts'),
    import('../ping.ts'),
    import('../../device/services/ping.ts'),
  ]);
  const wish = wishOf(to, PING_SERVICE, options);
  const words = talkWords(output, wish.to, options.extend);
  let counts: PingCounts | undefined;
  try {
    const talk = await CommandTalk.begin(wish, { home: options.home, onEvent: words.hear });
    output.remark(openWords(talk.open));
    const { count, interval: intervalMs } = options;
    const onAnswer = (number: number, rttMs: number): void =>
      output.remark(`${number}: ${formatRtt(rttMs)}`);
    counts = await pingTalk(talk, { count, intervalMs, onAnswer });
    // The end of a talk that a limit ended is thrown here.
    const end = await talk.done();
    if (counts.received === 0) throw noAnswer(wish.to);
    output.result({ ...described(talk.open), ...counts, ...end }, countsWords(counts));
    return EXIT.done;
  } catch (error) {
    return output.error(error, { ...words.known(), ...counts });
  } finally {
    output.progressDone();
  }
}

function described(open: OpenTalk): object {
  const { peer, seconds, bytes, setupSeconds } = open;
  return { to: peer.name, id: peer.id, granted: { seconds, bytes }, setupSeconds };
}

function openWords(open: OpenTalk): string {
  const { peer, path, setupSeconds } = open;
  const where = path === undefined ? '' : `, ${openWayWords(open)}`;
  const time = formatRtt((setupSeconds ?? 0) * 1000);
  return [
    `${peer.name} (${peer.id}) agreed; introduced in ${time}${where}.`,
    `Granted: ${termsWords(open)}.`,
  ].join('\n');
}

function countsWords({ sent, received, lost, rttMs }: PingCounts): string {
  const times =
    rttMs === undefined
      ? ''
      : `; round trip ${formatRtt(rttMs.min)} at least, ` +
        `${formatRtt(rttMs.average)} on average, ${formatRtt(rttMs.max)} at most`;
  return `${sent} sent, ${received} came back, ${lost} lost${times}.`;
}

/** Milliseconds as three digits show them: a neighbour is nearer than one. */
function formatRtt(milliseconds: number): string {
  if (milliseconds >= 100) return formatDuration(milliseconds);
  return `${Number(milliseconds.toPrecision(3))} ms`;
}

function noAnswer(to: string): NakodoError {
  return new NakodoError(
    'no-echo',
    `${to} took the call, but none of the pings came back`,
    `ask its owner for the release of its agent, and for a program that may hold the service ping`,
    EXIT.unreachable,
  );
}
