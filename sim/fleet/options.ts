// What a fleet is told to be and do, judged before anything starts: what cannot be meant is refused
// with what to do instead.

import { EXIT, NakodoError } from '../../protocol/errors.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { formatSize } from '../../protocol/units.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { PlanSource } from './orders.ts';
import type { FleetPlan } from './plan.ts';

/** Bytes of a talk that are no delivery: the stream's opening, the hash that comes back. */
const OVERHEAD_BYTES = 1_024;

/** The options of a fleet, each in its unit. */
export interface FleetOptions {
  readonly source: PlanSource;
  /** Share of calls that go along permitted pairs, 0 to 100; undefined: callees are drawn. */
  readonly permitPercent: number | undefined;
  readonly seed: number;
  readonly processes: number;
  readonly rampPerSecond: number;
  readonly callsPerSecond: number;
  /** Calls under way at once, in all processes together. */
  readonly parallel: number;
  readonly bytesMax: number;
  readonly forMs: number;
  readonly waitMs: number;
  readonly pollSeconds: number;
  readonly isPlain: boolean;
  /** Broker and session manager in two processes. */
  readonly isApart: boolean;
  /** A fleet that needs more file descriptors than there are becomes smaller. */
  readonly isFewerAllowed: boolean;
  /** Folder in which the homes are made, in a new one of its own that is removed at the end. */
  readonly folder: string;
  /** That one is left where it is. */
  readonly isKept: boolean;
  /** Path of the program's main.js: the servers are started from it. */
  readonly program: string;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Refuses what cannot be.
 * @throws NakodoError `fleet-options` (exit 2).
 */
export function checkOptions(options: FleetOptions, plan: FleetPlan): void {
  const { terminals } = plan;
  const { source } = options;
  const { terminalsMax, processesMax, parallelMax, bytesMax, pollSecondsMax } = FLEET_LIMITS;
  within(terminals.length, { from: 2, to: terminalsMax, what: 'terminals', option: '--terminals' });
  within(options.processes, {
    from: 1,
    to: processesMax,
    what: 'processes',
    option: '--processes',
  });
  if (options.processes > terminals.length) {
    const what = `${options.processes} processes are more than the ${terminals.length} terminals`;
    throw refusal(what, '--processes is at most the number of terminals');
  }
  const rates = [
    ['terminals a second', '--ramp', options.rampPerSecond],
    ['calls a second', '--rate', options.callsPerSecond],
  ] as const;
  for (const [what, option, rate] of rates) {
    if (rate > 0 && rate <= FLEET_LIMITS.rateMax) continue;
    throw refusal(
      `${rate} ${what} cannot be`,
      `${option} is above 0 and at most ${FLEET_LIMITS.rateMax}/s`,
    );
  }
  const { parallel, waitMs, forMs } = options;
  within(parallel, { from: 1, to: parallelMax, what: 'calls at once', option: '--parallel' });
  within(options.bytesMax, { from: 1, to: bytesMax, what: 'bytes', option: '--bytes' });
  within(waitMs, { from: 1, to: FLEET_LIMITS.permittedWaitMs, what: 'ms', option: '--wait' });
  within(forMs, { from: MS_PER_SECOND, to: FLEET_LIMITS.forMsMax, what: 'ms', option: '--for' });
  const poll = { from: 1, to: pollSecondsMax, what: 's', option: '--poll-every' };
  within(options.pollSeconds, poll);
  const percent = source.kind === 'random' ? source.permitPercent : (options.permitPercent ?? 0);
  within(percent, { from: 0, to: 100, what: '%', option: '--permit' });
  if (!terminals.some(({ profile }) => profile !== 'hostile')) {
    throw refusal('every terminal is hostile, so that nobody calls', 'add a part of always-on');
  }
  refuseTooLarge(options, plan);
}

/** Entries of a policy that a call of `--bytes` would run into. */
function refuseTooLarge({ source, bytesMax }: FleetOptions, plan: FleetPlan): void {
  if (source.kind !== 'policy') return;
  for (const [at, { name }] of plan.terminals.entries()) {
    for (const { pattern, bytes } of plan.listOf(at).entries) {
      if (bytes === undefined || bytes >= bytesMax + OVERHEAD_BYTES) continue;
      const most = Math.max(0, bytes - OVERHEAD_BYTES);
      const what = `calls of ${formatSize(bytesMax)} are over what '${name}' grants '${pattern}'`;
      const next =
        most === 0
          ? `grant it more than ${OVERHEAD_BYTES} bytes: a talk has its own`
          : `make it --bytes ${most} or less, or grant more in the file`;
      throw refusal(`${source.file}: ${what}: ${formatSize(bytes)}`, next);
    }
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  readonly what: string;
  readonly option: string;
}

function within(value: number, { from, to, what, option }: Range): void {
  if (Number.isFinite(value) && value >= from && value <= to) return;
  throw refusal(`${value} ${what} cannot be`, `${option} is from ${from} to ${to}`);
}

const refusal = (what: string, next: string): NakodoError =>
  new NakodoError('fleet-options', what, next, EXIT.usage);

/** Files, sockets and pipes that one process may have open; Infinity: any number. */
export function descriptorLimit(): number {
  // Else it asks the resolver for the names of our peers.
  Object.assign(process.report, { excludeNetwork: true });
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } };
  };
  const soft = Number(userLimits?.open_files?.soft);
  return Number.isNaN(soft) ? Infinity : soft;
}

/**
 * How many terminals of a plan can be: all of them, or, where that is allowed, as many as there are
 * file descriptors for in the fullest process.
 * @throws NakodoError `too-few-descriptors`.
 */
export function terminalsFor(options: FleetOptions, plan: FleetPlan, limit: number): number {
  const wanted = plan.terminals.length;
  const needed = (count: number): number => descriptorsFor(options, plan, count);
  if (needed(wanted) <= limit) return wanted;
  const least = Math.max(2, options.processes);
  if (options.isFewerAllowed && needed(least) <= limit) {
    let [fits, tooMany] = [least, wanted];
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if (needed(middle) <= limit) fits = middle;
      else tooMany = middle;
    }
    return fits;
  }
  const others = options.isFewerAllowed
    ? 'fewer --parallel'
    : 'fewer --parallel, more --processes, or --fewer-if-needed for a smaller fleet';
  throw new NakodoError(
    'too-few-descriptors',
    `${wanted} terminals need up to ${needed(wanted)} open files in one process, and ${limit} ` +
      'are allowed here',
    `raise the limit: ulimit -n ${needed(wanted)} — or ${others}`,
    EXIT.failed,
  );
}

/** What the fullest process needs: of terminals, or of servers. */
function descriptorsFor(options: FleetOptions, plan: FleetPlan, count: number): number {
  const { processes, parallel } = options;
  const share = Math.ceil(count / processes);
  const active = plan.terminals.slice(0, count);
  const extra = active.reduce((all, { profile }) => all + descriptorsOf(profile), 0);
  // Both ends of a call have a socket; those who are called may all be in one process.
  const calls = Math.ceil(parallel / processes) + parallel;
  const terminals = share + Math.ceil(extra / processes) + calls;
  return Math.max(terminals, count) + FLEET_LIMITS.descriptorsBeside + 2 * FLEET_LIMITS.atOnce;
}

/** Beside its link: a line with a port and both ends of a connection; calls of its own. */
function descriptorsOf(profile: FleetPlan['terminals'][number]['profile']): number {
  if (profile === 'flaky') return 1 + 2;
  return profile === 'hostile' ? FLEET_LIMITS.hostileCallsMax : 0;
}
