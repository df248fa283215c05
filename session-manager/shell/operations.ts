// What the operator can do with a running manager; the integrator puts these behind the local
// socket. Answers are plain objects that JSON can hold, with the field names of manager-types.ts.

import type { CryptoSuite, SigningKey } from '../../protocol/crypto.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { signed } from '../../protocol/identity/signed.ts';
import { formatTicket } from '../../protocol/identity/ticket.ts';
import { type Name, isName, isSessionId } from '../../protocol/ids.ts';
import { HEAD_KEY } from '../ledger.ts';
import { EMPTY_LOG, LogVerifier, decodeLogHead, encodeLogHead, logKey } from '../log.ts';
import type {
  Command,
  DeviceView,
  EndOutcome,
  ManagerEvent,
  Reply,
  SessionChange,
  SessionView,
} from '../manager-types.ts';
import type { Manager } from '../manager.ts';
import { PAST_PREFIX, decodeSession } from '../records.ts';
import { faultError } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';
import type { Store } from './store.ts';
import { type LogView, deviceView, hex, logView, sessionView } from './views.ts';

/** The result of `log verify`. `signature`: the manager's Ed25519 over the head (label `log`). */
export type VerifyView =
  | {
      readonly ok: true;
      readonly entries: number;
      readonly head: string;
      readonly signature: string;
      readonly managerKey: string;
    }
  | { readonly ok: false; readonly at: number; readonly why: string };

/** The operator's ways in. All throw NakodoError with a next step. */
export interface Operations {
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
  /** Entries from number `from` on (default: the newest `limit`), oldest first. */
  log(ask: { readonly from?: number; readonly limit?: number }): Promise<readonly LogView[]>;
  /** Reads the whole log and checks its chain against the recorded head. */
  verify(): Promise<VerifyView>;
}

interface Parts {
  readonly core: Manager;
  readonly store: Store;
  readonly suite: CryptoSuite;
  readonly key: SigningKey;
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
    async end(session) {
      if (!isSessionId(session)) throw faultError('no-session');
      return outcomeOf(await command({ kind: 'end', session }));
    },
    async log({ from, limit }) {
      await command({ kind: 'settle' });
      return listLog(parts, from, bounded(limit));
    },
    async verify() {
      await command({ kind: 'settle' });
      return verify(parts);
    },
  };
}

async function makeTicket(
  { command, enrolUrl, key }: Parts,
  ask: Parameters<Operations['ticket']>[0],
): Promise<{ readonly ticket: string; readonly expiresAt: string }> {
  const { name, uses, forSeconds } = ask;
  if (name !== undefined && !isName(name)) {
    throw new NakodoError(
      'bad-name',
      `"${name}" cannot be a terminal's name`,
      'use 1 to 64 letters, digits and . _ @ + -, beginning with a letter or digit',
    );
  }
  const seconds = Math.ceil(forSeconds);
  const reply = await command({ kind: 'ticket', name: name as Name | undefined, uses, seconds });
  if (reply.kind !== 'ticket') throw failure(reply);
  const { secret, expiresAt } = reply;
  const ticket = formatTicket({
    url: enrolUrl,
    managerKey: key.publicKey,
    secret,
    expiresAt,
    name: name as Name | undefined,
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

function listLog(
  { core, store, suite }: Parts,
  from: number | undefined,
  limit: number,
): LogView[] {
  const first = from ?? Math.max(1, core.logHead.sequence - limit + 1);
  return store
    .range('log', { after: logKey(first - 1), limit })
    .map(({ key, value }) => logView(suite, key, value));
}

/** Page by page, letting the loop breathe: a long log must not hold up introductions. */
async function verify({ core, store, suite, key }: Parts): Promise<VerifyView> {
  const verifier = new LogVerifier(suite);
  // What is appended while we read is left out: the head is the one of this moment.
  const [row] = store.range('meta', { prefix: HEAD_KEY, limit: 1 });
  const recorded = row === undefined ? EMPTY_LOG : decodeLogHead(row.value);
  if (recorded === undefined) return { ok: false, at: 0, why: 'the recorded head is damaged' };
  if (recorded.sequence < core.logHead.sequence) {
    return { ok: false, at: recorded.sequence, why: 'the recorded head was set back' };
  }
  // An entry comes with its head, in one transaction: one behind the head was put there.
  if (store.range('log', { after: logKey(recorded.sequence), limit: 1 }).length > 0) {
    return { ok: false, at: recorded.sequence + 1, why: 'an entry was added behind the last one' };
  }
  let after = logKey(0);
  for (let left = recorded.sequence; left > 0;) {
    const limit = Math.min(left, SHELL_LIMITS.verifyPageRows);
    const page = store.range('log', { after, limit });
    if (page.length === 0 || !page.every(({ value }) => verifier.add(value))) break;
    after = page[page.length - 1].key;
    left -= page.length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const verdict = verifier.finish(recorded);
  if (!verdict.ok) return verdict;
  const signature = signed(key, 'log', encodeLogHead(verdict.head));
  return {
    ok: true,
    entries: verdict.entries,
    head: hex(verdict.head.hash),
    signature: hex(signature),
    managerKey: hex(key.publicKey),
  };
}

function bounded(limit: number | undefined): number {
  const wanted = limit ?? SHELL_LIMITS.listDefault;
  return Math.max(1, Math.min(SHELL_LIMITS.listMax, Math.floor(wanted)));
}
