// What the operator can do with a running manager; the integrator puts these behind the local
// socket. Answers are plain objects that JSON can hold, with the field names of manager-types.ts.

import type { CryptoSuite, SigningKey } from '../../protocol/crypto.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { formatTicket } from '../../protocol/identity/ticket.ts';
import { isName, isSessionId } from '../../protocol/ids.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import type {
  Command,
  DeviceView,
  EndOutcome,
  ManagerEvent,
  Reply,
  RevokeView,
  SessionChange,
  SessionView,
} from '../manager-types.ts';
import type { Manager } from '../manager.ts';
import { PAST_PREFIX, decodeSession } from '../records.ts';
import { faultError } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';
import { type LogOperations, makeLogOperations } from './log-operations.ts';
import type { Store } from './store.ts';
import { deviceView, revokeView, sessionView } from './views.ts';

/** The operator's ways in. All throw NakodoError with a next step. */
export interface Operations extends LogOperations {
  /** `uses`: terminals that it enrols; `forSeconds`: how long it is good. */
  ticket(ask: {
    readonly name?: string | undefined;
    readonly uses: number;
    readonly forSeconds: number;
  }): Promise<{ readonly ticket: string; readonly expiresAt: string }>;
  devices(): readonly DeviceView[];
  /** Sessions that are not closed, oldest first; with `all` the newest closed ones before them. */
  sessions(ask: {
    readonly all: boolean;
    readonly limit?: number;
  }): Promise<readonly SessionView[]>;
  /** Tells `listener` of every turn that a session takes; returns how to stop. */
  watch(listener: (event: ManagerEvent) => void): () => void;
  /** Forces an end [S6004]; resolves when both terminals confirmed, or LIMITS.endAnswerMs later. */
  end(session: string): Promise<EndOutcome>;
  /**
   * Revokes the terminal of a name and ends its talks; resolves when their other ends confirmed, or
   * LIMITS.endAnswerMs later.
   */
  revoke(name: string): Promise<RevokeView>;
}

interface Parts {
  readonly core: Manager;
  readonly store: Store;
  readonly suite: CryptoSuite;
  readonly key: SigningKey;
  /** X25519, for tickets, as are the pin of the server's TLS key (absent: no TLS) and the URL. */
  readonly agreementKey: Uint8Array;
  readonly pin: Uint8Array | undefined;
  readonly enrolUrl: string;
  readonly command: (command: Command) => Promise<Reply>;
  readonly watchers: Set<(change: SessionChange) => void>;
}

/** Makes the operations of one running manager. */
export function makeOperations(parts: Parts): Operations {
  const { core, watchers, command } = parts;
  return {
    ticket: (ask) => makeTicket(parts, ask),
    devices: () => core.devices().map(deviceView),
    async sessions({ all, limit }) {
      await command({ kind: 'settle' });
      return listSessions(parts, all, bounded(limit));
    },
    watch(listener) {
      if (watchers.size >= SHELL_LIMITS.watchersMax) throw faultError('busy');
      const watcher = ({ event, session }: SessionChange): void =>
        listener({ event, session: sessionView(session) });
      watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
    async revoke(name) {
      if (!isName(name)) throw faultError('no-device');
      const reply = await command({ kind: 'revoke', name });
      if (reply.kind !== 'revoked') throw failure(reply);
      return revokeView(reply.outcome);
    },
    async end(session) {
      if (!isSessionId(session)) throw faultError('no-session');
      return outcomeOf(await command({ kind: 'end', session }));
    },
    ...makeLogOperations(parts),
  };
}

async function makeTicket(
  { command, enrolUrl, key, agreementKey, pin }: Parts,
  ask: Parameters<Operations['ticket']>[0],
): Promise<{ readonly ticket: string; readonly expiresAt: string }> {
  const { uses, forSeconds } = ask;
  const name = ask.name === undefined ? undefined : terminalName(ask.name);
  const seconds = Math.ceil(forSeconds);
  const reply = await command({ kind: 'ticket', name, uses, seconds });
  if (reply.kind !== 'ticket') throw failure(reply);
  const { secret, expiresAt } = reply;
  const ticket = formatTicket({
    url: enrolUrl,
    managerKey: key.publicKey,
    secret,
    expiresAt,
    name,
    agreementKey,
    pin,
  });
  return { ticket, expiresAt: new Date(expiresAt * 1_000).toISOString() };
}

function outcomeOf(reply: Reply): EndOutcome {
  if (reply.kind !== 'ended') throw failure(reply);
  return reply.outcome;
}

function failure(reply: Reply): NakodoError {
  return faultError(reply.kind === 'failed' ? reply.code : 'busy');
}

/** Memory knows the open sessions; the store knows all that are closed. */
function listSessions({ core, store }: Parts, all: boolean, limit: number): SessionView[] {
  const open = core.sessions('open').map(sessionView);
  if (!all) return open.slice(-limit);
  const known = new Set<string>(open.map(({ session }) => session));
  const past = store
    .range('sessions', { prefix: PAST_PREFIX, reverse: true, limit })
    .toReversed()
    .flatMap(({ value }) => decodeSession(value) ?? [])
    .filter(({ session }) => !known.has(session))
    .map(sessionView);
  return [...past, ...open].slice(-limit);
}

function bounded(limit: number | undefined): number {
  const wanted = limit ?? SHELL_LIMITS.listDefault;
  return Math.max(1, Math.min(SHELL_LIMITS.listMax, Math.floor(wanted)));
}
