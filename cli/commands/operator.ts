// What the operator does with a running server: hand out tickets, see terminals and talks, end a
// talk [S6004]. The server is asked over the socket in its home.

import { Argument, type Command } from 'commander';
import { endSentence, type EndReason } from '../../protocol/ends.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { isSessionId } from '../../protocol/ids.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import type {
  DeviceView,
  ManagerEvent,
  RevokeView,
  SessionView,
} from '../../session-manager/manager-types.ts';
import { wayWords } from '../../device/shell/way.ts';
import { askServer, askServerRows } from '../ask.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { type Output, table } from '../output.ts';
import { type CommonOptions, countOption, declare, durationOption, runs } from './command.ts';

interface TicketOptions extends CommonOptions {
  readonly name?: string;
  readonly uses: number;
  readonly for: number;
}
interface SessionsOptions extends CommonOptions {
  readonly all?: boolean;
  readonly watch?: boolean;
}

/** `live`: it was under way when the watch began. */
type WatchEvent = { readonly event: ManagerEvent['event'] | 'live'; readonly session: SessionView };

const TICKET_MS = 3_600_000;

/** Adds `ticket`, `devices`, `sessions`, `end` and `revoke`. */
export function declareOperator(program: Command): void {
  const ticket = declare(program, {
    usage: 'ticket',
    summary: 'Make a ticket with which a terminal enrols itself.',
    examples: ['nakodo ticket --name TERM1', 'nakodo ticket --uses 20 --for 1h --json'],
    exits: [EXIT.unreachable],
  });
  ticket
    .option('--name <name>', 'fix the name of the terminal')
    .addOption(countOption('--uses <n>', 'how many terminals it enrols', 1))
    .addOption(durationOption('--for <time>', 'how long it is good').default(TICKET_MS, '1h'));
  runs<TicketOptions>(ticket, runTicket);

  const devices = declare(program, {
    usage: 'devices',
    summary: 'List the terminals: names, IDs, when they registered.',
    examples: ['nakodo devices', 'nakodo devices --json'],
    exits: [EXIT.unreachable],
  });
  runs<object>(devices, runDevices);

  const sessions = declare(program, {
    usage: 'sessions',
    summary: 'List the talks that are under way.',
    examples: ['nakodo sessions --all', 'nakodo sessions --watch --json'],
    exits: [EXIT.unreachable],
  });
  sessions
    .option('--all', 'those that have ended too')
    .option('--watch', 'go on, with a line for each beginning, extension and end');
  runs<SessionsOptions>(sessions, (output, options) =>
    options.watch === true ? watchSessions(output, options) : listSessions(output, options),
  );

  const end = declare(program, {
    usage: 'end',
    summary: 'End a talk now: both terminals are told through the broker.',
    examples: ['nakodo end mfzwizltoq2tinrvgy3tqojqge'],
    exits: [EXIT.unreachable],
  });
  end.addArgument(
    new Argument('<session>', 'its ID, or its beginning, as `nakodo sessions` shows'),
  );
  runs<CommonOptions>(end, runEnd);

  const revoke = declare(program, {
    usage: 'revoke',
    summary: 'Shut a terminal out for good, and end its talks.',
    examples: ['nakodo revoke TERM1', 'nakodo revoke TERM1 --json'],
    exits: [EXIT.unreachable],
  });
  revoke.addArgument(new Argument('<name>', 'the terminal, as `nakodo devices` shows'));
  runs<CommonOptions>(revoke, runRevoke);
}

async function runTicket(output: Output, options: TicketOptions): Promise<ExitCode> {
  const { ticket, expiresAt } = await askServer(options.home, {
    op: 'ticket',
    name: options.name === undefined ? undefined : terminalName(options.name),
    uses: options.uses,
    forSeconds: Math.max(1, Math.ceil(options.for / 1000)),
  });
  output.result({ ticket, expiresAt }, String(ticket));
  return EXIT.done;
}

async function runDevices(output: Output, options: CommonOptions): Promise<ExitCode> {
  const devices = await askServerRows<DeviceView>(options.home, { op: 'devices' });
  const rows = devices.map(({ name, id, registered, pollSeconds, cloned }) => ({
    name,
    id,
    registered: registered ?? 'not yet',
    polls: pollSeconds === null ? '-' : `every ${formatDuration(pollSeconds * 1000)}`,
    'seen twice': cloned ?? 'never',
  }));
  const none = 'No terminals yet. To enrol one: nakodo ticket --name TERM1';
  output.result(devices, rows.length === 0 ? none : table(rows));
  return EXIT.done;
}

