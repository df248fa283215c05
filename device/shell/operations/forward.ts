// A forward [S1002, S1003]: this terminal listens on a local port, and each connection there is a
// stream of one talk with the peer, who leads it on (`port:N`, `udp:N`); or the peer listens, and
// this terminal leads on (`listen:N`). The port is taken before anybody is called. The talk begins
// at once and lasts as long as its command; if its path is lost, or the peer restarts, it is called
// again a few times. Refusals and limits stand.

import { isIP } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import * as v from 'valibot';
import type { EndReason } from '../../../protocol/ends.ts';
import { EXIT, NakodoError, errorCode } from '../../../protocol/errors.ts';
import { entropy } from '../../../protocol/io/entropy.ts';
import { isLoopback } from '../../../protocol/io/loopback.ts';
import type { ServedChannel } from '../../../protocol/io/local-socket.ts';
import { LIMITS } from '../../../protocol/limits.ts';
import { randomFraction } from '../../../protocol/random.ts';
import type { Agent } from '../../agent.ts';
import { Connections } from '../../services/forward/connections.ts';
import { dial } from '../../services/forward/dialler.ts';
import { UdpListener } from '../../services/forward/flows.ts';
import { FORWARD_LIMITS } from '../../services/forward/limits.ts';
import { untilListening } from '../../services/forward/listen-answer.ts';
import { Listener } from '../../services/forward/listener.ts';
import { type ForwardScope, scopeOf } from '../../services/forward/scope.ts';
import { endError } from '../call-error.ts';
import type { SessionEnd } from '../session-types.ts';
import type { Session } from '../session.ts';
import { tellOf, untilDone } from './talk.ts';

/** Talks that are tried in a row after one that was lost, before it is given up. */
const TRIES_MAX = 10;
/** Milliseconds before the first of them; doubles, jittered by half. */
const TRY_FIRST_MS = 500;
const TRY_MS_MAX = 30_000;
/** Milliseconds that a peer which was there before may take to come back. */
const AGAIN_WAIT_MS = 60_000;
/** Milliseconds between two words on how it stands. */
const PROGRESS_MS = 1_000;
/** Ends that say nothing against another talk. */
const LOST: readonly EndReason[] = ['path-lost', 'peer-gone', 'restarted', 'unreported', 'local'];
/** Calls that failed for a while only. */
const PASSING = ['no-link', 'no-answer', 'path-lost', 'peer-gone', 'restarted', 'socket', 'busy'];
/** A talk of so many milliseconds was a good one: what is lost after it is tried anew. */
const STEADY_MS = 30_000;
const LOOPBACK = '127.0.0.1';

const whole = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(max));
const scope = v.pipe(
  v.string(),
  v.maxLength(LIMITS.serviceNameMax),
  v.rawTransform<string, ForwardScope>(({ dataset, addIssue, NEVER }) => {
    const read = scopeOf(dataset.value);
    if (read !== undefined) return read;
    addIssue({ message: 'a forward has a service like port:22' });
    return NEVER;
  }),
);

/** Asks for a forward, and holds it. */
export const forwardRequest = v.strictObject({
  op: v.literal('forward'),
  to: v.pipe(v.string(), v.maxLength(LIMITS.patternMax)),
  service: scope,
  /** The local port: listened on (0: any free one), or for `listen:N` where connections go. */
  port: whole(LIMITS.portMax),
  /** A literal address of this machine to listen on. */
  bind: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => isIP(text) !== 0, 'wanted an address'),
    ),
    LOOPBACK,
  ),
  /** Others than this machine may connect. */
  expose: v.optional(v.boolean(), false),
  /** A talk that is lost is not called again. */
  once: v.optional(v.boolean(), false),
  waitMs: v.optional(whole(LIMITS.waitMsMax), LIMITS.waitMsDefault),
  bytes: v.optional(whole(LIMITS.grantBytesMax)),
  seconds: v.optional(whole(LIMITS.grantSecondsMax)),
  extend: v.optional(v.boolean()),
});

type ForwardRequest = v.InferOutput<typeof forwardRequest>;

/** How connections get into a talk, or out of it. */
interface Way {
  /** Where it listens here. */
  readonly local: { readonly host: string; readonly port: number };
  attach(session: Session): Promise<void>;
  counts(): object;
  close(): void;
}

/** Listens or dials here for as long as the command, and the talk, lasts. */
export async function forward(
  agent: Agent,
  asked: ForwardRequest,
  channel: ServedChannel,
): Promise<object> {
  const way = await wayOf(asked, channel);
  try {
    return await hold(agent, asked, channel, way);
  } finally {
    way.close();
  }
}

/** @throws NakodoError `port-taken`, `port-reserved`, `not-loopback` … before anybody is called */
function wayOf(asked: ForwardRequest, channel: ServedChannel): Promise<Way> {
  const { service, port, bind, expose } = asked;
  if (service.kind === 'listen') return Promise.resolve(reverseWay(asked, channel));
  if (port > 0 && port < FORWARD_LIMITS.localPortMin) {
    throw new NakodoError(
      'port-reserved',
      `ports below ${FORWARD_LIMITS.localPortMin} belong to the system; a forward takes none`,
      `choose another one, like ${port + 8_000}, or 0 for any free one`,
      EXIT.usage,
    );
  }
  if (!expose && !isLoopback(bind)) {
    throw new NakodoError(
      'not-loopback',
      `everybody who reaches ${bind} could use this forward`,
      'leave --bind away for 127.0.0.1, or say --expose if that is meant',
      EXIT.usage,
    );
  }
  return service.kind === 'udp' ? udpWay(asked) : tcpWay(asked, channel);
}

