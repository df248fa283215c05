// The first start of a terminal that was set up on a PC: what stands in the boot partition becomes
// a pending enrolment in the home, and only then is removed there, with every copy of its ticket
// that cloud-init made. A power cut at any step leaves it in one of both places; what was done with
// a ticket stays known, so that a partition which cannot be written is not obeyed twice. Run by
// root; the home belongs to the agent's user. What comes of it: pending.ts.

import { createHash } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { NakodoError, UsageError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { type FileOwner, readFileIfAny, removeFile } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { loadProvisioned, provisioningTrouble, savePending, ticketDigest } from './pending.ts';
import { type MachineFacts, type Provisioning, parseProvisioning } from './provision-file.ts';
import { scrub } from './scrub.ts';

/** Where a PC can write on a Raspberry Pi's card: today's systems, and those before 2023. */
const BOOT_FILES = ['/boot/firmware/nakodo.toml', '/boot/nakodo.toml'] as const;
/** Where cloud-init keeps what it was told. */
const CLOUD_FOLDERS = ['/var/lib/cloud', '/run/cloud-init'] as const;
/** What a person finds beside the file when something is wrong with it. */
const ERROR_FILE = 'nakodo.error.txt';
/** Hexadecimal digits of a serial number that is made of the machine's ID. */
const MADE_SERIAL_LENGTH = 16;

/** How a terminal is set up. */
interface ProvisionOptions {
  /** The home folder; it has to be there, and whoever owns it will own the pending enrolment. */
  readonly home: string;
  /** The one file to read; default: where Raspberry Pi systems have it. */
  readonly from?: string | undefined;
  /** Default: this machine's. */
  readonly facts?: MachineFacts;
  /** Files and folders that may hold copies of the ticket; default: cloud-init's. */
  readonly copies?: readonly string[];
}

/** What was done. */
export interface Provisioned {
  /** The file that was read; undefined: there was none. */
  readonly from: string | undefined;
  /** `used`: this ticket was obeyed before, only the file was still there. */
  readonly outcome: 'none' | 'pending' | 'used';
  /** Files in which the ticket was overwritten, the one that was read not among them. */
  readonly scrubbed: readonly string[];
  /** What keeps an earlier one from being done, as it stands in the boot partition now. */
  readonly trouble: string | undefined;
}

/**
 * Takes the provisioning file into the home, removes it and every copy of its ticket, and tells in
 * the boot partition what is wrong, if anything is.
 * @throws NakodoError `provision-file` if it cannot be understood, `no-home`, and what files say;
 *   the file is then still there.
 */
export async function provision(options: ProvisionOptions): Promise<Provisioned> {
  const { home } = options;
  const owner = await ownerOf(home);
  const from = await firstThere(options.from === undefined ? BOOT_FILES : [options.from]);
  const beside = dirname(options.from ?? from ?? BOOT_FILES[0]);
  const taken = from === undefined ? undefined : await take(from, beside, owner, options);
  const trouble = await provisioningTrouble(home);
  await tell(beside, trouble);
  return { from, outcome: 'none', scrubbed: [], ...taken, trouble };
}

async function take(
  from: string,
  beside: string,
  owner: FileOwner,
  options: ProvisionOptions,
): Promise<Pick<Provisioned, 'outcome' | 'scrubbed'>> {
  const { home } = options;
  const facts = options.facts ?? (await machineFacts());
  const wanted = await understood(from, beside, facts);
  if (wanted === undefined) {
    // The power went between the last two steps of an earlier run.
    await remove(from);
    return { outcome: 'used', scrubbed: [] };
  }
  const { ticket } = wanted;
  const known = await loadProvisioned(home);
  const isKnown = known?.digest === ticketDigest(ticket);
  if (!isKnown) await savePending(home, wanted, owner);
  const outcome = isKnown && known.pending === undefined ? 'used' : 'pending';
  const folders = options.copies ?? [join(dirname(from), 'user-data'), ...CLOUD_FOLDERS];
  const scrubbed = await scrub(folders, ticket);
  // The text first: to remove a file on a card leaves its content where it was.
  await scrub([from], ticket);
  await remove(from);
  return { outcome, scrubbed };
}

/** What the file says; undefined: its ticket was removed. What is wrong is told beside it. */
async function understood(
  from: string,
  beside: string,
  facts: MachineFacts,
): Promise<Provisioning | undefined> {
  try {
    const bytes = await readFileIfAny(from, LIMITS.listFileBytesMax);
    // Notepad puts a byte order mark in front, and CR in front of every LF.
    return parseProvisioning(new TextDecoder('utf-8', { fatal: true }).decode(bytes), facts);
  } catch (error) {
    const problem = problemOf(error);
    if (problem === undefined) throw error;
    const next = 'correct it on any computer, or put a new one in its place, and start again';
    await tell(beside, `${from}: ${problem}\nnext: ${next}`);
    throw new NakodoError('provision-file', `${from}: ${problem}`, next);
  }
}

/** What is wrong with the text; undefined: it could not be read at all. */
function problemOf(error: unknown): string | undefined {
  if (error instanceof UsageError) return error.message;
  return error instanceof TypeError ? 'it is not UTF-8 text' : undefined;
}

async function remove(from: string): Promise<void> {
  try {
    await removeFile(from);
  } catch (error) {
    throw new NakodoError(
      'provision-file-stays',
      `${from} was read, but cannot be removed: ${errorMessage(error)}`,
      'remove it by hand: it holds a ticket',
    );
  }
}

/** Puts a sentence beside the provisioning file, for a person with a PC; undefined: removes it. */
async function tell(folder: string, trouble: string | undefined): Promise<void> {
  const path = join(folder, ERROR_FILE);
  try {
    if (trouble === undefined) await rm(path, { force: true });
    else if ((await textOf(path)) !== `${trouble}\n`) await writeFile(path, `${trouble}\n`);
  } catch (error) {
    // No such partition here, or one that is read only: the journal says it as well.
    const code = errorCode(error);
    if (code !== 'EROFS' && code !== 'ENOENT' && code !== 'ENOSPC' && code !== 'EACCES')
      throw error;
  }
}

/** What this machine says of itself: of the board, if it is one, else made of the machine's ID. */
async function machineFacts(): Promise<MachineFacts> {
  const serial =
    (await textOf('/sys/firmware/devicetree/base/serial-number')) ??
    /^Serial\s*:\s*(\w+)$/m.exec((await textOf('/proc/cpuinfo')) ?? '')?.[1] ??
    createHash('sha256')
      .update((await textOf('/etc/machine-id')) ?? hostname())
      .digest('hex')
      .slice(0, MADE_SERIAL_LENGTH);
  return { hostname: hostname().split('.')[0], serial: serial.replace(/[^0-9A-Za-z]/g, '') };
}

/** A small file's text, or undefined if it cannot be read. */
const textOf = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch(() => undefined);

async function firstThere(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile() === true) return path;
  }
  return undefined;
}

/** Whose the home is, and what is kept there. */
async function ownerOf(home: string): Promise<FileOwner> {
  const facts = await stat(home).catch(() => undefined);
  if (facts?.isDirectory() === true) return facts;
  throw new NakodoError(
    'no-home',
    `there is no home in ${home}`,
    'install the package, which makes it, or name another one with --home',
  );
}
