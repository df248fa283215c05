// A pending enrolment: what `provision` took from the boot partition, kept in the home until the
// server can be reached. The agent redeems it before anything else. Who tries again after a power
// cut is the same terminal with the same keys, which costs no second use of the ticket
// (names.ts, onEnrol); a ticket that the server refuses is not shown to it again.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pauseFor } from 'node:timers/promises';
import * as v from 'valibot';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, NakodoError, errorCode } from '../../protocol/errors.ts';
import { type Name, isName } from '../../protocol/ids.ts';
import {
  type FileOwner,
  damagedFile,
  readJson,
  removeFile,
  writeFileAtomic,
  writeFileOnce,
} from '../../protocol/io/files.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow } from '../../protocol/random.ts';
import { enrol } from './enrol.ts';
import type { Provisioning } from './provision-file.ts';

const FILE = 'provisioning.json';
/** Words for a person; there as long as something keeps the terminal from being enrolled. */
const TROUBLE_FILE = 'provisioning-trouble.txt';
const LIST_FILE = 'allow-list.toml';
const TROUBLE_BYTES_MAX = 4_096;
/** Bytes of the pending file: an allow-list as JSON may be twice as long. */
const FILE_BYTES_MAX = 3 * LIMITS.listFileBytesMax;

/** Milliseconds until the server is tried again; doubles, with jitter. */
const RETRY_FIRST_MS = 2_000;
/** The longest pause, for as long as it takes: a card may lie in a drawer for a year. */
const RETRY_MAX_MS = 600_000;

/** Said by the server, by one that is not ours, or by nobody: it may be otherwise in a while. */
const PASSING: ReadonlySet<string> = new Set([
  'server-unreachable',
  'server-untrusted',
  'server-refused',
  'busy',
  'disk',
]);
/** What only the owner can put right, with another ticket or name. */
const FINAL: ReadonlySet<string> = new Set([
  'ticket-invalid',
  'ticket-expired',
  'wrong-server',
  'name-missing',
  'name-fixed',
  'name-taken',
  'already-enrolled',
  'revoked',
  'bad-request',
  'plain-not-loopback',
]);

const stored = v.variant('state', [
  v.strictObject({
    version: v.literal(1),
    state: v.literal('pending'),
    ticket: v.pipe(v.string(), v.maxLength(LIMITS.ticketTextMax)),
    name: v.nullable(v.custom<Name>((text) => typeof text === 'string' && isName(text))),
    list: v.nullable(v.string()),
  }),
  v.strictObject({
    version: v.literal(1),
    state: v.literal('done'),
    digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  }),
]);

/** SHA-256 of a ticket's text, in hex: what is kept of one that was used. */
export const ticketDigest = (ticket: string): string =>
  createHash('sha256').update(ticket).digest('hex');

/** The last thing that was provisioned; `pending`: undefined when it is done with. */
interface LastProvisioned {
  readonly digest: string;
  readonly pending: Provisioning | undefined;
}

/** What was provisioned last in this home, if anything. @throws NakodoError `file-damaged` */
export async function loadProvisioned(home: string): Promise<LastProvisioned | undefined> {
  const path = join(home, FILE);
  const found = await readJson(path, FILE_BYTES_MAX);
  if (found === undefined) return undefined;
  const parsed = v.safeParse(stored, found);
  if (!parsed.success) throw damagedFile(path, 'it does not hold a pending enrolment');
  const { output } = parsed;
  if (output.state === 'done') return { digest: output.digest, pending: undefined };
  const { ticket, name, list } = output;
  const pending = { ticket, name: name ?? undefined, list: list ?? undefined };
  return { digest: ticketDigest(ticket), pending };
}

/**
 * Keeps an enrolment for the agent, 0600 and durable, in place of an earlier one. `owner`: whose it
 * is to be, where root keeps it.
 */
export async function savePending(
  home: string,
  wanted: Provisioning,
  owner?: FileOwner,
): Promise<void> {
  const { ticket, name, list } = wanted;
  const content = { ticket, name: name ?? null, list: list ?? null };
  await save(home, { version: 1, state: 'pending', ...content }, owner);
  await removeFile(join(home, TROUBLE_FILE));
}

/**
 * What keeps this terminal from being enrolled, for a person; undefined: nothing. Root reads it as
 * well, and shows it to everybody: a link to what is not for everybody is not followed, and nothing
 * of it acts upon root's terminal.
 */
export async function provisioningTrouble(home: string): Promise<string | undefined> {
  try {
    const path = join(home, TROUBLE_FILE);
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size, nlink } = await file.stat();
      if (size > TROUBLE_BYTES_MAX || nlink > 1) return undefined;
      return (await file.readFile('utf8')).replace(/[^\P{C}\n]/gu, '?').trimEnd();
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ELOOP') return undefined;
    throw error;
  }
}

