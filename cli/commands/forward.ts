// `forward`: a TCP or UDP port of a peer on a port here, or one here on a port of the peer, for as
// long as its owner agreed to [S1002]. With `-` one connection runs over standard input and output,
// which is what the ProxyCommand of ssh wants.

import { isIP } from 'node:net';
import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode, NakodoError, UsageError } from '../../protocol/errors.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { pathWords } from '../../device/shell/way.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import type { Output } from '../output.ts';
import { untilEnded } from '../signals.ts';
import type { TalkTold } from '../talk.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { declare, ownOption, runs } from './command.ts';
import { talkWords, termsWords } from './talk-words.ts';

interface ForwardOptions extends CallOptions {
  readonly bind?: string;
  readonly expose?: boolean;
  readonly udp?: boolean;
  readonly once?: boolean;
}

const DETAILS = `
Connections come in at FROM and are led to TO; one of them names a terminal:

  nakodo forward 2222 pi-7:22       port 2222 here leads to port 22 of pi-7
  nakodo forward 0 pi-7:80          any free port here; it is said which
  nakodo forward pi-7:8080 3000     port 8080 of pi-7 leads to port 3000 here (reverse)
  nakodo forward --udp 5353 pi-7:53 datagrams, both ways
  nakodo forward - pi-7:22          one connection over standard input and output

The callee's list has to name the service: port:22 for a TCP port, udp:53 for UDP, listen:8080
to have it listen. At most 64 connections run at once, 64 more wait. The forward ends with
Ctrl-C, or when its time or its bytes are used up; every connection is closed then, at both
ends. When the path is lost, or the callee restarts, the forward calls again by itself; a
refusal stands. Programs here reach it on 127.0.0.1 only, unless --bind and --expose say
otherwise.

ssh: put this into ~/.ssh/config, then 'ssh pi-7' works wherever pi-7 is (%n is the name as it
was typed; %h would be in small letters):

  Host pi-7
    ProxyCommand nakodo forward - %n:%p`;

