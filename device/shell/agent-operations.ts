// What the commands can ask of a running agent over its home's socket: status, end, the
// owner's word, trust, and talks that the commands hold themselves. The agent opens no path that a
// user names: the command does, and speaks the service's protocol (ADR 0019).

import { join, resolve } from 'node:path';
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
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import {
  type LocalServer,
  type ServedChannel,
  serveLocal,
} from '../../protocol/io/local-socket.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { Agent } from '../agent.ts';
import {
  type AgentAtStart,
  RELAY_ONLY_WORDS,
  isRelayOnlyUnread,
  relaySource,
  settingsDrift,
} from '../services/agent-settings.ts';
import { configReader } from '../services/config.ts';
import { openInbox } from '../services/file/file-service.ts';
import { serviceOf } from '../services/registry.ts';
import { listRequest, showList, storeEntryRequest, storeEntryText } from './operations/list.ts';
import { forward, forwardRequest } from './operations/forward.ts';
import {
  accept,
  acceptRequest,
  messages,
  messagesRequest,
  stream,
  streamRequest,
  talk,
  talkRequest,
} from './operations/talk.ts';
import { Waiters } from './operations/waiters.ts';
import { fitted } from './service/report.ts';
import { socketAccess } from './service/socket-access.ts';
import type { Session } from './session.ts';

/** The owner's settings, in the home. */
const CONFIG_FILE = 'agent.toml';
const whole = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(max));
const statusRequest = v.strictObject({ op: v.literal('status') });
const endOfTalk = v.strictObject({ op: v.literal('end'), session: v.string() });
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
  questionsRequest,
  approveRequest,
  trustRequest,
  listRequest,
  storeEntryRequest,
  talkRequest,
  acceptRequest,
  streamRequest,
  messagesRequest,
  forwardRequest,
]);
type Request = v.InferOutput<typeof request>;

/** How an agent is served. */
interface ServeOptions {
  readonly log: Log;
  /** The owner's settings; default: `agent.toml` in the agent's home. */
  readonly configPath?: string | undefined;
  /** A group whose members may use the commands as well; default: nobody else. */
  readonly socketGroup?: string | undefined;
  /** What the agent took from the settings, to be said where the file says otherwise. */
  readonly atStart?: AgentAtStart | undefined;
}

/** What an operation works with. */
interface Office {
  readonly agent: Agent;
  readonly waiters: Waiters;
  readonly config: ReturnType<typeof configReader>;
  readonly configPath: string;
  readonly atStart: AgentAtStart | undefined;
}

/**
 * Serves the commands of an agent's home, and what peers ask for: each talk goes to the command
 * that waits for it, else to the service of its name.
 * @throws NakodoError `already-running`, `socket-path-too-long`, `no-such-group`, `not-in-group`.
 */
export async function serveAgent(agent: Agent, options: ServeOptions): Promise<LocalServer> {
  const { log, atStart } = options;
  const configPath = resolve(options.configPath ?? join(agent.home.folder, CONFIG_FILE));
  const config = configReader(configPath, agent.home.folder);
  const office: Office = { agent, waiters: new Waiters(), config, configPath, atStart };
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
  const read = config();
  if ('config' in read) await openInbox(agent.home.folder, read.config, log);
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
      return showList(agent.home, channel);
    case 'storeEntry':
      return storeEntryText(agent.home.list, asked.entry);
    case 'talk':
      return talk(agent, asked, channel);
    case 'accept':
      return accept(agent, waiters, asked, channel);
    case 'stream':
      return stream(agent, waiters, asked, channel);
    case 'messages':
      return messages(agent, asked, channel);
    case 'forward':
      return forward(agent, asked, channel);
  }
}

/** How the terminal is, and what is wrong with its owner's settings. */
function status({ agent, config, configPath, atStart }: Office): object {
  const now = agent.status();
  const read = config();
  const services = 'problem' in read ? read.problem : undefined;
  const settings = atStart && settingsTrouble(read, atStart);
  const troubles = { ...now.troubles, services, settings };
  const relayBy = atStart && relaySource(atStart);
  const all = { ...now, relayBy, settings: configPath, troubles };
  return fitted(all, IO_LIMITS.frameBytesMax);
}

/** What the running agent does otherwise than its owner's file says, or would. */
function settingsTrouble(
  read: ReturnType<Office['config']>,
  atStart: AgentAtStart,
): string | undefined {
  if ('config' in read) return settingsDrift(read.config.agent, atStart);
  return isRelayOnlyUnread(atStart) ? RELAY_ONLY_WORDS : undefined;
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

function badRequest(why: string): NakodoError {
  return new NakodoError(
    'bad-request',
    `the agent does not understand this request: ${why}`,
    'bring the command and the agent to the same release',
    EXIT.usage,
  );
}
