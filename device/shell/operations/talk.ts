// A talk in a command's hands [S1002, S1003]: `send`, `get`, `pipe`, `run` and `ping` say their own
// protocol, and the agent only introduces, carries streams and messages, and ends. The talk lives
// as long as the local connection that asked for it: end of data is "done", a command that goes is
// "local". Each stream has a local connection of its own, on which bytes flow both ways.

import { once } from 'node:events';
import * as v from 'valibot';
import { endSentence, isLimit } from '../../../protocol/ends.ts';
import { NakodoError } from '../../../protocol/errors.ts';
import { type Name, type SessionId, isName, isSessionId } from '../../../protocol/ids.ts';
import { fromBase64, toBase64 } from '../../../protocol/io/base64.ts';
import { Clock } from '../../../protocol/io/clock.ts';
import type { ServedChannel } from '../../../protocol/io/local-socket.ts';
import { LIMITS } from '../../../protocol/limits.ts';
import { MICROS_PER_SECOND } from '../../../protocol/time.ts';
import type { Agent } from '../../agent.ts';
import { written } from '../../services/pump.ts';
import type { MeetingReport } from '../../terminal-types.ts';
import { endError } from '../call-error.ts';
import type { SessionEvents } from '../session-types.ts';
import type { Session } from '../session.ts';
import { PARAMETERS_BYTES_MAX } from '../stream-opening.ts';
import type { TalkStream } from '../talk-stream.ts';
import { type Waiters, noSuchStream } from './waiters.ts';

const whole = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(max));
const service = v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.serviceNameMax));
const session = v.custom<SessionId>((text) => typeof text === 'string' && isSessionId(text));

/** Asks for a talk, and holds it. */
export const talkRequest = v.strictObject({
  op: v.literal('talk'),
  to: v.pipe(v.string(), v.maxLength(LIMITS.patternMax)),
  service,
  waitMs: v.optional(whole(LIMITS.waitMsMax)),
  bytes: v.optional(whole(LIMITS.grantBytesMax)),
  seconds: v.optional(whole(LIMITS.grantSecondsMax)),
  extend: v.optional(v.boolean()),
});
/** Waits for a talk that a peer asks for, and holds it. */
export const acceptRequest = v.strictObject({
  op: v.literal('accept'),
  service,
  from: v.optional(v.custom<Name>((text) => typeof text === 'string' && isName(text))),
});
/** Opens a stream of a talk that a command holds, or takes one that the peer opened. */
export const streamRequest = v.strictObject({
  op: v.literal('stream'),
  session,
  parameters: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(2 * PARAMETERS_BYTES_MAX),
      v.transform(fromBase64),
      v.instance(Uint8Array),
    ),
  ),
  take: v.optional(whole(Number.MAX_SAFE_INTEGER)),
});
/** Carries the datagram messages of a talk that a command holds. */
export const messagesRequest = v.strictObject({ op: v.literal('messages'), session });

type TalkRequest = v.InferOutput<typeof talkRequest>;

/** Introduces, and holds the talk until it ends or its command does. */
export async function talk(
  agent: Agent,
  asked: TalkRequest,
  channel: ServedChannel,
): Promise<object> {
  const clock = new Clock();
  const begun = clock.now();
  const waitMs = asked.waitMs ?? LIMITS.waitMsDefault;
  channel.event({ event: 'waiting', to: asked.to, waitMs });
  const introduced = await agent.call({
    to: asked.to,
    service: asked.service,
    want: { seconds: asked.seconds, bytes: asked.bytes },
    waitMs,
    extend: asked.extend,
    signal: channel.closed,
    onIntroduced: (early) => tellOf(early, channel),
  });
  const setupSeconds = (clock.now() - begun) / MICROS_PER_SECOND;
  return hold(agent, introduced, channel, { setupSeconds });
}

/** Waits for the next talk of a service that a peer asks for, and holds it as `talk` does. */
export async function accept(
  agent: Agent,
  waiters: Waiters,
  asked: v.InferOutput<typeof acceptRequest>,
  channel: ServedChannel,
): Promise<object> {
  channel.event({ event: 'accepting', service: asked.service });
  const taken = await waiters.next(asked.service, asked.from, channel.closed);
  tellOf(taken.session, channel);
  taken.onStream((take, parameters) => {
    const text = toBase64(parameters);
    channel.event({ event: 'stream', session: taken.session.info.session, take, parameters: text });
  });
  await taken.session.established;
  return hold(agent, taken.session, channel, {});
}

/** The events of a talk until its end; the result is its end. */
async function hold(
  agent: Agent,
  held: Session,
  channel: ServedChannel,
  more: object,
): Promise<object> {
  const { session: id, peer, service: name, seconds, bytes } = held.info;
  const giveUp = (): void => held.finish('local');
  channel.closed.addEventListener('abort', giveUp, { once: true });
  if (channel.closed.aborted) giveUp();
  const { path, rttMs } = held.state ?? {};
  channel.event({
    event: 'open',
    session: id,
    peer,
    service: name,
    seconds,
    bytes,
    path,
    way: held.way,
    relayAt: held.way === 'relay' ? relayOf(agent, id) : undefined,
    rttMs,
    maxMessageBytes: held.maxDatagramBytes,
    ...more,
  });
  void untilDone(channel).then(
    () => held.finish('done'),
    () => {},
  );
  try {
    const { reason, counts, path: last, way, meeting } = await held.ended;
    if (reason !== 'done' && reason !== 'local') throw endError(reason, meeting);
    return { session: id, to: peer.name, reason, ...counts, path: last, way };
  } finally {
    channel.closed.removeEventListener('abort', giveUp);
  }
}

