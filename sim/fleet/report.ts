// What a fleet came to, as one object: `nakodo fleet --json` prints it as it is, the words and the
// page are made of it. Fields are documented in docs/fleet.md; `version` rises when one changes its
// meaning or goes.

import { cpus } from 'node:os';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { type CourseRow, slopeOf } from './course.ts';
import { Histogram, type HistogramRecord } from './histogram.ts';
import type { LogCheck } from './log-check.ts';
import type { FleetOptions } from './options.ts';
import type { Gauge } from './orders.ts';
import type { FleetPlan } from './plan.ts';
import { PROFILE_NAMES, type ProfileName } from './profiles.ts';
import type { ServerName } from './servers.ts';
import type { Fault, TallyRecord } from './tally.ts';

/** Of the report's form. */
const REPORT_VERSION = 1;
const HISTOGRAM_STEPS = 60;
/** The plot of set-up times ends here; what took longer is in its last step. */
const HISTOGRAM_SHARE = 0.995;
const SOAK_SECONDS = 600;
/** Over less than that a slope says how a process warms up, not how it goes on. */
const SLOPE_SECONDS_MIN = 120;

/** Times, in milliseconds; null: there was none. */
export interface Times {
  readonly count: number;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

/** Processor time of the calls' phase. */
export interface Cpu {
  readonly seconds: number;
  /** Of one core. */
  readonly percent: number;
  /** For each call that was due; null if none was. */
  readonly microsPerCall: number | null;
}

/** The report. */
export interface FleetReport {
  readonly version: typeof REPORT_VERSION;
  /** Nothing was introduced, or delivered, that should not have been; the log agrees. */
  readonly ok: boolean;
  /** Why not: sentences. */
  readonly why: readonly string[];
  /** It was ended before its time. */
  readonly interrupted: boolean;
  readonly begun: string;
  readonly machine: {
    readonly cores: number;
    readonly model: string;
    readonly node: string;
  };
  readonly fleet: {
    readonly terminals: number;
    /** As asked for: more than `terminals` if there were too few file descriptors. */
    readonly wanted: number;
    readonly registered: number;
    readonly processes: number;
    readonly profiles: Readonly<Record<ProfileName, number>>;
    readonly policy: string | null;
    readonly permitPercent: number | null;
    readonly seed: number;
    readonly tls: boolean;
    readonly apart: boolean;
  };
  readonly load: {
    readonly callsPerSecond: number;
    readonly rampPerSecond: number;
    readonly parallel: number;
    readonly bytesMax: number;
    readonly forSeconds: number;
    readonly waitSeconds: number;
  };
  /** Seconds that each phase took. */
  readonly took: { readonly enrol: number; readonly ramp: number; readonly call: number };
  readonly calls: TallyRecord['counts'];
  readonly perSecond: { readonly due: number; readonly introduced: number };
  readonly faults: Readonly<Record<Fault | 'inTheLog', readonly string[]>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly setUpMs: Times;
  readonly setUpOthersMs: Times;
  readonly histogram: { readonly stepMs: number; readonly counts: readonly number[] };
  readonly memory: {
    /** Of the processes of terminals in all, before and after the ramp. */
    readonly withoutBytes: number;
    readonly withBytes: number;
    readonly perTerminalBytes: number | null;
    readonly perTerminalHeapBytes: number | null;
    readonly serversBytes: number;
    /** While calls were made, by least squares; null if that was too short. */
    readonly terminalsSlopeBytesPer10Min: number | null;
    readonly serversSlopeBytesPer10Min: number | null;
  };
  readonly cpu: Readonly<Partial<Record<ServerName | 'terminals', Cpu>>>;
  readonly log: LogCheck | null;
  /** Where the homes were left; null: they were removed. */
  readonly kept: string | null;
  readonly course: readonly CourseRow[];
}

/** What a conductor knows at the end. */
export interface Findings {
  readonly options: FleetOptions;
  readonly plan: FleetPlan;
  readonly active: number;
  readonly folder: string;
  readonly registered: number;
  readonly begun: Date;
  readonly isInterrupted: boolean;
  /** What broke, in a sentence; undefined: nothing did. */
  readonly trouble: string | undefined;
  readonly took: FleetReport['took'];
  readonly tally: TallyRecord;
  readonly without: Gauge;
  readonly with: Gauge;
  /** Terminals that were registered then. */
  readonly ramped: number;
  /** When calls began and ended. */
  readonly cpuAt: readonly [before: CpuReading, after: CpuReading] | undefined;
  readonly serversBytes: number;
  readonly log: LogCheck | undefined;
  readonly course: readonly CourseRow[];
}

/** Processor time so far, microseconds, by process. */
export type CpuReading = ReadonlyMap<ServerName | 'terminals', number>;

/** Makes the report. */
export function reportOf(findings: Findings): FleetReport {
  const { options, plan, active, tally, took, log, course } = findings;
  const { source } = options;
  const why = faultsOf(findings);
  const { counts } = tally;
  const perSecond = (count: number): number =>
    took.call === 0 ? 0 : Math.round((count / took.call) * 100) / 100;
  const terminals = plan.terminals.slice(0, active);
  return {
    version: REPORT_VERSION,
    ok: why.length === 0,
    why,
    interrupted: findings.isInterrupted,
    begun: findings.begun.toISOString(),
    machine: {
      cores: cpus().length,
      model: cpus()[0]?.model ?? 'unknown',
      node: process.version,
    },
    fleet: {
      terminals: active,
      wanted: plan.terminals.length,
      registered: findings.registered,
      processes: options.processes,
      profiles: Object.fromEntries(
        PROFILE_NAMES.map((name) => [
          name,
          terminals.filter(({ profile }) => profile === name).length,
        ]),
      ) as Record<ProfileName, number>,
      policy: source.kind === 'policy' ? source.file : null,
      permitPercent:
        source.kind === 'random' ? source.permitPercent : (options.permitPercent ?? null),
      seed: options.seed,
      tls: !options.isPlain,
      apart: options.isApart,
    },
    load: {
      callsPerSecond: options.callsPerSecond,
      rampPerSecond: options.rampPerSecond,
      parallel: options.parallel,
      bytesMax: options.bytesMax,
      forSeconds: options.forMs / MS_PER_SECOND,
      waitSeconds: options.waitMs / MS_PER_SECOND,
    },
    took,
    calls: counts,
    perSecond: { due: perSecond(counts.due), introduced: perSecond(counts.introduced) },
    faults: { ...tally.faults, inTheLog: log?.words ?? [] },
    errors: tally.errors,
    setUpMs: timesOf(tally.setUp),
    setUpOthersMs: timesOf(tally.setUpOthers),
    histogram: stepsOf(tally.setUp),
    memory: memoryOf(findings),
    cpu: cpuOf(findings),
    log: log ?? null,
    kept: options.isKept ? findings.folder : null,
    course,
  };
}

function faultsOf({ tally, log, trouble }: Findings): readonly string[] {
  const { wronglyIntroduced, damaged } = tally.counts;
  return [
    ...(wronglyIntroduced > 0
      ? [`${wronglyIntroduced} introductions that the policy forbids`]
      : []),
    ...(damaged > 0 ? [`${damaged} deliveries that were not what was sent`] : []),
    ...((log?.forbidden ?? 0) > 0
      ? [`${log?.forbidden} introductions in the log that the policy forbids`]
      : []),
    ...(log?.isVerified === false ? [`the log does not verify: ${log.why}`] : []),
    ...(trouble === undefined ? [] : [trouble]),
  ];
}

function histogramOf(record: HistogramRecord): Histogram {
  const histogram = new Histogram();
  histogram.merge(record);
  return histogram;
}

function timesOf(record: HistogramRecord): Times {
  const histogram = histogramOf(record);
  const at = (share: number): number | null => rounded(histogram.quantile(share));
  const max = histogram.count === 0 ? null : rounded(histogram.maxMs);
  return { count: histogram.count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max };
}

function stepsOf(record: HistogramRecord): FleetReport['histogram'] {
  const histogram = histogramOf(record);
  const toMs = Math.max(1, (histogram.quantile(HISTOGRAM_SHARE) ?? 1) * 1.1);
  return {
    stepMs: toMs / HISTOGRAM_STEPS,
    counts: histogram.steps(HISTOGRAM_STEPS, toMs),
  };
}

function memoryOf(findings: Findings): FleetReport['memory'] {
  const { without, ramped, serversBytes, course } = findings;
  const calling = course.filter(({ phase }) => phase === 'calling');
  const per = (bytes: number): number | null => (ramped === 0 ? null : Math.round(bytes / ramped));
  const slope = (quantity: (row: CourseRow) => number): number | null => {
    if ((calling.at(-1)?.seconds ?? 0) - (calling[0]?.seconds ?? 0) < SLOPE_SECONDS_MIN)
      return null;
    const perSecond = slopeOf(calling, quantity);
    return perSecond === undefined ? null : Math.round(perSecond * SOAK_SECONDS);
  };
  return {
    withoutBytes: without.rssBytes,
    withBytes: findings.with.rssBytes,
    perTerminalBytes: per(findings.with.rssBytes - without.rssBytes),
    perTerminalHeapBytes: per(findings.with.heapBytes - without.heapBytes),
    serversBytes,
    terminalsSlopeBytesPer10Min: slope((row) => row.terminalsRssBytes),
    serversSlopeBytesPer10Min: slope((row) => row.serversRssBytes),
  };
}

function cpuOf({ cpuAt, took, tally }: Findings): FleetReport['cpu'] {
  if (cpuAt === undefined || took.call === 0) return {};
  const [before, after] = cpuAt;
  const { due } = tally.counts;
  return Object.fromEntries(
    [...after].map(([name, micros]) => {
      const used = micros - (before.get(name) ?? 0);
      const cpu: Cpu = {
        seconds: used / 1e6,
        percent: Math.round(used / 1e4 / took.call),
        microsPerCall: due === 0 ? null : Math.round(used / due),
      };
      return [name, cpu];
    }),
  );
}

const rounded = (value: number | undefined): number | null =>
  value === undefined ? null : Math.round(value * 100) / 100;
