// A fleet's report in words, for the terminal, a line for each matter; and the one line that says
// how far a fleet is.

import { formatDuration, formatSize } from '../../protocol/units.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { PROFILE_NAMES } from './profiles.ts';
import type { Cpu, FleetReport, Times } from './report.ts';
import type { FleetProgress } from './run.ts';

const LABEL_WIDTH = 14;
/** Faults that are shown; the rest stands in the JSON. */
const SHOWN_MAX = 5;
const SHOWN_PARTS = 12;

/** The report, a line or a few for each matter. */
export function reportWords(report: FleetReport): string {
  const { calls, log } = report;
  const lines: readonly (readonly [label: string, words: string])[] = [
    ['fleet', fleetWords(report)],
    ['calls', `${calls.due} due (${report.perSecond.due}/s), ${startWords(report)}`],
    ['introduced', introducedWords(report)],
    ['refused', refusedWords(report)],
    ['came to nothing', nothingWords(report)],
    ['set-up', timesWords(report.setUpMs)],
    ...(report.setUpOthersMs.count > 0
      ? ([['polling, flaky', timesWords(report.setUpOthersMs)]] as const)
      : []),
    ['bytes', `${formatSize(calls.bytes)} delivered, every hash compared`],
    ...(calls.hostileCalls + calls.hostileMessages > 0
      ? ([['hostile', hostileWords(report)]] as const)
      : []),
    ['errors', partsOf(report.errors)],
    ['memory', memoryWords(report)],
    ['processor', cpuWords(report)],
    [
      'log',
      log === null
        ? 'not read'
        : `${log.isVerified ? 'verifies' : 'DOES NOT VERIFY'}: ${log.entries} entries, ` +
          `${log.begun} beginnings, ${log.ended} ends (${partsOf(log.reasons)})`,
    ],
  ];
  return [
    ...lines.map(([label, words]) => `${label.padEnd(LABEL_WIDTH)}  ${words}`),
    ...faultWords(report),
    '',
    verdictWords(report),
  ].join('\n');
}

/** How far a fleet is, in one line. */
export function progressWords(progress: FleetProgress): string {
  const { phase, terminals, enrolled, registered, seconds, tally } = progress;
  if (phase === 'enrolling') return `enrolling: ${enrolled} of ${terminals}`;
  if (phase === 'ramping') return `starting: ${registered} of ${terminals} registered`;
  if (phase === 'settling') return 'reading the log';
  const { counts } = tally.record();
  const p50 = tally.setUp.quantile(0.5);
  const rate = seconds === 0 ? 0 : counts.introduced / seconds;
  return [
    `calling, ${formatDuration(Math.round(seconds) * MS_PER_SECOND)}`,
    `${counts.introduced} introduced (${rate.toFixed(1)}/s)`,
    `${counts.refused} refused`,
    ...(counts.missed > 0 ? [`${counts.missed} missed`] : []),
    ...(p50 === undefined ? [] : [`p50 ${formatDuration(p50)}`]),
    `wrong ${counts.wronglyIntroduced + counts.wronglyRefused}`,
  ].join(', ');
}

function fleetWords({ fleet }: FleetReport): string {
  const profiles = PROFILE_NAMES.filter((name) => fleet.profiles[name] > 0)
    .map((name) => `${fleet.profiles[name]} ${name}`)
    .join(', ');
  const fewer =
    fleet.wanted > fleet.terminals
      ? ` (of ${fleet.wanted} that were asked for: too few file descriptors)`
      : '';
  const way = fleet.tls ? 'TLS' : 'plain loopback';
  return (
    `${fleet.terminals} terminals${fewer}, ${fleet.registered} registered at the end, in ` +
    `${fleet.processes} processes over ${way}: ${profiles}`
  );
}

function startWords({ calls }: FleetReport): string {
  return `${calls.missed} could not begin in time, ${calls.late} began late`;
}

function introducedWords({ calls, perSecond }: FleetReport): string {
  return (
    `${calls.introduced} (${perSecond.introduced}/s) as the policy has it, ` +
    `${calls.wronglyIntroduced} against it; ${calls.delivered} delivered, ` +
    `${calls.damaged} damaged, ${calls.cut} cut off`
  );
}

