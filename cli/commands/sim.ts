// `nakodo sim`: the simulator. One seed with its story, or many with a verdict; one that fails is
// shrunk and shown with its last lines and the command that runs it again. What cannot be meant is
// said before anything starts.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { OPTION_NAMES, OPTION_SPECS, type OptionName, type Options } from '../../sim/options.ts';
import { DEFAULT_SCENARIO, NO_OPTION, type Wanted, wordsOf } from '../../sim/runner/wanted.ts';
import type { Explained } from '../../sim/runner/show.ts';
import type { Totals } from '../../sim/runner/seeds.ts';
import { SCENARIOS } from '../../sim/scenarios.ts';
import type { Output } from '../output.ts';
import { untilEnded } from '../signals.ts';
import { boundedDurationOption, declare, runs } from './command.ts';

const SEED_MAX = 2 ** 32 - 1;
const TERMINALS_MAX = 20_000;
const SECONDS_MAX = 30 * 86_400;
const WORKERS_MAX = 64;
const MS_PER_SECOND = 1_000;
const FIRST_SEED = 1;
/** Of what `--json` prints; docs/simulator.md says what is in it. */
const JSON_VERSION = 1;

interface SimOptions {
  readonly seed?: number;
  readonly seeds?: number;
  readonly from?: number;
  readonly terminals?: number;
  readonly scenario: string;
  /** Milliseconds. */
  readonly until?: number;
  readonly only?: Chosen;
  readonly off?: readonly OptionName[];
  readonly set?: Partial<Options>;
  readonly suite?: 'fast' | 'real';
  readonly workers?: number;
  readonly resume?: string;
  readonly failures?: string;
  readonly trace?: boolean;
}

/** Options that stay on, some of them with a value. */
interface Chosen {
  readonly names: readonly OptionName[];
  readonly set: Partial<Options>;
}

/** Adds `sim`. */
export function declareSim(program: Command): void {
  const sim = declare(program, {
    usage: 'sim',
    summary: 'Simulate fleets in virtual time: the same programs, a seed decides everything.',
    details: [
      'Terminals, broker, session manager, NATs, disks, clocks live in one process; faults strike,',
      'then everything must come right by itself. Invariants are checked after every event. The',
      'same seed gives the same world. Without --seed and --seeds: seed 1 with its story.',
      'docs/simulator.md explains traces, faults, invariants and what --json prints.',
      '',
      'Scenarios:',
      ...Object.entries(SCENARIOS).map(([name, { says }]) => `  ${name.padEnd(8)} ${says}`),
      '',
      'Options of a world (--only, --off, --set), off at 0 or the value named:',
      ...OPTION_NAMES.map((name) => `  ${name.padEnd(17)} ${saysOf(name)}`),
    ].join('\n'),
    home: 'of no effect: nothing is kept',
    examples: [
      'nakodo sim',
      'nakodo sim --seed 17 --trace',
      'nakodo sim --seeds 2000',
      'nakodo sim --seed 3 --scenario mobile --set udp.loss=0.2 --trace',
      'nakodo sim --seed 3 --only udp.loss=0.3,manager.crash --trace',
      'nakodo sim --seeds 100000 --resume night.json --failures failures.txt',
    ],
  });
  sim
    .addOption(numberOption('--seed <n>', 'run this seed; --trace shows what happens', 0, SEED_MAX))
    .addOption(numberOption('--seeds <n>', 'run so many seeds, on all cores', 1, SEED_MAX))
    .addOption(numberOption('--from <n>', 'the first of them (default: 1)', 0, SEED_MAX))
    .addOption(
      numberOption('--terminals <n>', 'terminals (else as the scenario says)', 2, TERMINALS_MAX),
    )
    .addOption(
      new Option('--scenario <name>', 'what kind of world')
        .default(DEFAULT_SCENARIO)
        .choices(Object.keys(SCENARIOS)),
    )
    .addOption(
      boundedDurationOption('--until <time>', 'how long faults strike, like 28s', {
        minMs: MS_PER_SECOND,
        maxMs: SECONDS_MAX * MS_PER_SECOND,
      }),
    )
    .addOption(
      new Option('--only <names>', 'all others are off: a,b=0.5,c (or none)').argParser(parseOnly),
    )
    .addOption(new Option('--off <names>', 'what to leave out: a,b,c').argParser(parseOff))
    .addOption(new Option('--set <values>', 'options to set: a=1,b=0.5').argParser(parseSet))
    .addOption(
      new Option('--suite <which>', 'cryptography: real, or fast (1 seed in 50 is real)').choices([
        'fast',
        'real',
      ]),
    )
    .addOption(numberOption('--workers <n>', 'threads (else one for each core)', 1, WORKERS_MAX))
    .option('--resume <file>', 'go on from where this file says, and write it')
    .option('--failures <file>', 'add failing seeds to this list')
    .option('--trace', 'a line for each change of state');
  runs<SimOptions>(sim, async (output, options) => {
    assertMeant(options);
    return options.seeds === undefined
      ? runOne(output, options)
      : runMany(output, options, options.seeds);
  });
}

