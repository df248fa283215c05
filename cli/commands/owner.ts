// `approve`, `trust`: the owner's word by hand (design §4): about a call that waits since the
// allow-list says `ask`, and about a peer that shows another key than it did before. `approve`
// visits the agent; `trust` also works on the file while no agent runs.

import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Argument, type Command } from 'commander';
import type { WaitingQuestion } from '../../device/shell/owner.ts';
import { EXIT, type ExitCode, NakodoError, errorCode } from '../../protocol/errors.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import { askAgent } from '../ask.ts';
import { homeWords, makeTerminalHome, terminalFolder } from '../home.ts';
import { withLock } from '../../protocol/io/lock-file.ts';
import { terminalId, terminalName } from '../../protocol/typed-names.ts';
import { type Output, table } from '../output.ts';
import { type CommonOptions, boundedDurationOption, declare, runs } from './command.ts';
import { listedIds } from './list.ts';

const PINS_FILE = 'pins.json';

interface ApproveOptions extends CommonOptions {
  readonly deny?: true;
  readonly remember?: number;
  readonly service?: string;
  readonly wait?: number;
}

/** Adds `approve` and `trust`. */
export function declareOwner(program: Command): void {
  const approve = declare(program, {
    usage: 'approve',
    summary: 'Say yes to a call that waits for your word; without a name, show who waits.',
    details:
      'Calls wait where the list says so: nakodo allow NAME --ask. Without a name it waits for\n' +
      'the next call if there is none; on a terminal it asks about each.',
    examples: [
      'nakodo approve',
      'nakodo approve TERM1 --remember 8h',
      'nakodo approve TERM9 --deny',
    ],
    exits: [EXIT.unreachable],
  });
  approve
    .addArgument(new Argument('[name]', 'whose call it is'))
    .option('--deny', 'say no')
    .option('--service <name>', 'only this service, where one caller waits for several')
    .addOption(
      boundedDurationOption('--remember <time>', 'say yes to its next calls as well, so long', {
        minMs: MS_PER_SECOND,
        maxMs: LIMITS.approvalSecondsMax * MS_PER_SECOND,
      }),
    )
    .addOption(
      boundedDurationOption('--wait <time>', 'wait so long for a call (with no name: for ever)', {
        minMs: MS_PER_SECOND,
        maxMs: LIMITS.waitMsMax,
      }),
    );
  runs<ApproveOptions>(approve, (output, options, [name]) =>
    name === undefined ? showWaiting(output, options) : decide(output, options, terminalName(name)),
  );

  const trust = declare(program, {
    usage: 'trust',
    summary: 'Accept that another key stands behind a name, after its owner told you so.',
    details:
      'Without an ID: the one that was last refused by the agent that runs. The ID is what\n' +
      "`nakodo status` shows at the peer's. An ID that the allow-list states is changed there:\n" +
      'nakodo allow NAME#ID.',
    examples: ['nakodo trust TERM3', 'nakodo trust TERM3#abcdefghijklmnopqrstuvwxyz234567'],
    exits: [EXIT.unreachable],
  });
  trust.addArgument(new Argument('<name>', 'the peer, or NAME#ID')).usage('<name> [options]');
  runs<CommonOptions>(trust, runTrust);
}

/** Who waits; if nobody does, waits for the next one. */
async function showWaiting(output: Output, options: ApproveOptions): Promise<ExitCode> {
  if (options.deny === true || options.remember !== undefined || options.service !== undefined) {
    throw new NakodoError(
      'usage',
      'whose call is meant?',
      'nakodo approve NAME --remember 8h; nakodo approve alone shows who waits',
      EXIT.usage,
    );
  }
  output.progress('waiting for a call that needs your word (Ctrl-C ends this)');
  const waitMs = options.wait ?? LIMITS.waitMsMax;
  const questions = await waitingQuestions(options, { waitMs });
  output.progressDone();
  if (!output.json && questions.length > 0 && process.stdin.isTTY && process.stdout.isTTY) {
    await askEach(output, options, questions);
    return EXIT.done;
  }
  const words = questions.length === 0 ? 'Nobody waits for your word.' : table(questions.map(row));
  output.result(questions, words);
  return EXIT.done;
}

/** On a terminal: y or n for each; anything else leaves it as it is. */
async function askEach(
  output: Output,
  options: ApproveOptions,
  questions: readonly WaitingQuestion[],
): Promise<void> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    for (const question of questions) {
      const { ask, name } = question;
      const answer = await lines.question(`${sentence(question)}\nYes or no? [y/n] `);
      if (!/^\s*[yn]/i.test(answer)) continue;
      const approved = /^\s*y/i.test(answer);
      await askAgent(options.home, { op: 'approve', name, ask, approved });
      output.remark(approved ? `${name} may.` : `${name} was refused.`);
    }
  } finally {
    lines.close();
  }
}