/** The owner enrolled this terminal by hand: what was provisioned counts no more. */
export async function forgetPending(home: string): Promise<void> {
  const known = await loadProvisioned(home).catch(() => undefined);
  if (known?.pending !== undefined) await settle(home, known.digest);
  await removeFile(join(home, TROUBLE_FILE));
}

interface PendingOptions {
  readonly home: string;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly log: Log;
  /** Gives up waiting when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Waits; resolves early when aborted. Default: a timer. */
  readonly pause?: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  /** Each time a try failed and another will come. */
  readonly onWaiting?: (error: NakodoError, pauseMs: number) => void;
  /** See machine-mark.ts; default: this machine's. */
  readonly machine?: string | undefined;
}

/**
 * Redeems what is pending in a home: tries until the server can be reached, then writes the
 * allow-list, if the owner has none yet, and forgets the ticket. Resolves with `none` at once when
 * nothing is pending, with `stopped` when it was aborted.
 * @throws NakodoError `provision-refused` (exit 3): the server refuses this ticket or name, now and
 *   at every later call until the terminal is provisioned anew or enrolled; and what files say.
 */
export async function enrolPending(
  options: PendingOptions,
): Promise<'none' | 'enrolled' | 'stopped'> {
  const { home, log, signal } = options;
  const pending = (await loadProvisioned(home))?.pending;
  if (pending === undefined) return 'none';
  const pause = options.pause ?? timerPause;
  let shown = await provisioningTrouble(home);
  for (let tried = 0; signal?.aborted !== true; tried++) {
    const error = await tryOnce(pending, options);
    if (error === undefined) {
      log.info('provisioned', {});
      return 'enrolled';
    }
    const words = `${error.message}\nnext: ${error.next}`;
    // One write for one trouble, however long it lasts.
    if (shown !== words) await showTrouble(home, words);
    shown = words;
    if (FINAL.has(error.code)) {
      await settle(home, ticketDigest(pending.ticket));
      throw refusedBefore(words);
    }
    const ms = retryMs(tried, options.rng);
    log.warn('provision-waits', { code: error.code, ms });
    options.onWaiting?.(error, ms);
    await pause(ms, signal);
  }
  return 'stopped';
}

/**
 * Throws what a ticket from the boot partition was refused with, for an agent that is not enrolled.
 * @throws NakodoError `provision-refused` (exit 3)
 */
export async function refuseIfRefused(home: string): Promise<void> {
  const trouble = await provisioningTrouble(home);
  if (trouble !== undefined) throw refusedBefore(trouble);
}

/** Undefined: enrolled, and done with. @throws what no other try will mend */
async function tryOnce(
  pending: Provisioning,
  { home, suite, rng, machine }: PendingOptions,
): Promise<NakodoError | undefined> {
  const { ticket, name, list } = pending;
  try {
    await enrol({ home, ticket, name, suite, rng, machine });
  } catch (error) {
    if (!(error instanceof NakodoError)) throw error;
    if (PASSING.has(error.code) || FINAL.has(error.code)) return error;
    throw error;
  }
  if (list !== undefined) await writeFileOnce(join(home, LIST_FILE), list, 0o600);
  await settle(home, ticketDigest(ticket));
  await removeFile(join(home, TROUBLE_FILE));
  return undefined;
}

const settle = (home: string, digest: string): Promise<void> =>
  save(home, { version: 1, state: 'done', digest });

function save(
  home: string,
  content: v.InferInput<typeof stored>,
  owner?: FileOwner,
): Promise<void> {
  const text = `${JSON.stringify(content, undefined, 2)}\n`;
  return writeFileAtomic(join(home, FILE), text, 0o600, owner);
}

const showTrouble = (home: string, words: string): Promise<void> =>
  writeFileAtomic(join(home, TROUBLE_FILE), `${words}\n`, 0o640);

function refusedBefore(words: string): NakodoError {
  const [message, next = ''] = words.split('\nnext: ');
  return new NakodoError(
    'provision-refused',
    `the ticket from the boot partition was refused: ${message}`,
    `${next}; then put it into nakodo.toml there, or say: nakodo enroll TICKET`,
    EXIT.refused,
  );
}

/** Between half and the whole of a pause that doubles. */
function retryMs(tried: number, rng: Rng): number {
  const longest = Math.min(RETRY_FIRST_MS * 2 ** Math.min(tried, 16), RETRY_MAX_MS);
  return longest / 2 + randomBelow(rng, longest / 2);
}

async function timerPause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await pauseFor(ms, undefined, { signal }).catch(() => undefined);
}
