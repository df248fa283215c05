// What the commands can ask of a running agent over its home's socket: status, send, end, the
// owner's word, trust. The agent opens no path that a user names: a file's content is streamed in
// by the command (design §7).

import { join } from 'node:path';
import * as v from 'valibot';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import {
  type DeviceId,
  type Name,
  type SessionId,
  isDeviceId,
  isName,
  isSessionId,
} from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import {
  type LocalServer,
  type ServedChannel,
  serveLocal,
} from '../../protocol/io/local-socket.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MICROS_PER_SECOND, ms } from '../../protocol/time.ts';
import type { Agent } from '../agent.ts';
import { configReader } from '../services/config.ts';
import { serviceOf } from '../services/registry.ts';
import { endError } from './call-error.ts';
import {
  FILE_NAME_BYTES_MAX,
  FILE_SERVICE,
  isFileName,
  removePartials,
  sendFiles,
} from './file-service.ts';
import { listRequest, showList, storeEntryRequest, storeEntryText } from './operations/list.ts';
import {
  accept,
  acceptRequest,
  messages,
  messagesRequest,
  stream,
  streamRequest,
  talk,
  talkRequest,
  tellOf,
} from './operations/talk.ts';
import { Waiters } from './operations/waiters.ts';
import { socketAccess } from './service/socket-access.ts';
import type { Session } from './session.ts';

/** The owner's settings, in the home. */
const CONFIG_FILE = 'agent.toml';
/** Files of one `send`. */
const FILES_MAX = 400;
/** Milliseconds between two progress events. */
const PROGRESS_MS = 100;

const whole = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(max));
const statusRequest = v.strictObject({ op: v.literal('status') });
const endOfTalk = v.strictObject({ op: v.literal('end'), session: v.string() });
const sendRequest = v.strictObject({
  op: v.literal('send'),
  to: v.pipe(v.string(), v.maxLength(LIMITS.patternMax)),
  files: v.pipe(
    v.array(
      v.strictObject({
        name: v.pipe(v.string(), v.maxBytes(FILE_NAME_BYTES_MAX), v.check(isFileName)),
        size: whole(Number.MAX_SAFE_INTEGER),
      }),
    ),
    v.minLength(1),
    v.maxLength(FILES_MAX),
  ),
  waitMs: v.optional(whole(LIMITS.waitMsMax)),
  bytes: v.optional(whole(LIMITS.grantBytesMax)),
  seconds: v.optional(whole(LIMITS.grantSecondsMax)),
  extend: v.optional(v.boolean()),
});
const terminalName = v.custom<Name>((text) => typeof text === 'string' && isName(text));
/** What waits for the owner; waits itself until something does (of this name), if it may. */
const questionsRequest = v.strictObject({
  op: v.literal('questions'),
  name: v.optional(terminalName),
  waitMs: v.optional(whole(LIMITS.waitMsMax)),
});
const approveRequest = v.strictObject({
  op: v.literal('approve'),
  name: terminalName,
  service: v.optional(v.pipe(v.string(), v.maxLength(LIMITS.serviceNameMax))),
  ask: v.optional(whole(Number.MAX_SAFE_INTEGER)),
  approved: v.boolean(),
  rememberSeconds: v.optional(
    v.pipe(whole(LIMITS.approvalSecondsMax), v.minValue(1, 'remember for at least 1 s')),
  ),
});
const trustRequest = v.strictObject({
  op: v.literal('trust'),
  name: terminalName,
  id: v.optional(v.custom<DeviceId>((text) => typeof text === 'string' && isDeviceId(text))),
});
const request = v.variant('op', [
  statusRequest,
  endOfTalk,
  sendRequest,
  questionsRequest,
  approveRequest,
  trustRequest,
  listRequest,
  storeEntryRequest,
  talkRequest,
  acceptRequest,
  streamRequest,
  messagesRequest,
]);
type Request = v.InferOutput<typeof request>;
type SendRequest = v.InferOutput<typeof sendRequest>;

/** How an agent is served. */
interface ServeOptions {
  readonly log: Log;
  /** The owner's settings; default: `agent.toml` in the agent's home. */
  readonly configPath?: string | undefined;
  /** A group whose members may use the commands as well; default: nobody else. */
  readonly socketGroup?: string | undefined;
}

/** What an operation works with. */
interface Office {
  readonly agent: Agent;
  readonly waiters: Waiters;
  readonly config: ReturnType<typeof configReader>;
}

/**
 * Serves the commands of an agent's home, and what peers ask for: each talk goes to the command
 * that waits for it, else to the service of its name.
 * @throws NakodoError `already-running`, `socket-path-too-long`, `no-such-group`, `not-in-group`.
 */
export async function serveAgent(agent: Agent, options: ServeOptions): Promise<LocalServer> {
  const { log } = options;
  const config = configReader(options.configPath ?? join(agent.home.folder, CONFIG_FILE));
  const office: Office = { agent, waiters: new Waiters(), config };
  agent.onIncoming((session) => serveTalk(office, session, log));
  const access = await socketAccess(agent.home.folder, options.socketGroup);
  const server = await serveLocal(agent.home.socket, {
    ...access,
    handle: async (raw, channel) => {
      const parsed = v.safeParse(request, raw);
      if (!parsed.success) throw badRequest(parsed.issues[0].message);
      return answer(office, parsed.output, channel);
    },
  });
  // Not before the socket is ours: until then another agent may be at work in this home.
  const isLive = (id: string): boolean => isSessionId(id) && agent.session(id) !== undefined;
  await removePartials(agent.home.inbox, isLive);
  return server;
}