/** @throws NakodoError `usage` for options that cannot be meant together. */
function assertMeant(options: SimOptions): void {
  const { seed, seeds, from = FIRST_SEED, trace, only, off = [], set = {} } = options;
  const refuse = (message: string, next: string): never => {
    throw new NakodoError('usage', message, next, EXIT.usage);
  };
  if (seed !== undefined && seeds !== undefined)
    refuse(
      '--seed and --seeds exclude each other',
      'ask for one world with its story, or for many with a verdict',
    );
  if (seeds === undefined) {
    for (const name of ['from', 'resume', 'failures', 'workers'] as const)
      if (options[name] !== undefined)
        refuse(`--${name} is for many seeds`, 'say how many: --seeds 2000');
  } else {
    if (trace === true)
      refuse(
        '--trace shows one world',
        'first --seeds alone, then --seed N --trace for one of them',
      );
    if (from + seeds - 1 > SEED_MAX)
      refuse(`the last seed is ${SEED_MAX}`, 'begin lower, or ask for fewer');
  }
  const isOut = (name: OptionName): boolean =>
    off.includes(name) || (only !== undefined && !only.names.includes(name));
  const both =
    OPTION_NAMES.find((name) => set[name] !== undefined && isOut(name)) ??
    only?.names.find((name) => off.includes(name));
  if (both !== undefined)
    refuse(`${both} cannot be off and on`, 'name it in one of --only, --off and --set');
}

const saysOf = (name: OptionName): string => {
  const { says, off } = OPTION_SPECS[name];
  return off === 0 ? says : `${says} (off: ${off})`;
};

/** What is asked for beside the seeds. */
export const wantedOf = (options: SimOptions): Wanted => {
  const { scenario, terminals, until, only, off, set, suite } = options;
  const seconds = until === undefined ? undefined : until / MS_PER_SECOND;
  return {
    scenario,
    terminals,
    seconds,
    only: only?.names,
    off,
    set: { ...only?.set, ...set },
    suite,
  };
};

async function runOne(output: Output, options: SimOptions): Promise<ExitCode> {
  const { SeedThread } = await import('../../sim/runner/seed-thread.ts');
  const { planOf } = await import('../../sim/runner/plan.ts');
  const { explainFailure, headOf, verdictOf } = await import('../../sim/runner/show.ts');
  const { traceWords } = await import('../../sim/runner/trace.ts');
  const seed = options.seed ?? FIRST_SEED;
  const isTraced = options.trace === true || options.seed === undefined;
  const wanted = wantedOf(options);
  const { options: drawn, terminals, seconds, isReal } = planOf(seed, wanted);
  output.remark(headOf(seed, wanted));
  const thread = new SeedThread();
  try {
    const answer = await thread.run({ seed, wanted, isTraced }, (line) =>
      output.result(line, traceWords(line)),
    );
    if (answer === undefined) return EXIT.failed;
    const { result } = answer;
    const isWell = result.violation === undefined;
    const why = isWell ? undefined : await explainFailure(thread, seed, wanted);
    const json = {
      version: JSON_VERSION,
      ...result,
      terminals,
      seconds,
      suite: isReal ? 'real' : 'fast',
      options: drawn,
      smallest: why?.smallest,
    };
    output.result(json, [verdictOf(result), ...(why === undefined ? [] : [why.words])].join('\n'));
    return isWell ? EXIT.done : EXIT.failed;
  } finally {
    await thread.close();
  }
}

