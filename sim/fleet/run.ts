// Conducts a fleet: servers and processes of terminals are started, terminals enrol and register,
// calls are made, the log is read, and everything is ended and removed, whatever happens on the
// way. What it found becomes a report.

import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NakodoError, errorMessage } from '../../protocol/errors.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { Child } from './child.ts';
import { Course, type Phase } from './course.ts';
import { FLEET_LIMITS } from './limits.ts';
import { type LogCheck, settledLog } from './log-check.ts';
import { type FleetOptions, checkOptions, descriptorLimit, terminalsFor } from './options.ts';
import { type CastOrder, type Gauge, type Order, type Progress } from './orders.ts';
import { planOf, rampPatienceMs } from './orders.ts';
import { callWeight } from './picks.ts';
import type { FleetPlan } from './plan.ts';
import { type CpuReading, type FleetReport, reportOf } from './report.ts';
import { type ServerName, type Servers, startServers } from './servers.ts';
import { Tally } from './tally.ts';

/** How far a fleet is, once a second. */
export interface FleetProgress {
  readonly phase: Phase;
  readonly terminals: number;
  readonly enrolled: number;
  readonly registered: number;
  /** Seconds of calls so far, and their counts. */
  readonly seconds: number;
  readonly tally: Tally;
}

/** Who watches a fleet. */
interface FleetWatch {
  /** Aborted: it ends before its time, with the report so far. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FleetProgress) => void;
  /** There are too few file descriptors for all of them (`isFewerAllowed`). */
  readonly onFewer?: (fewer: number, wanted: number) => void;
}

const NO_GAUGE: Gauge = { rssBytes: 0, heapBytes: 0, cpuMicros: 0 };
const NO_PROGRESS: Progress = {
  enrolled: 0,
  registered: 0,
  underWay: 0,
  tally: new Tally().record(),
  gauge: NO_GAUGE,
};

/**
 * Runs a fleet to its end.
 * @throws NakodoError before anything is started: `policy`, `fleet-options`, `too-few-descriptors`;
 *   and when the servers or the terminals' processes do not start.
 */
export async function runFleet(
  options: FleetOptions,
  watch: FleetWatch = {},
): Promise<FleetReport> {
  const plan = planOf(options.source);
  checkOptions(options, plan);
  const active = terminalsFor(options, plan, descriptorLimit());
  if (active < plan.terminals.length) watch.onFewer?.(active, plan.terminals.length);
  const folder = await mkdtemp(join(options.folder, 'nakodo-fleet-'));
  const conductor = new Conductor({ options, plan, active, folder }, watch);
  try {
    return await conductor.run();
  } finally {
    await conductor.close();
  }
}

interface Score {
  readonly options: FleetOptions;
  readonly plan: FleetPlan;
  readonly active: number;
  readonly folder: string;
}

class Conductor {
  readonly #score: Score;
  readonly #watch: FleetWatch;
  readonly #begun = new Date();
  readonly #children: Child[] = [];
  /** Of each process of terminals: how far it is, as it last said. */
  readonly #progress: Progress[] = [];
  readonly #course = new Course();
  readonly #took = { enrol: 0, ramp: 0, call: 0 };
  readonly #onExit = (): void => this.#leave();
  #voices: readonly Child[] = [];
  #servers: Servers | undefined;
  #serverGauges: ReadonlyMap<ServerName, Gauge> = new Map();
  #phase: Phase = 'enrolling';
  #callsBegunMs: number | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #trouble: string | undefined;
  /** The servers have not answered the last question yet. */
  #isGauging = false;
  #isClosed = false;

