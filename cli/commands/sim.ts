// `nakodo sim`: the simulator. One seed with its story, or many with a verdict; a seed that fails is
// shrunk and shown with its last lines and the command that runs it again.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { OPTION_NAMES, OPTION_SPECS, type OptionName, type Options } from '../../sim/options.ts';
import { SCENARIOS } from '../../sim/scenarios.ts';
import type { Wanted } from '../../sim/runner/plan.ts';
import type { Output } from '../output.ts';
import { declare, boundedDurationOption, countOption, runs } from './command.ts';

const SEED_MAX = 2 ** 32 - 1;
const TERMINALS_MAX = 20_000;
const SECONDS_MAX = 30 * 86_400;
const MS_PER_SECOND = 1_000;

interface SimOptions {
  readonly seed?: number;
  readonly seeds?: number;
  readonly from: number;
  readonly terminals?: number;
  readonly scenario: string;
  /** Milliseconds. */
  readonly until?: number;
  readonly off?: readonly OptionName[];
  readonly set?: Partial<Options>;
  readonly suite?: 'fast' | 'real';
  readonly workers?: number;
  readonly resume?: string;
  readonly trace?: boolean;
}

/** Adds `sim`. */
export function declareSim(program: Command): void {
  const sim = declare(program, {
    usage: 'sim',
    summary: 'Simulate fleets in virtual time: the same programs, a seed decides everything.',
    details: [
      'Terminals, broker, session manager, NATs, disks and clocks live in one process; first faults',
      'strike, then everything must come right by itself. Invariants are checked after every event.',
      'The same seed gives the same world. docs/simulator.md explains traces, faults, invariants.',
      '',
      'Scenarios:',
      ...Object.entries(SCENARIOS).map(([name, { says }]) => `  ${name.padEnd(8)} ${says}`),
      '',
      'Options of a world (--set, --off; at 0 or the value named, a fault is off):',
      ...OPTION_NAMES.map((name) => `  ${name.padEnd(17)} ${saysOf(name)}`),
    ].join('\n'),
    home: 'of no effect: nothing is kept',
    examples: [
      'nakodo sim --seed 17 --trace',
      'nakodo sim --seeds 2000',
      'nakodo sim --seed 3 --scenario mobile --set udp.loss=0.2 --trace',
      'nakodo sim --seeds 100000 --resume night.json',
    ],
  });
  sim
    .addOption(numberOption('--seed <n>', 'run this seed, and show what happens', SEED_MAX, 0))
    .addOption(numberOption('--seeds <n>', 'run so many seeds, on all cores', SEED_MAX, 1))
    .addOption(countOption('--from <n>', 'the first of them', 1))
    .addOption(
      numberOption('--terminals <n>', 'terminals (else as the scenario says)', TERMINALS_MAX, 1),
    )
    .addOption(
      new Option('--scenario <name>', 'what kind of world')
        .default('swarm')
        .choices(Object.keys(SCENARIOS)),
    )
    .addOption(
      boundedDurationOption('--until <time>', 'how long faults strike, like 40s', {
        minMs: MS_PER_SECOND,
        maxMs: SECONDS_MAX * MS_PER_SECOND,
      }),
    )
    .addOption(new Option('--off <names>', 'faults to leave out: a,b,c').argParser(parseOff))
    .addOption(new Option('--set <values>', 'options to set: a=1,b=0.5').argParser(parseSet))
    .addOption(
      new Option('--suite <which>', 'cryptography: real, or fast (1 seed in 50 is real)').choices([
        'fast',
        'real',
      ]),
    )
    .addOption(numberOption('--workers <n>', 'threads (else one for each core)', 256, 1))
    .option('--resume <file>', 'go on from where this file says, and write it')
    .option('--trace', 'a line for each change of state');
  runs<SimOptions>(sim, async (output, options) => {
    if (options.seed !== undefined && options.seeds !== undefined) {
      const next = 'a single world with its story, or many with a verdict';
      throw new NakodoError('usage', '--seed and --seeds exclude each other', next, EXIT.usage);
    }
    return options.seeds === undefined ? runOne(output, options) : runMany(output, options);
  });
}

