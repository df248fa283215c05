// `nakodo fleet`: many terminals on this machine's real sockets, against the real servers, to see
// how a fleet would fare, or what a policy would do, before either exists.

import { stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, type ExitCode, NakodoError, UsageError } from '../../protocol/errors.ts';
import type { FleetReport } from '../../sim/fleet/report.ts';
import type { FleetOptions } from '../../sim/fleet/options.ts';
import type { PlanSource } from '../../sim/fleet/orders.ts';
import { parsePercent, parseRate, parseWhole } from '../../sim/fleet/amounts.ts';
import { type Shares, parseShares } from '../../sim/fleet/profiles.ts';
import type { FleetProgress } from '../../sim/fleet/run.ts';
import { makeHome } from '../home.ts';
import type { Output } from '../output.ts';
import { untilEnded } from '../signals.ts';
import {
  type CommonOptions,
  boundedDurationOption,
  countOption,
  declare,
  ownOption,
  runs,
  someBytesOption,
} from './command.ts';

interface FleetCommandOptions extends CommonOptions {
  readonly terminals?: number;
  readonly processes: number;
  readonly profile?: Shares;
  readonly policy?: string;
  readonly permit: number;
  readonly seed: number;
  readonly ramp: number;
  readonly rate: number;
  readonly parallel: number;
  readonly bytes: number;
  readonly for: number;
  readonly wait: number;
  readonly pollEvery: number;
  readonly plain?: boolean;
  readonly apart?: boolean;
  readonly fewerIfNeeded?: boolean;
  readonly strict?: boolean;
  readonly html?: string;
  readonly keep?: boolean;
}

const TERMINALS = 100;
const PROFILE = 'always-on=70,polling=10,flaky=10,chatty=5,hostile=5';
const PROCESSES = 2;
const PARALLEL = 512;
const BYTES = 16_384;
const RATE = 20;
const RAMP = 100;
const PERMIT = 50;
const FOR_MS = 60_000;
const WAIT_MS = 2_000;
const POLL_MS = 5_000;
const MS_PER_SECOND = 1_000;
/** Lines of progress where they cannot be rewritten: every so many seconds, and at a new phase. */
const LINE_EVERY = 5;

/** Adds `fleet`. */
export function declareFleet(program: Command): void {
  const fleet = declare(program, {
    usage: 'fleet',
    summary: 'Run many terminals against real servers here: how fast, and does a policy hold?',
    details:
      'A server (nakodo serve) and the terminals, in a few processes, start on this machine on\n' +
      'loopback. Terminals enrol, register, and call one another at a rate that does not wait\n' +
      'for answers. Every outcome is held against the policy, every byte that arrives against\n' +
      'what was sent, and the log is verified. Nothing stays behind. docs/fleet.md has the\n' +
      'policy file and how to read the report.\n\n' +
      'Profiles: always-on; polling (sleeps, and asks for calls every few seconds); flaky (its\n' +
      'line is cut, or it is switched off and on); chatty (ten times the calls, small ones);\n' +
      'hostile (calls whom it likes, and says what is no message).\n\n' +
      'Ctrl-C ends it with the report so far. Exit code 1: something was introduced that the\n' +
      'policy forbids, or arrived damaged, or the log does not verify, or a process died.',
    home: 'where the homes are made, and removed at the end (else the folder for temporary files)',
    examples: [
      'nakodo fleet',
      'nakodo fleet --policy policy.toml --for 2m --html report.html',
      'nakodo fleet --terminals 1000 --rate 100/s --profile always-on=1 --plain --apart',
      'nakodo fleet --terminals 9000 --ramp 200/s --processes 4 --fewer-if-needed --json',
    ],
  });
  addWho(fleet);
  addLoad(fleet);
  addHow(fleet);
  runs<FleetCommandOptions>(fleet, run);
}

function addWho(fleet: Command): void {
  fleet
    .option('--policy <file>', 'who there is and who allows whom (TOML); else both are drawn')
    .addOption(
      ownOption(
        '--terminals <n>',
        `without --policy: how many (default: ${TERMINALS})`,
        parseWhole,
      ),
    )
    .addOption(
      ownOption(
        '--profile <parts>',
        `without --policy: how they behave (default: ${PROFILE})`,
        parseShares,
      ),
    )
    .addOption(
      ownOption(
        '--permit <percent>',
        'the share of pairs that is permitted; with --policy the share of calls along such pairs',
        parsePercent,
      ).default(PERMIT, `${PERMIT}%`),
    )
    .addOption(
      ownOption('--seed <n>', 'draws the same policy and the same calls again', parseWhole).default(
        1,
      ),
    );
}

function addLoad(fleet: Command): void {
  const rate = (flags: string, what: string, preset: number): void => {
    fleet.addOption(ownOption(flags, what, parseRate).default(preset, `${preset}/s`));
  };
  rate('--ramp <rate>', 'terminals to start, a second', RAMP);
  rate('--rate <rate>', 'calls that become due, in all; they wait for nothing', RATE);
  fleet
    .addOption(
      countOption('--parallel <n>', 'calls under way at most; others are missed', PARALLEL),
    )
    .addOption(
      someBytesOption('--bytes <max>', 'a call carries 1 byte to so many').default(BYTES, '16KiB'),
    )
    .addOption(
      boundedDurationOption('--for <time>', 'how long calls are made', {
        minMs: MS_PER_SECOND,
        maxMs: 86_400_000,
      }).default(FOR_MS, '60s'),
    )
    .addOption(
      boundedDurationOption('--wait <time>', 'how long callers wait: what a refusal takes', {
        minMs: 100,
        maxMs: 30_000,
      }).default(WAIT_MS, '2s'),
    )
    .addOption(
      boundedDurationOption('--poll-every <time>', 'how long polling terminals sleep', {
        minMs: MS_PER_SECOND,
        maxMs: 60_000,
      }).default(POLL_MS, '5s'),
    );
}