/** The relay of ours that a talk goes through; undefined: it is the peer's. */
function relayOf(agent: Agent, id: SessionId): MeetingReport['relayAt'] {
  return agent.status().talks.find(({ session: of }) => of === id)?.meeting.relayAt;
}

/** Resolves when the command says that it is done; it sends nothing else here. */
export async function untilDone(channel: ServedChannel): Promise<void> {
  for await (const _ of channel.incoming);
}

/** Tells a command what happens to its talk, from the introduction on. */
export function tellOf(introduced: Session, channel: ServedChannel): void {
  const { session: id, peer, seconds, bytes } = introduced.info;
  channel.event({ event: 'introduced', session: id, peer: peer.name, seconds, bytes });
  const tell = (event: keyof SessionEvents, more: object): void =>
    channel.event({ event, session: id, ...more });
  introduced.on('established', (path) => tell('established', { path }));
  introduced.on('path', (path) => tell('path', { path }));
  introduced.on('way', (way, path) => tell('way', { way, path }));
  introduced.on('expiryNear', (by) => tell('expiryNear', { by }));
  introduced.on('extended', (terms) => tell('extended', terms));
  introduced.on('extensionRefused', () => tell('extensionRefused', {}));
  void introduced.ended.then(({ reason, counts, path, way }) => {
    const says = endSentence(reason);
    const limit = isLimit(reason);
    channel.event({ event: 'ended', session: id, reason, says, limit, ...counts, path, way });
  });
}

/** Carries one stream: bytes both ways, half-closed both ways, until both directions are over. */
export async function stream(
  agent: Agent,
  waiters: Waiters,
  asked: v.InferOutput<typeof streamRequest>,
  channel: ServedChannel,
): Promise<object> {
  const held = liveSession(agent, asked.session);
  let carried: TalkStream;
  if (asked.take === undefined) {
    carried = held.openStream(held.info.service, asked.parameters);
  } else {
    const waiting = waiters.take(held.info.session, asked.take);
    if (waiting === undefined) throw noSuchStream();
    carried = waiting;
  }
  await bridge(carried, channel);
  return { session: asked.session };
}

/**
 * Joins a stream of a talk with a command's local connection.
 * @throws NakodoError why the stream failed: `stream-reset`, or the reason of the talk's end.
 */
async function bridge(carried: TalkStream, channel: ServedChannel): Promise<void> {
  const giveUp = (): void => void carried.destroy();
  channel.closed.addEventListener('abort', giveUp, { once: true });
  try {
    const inwards = inward(carried, channel);
    const outwards = outward(carried, channel).catch(async (error: unknown) => {
      // What had arrived is still handed on.
      await inwards.catch(() => {});
      throw error;
    });
    await Promise.all([outwards, inwards]);
  } catch (error) {
    // What breaks first need not be what it broke of.
    const why = carried.errored ?? error;
    carried.destroy();
    throw why;
  } finally {
    channel.closed.removeEventListener('abort', giveUp);
  }
}

/** What a command writes; a peer that has stopped reading costs nothing but the reading. */
async function outward(carried: TalkStream, channel: ServedChannel): Promise<void> {
  const delivered = new Promise<void>((resolve, reject) => {
    carried.once('finish', resolve);
    carried.once('close', () => {
      if (carried.writableFinished) resolve();
      else reject(carried.errored ?? endError('peer-gone'));
    });
  });
  const all = (async () => {
    for await (const bytes of channel.incoming) {
      // No race against `delivered`: it would keep a trace of every turn until the very end.
      if (!(await written(carried, bytes))) break;
    }
    carried.end();
  })();
  all.catch(() => {});
  // A stream that breaks while its command has nothing to write is told all the same.
  await Promise.race([all, delivered]);
  await delivered;
  channel.event({ event: 'delivered' });
}

async function inward(carried: TalkStream, channel: ServedChannel): Promise<void> {
  const chunks = carried.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) await channel.write(chunk);
  channel.endData();
}

/** Bytes before each message on the local connection: its length, big endian. */
const LENGTH_BYTES = 2;

/** Carries datagram messages, each behind its length, until the command or the talk ends. */
export async function messages(
  agent: Agent,
  { session: id }: v.InferOutput<typeof messagesRequest>,
  channel: ServedChannel,
): Promise<object> {
  const held = liveSession(agent, id);
  let unsent = 0;
  const outwards = (async () => {
    for await (const message of framed(channel.incoming)) {
      if (!held.sendDatagram(message)) unsent += 1;
    }
  })();
  const arriving = held.datagrams();
  const inwards = (async () => {
    for await (const message of arriving) {
      const head = Buffer.alloc(LENGTH_BYTES);
      head.writeUInt16BE(message.length);
      await channel.write(Buffer.concat([head, message]));
    }
    channel.endData();
  })();
  inwards.catch(() => {});
  const gone = once(channel.closed, 'abort').then(() => {});
  try {
    // A command that ended its own direction still listens, until the talk ends.
    await Promise.race([Promise.all([outwards, inwards]), gone]);
  } finally {
    await arriving.return?.();
  }
  return { session: id, unsent };
}

/** Messages out of bytes in any pieces; an empty one is passed over, a cut one ends it. */
async function* framed(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    while (rest.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + rest.readUInt16BE();
      if (rest.length < end) break;
      if (end > LENGTH_BYTES) yield rest.subarray(LENGTH_BYTES, end);
      rest = rest.subarray(end);
    }
  }
}

function liveSession(agent: Agent, id: SessionId): Session {
  const held = agent.session(id);
  if (held !== undefined) return held;
  throw new NakodoError(
    'no-session',
    `no talk ${id} is under way here`,
    'see `nakodo status` for those that are',
  );
}