async function listSessions(output: Output, options: SessionsOptions): Promise<ExitCode> {
  const sessions = await askSessions(options.home, options.all === true);
  const none = options.all === true ? 'No talks yet.' : 'No talk is under way.';
  output.result(sessions, sessions.length === 0 ? none : table(sessions.map(sessionWords)));
  return EXIT.done;
}

const askSessions = (home: string | undefined, all: boolean): Promise<readonly SessionView[]> =>
  askServerRows<SessionView>(home, { op: 'sessions', all });

async function watchSessions(output: Output, options: CommonOptions): Promise<ExitCode> {
  const stop = new AbortController();
  const { untilEnded } = await import('../signals.ts');
  void untilEnded().then(() => stop.abort());
  try {
    await askServer(
      options.home,
      { op: 'watch' },
      {
        signal: stop.signal,
        onEvent: (event) => {
          const { event: what, session } = event as unknown as WatchEvent;
          output.result(
            event,
            `${what.padEnd(8)}  ${Object.values(sessionWords(session)).join('  ')}`,
          );
        },
      },
    );
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  return EXIT.done;
}

function sessionWords(session: SessionView): Record<string, string> {
  const { callerReport, calleeReport } = session;
  const report = callerReport ?? calleeReport;
  const sent = report === null ? '-' : formatSize(report.sentBytes + report.receivedBytes);
  return {
    session: session.session,
    from: session.caller,
    to: session.callee,
    service: session.service,
    begun: session.begun,
    state: session.reason === null ? session.state : `${session.state}: ${session.reason}`,
    'granted time': formatDuration(session.seconds * 1000),
    'granted bytes': session.bytes === null ? 'any' : formatSize(session.bytes),
    bytes: sent,
    way: wayOf(session),
  };
}

/** Which way a talk took, as its two ends say; they may differ in the last moment. */
function wayOf({ callerReport, calleeReport }: SessionView): string {
  const said = [callerReport, calleeReport].flatMap((report) => report?.path ?? []);
  const words = [...new Set(said)].map((path) => wayWords({ class: path }));
  return words.length === 0 ? '-' : words.join(', ');
}

/** The operator's order [S6004]; says which terminals have confirmed. */
async function runEnd(
  output: Output,
  options: CommonOptions,
  [which]: readonly string[],
): Promise<ExitCode> {
  const session = await wholeId(options.home, which);
  const ended = await askServer(options.home, { op: 'end', session });
  const confirmed = ended.confirmed as readonly string[];
  const unconfirmed = ended.unconfirmed as readonly string[];
  const told = confirmed.length === 0 ? '' : ` ${confirmed.join(' and ')} confirmed.`;
  const silent =
    unconfirmed.length === 0
      ? ''
      : ` ${unconfirmed.join(' and ')} did not answer and will stop at the granted limit.`;
  output.result(ended, `Ended: ${endSentence(ended.reason as EndReason)}.${told}${silent}`);
  return EXIT.done;
}

/** Says which talks have ended, and which run on until when [claim 13]. */
async function runRevoke(
  output: Output,
  options: CommonOptions,
  [which]: readonly string[],
): Promise<ExitCode> {
  const request = { op: 'revoke', name: terminalName(which) };
  const [revoked] = await askServerRows<RevokeView>(options.home, request);
  const { name, id, ended, running } = revoked;
  const none = running.length === 0 ? 'It had no talk.' : 'No talk has ended yet.';
  const some = ended.length === 1 ? '1 talk has ended.' : `${ended.length} talks have ended.`;
  const talks = ended.length === 0 ? none : some;
  const lines = running.map(
    ({ session, unconfirmed, until }) =>
      `Talk ${session} may run on until ${until}: ${unconfirmed.join(' and ')} did not answer.`,
  );
  output.result(revoked, [`Revoked: ${name} (${id}). ${talks}`, ...lines].join('\n'));
  return EXIT.done;
}

/** A session's whole ID from its beginning. @throws NakodoError `no-session`, `ambiguous`. */
async function wholeId(home: string | undefined, which: string): Promise<string> {
  if (isSessionId(which)) return which;
  const found = (await askSessions(home, false)).filter(({ session }) => session.startsWith(which));
  if (found.length === 1 && which !== '') return found[0].session;
  throw found.length === 0
    ? new NakodoError(
        'no-session',
        `no talk that is under way begins with ${which}`,
        'see which there are: nakodo sessions',
      )
    : new NakodoError(
        'ambiguous',
        `${found.length} talks begin with ${which}`,
        'give more of its ID: nakodo sessions',
        EXIT.usage,
      );
}