/** Adds `forward`. */
export function declareForward(program: Command): void {
  const command = declare(program, {
    usage: 'forward',
    summary: "Lead a port here to a terminal's port, or the other way.",
    details: DETAILS,
    examples: [
      'nakodo forward 2222 pi-7:22 --for 2h --bytes 200MB',
      "ssh -o ProxyCommand='nakodo forward - %n:%p' pi-7",
      'nakodo forward pi-7:8080 3000',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  command
    .usage('<from> <to> [options]')
    .addArgument(new Argument('<from>', 'PORT, 0 for any free one, -, or NAME:PORT'))
    .addArgument(new Argument('<to>', 'NAME:PORT, or PORT if <from> names the terminal'))
    .option('--udp', 'datagrams (UDP) instead of connections (TCP)')
    .addOption(ownOption('--bind <address>', 'listen on this address, not 127.0.0.1', address))
    .option('--expose', 'others than this machine may use the forward (with --bind)')
    .option('--once', 'do not call again when the path is lost');
  runs<ForwardOptions>(addCallOptions(command), runForward);
}

/** What is led where. */
type Route = {
  readonly name: string;
  readonly service: string;
  /** `-`: standard input and output. */
  readonly local: number | '-';
  readonly words: (local: string) => string;
};

async function runForward(
  output: Output,
  options: ForwardOptions,
  [from, to]: readonly string[],
): Promise<ExitCode> {
  const route = routeOf(from, to, options.udp === true);
  return route.local === '-'
    ? runStandard(output, options, route)
    : runPort(output, options, route, route.local);
}

/** @throws UsageError for what leads nowhere */
function routeOf(from: string, to: string, isUdp: boolean): Route {
  if (from.includes(':')) {
    const { name, port } = remote(from);
    if (isUdp)
      throw new UsageError('bad-route', 'UDP goes one way: nakodo forward --udp PORT NAME:PORT');
    const local = portIn(to, 1);
    const words = (at: string): string => `Port ${port} of ${name} leads to ${at}`;
    return { name, service: `listen:${port}`, local, words };
  }
  const { name, port } = remote(to);
  if (from === '-' && isUdp) throw new UsageError('bad-route', '- is a connection, not UDP');
  const local = from === '-' ? '-' : portIn(from, 0);
  const words = (at: string): string => `${at} leads to port ${port} of ${name}`;
  return { name, service: `${isUdp ? 'udp' : 'port'}:${port}`, local, words };
}

function remote(text: string): { readonly name: string; readonly port: number } {
  const colon = text.lastIndexOf(':');
  if (colon > 0)
    return { name: terminalName(text.slice(0, colon)), port: portIn(text.slice(colon + 1), 1) };
  throw new UsageError('bad-route', `got '${shown(text)}', wanted a terminal's port: NAME:PORT`);
}

function portIn(text: string, least: 0 | 1): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= least && port <= LIMITS.portMax) return port;
  throw new UsageError(
    'bad-port',
    `port: got '${shown(text)}', wanted ${least} to ${LIMITS.portMax}`,
  );
}

function address(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new UsageError('bad-bind', `got '${shown(text)}', wanted an address like 127.0.0.1`);
}

const shown = (text: string): string => text.replace(/\p{C}/gu, '?').slice(0, 60);

/** Listens in the agent, or has the peer listen, until it is enough. */
async function runPort(
  output: Output,
  options: ForwardOptions,
  route: Route,
  port: number,
): Promise<ExitCode> {
  const { askAgent } = await import('../ask.ts');
  const words = talkWords(output, route.name, options.extend);
  const { bind, expose, once } = options;
  const isReverse = route.service.startsWith('listen:');
  warnOfOthers(output, bind, expose);
  let isReady = false;
  const onEvent = (told: TalkTold): void => {
    words.hear(told);
    tell(output, route.name, options.extend, told);
    if (told.event !== 'open' || isReady) return;
    isReady = true;
    ready(output, route, told, isReverse);
  };
  try {
    const request = {
      op: 'forward',
      ...wishOf(route.name, route.service, options),
      port,
      ...(isReverse ? {} : { bind, expose }),
      once,
    };
    const result = await askAgent(options.home, request, {
      body: nothingUntil(untilEnded()),
      onEvent: (event) => onEvent(event as TalkTold),
    });
    output.result(result, summary(result));
    return EXIT.done;
  } catch (error) {
    return output.error(error, words.known());
  } finally {
    output.progressDone();
  }
}

/** An empty body that ends when the command has had enough. */
async function* nothingUntil(enough: Promise<void>): AsyncGenerator<Uint8Array> {
  await enough;
  yield* [];
}

function warnOfOthers(output: Output, bind: string | undefined, expose: boolean | undefined): void {
  if (bind === undefined || expose !== true) return;
  output.warn(`Everybody who reaches ${bind} of this machine can use this forward while it lasts.`);
}

/** The first talk is open: where to connect. */
function ready(output: Output, route: Route, told: TalkTold, isReverse: boolean): void {
  const { host, port } = told.local as { readonly host: string; readonly port: number };
  const { session, seconds, bytes } = told;
  const at = pathWords({ host, port });
  const terms = termsWords({ seconds, bytes });
  if (!output.json) {
    output.remark(`${route.words(at)} (${terms}). Ctrl-C ends it.`);
    return;
  }
  const local = isReverse ? {} : { host, port };
  const { name: to, service } = route;
  output.result({ ready: true, ...local, to, service, session, seconds, bytes }, '');
}

/** What happens while it lasts, to a person. */
function tell(output: Output, name: string, extend: boolean, told: TalkTold): void {
  if (output.json) return;
  const { event } = told;
  if (event === 'connectionRefused') output.warn(refusedWords(name, String(told.code)));
  if (event === 'lost') output.warn(`The way to ${name} is lost; its connections are closed.`);
  if (event === 'again') {
    output.progress(`calling ${name} again in ${formatDuration(Number(told.inMs))} …`);
  }
  if (event === 'extended') {
    const { seconds, bytes } = told;
    output.warn(`${name} gives more: ${termsWords({ seconds, bytes })} in all.`);
  }
  // Where no more is asked for, talkWords says it.
  if (event === 'expiryNear' && extend) {
    output.warn(`70 % of the granted ${String(told.by)} is used; more is asked for.`);
  }
  if (event === 'progress') output.progress(standing(told));
}

function refusedWords(name: string, code: string): string {
  switch (code) {
    case 'target-refused':
      return `A connection was closed: nothing answers at that port of ${name}.`;
    case 'stream-refused':
      return `A connection was closed: ${name} does not serve forwards.`;
    case 'too-many-connections':
      return 'A connection was closed: too many run and wait already.';
    default:
      return `A connection from ${name} was closed: nothing answers here (${code}).`;
  }
}

function standing(told: TalkTold): string {
  const { secondsLeft, bytesLeft } = told;
  const left = [
    ...(secondsLeft === undefined ? [] : [formatDuration(Number(secondsLeft) * 1000)]),
    ...(bytesLeft === undefined ? [] : [formatSize(Number(bytesLeft))]),
  ];
  const [open, total] = [Number(told.open), Number(told.total)];
  return `${open} open of ${total}, ${both(told)}; ${left.join(', ')} left`;
}

function summary(result: Readonly<Record<string, unknown>>): string {
  const refused = Number(result.refused ?? 0);
  const missed = refused > 0 ? `, ${refused} refused` : '';
  return `Forwarded: ${Number(result.total)} in all${missed}, ${both(result)}.`;
}

function both({ sentBytes, receivedBytes }: Readonly<Record<string, unknown>>): string {
  return `${formatSize(Number(sentBytes ?? 0))} out, ${formatSize(Number(receivedBytes ?? 0))} in`;
}

/**
 * One connection over standard input and output; each direction ends by itself. Standard output
 * belongs to the connection: whatever else is said goes to standard error.
 */
async function runStandard(
  output: Output,
  options: ForwardOptions,
  route: Route,
): Promise<ExitCode> {
  const { bind, expose, json } = options;
  if (bind !== undefined || expose === true || json === true) {
    throw new UsageError('bad-route', '- listens on nothing and says nothing but the connection');
  }
  const { CommandTalk } = await import('../talk.ts');
  const { finished } = await import('node:stream/promises');
  const words = talkWords(output, route.name, options.extend);
  try {
    const wish = wishOf(route.name, route.service, options);
    const talk = await CommandTalk.begin(wish, { home: options.home, onEvent: words.hear });
    const stream = await talk.openStream();
    process.stdin.on('error', () => stream.destroy());
    process.stdin.pipe(stream);
    stream.pipe(process.stdout, { end: false });
    const over = finished(stream);
    await Promise.race([over, talk.ended.then(() => over)]);
    await talk.done();
    return EXIT.done;
  } catch (error) {
    return output.error(
      error instanceof NakodoError
        ? error
        : new NakodoError('stream-reset', 'the connection was closed', 'try again'),
    );
  } finally {
    output.progressDone();
  }
}