/** With nobody to serve it, a talk's streams are refused, and it runs out. */
function serveTalk({ agent, waiters, config }: Office, session: Session, log: Log): void {
  if (waiters.offer(session)) return;
  const { service, peer } = session.info;
  const read = config();
  if ('problem' in read) {
    log.error('config-unreadable', { why: read.problem });
    return;
  }
  const serving = serviceOf(service);
  if (serving === undefined) log.warn('service-unknown', { service, peer: peer.name });
  else serving.serve(session, { home: agent.home, log, config: read.config });
}

async function answer(office: Office, asked: Request, channel: ServedChannel): Promise<object> {
  const { agent, waiters } = office;
  switch (asked.op) {
    case 'status':
      return status(office);
    case 'end':
      return endTalk(agent, asked.session);
    case 'send':
      return send(agent, asked, channel);
    case 'questions': {
      const { name, waitMs } = asked;
      if (waitMs !== undefined) await agent.owner.waiting(name, waitMs, channel.closed);
      return { questions: agent.owner.questions() };
    }
    case 'approve': {
      const { op: _, ...decision } = asked;
      return { questions: agent.owner.decide(decision) };
    }
    case 'trust':
      return trust(agent, asked.name, asked.id);
    case 'list':
      return showList(agent.home.list, channel);
    case 'storeEntry':
      return storeEntryText(agent.home.list, asked.entry);
    case 'talk':
      return talk(agent, asked, channel);
    case 'accept':
      return accept(waiters, asked, channel);
    case 'stream':
      return stream(agent, waiters, asked, channel);
    case 'messages':
      return messages(agent, asked, channel);
  }
}

/** How the terminal is, and what is wrong with its owner's settings. */
function status({ agent, config }: Office): object {
  const now = agent.status();
  const read = config();
  const services = 'problem' in read ? read.problem : undefined;
  return { ...now, troubles: { ...now.troubles, services } };
}

/** The owner accepts another key behind a name. */
function trust(agent: Agent, name: Name, id: DeviceId | undefined): object {
  const trusted = agent.trust(name, id);
  if (trusted !== undefined) return { name, id: trusted };
  throw new NakodoError(
    'nothing-to-trust',
    `${name} was not refused for another key since this agent runs`,
    `name the ID that its owner tells you: nakodo trust ${name}#ID`,
  );
}

/** Ends a talk because its user says so; answers when it has ended. */
async function endTalk(agent: Agent, id: string): Promise<object> {
  const session = isSessionId(id) ? agent.session(id as SessionId) : undefined;
  if (session === undefined) {
    throw new NakodoError(
      'no-session',
      `no talk ${id} is under way here`,
      'see `nakodo status` for those that are',
    );
  }
  session.finish('local');
  const { reason, counts } = await session.ended;
  return { session: id, reason, ...counts };
}

/** [S1002, S1005]: calls, sends, ends `done` when all answers came. */
async function send(agent: Agent, asked: SendRequest, channel: ServedChannel): Promise<object> {
  const clock = new Clock();
  const begun = clock.now();
  const ofBytes = asked.files.reduce((sum, file) => sum + file.size, 0);
  const waitMs = asked.waitMs ?? LIMITS.waitMsDefault;
  channel.event({ event: 'waiting', to: asked.to, waitMs });
  const session = await agent.call({
    to: asked.to,
    service: FILE_SERVICE,
    want: { seconds: asked.seconds, bytes: asked.bytes },
    waitMs,
    extend: asked.extend,
    signal: channel.closed,
    onIntroduced: (introduced) => tellOf(introduced, channel),
  });
  const giveUp = (): void => session.finish('local');
  channel.closed.addEventListener('abort', giveUp, { once: true });
  if (channel.closed.aborted) giveUp();
  const started = clock.now();
  let nextProgress = started;
  try {
    const files = await sendFiles(session, asked.files, channel.incoming, (sentBytes) => {
      const now = clock.now();
      if (now < nextProgress && sentBytes < ofBytes) return;
      nextProgress = (now + ms(PROGRESS_MS)) as typeof now;
      channel.event({ event: 'progress', sentBytes, ofBytes });
    });
    const seconds = (clock.now() - started) / MICROS_PER_SECOND;
    session.finish('done');
    const end = await session.ended;
    if (end.reason !== 'done') throw endError(end.reason);
    return {
      session: session.info.session,
      to: asked.to,
      reason: end.reason,
      bytes: ofBytes,
      ...end.counts,
      seconds,
      setupSeconds: (started - begun) / MICROS_PER_SECOND,
      rate: seconds > 0 ? ofBytes / seconds : 0,
      path: end.path,
      files,
    };
  } catch (error) {
    session.finish('local');
    await session.ended;
    throw error;
  } finally {
    channel.closed.removeEventListener('abort', giveUp);
  }
}

function badRequest(why: string): NakodoError {
  return new NakodoError(
    'bad-request',
    `the agent does not understand this request: ${why}`,
    'bring the command and the agent to the same release',
    EXIT.usage,
  );
}