const saysOf = (name: OptionName): string => {
  const { says, off } = OPTION_SPECS[name];
  return off === 0 ? says : `${says} (off: ${off})`;
};

const wantedOf = (options: SimOptions): Wanted => {
  const { scenario, terminals, until, off, set, suite } = options;
  const seconds = until === undefined ? undefined : until / MS_PER_SECOND;
  return { scenario, terminals, seconds, off, set, suite };
};

async function runOne(output: Output, options: SimOptions): Promise<ExitCode> {
  const { showSeed } = await import('../../sim/runner/show.ts');
  const seed = options.seed ?? options.from;
  const wanted = wantedOf(options);
  const write = (line: string): void => output.remark(line);
  const shown = showSeed(seed, wanted, { isTraced: options.trace === true, write });
  output.result(shown.json, shown.words);
  return shown.isWell ? EXIT.done : EXIT.failed;
}

async function runMany(output: Output, options: SimOptions): Promise<ExitCode> {
  const { runSeeds } = await import('../../sim/runner/seeds.ts');
  const { loadNight, saveNight, kept } = await import('../../sim/runner/night.ts');
  const { reportWords, explainFailure } = await import('../../sim/runner/show.ts');
  const { seeds = 1, from, resume, workers, scenario } = options;
  const night = resume === undefined ? undefined : await loadNight(resume);
  if (night !== undefined && (night.scenario !== scenario || night.from !== from)) {
    const was = `--scenario ${night.scenario} --from ${night.from}`;
    const next = `say ${was} as before, or give --resume another file`;
    throw new NakodoError('usage', `${resume} belongs to another run`, next, EXIT.usage);
  }
  const before = night?.failures ?? [];
  const first = night?.next ?? from;
  const end = from + seeds;
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const wanted = wantedOf(options);
  const count = Math.max(0, end - first);
  const report = await runSeeds({
    from: first,
    count,
    wanted,
    workers,
    signal: stop.signal,
    onProgress: ({ done, failures }) =>
      output.progress(`${done} of ${count} seeds, ${before.length + failures.length} failed`),
  });
  output.progressDone();
  const failures = [...before, ...report.failures.map(kept)];
  if (resume !== undefined) {
    await saveNight(resume, { version: 1, scenario, from, next: report.next, failures });
  }
  const [worst] = report.failures;
  if (worst !== undefined) output.remark(explainFailure(worst.seed, wanted));
  output.result({ ...report, failures }, reportWords(report, failures));
  if (stop.signal.aborted && resume !== undefined) output.warn(`stopped; ${resume} goes on there`);
  return failures.length === 0 && !stop.signal.aborted ? EXIT.done : EXIT.failed;
}

function numberOption(flags: string, description: string, most: number, least: number): Option {
  return new Option(flags, description).argParser((text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  });
}

function knownName(name: string): OptionName {
  const known = OPTION_NAMES.find((each) => each === name);
  if (known === undefined) {
    throw new InvalidArgumentError(`There is no option ${name}; nakodo sim --help lists them.`);
  }
  return known;
}

function parseOff(text: string): readonly OptionName[] {
  return text.split(',').map(knownName);
}

function parseSet(text: string): Partial<Options> {
  const set: Partial<Record<OptionName, number>> = {};
  for (const part of text.split(',')) {
    const [word, number = ''] = part.split('=');
    const name = knownName(word);
    const value = Number(number);
    const [least, most] = OPTION_SPECS[name].range;
    if (number.trim() === '' || !(value >= least && value <= most)) {
      throw new InvalidArgumentError(`${name} must be from ${least} to ${most}, like ${name}=1.`);
    }
    set[name] = value;
  }
  return set;
}