async function decide(output: Output, options: ApproveOptions, name: Name): Promise<ExitCode> {
  const { service, wait, remember } = options;
  const approved = options.deny !== true;
  if (!approved && remember !== undefined) {
    const next = 'to refuse for good: nakodo deny NAME';
    throw new NakodoError('usage', 'a no is not remembered', next, EXIT.usage);
  }
  if (wait !== undefined) await waitingQuestions(options, { name, waitMs: wait });
  const rememberSeconds = remember === undefined ? undefined : Math.floor(remember / MS_PER_SECOND);
  const answer = await askAgent(options.home, {
    op: 'approve',
    name,
    service,
    approved,
    rememberSeconds,
  });
  const answered = answer.questions as readonly WaitingQuestion[];
  const [{ id, remember: byEntry }] = answered;
  const seconds = approved ? (rememberSeconds ?? byEntry) : undefined;
  const services = [...new Set(answered.map((each) => each.service))];
  const holds =
    seconds === undefined ? '' : ` A yes counts for ${formatDuration(seconds * MS_PER_SECOND)}.`;
  output.result(
    { name, id, services, approved, remember: seconds },
    approved ? `${name} may (${services.join(' ')}).${holds}` : `${name} was refused.`,
  );
  return EXIT.done;
}

async function waitingQuestions(
  options: CommonOptions,
  wait: { readonly name?: string; readonly waitMs: number },
): Promise<readonly WaitingQuestion[]> {
  const answer = await askAgent(options.home, { op: 'questions', ...wait });
  return answer.questions as readonly WaitingQuestion[];
}

function row(question: WaitingQuestion): Record<string, string> {
  const { name, service, bytes, seconds, extension, secondsLeft } = question;
  return {
    name,
    service: extension ? `${service} (more)` : service,
    bytes: bytes === undefined ? '-' : formatSize(bytes),
    time: seconds === undefined ? '-' : formatDuration(seconds * MS_PER_SECOND),
    waits: formatDuration(Math.ceil(secondsLeft) * MS_PER_SECOND),
    id: question.id,
  };
}

function sentence(question: WaitingQuestion): string {
  const { waits, bytes, time, service } = row(question);
  const wanted = [bytes, time].filter((limit) => limit !== '-').join(', ');
  return (
    `${question.name} (${question.id}) wants ${service}` +
    `${wanted === '' ? '' : `, ${wanted}`}, and waits for another ${waits}.`
  );
}

async function runTrust(
  output: Output,
  options: CommonOptions,
  [who]: readonly string[],
): Promise<ExitCode> {
  const hash = who.indexOf('#');
  const name = terminalName(hash < 0 ? who : who.slice(0, hash));
  const id = hash < 0 ? undefined : terminalId(who.slice(hash + 1));
  const trusted = await trustedId(options, name, id);
  output.result(
    { name, id: trusted },
    `From now on ${trusted} is the one behind ${name}; anybody else is refused.`,
  );
  const listed = await listedIds(options.home, name);
  if (listed.length > 0 && !listed.includes(trusted)) {
    output.warn(
      `The allow-list states ${listed[0]} for ${name}, and decides who may call; to change it: ` +
        `nakodo allow ${name}#${trusted}${homeWords(options.home)}, with that entry's limits`,
    );
  }
  return EXIT.done;
}

async function trustedId(
  options: CommonOptions,
  name: Name,
  id: DeviceId | undefined,
): Promise<string> {
  try {
    const answer = await askAgent(options.home, { op: 'trust', name, id });
    return String(answer.id);
  } catch (error) {
    if (errorCode(error) !== 'agent-not-running') throw error;
  }
  if (id === undefined) {
    throw new NakodoError(
      'nothing-to-trust',
      `no agent is running in ${terminalFolder(options.home)}, so nobody was refused`,
      `name the ID that its owner tells you: nakodo trust ${name}#ID`,
    );
  }
  await storePin(join(makeTerminalHome(options.home), PINS_FILE), name, id);
  return id;
}

/** Puts a pin into the file of a terminal that does not run. @throws NakodoError `file-damaged` */
async function storePin(path: string, name: Name, id: DeviceId): Promise<void> {
  const { PinsStore } = await import('../../device/shell/pins-store.ts');
  await withLock(`${path}.lock`, async () => {
    let failure: unknown;
    const store = new PinsStore(path, (error) => {
      failure = error;
    });
    const pins = await store.load();
    const isNew = !pins.some((pin) => pin.name === name);
    // What the agent does at the bound: the oldest makes room.
    if (isNew && pins.length >= LIMITS.pinsMax) store.keep(pins[0].name, undefined);
    store.keep(name, id);
    await store.settled();
    if (failure !== undefined) throw failure;
  });
}