function addHow(fleet: Command): void {
  fleet
    .addOption(countOption('--processes <n>', 'that the terminals are spread over', PROCESSES))
    .option('--plain', 'no TLS, to see what TLS costs')
    .option('--apart', 'broker and session manager in two processes, to tell their work apart')
    .option('--fewer-if-needed', 'fewer terminals if there are too few file descriptors')
    .option('--strict', 'also exit 1 if a permitted call failed between terminals that were there')
    .option('--html <file>', 'write the report as one page with plots')
    .option('--keep', 'leave the homes, and the log, where they are');
}

async function run(output: Output, options: FleetCommandOptions): Promise<ExitCode> {
  const { runFleet } = await import('../../sim/fleet/run.ts');
  const { html } = options;
  if (html !== undefined) await checkPage(html);
  const fleetOptions = await fleetOptionsOf(options);
  const ended = new AbortController();
  void untilEnded().then(() => ended.abort());
  const report = await runFleet(fleetOptions, {
    signal: ended.signal,
    onProgress: await progressTo(output),
    onFewer: (fewer, wanted) => {
      const words = `Too few file descriptors for ${wanted} terminals: ${fewer} are started.`;
      if (!output.json) output.warn(words);
    },
  });
  output.progressDone();
  if (html !== undefined) {
    const { reportPage } = await import('../../sim/fleet/report-page.ts');
    await writeFile(html, reportPage(report));
  }
  const { reportWords } = await import('../../sim/fleet/report-words.ts');
  const kept = report.kept === null ? '' : `\nThe homes are in ${report.kept}.`;
  output.result(report, `${reportWords(report)}${kept}`);
  return isGood(report, options.strict === true) ? EXIT.done : EXIT.failed;
}

function isGood({ ok, calls }: FleetReport, isStrict: boolean): boolean {
  return ok && (!isStrict || calls.wronglyRefused + calls.overslept + calls.noAnswer === 0);
}

async function fleetOptionsOf(options: FleetCommandOptions): Promise<FleetOptions> {
  const { policy, permit, seed } = options;
  const source = policy === undefined ? randomSource(options) : await policySource(options, policy);
  return {
    source,
    permitPercent: policy === undefined ? undefined : permit,
    seed,
    processes: options.processes,
    rampPerSecond: options.ramp,
    callsPerSecond: options.rate,
    parallel: options.parallel,
    bytesMax: options.bytes,
    forMs: options.for,
    waitMs: options.wait,
    pollSeconds: Math.round(options.pollEvery / MS_PER_SECOND),
    isPlain: options.plain === true,
    isApart: options.apart === true,
    isFewerAllowed: options.fewerIfNeeded === true,
    folder: options.home === undefined ? tmpdir() : makeHome(options.home),
    isKept: options.keep === true,
    program: join(import.meta.dirname, '..', 'main.js'),
    env: process.env,
  };
}

function randomSource({ terminals, profile, permit, seed }: FleetCommandOptions): PlanSource {
  return {
    kind: 'random',
    terminals: terminals ?? TERMINALS,
    shares: profile ?? parseShares(PROFILE),
    permitPercent: permit,
    seed,
  };
}

async function policySource(options: FleetCommandOptions, path: string): Promise<PlanSource> {
  const doubled = (['terminals', 'profile'] as const).find((each) => options[each] !== undefined);
  if (doubled !== undefined) {
    const what = `--${doubled} is not for --policy: its file says which terminals there are`;
    throw new UsageError('usage', what);
  }
  const { readFileIfAny } = await import('../../protocol/io/files.ts');
  const { FLEET_LIMITS } = await import('../../sim/fleet/limits.ts');
  const bytes = await readFileIfAny(path, FLEET_LIMITS.policyBytesMax);
  if (bytes !== undefined) {
    return { kind: 'policy', file: path, text: new TextDecoder().decode(bytes) };
  }
  const next = 'check the path; docs/fleet.md has a whole one to begin with';
  throw new NakodoError('no-such-file', `there is no policy file ${path}`, next, EXIT.usage);
}

/** Before an hour of calls, not after it. */
async function checkPage(path: string): Promise<void> {
  const place = await stat(path).catch(() => undefined);
  const folder = await stat(dirname(resolve(path))).catch(() => undefined);
  if (place?.isDirectory() !== true && folder?.isDirectory() === true) return;
  const what = `${path} cannot be written: ${place ? 'it is a folder' : 'there is no such folder'}`;
  throw new NakodoError('bad-page', what, 'name a file in a folder that is there', EXIT.usage);
}

/** One line, written anew, on a terminal; else a line at times; nothing with --json. */
async function progressTo(output: Output): Promise<(progress: FleetProgress) => void> {
  const { progressWords } = await import('../../sim/fleet/report-words.ts');
  let lastPhase = '';
  let ticks = 0;
  return (progress) => {
    if (output.json) return;
    const words = progressWords(progress);
    ticks += 1;
    if (process.stderr.isTTY) output.progress(words);
    else if (progress.phase !== lastPhase || ticks % LINE_EVERY === 0) output.warn(words);
    lastPhase = progress.phase;
  };
}