async function tcpWay({ bind, port }: ForwardRequest, channel: ServedChannel): Promise<Way> {
  const connections = told(channel);
  const listener = await Listener.bind({ host: bind, port }, connections);
  return {
    local: { host: listener.host, port: listener.port },
    attach: async (session) => listener.attach(session),
    counts: () => connections.counts(),
    close: () => listener.close(),
  };
}

async function udpWay({ bind, port }: ForwardRequest): Promise<Way> {
  const listener = await UdpListener.bind({ host: bind, port });
  return {
    local: { host: listener.host, port: listener.port },
    attach: async (session) => listener.attach(session),
    counts: () => listener.counts(),
    close: () => listener.close(),
  };
}

function reverseWay({ port, service }: ForwardRequest, channel: ServedChannel): Way {
  const connections = told(channel);
  const target = { host: LOOPBACK, port };
  return {
    local: target,
    attach: (session) => {
      session.onStream = (stream) => dial(session, stream, target, connections);
      return untilListening(session, service.port);
    },
    counts: () => connections.counts(),
    close: () => {},
  };
}

/** Connections whose refusals the command hears of. */
function told(channel: ServedChannel): Connections {
  const connections = new Connections();
  connections.onRefused = (code) => channel.event({ event: 'connectionRefused', code });
  return connections;
}

/** Talk after talk, until the command goes, or one ends for good. */
async function hold(
  agent: Agent,
  asked: ForwardRequest,
  channel: ServedChannel,
  way: Way,
): Promise<object> {
  const { to } = asked;
  const done = new AbortController();
  const leave = (): void => done.abort();
  channel.closed.addEventListener('abort', leave, { once: true });
  void untilDone(channel).then(leave, leave);
  let tries = 0;
  let hasTalked = false;
  channel.event({ event: 'listening', ...way.local });
  for (;;) {
    try {
      const session = await begin(agent, asked, channel, { hasTalked, signal: done.signal });
      const end = await lead(session, channel, way, done.signal);
      hasTalked = true;
      if (end.lastedMs >= STEADY_MS) tries = 0;
      if (end.isWanted) return { to, ...end.told, ...way.counts() };
      if (!LOST.includes(end.reason) || asked.once) throw endError(end.reason, end.meeting);
      if (tries >= TRIES_MAX) throw endError(end.reason, end.meeting);
      channel.event({ event: 'lost', reason: end.reason });
    } catch (error) {
      // Whoever has had enough while it was called again has what was wanted.
      if (done.signal.aborted) return { to, reason: 'local', ...way.counts() };
      const isPassing = hasTalked && !asked.once && PASSING.includes(errorCode(error));
      if (!isPassing || tries >= TRIES_MAX) throw error;
    }
    tries += 1;
    const inMs = backoffMs(tries);
    channel.event({ event: 'again', inMs, tries });
    await pause(inMs, undefined, { signal: done.signal }).catch(() => {});
  }
}

/** Calls; a peer that was there before is waited for longer. */
async function begin(
  agent: Agent,
  asked: ForwardRequest,
  channel: ServedChannel,
  at: { readonly hasTalked: boolean; readonly signal: AbortSignal },
): Promise<Session> {
  const { to, service, extend, seconds, bytes } = asked;
  const waitMs = at.hasTalked ? Math.max(asked.waitMs, AGAIN_WAIT_MS) : asked.waitMs;
  channel.event({ event: 'waiting', to, waitMs });
  return agent.call({
    to,
    service: `${service.kind}:${service.port}`,
    want: { seconds, bytes },
    waitMs,
    extend,
    signal: at.signal,
    onIntroduced: (introduced) => tellOf(introduced, channel),
  });
}

interface LedEnd {
  readonly reason: EndReason;
  /** Its own user ended it. */
  readonly meeting: SessionEnd['meeting'];
  readonly isWanted: boolean;
  readonly lastedMs: number;
  readonly told: object;
}

/** One talk, to its end. */
async function lead(
  session: Session,
  channel: ServedChannel,
  way: Way,
  signal: AbortSignal,
): Promise<LedEnd> {
  const leave = (): void => session.finish('local');
  signal.addEventListener('abort', leave, { once: true });
  let progress: NodeJS.Timeout | undefined;
  try {
    if (signal.aborted) leave();
    await way.attach(session);
    const { session: id, peer, service, seconds, bytes } = session.info;
    const { path, rttMs } = session.state ?? {};
    const open = { session: id, peer, service, seconds, bytes, path, way: session.way, rttMs };
    channel.event({ event: 'open', ...open, local: way.local });
    progress = setInterval(() => channel.event(progressOf(session, way)), PROGRESS_MS);
    const { reason, counts, meeting } = await session.ended;
    const isWanted = session.wasFinished && reason === 'local';
    const lastedMs = counts.durationMs;
    return { reason, meeting, isWanted, lastedMs, told: { session: id, reason, ...counts } };
  } catch (error) {
    // The peer cannot listen, or the talk ended before it could say so.
    session.finish('local');
    const { reason, meeting } = await session.ended;
    throw reason === 'local' ? error : endError(reason, meeting);
  } finally {
    clearInterval(progress);
    signal.removeEventListener('abort', leave);
  }
}

function progressOf(session: Session, way: Way): object {
  const { state } = session;
  return {
    event: 'progress',
    ...way.counts(),
    sentBytes: state?.counts.sentBytes,
    receivedBytes: state?.counts.receivedBytes,
    secondsLeft: state?.secondsLeft,
    bytesLeft: state?.bytesLeft,
  };
}

/** Doubles from TRY_FIRST_MS to TRY_MS_MAX, and half of it is chance. */
function backoffMs(tries: number): number {
  const most = Math.min(TRY_FIRST_MS * 2 ** (tries - 1), TRY_MS_MAX);
  return Math.round(most * (0.5 + randomFraction(entropy) / 2));
}