  constructor(score: Score, watch: FleetWatch) {
    this.#score = score;
    this.#watch = watch;
    process.on('exit', this.#onExit);
  }

  async run(): Promise<FleetReport> {
    const { signal } = this.#watch;
    const halt = (): void => {
      for (const voice of this.#voices) voice.tell({ kind: 'halt' } satisfies Order);
    };
    signal?.addEventListener('abort', halt, { once: true });
    try {
      const servers = await this.#startServers();
      const without = await this.#cast(servers);
      // From here on there is something to report, whatever breaks.
      const found = await this.#play(servers);
      return reportOf({
        ...this.#score,
        registered: this.#sum(({ registered }) => registered),
        begun: this.#begun,
        isInterrupted: signal?.aborted === true,
        trouble: this.#trouble,
        took: this.#took,
        tally: this.#tally().record(),
        without,
        serversBytes: this.#serversRss(),
        course: this.#course.rows,
        ...found,
      });
    } finally {
      signal?.removeEventListener('abort', halt);
    }
  }

  /** Ends every process, removes every file. */
  async close(): Promise<void> {
    clearInterval(this.#ticker);
    await Promise.all(this.#children.map((child) => child.end()));
    const { folder, options } = this.#score;
    if (!options.isKept) await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    this.#isClosed = true;
    process.off('exit', this.#onExit);
  }

  /** When there is no time for that. */
  #leave(): void {
    if (this.#isClosed) return;
    for (const child of this.#children) child.kill();
    const { folder, options } = this.#score;
    if (!options.isKept) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }

  async #startServers(): Promise<Servers> {
    const { options, folder } = this.#score;
    const servers = await startServers({
      ...options,
      folder,
      onChild: (child) => this.#children.push(child),
      onDeath: (error) => this.#onDeath(error),
    });
    this.#servers = servers;
    return servers;
  }

  /** Starts the processes of terminals, which are empty yet; returns what they take in all. */
  async #cast(servers: Servers): Promise<Gauge> {
    const { options, active, folder } = this.#score;
    const { processes, seed, source, permitPercent } = options;
    const ticket = await servers.ticket(active);
    this.#voices = Array.from({ length: processes }, (_, at) => {
      const child = new Child({
        name: `terminals ${at + 1}`,
        file: join(import.meta.dirname, 'fleet-process.js'),
        execArgv: ['--expose-gc'],
        env: options.env,
        onTick: ({ progress }) => {
          this.#progress[at] = progress;
        },
        onDeath: (error) => this.#onDeath(error),
      });
      this.#children.push(child);
      this.#progress.push(NO_PROGRESS);
      return child;
    });
    await this.#askEach<Gauge>((at): CastOrder => ({
      kind: 'cast',
      source,
      active,
      from: at,
      of: processes,
      folder,
      ticket,
      seed: seed + at,
      bytesMax: options.bytesMax,
      waitMs: options.waitMs,
      pollSeconds: options.pollSeconds,
      permitPercent,
    }));
    const gauges = await this.#askEach<Gauge>(() => ({ kind: 'gauge' }));
    this.#serverGauges = await servers.gauges();
    this.#ticker = setInterval(() => void this.#onTick(), MS_PER_SECOND);
    return summed(gauges);
  }

  /** The phases, one after another; a process that breaks ends them. */
  async #play(servers: Servers): Promise<{
    readonly with: Gauge;
    readonly ramped: number;
    readonly cpuAt: readonly [CpuReading, CpuReading] | undefined;
    readonly log: LogCheck | undefined;
  }> {
    let loaded = NO_GAUGE;
    let ramped = 0;
    let cpuAt: readonly [CpuReading, CpuReading] | undefined;
    let log: LogCheck | undefined;
    try {
      await this.#enrol();
      await this.#ramp();
      loaded = summed(await this.#askEach<Gauge>(() => ({ kind: 'gauge' })));
      ramped = this.#sum(({ registered }) => registered);
      const before = await this.#cpu(servers);
      await this.#call();
      cpuAt = [before, await this.#cpu(servers)];
    } catch (error) {
      this.#trouble ??= errorMessage(error);
    }
    this.#phase = 'settling';
    try {
      log = await settledLog(servers.home, this.#score.plan);
      await this.#onTick();
    } catch (error) {
      this.#trouble ??= `the log could not be read: ${errorMessage(error)}`;
    }
    return { with: loaded, ramped, cpuAt, log };
  }

  async #enrol(): Promise<void> {
    if (this.#isHalted) return;
    const { active } = this.#score;
    const patienceMs = FLEET_LIMITS.answerMs + active * FLEET_LIMITS.startMs;
    await this.#timed('enrol', async () => this.#order({ kind: 'enrol' }, patienceMs));
  }

  async #ramp(): Promise<void> {
    if (this.#isHalted) return;
    this.#phase = 'ramping';
    const { options, active } = this.#score;
    const perSecond = options.rampPerSecond / options.processes;
    const share = Math.ceil(active / options.processes);
    const patienceMs = FLEET_LIMITS.answerMs + rampPatienceMs(share, perSecond);
    await this.#timed('ramp', async () => this.#order({ kind: 'ramp', perSecond }, patienceMs));
    if (this.#isHalted || this.#sum(({ registered }) => registered) > 0) return;
    const next = 'look at the errors by code, and try a smaller fleet';
    throw new NakodoError('fleet-not-ready', 'no terminal was registered in time', next);
  }

  async #call(): Promise<void> {
    if (this.#isHalted) return;
    this.#phase = 'calling';
    this.#callsBegunMs = performance.now();
    const { options, plan, active } = this.#score;
    const { processes, forMs, parallel, callsPerSecond, pollSeconds } = options;
    const terminals = plan.terminals.slice(0, active);
    const all = callWeight(terminals);
    const patienceMs =
      FLEET_LIMITS.answerMs + forMs + FLEET_LIMITS.drainMs + pollSeconds * MS_PER_SECOND;
    const orders = this.#askEach<Progress>((at): Order => {
      const weight = callWeight(terminals.filter((_, place) => place % processes === at));
      return {
        kind: 'call',
        perSecond: (callsPerSecond * weight) / all,
        parallel: Math.ceil(parallel / processes),
        forMs,
      };
    }, patienceMs);
    const begun = performance.now();
    const ended = await orders;
    ended.forEach((progress, at) => {
      this.#progress[at] = progress;
    });
    // What comes after is waiting for the last of them.
    this.#took.call = Math.min(performance.now() - begun, forMs) / MS_PER_SECOND;
  }

  get #isHalted(): boolean {
    return this.#watch.signal?.aborted === true;
  }

  async #timed(phase: 'enrol' | 'ramp', work: () => Promise<void>): Promise<void> {
    const begun = performance.now();
    await work();
    this.#took[phase] = (performance.now() - begun) / MS_PER_SECOND;
  }

  /** To every process; keeps how far each came. */
  async #order(order: Order, patienceMs: number): Promise<void> {
    const all = await this.#askEach<Progress>(() => order, patienceMs);
    all.forEach((progress, at) => {
      this.#progress[at] = progress;
    });
  }

  #askEach<Answer>(order: (at: number) => Order, patienceMs?: number): Promise<Answer[]> {
    return Promise.all(this.#voices.map((voice, at) => voice.ask<Answer>(order(at), patienceMs)));
  }

  async #cpu(servers: Servers): Promise<CpuReading> {
    this.#serverGauges = await servers.gauges();
    const cpu = new Map<ServerName | 'terminals', number>();
    for (const [name, gauge] of this.#serverGauges) cpu.set(name, gauge.cpuMicros);
    cpu.set('terminals', this.#gauge().cpuMicros);
    return cpu;
  }

  async #onTick(): Promise<void> {
    const { active } = this.#score;
    const tally = this.#tally();
    const { counts } = tally.record();
    const terminals = this.#gauge();
    const now = performance.now();
    const seconds = this.#callsBegunMs === undefined ? 0 : (now - this.#callsBegunMs) / 1_000;
    this.#course.add({
      seconds: Math.round((Date.now() - this.#begun.getTime()) / 100) / 10,
      phase: this.#phase,
      registered: this.#sum(({ registered }) => registered),
      due: counts.due,
      missed: counts.missed,
      introduced: counts.introduced,
      refused: counts.refused,
      failed:
        counts.wronglyRefused +
        counts.unreached +
        counts.overslept +
        counts.limited +
        counts.noAnswer,
      bytes: counts.bytes,
      terminalsRssBytes: terminals.rssBytes,
      serversRssBytes: this.#serversRss(),
      terminalsCpuSeconds: terminals.cpuMicros / 1e6,
      serversCpuSeconds: this.#serversCpuMicros() / 1e6,
    });
    this.#watch.onProgress?.({
      phase: this.#phase,
      terminals: active,
      enrolled: this.#sum(({ enrolled }) => enrolled),
      registered: this.#sum(({ registered }) => registered),
      seconds: Math.min(seconds, this.#score.options.forMs / MS_PER_SECOND),
      tally,
    });
    if (this.#isGauging) return;
    this.#isGauging = true;
    try {
      this.#serverGauges = (await this.#servers?.gauges()) ?? this.#serverGauges;
    } catch {
      // One that died is told of by its end.
    } finally {
      this.#isGauging = false;
    }
  }

  #onDeath(error: NakodoError): void {
    this.#trouble ??= error.message;
    for (const voice of this.#voices) voice.tell({ kind: 'halt' } satisfies Order);
  }

  #tally(): Tally {
    const tally = new Tally();
    for (const progress of this.#progress) tally.merge(progress.tally);
    return tally;
  }

  #gauge(): Gauge {
    return summed(this.#progress.map(({ gauge }) => gauge));
  }

  #sum(of: (progress: Progress) => number): number {
    return this.#progress.reduce((all, progress) => all + of(progress), 0);
  }

  #serversRss(): number {
    return [...this.#serverGauges.values()].reduce((all, { rssBytes }) => all + rssBytes, 0);
  }

  #serversCpuMicros(): number {
    return [...this.#serverGauges.values()].reduce((all, { cpuMicros }) => all + cpuMicros, 0);
  }
}

function summed(gauges: readonly Gauge[]): Gauge {
  return gauges.reduce((all, gauge) => ({
    rssBytes: all.rssBytes + gauge.rssBytes,
    heapBytes: all.heapBytes + gauge.heapBytes,
    cpuMicros: all.cpuMicros + gauge.cpuMicros,
  }));
}
