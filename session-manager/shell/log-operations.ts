// What the operator does with the log of a running manager: look at it, take it out as text that
// can be verified anywhere, and move its past into an archive. Reading goes page by page and lets
// the loop breathe: a long log must not hold up introductions.

import type { CryptoSuite, SigningKey } from '../../protocol/crypto.ts';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import { encodeCbor } from '../../protocol/control/cbor.ts';
import { publicKeys } from '../../protocol/control/messages.ts';
import { EMPTY_SPAN, HEAD_KEY, type LogSpan, decodeSpan, signSpan } from '../log-head.ts';
import { type LogVerdict, LogVerifier } from '../log-verify.ts';
import { type LogHead, logKey } from '../log.ts';
import type { Command, Reply } from '../manager-types.ts';
import type { Manager } from '../manager.ts';
import { faultError } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';
import { LOG_FILE_TITLE, LogReader, logLine } from './log-file.ts';
import type { Store } from './store.ts';
import { type LogView, hex, logView } from './views.ts';

/** The result of `log verify`; `signature`: the manager's over the head. */
export type VerifyView =
  | {
      readonly ok: true;
      readonly entries: number;
      /** Number of the first entry; what stood before it is in an archive. */
      readonly from: number;
      readonly head: string;
      readonly signature: string;
      readonly managerKey: string;
      readonly checkpoints: number;
      /** Terminals' signatures; `unknown`: their keys stand in an archive that was not given. */
      readonly signatures: { readonly checked: number; readonly unknown: number };
      readonly receipts: { readonly checked: number; readonly elsewhere: number };
    }
  | { readonly ok: false; readonly at: number; readonly why: string };

/** A verdict with stable field names, as `--json` prints it. */
export function verifyView(verdict: LogVerdict, managerKey: Uint8Array): VerifyView {
  if (!verdict.ok) return verdict;
  const { entries, span, signature, checkpoints, statements, receipts } = verdict;
  return {
    ok: true,
    entries,
    from: span.base.sequence + 1,
    head: hex(span.head.hash),
    signature: hex(signature),
    managerKey: hex(managerKey),
    checkpoints,
    signatures: statements,
    receipts,
  };
}

/** The operator's ways to the log. All throw NakodoError with a next step. */
export interface LogOperations {
  /** Entries from number `from` on (default: the newest `limit`), oldest first. */
  log(ask: { readonly from?: number; readonly limit?: number }): Promise<readonly LogView[]>;
  /** Reads the whole log and verifies it. */
  verify(): Promise<VerifyView>;
  /**
   * The log as text (log-file.ts): all that is kept, or (`archive`) signed as a part that is about
   * to be moved out.
   */
  exportLog(use: 'head' | 'archive'): AsyncGenerator<string, void, undefined>;
  /**
   * What was exported as an archive is safe elsewhere: it is no longer kept here. `hash`: of the
   * archive's last entry, hexadecimal.
   */
  archived(ask: {
    readonly sequence: number;
    readonly hash: string;
  }): Promise<{ readonly removed: number }>;
}

interface Parts {
  readonly core: Manager;
  readonly store: Store;
  readonly suite: CryptoSuite;
  readonly key: SigningKey;
  readonly command: (command: Command) => Promise<Reply>;
}