function refusedWords({ calls }: FleetReport): string {
  const busy =
    calls.busy > 0
      ? `; ${calls.busy} times a callee had all the calls that it may have at once`
      : '';
  return `${calls.refused} as the policy has it, ${calls.wronglyRefused} against it${busy}`;
}

function nothingWords({ calls }: FleetReport): string {
  return (
    `${calls.unreached} with an end that was away, ` +
    (calls.overslept > 0 ? `${calls.overslept} that a polling callee slept through, ` : '') +
    `${calls.limited} over the rate for vain ` +
    `calls, ${calls.noAnswer} without an answer` +
    (calls.abandoned > 0 ? `, ${calls.abandoned} under way when it was ended` : '')
  );
}

function hostileWords({ calls }: FleetReport): string {
  return (
    `${calls.hostileCalls} calls: ${calls.hostileRefused} refused, ${calls.hostileIntroduced} ` +
    `that the policy permits; ${calls.hostileMessages} messages that are none`
  );
}

function timesWords({ count, p50, p90, p99, max }: Times): string {
  if (count === 0) return 'no such talk';
  const shown = (ms: number | null): string => (ms === null ? '–' : formatDuration(ms));
  return (
    `p50 ${shown(p50)}, p90 ${shown(p90)}, p99 ${shown(p99)}, max ${shown(max)} ` +
    `(${count} talks, from asking by name to a proven talk)`
  );
}

function memoryWords({ memory }: FleetReport): string {
  const { perTerminalBytes, perTerminalHeapBytes, serversBytes } = memory;
  const per =
    perTerminalBytes === null
      ? 'no terminal was registered'
      : `${formatSize(Math.max(0, perTerminalBytes))} a terminal ` +
        `(${formatSize(Math.max(0, perTerminalHeapBytes ?? 0))} of it live objects)`;
  const slope =
    memory.serversSlopeBytesPer10Min === null
      ? ''
      : `, ${signed(memory.serversSlopeBytesPer10Min)} in 10 min`;
  return `${per}; servers ${formatSize(serversBytes)}${slope}`;
}

const signed = (bytes: number): string => `${bytes < 0 ? '−' : '+'}${formatSize(Math.abs(bytes))}`;

const CPU_WORDS: Readonly<Record<string, string>> = {
  servers: 'servers (--apart tells broker and manager apart)',
};

function cpuWords({ cpu }: FleetReport): string {
  const shown = Object.entries(cpu).map(
    ([name, { percent, microsPerCall }]: readonly [string, Cpu]) =>
      `${CPU_WORDS[name] ?? name} ${percent} % of a core` +
      (microsPerCall === null ? '' : `, ${microsPerCall} µs a call`),
  );
  return shown.length === 0 ? 'not measured' : shown.join('; ');
}

function partsOf(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).toSorted(([, a], [, b]) => b - a);
  if (parts.length === 0) return 'none';
  const shown = parts.slice(0, SHOWN_PARTS).map(([code, times]) => `${code} ${times}`);
  return [...shown, ...(parts.length > SHOWN_PARTS ? ['…'] : [])].join(', ');
}

const FAULT_WORDS = {
  wronglyIntroduced: 'INTRODUCED AGAINST THE POLICY',
  inTheLog: 'IN THE LOG AGAINST THE POLICY',
  damaged: 'DAMAGED',
  wronglyRefused: 'refused against the policy',
} as const;

function faultWords({ faults }: FleetReport): readonly string[] {
  return (Object.keys(FAULT_WORDS) as (keyof typeof FAULT_WORDS)[]).flatMap((fault) => {
    const words = faults[fault];
    if (words.length === 0) return [];
    const more = words.length > SHOWN_MAX ? ['  …'] : [];
    const shown = words.slice(0, SHOWN_MAX).map((each) => `  ${each}`);
    return ['', `${FAULT_WORDS[fault]}:`, ...shown, ...more];
  });
}

function verdictWords({ ok, why, interrupted, calls }: FleetReport): string {
  const early = interrupted ? 'Ended before its time. ' : '';
  if (!ok) return `${early}Wrong: ${why.join('; ')}.`;
  if (calls.due === 0) return `${early}No call was made.`;
  return `${early}Nothing was introduced or delivered that should not have been.`;
}