async function runMany(output: Output, options: SimOptions, seeds: number): Promise<ExitCode> {
  const { runSeeds } = await import('../../sim/runner/seeds.ts');
  const { NightFile } = await import('../../sim/runner/night.ts');
  const { FailureList } = await import('../../sim/runner/failure-list.ts');
  const { reportWords } = await import('../../sim/runner/show.ts');
  const { from = FIRST_SEED, resume, workers, failures } = options;
  const wanted = wantedOf(options);
  const list = failures === undefined ? undefined : new FailureList(failures, wanted);
  const [file, night] =
    resume === undefined ? [] : await NightFile.open(resume, { wanted: wordsOf(wanted), from });
  const first = night?.next ?? from;
  const count = Math.max(0, from + seeds - first);
  const stop = new AbortController();
  void untilEnded().then(() => stop.abort());
  const progress = await runSeeds({
    from: first,
    count,
    wanted,
    workers,
    before: night?.totals,
    signal: stop.signal,
    onFailure: (failure) => list?.add(failure),
    onProgress: (now) => {
      file?.soon(now);
      output.progress(`${now.next - from} of ${seeds} seeds, ${now.totals.failed} failed`);
    },
  });
  output.progressDone();
  await file?.save(progress);
  const { next, totals } = progress;
  const isStopped = next < from + seeds;
  const why = await explainWorst(output, { totals, wanted, signal: stop.signal });
  const smallest = why?.smallest;
  const json = { version: JSON_VERSION, from, next, isStopped, ...totals, smallest };
  output.result(json, reportWords(totals, wanted, why?.words));
  if (isStopped) {
    const how = resume === undefined ? `--from ${next}` : `--resume ${resume}`;
    output.warn(`stopped after ${next - from} of ${seeds} seeds; ${how} goes on there`);
  }
  return totals.failed === 0 && !isStopped ? EXIT.done : EXIT.failed;
}

/** What there is to say of the failure to look at first. */
async function explainWorst(
  output: Output,
  {
    totals,
    wanted,
    signal,
  }: { readonly totals: Totals; readonly wanted: Wanted; readonly signal: AbortSignal },
): Promise<Explained | undefined> {
  const { SeedThread } = await import('../../sim/runner/seed-thread.ts');
  const { explainFailure, worstOf } = await import('../../sim/runner/show.ts');
  const worst = worstOf(totals);
  if (worst === undefined || signal.aborted) return undefined;
  output.progress(`looking into seed ${worst.seed}`);
  const thread = new SeedThread();
  signal.addEventListener('abort', () => void thread.close());
  const why = await explainFailure(thread, worst.seed, wanted);
  await thread.close();
  output.progressDone();
  return why;
}

function numberOption(flags: string, description: string, least: number, most: number): Option {
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

/** Each name once. */
function onceEach(names: readonly OptionName[]): readonly OptionName[] {
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new InvalidArgumentError(`${twice} is there twice.`);
  return names;
}

function parseOff(text: string): readonly OptionName[] {
  return onceEach(text.split(',').map(knownName));
}

function parseOnly(text: string): Chosen {
  if (text === NO_OPTION) return { names: [], set: {} };
  const parts = text.split(',');
  const names = onceEach(parts.map((part) => knownName(part.split('=')[0])));
  const valued = parts.filter((part) => part.includes('='));
  return { names, set: valued.length === 0 ? {} : parseSet(valued.join(',')) };
}

function parseSet(text: string): Partial<Options> {
  const set: Partial<Record<OptionName, number>> = {};
  for (const part of text.split(',')) {
    const [word, number = '', ...rest] = part.split('=');
    const name = knownName(word);
    onceEach([...(Object.keys(set) as OptionName[]), name]);
    const value = /^[\d.]+(e-?\d+)?$/.test(number) && rest.length === 0 ? Number(number) : NaN;
    const [least, most] = OPTION_SPECS[name].range;
    if (!(value >= least && value <= most)) {
      throw new InvalidArgumentError(`${name} must be from ${least} to ${most}, like ${name}=1.`);
    }
    set[name] = value;
  }
  return set;
}