/** Makes the log operations of one running manager. */
export function makeLogOperations(parts: Parts): LogOperations {
  const { core, store, suite, key, command } = parts;
  /** Exports under way: what they read stays until they have read it. */
  let readers = 0;
  const settle = (): Promise<Reply> => command({ kind: 'settle' });
  async function* exportLog(use: 'head' | 'archive'): AsyncGenerator<string, void, undefined> {
    readers += 1;
    try {
      await settle();
      yield* textOf(parts, use);
    } finally {
      readers -= 1;
    }
  }
  return {
    exportLog,
    async log({ from, limit }) {
      await settle();
      const most = limit ?? SHELL_LIMITS.listDefault;
      const bound = Math.max(1, Math.min(SHELL_LIMITS.listMax, Math.floor(most)));
      const first = from ?? Math.max(1, core.logSpan.head.sequence - bound + 1);
      return store
        .range('log', { after: logKey(first - 1), limit: bound })
        .map(({ key: row, value }) => logView(suite, row, value));
    },
    async verify() {
      const verifier = new LogVerifier({ suite, managerKey: key.publicKey });
      const reader = new LogReader(verifier, 'head');
      try {
        for await (const text of exportLog('head')) if (!reader.take(Buffer.from(text))) break;
        reader.end();
      } catch (error) {
        if (!(error instanceof NakodoError) || error.code !== 'log-damaged') throw error;
        return { ok: false, at: core.logSpan.head.sequence, why: error.message };
      }
      return verifyView(verifier.finish(), key.publicKey);
    },
    async archived({ sequence, hash }) {
      await settle();
      const [row] = store.range('log', { after: logKey(sequence - 1), limit: 1 });
      const isOurs = row?.key === logKey(sequence) && hex(suite.blake2s(row.value)) === hash;
      if (!isOurs) throw notArchived(sequence);
      // An export that has begun still reads from there.
      if (readers > 0) throw faultError('busy');
      const through: LogHead = { sequence, hash: suite.blake2s(row.value) };
      const reply = await command({ kind: 'archived', through });
      if (reply.kind === 'failed') {
        throw reply.code === 'bad-request' ? notArchived(sequence) : faultError(reply.code);
      }
      return { removed: await removeThrough(store, sequence) };
    },
  };
}

/** All lines: title, head, keys, entries. */
async function* textOf(
  { core, store, key }: Parts,
  use: 'head' | 'archive',
): AsyncGenerator<string, void, undefined> {
  const { head, span } = recordedHead(store, key, core.logSpan);
  if (use === 'archive' && span.head.sequence === span.base.sequence) throw nothingToArchive();
  // An entry comes with its head, in one transaction: one behind the head was put there.
  const behind = store.range('log', { after: logKey(span.head.sequence), limit: 1 });
  yield LOG_FILE_TITLE + logLine('head', use === 'head' ? head : signSpan(key, use, span));
  if (span.base.sequence > 0) {
    for (const device of core.devices()) yield logLine('key', encodeCbor(publicKeys, device.keys));
  }
  let after = logKey(span.base.sequence);
  // What is appended while we read is left out: the head is the one of that moment.
  for (let left = span.head.sequence - span.base.sequence; left > 0;) {
    const page = store.range('log', { after, limit: Math.min(left, SHELL_LIMITS.verifyPageRows) });
    if (page.length === 0) break;
    yield page.map(({ value }) => logLine('entry', value)).join('');
    after = page[page.length - 1].key;
    left -= page.length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const { value } of behind) yield logLine('entry', value);
}

/**
 * The head as it is stored; a log that never had an entry has none yet.
 * @throws NakodoError `log-damaged` if it is not what this process wrote.
 */
function recordedHead(
  store: Store,
  key: SigningKey,
  known: LogSpan,
): { readonly head: Uint8Array; readonly span: LogSpan } {
  const [row] = store.range('meta', { prefix: HEAD_KEY, limit: 1 });
  if (row === undefined && known.head.sequence === 0) {
    return { head: signSpan(key, 'head', EMPTY_SPAN), span: EMPTY_SPAN };
  }
  const span = row && decodeSpan(row.value);
  if (span === undefined) throw damaged('the recorded head is missing or damaged');
  if (span.head.sequence < known.head.sequence) throw damaged('the recorded head was set back');
  return { head: row.value, span };
}

/** Removes the rows up to an entry, page by page; says how many there were. */
async function removeThrough(store: Store, sequence: number): Promise<number> {
  let removed = 0;
  for (;;) {
    const rows = store.range('log', { limit: SHELL_LIMITS.verifyPageRows });
    const old = rows.filter(({ key }) => key <= logKey(sequence));
    await store.write(old.map(({ key }) => ({ table: 'log', key, value: undefined })));
    removed += old.length;
    if (old.length < SHELL_LIMITS.verifyPageRows) return removed;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const damaged = (why: string): NakodoError =>
  new NakodoError(
    'log-damaged',
    why,
    'keep a copy of the store as it is, and compare it with a backup',
  );

const nothingToArchive = (): NakodoError =>
  new NakodoError('nothing-to-archive', 'the log has no entries yet', 'archive it another day');

const notArchived = (sequence: number): NakodoError =>
  new NakodoError(
    'not-archived',
    `the archive up to entry ${sequence} is not of what is kept here now`,
    'somebody else has archived it meanwhile: look at `nakodo log`, and archive again',
    EXIT.failed,
  );
