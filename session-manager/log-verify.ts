// Verifies a log with public keys only [S6001], entry by entry: the chain, the manager's signatures
// (checkpoints, beginning and end), the terminals' own signatures on requests and verdicts, and the
// receipts that terminals hold. Memory: the keys of terminals and the sessions that are open in the
// log, both bounded. What it finds, and what it cannot find: docs/log.md.

import { sameBytes } from '../protocol/bytes.ts';
import { decodeCbor } from '../protocol/control/cbor.ts';
import { type PublicKeys, publicKeys } from '../protocol/control/messages.ts';
import {
  decodeVerdict,
  extensionHash,
  extensionStatement,
  isVerdictOf,
  requestStatement,
} from '../protocol/consent/statements.ts';
import type { CryptoSuite } from '../protocol/crypto.ts';
import { deviceIdOf } from '../protocol/identity/device-id.ts';
import type { Receipt } from '../protocol/identity/receipt.ts';
import { verifySigned } from '../protocol/identity/signed.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import {
  EMPTY_SPAN,
  HEAD_KEY,
  type LogSpan,
  type SignedSpan,
  decodeSpan,
  isCheckpointOf,
  isSpanOf,
  samePlace,
} from './log-head.ts';
import { type LogEntry, type LogHead, decodeLogEntry } from './log.ts';
import type { Row } from './manager-types.ts';

/** The first fault of a log. `at`: the entry, 0 for what stands before all entries. */
interface LogFault {
  readonly ok: false;
  readonly at: number;
  readonly why: string;
}

/** What a verification says: what was verified, or the first fault. */
export type LogVerdict =
  | {
      readonly ok: true;
      /** How many entries were read. */
      readonly entries: number;
      /** Where they begin and end; a base that is not 0 was archived. */
      readonly span: LogSpan;
      /** The manager's over the end. */
      readonly signature: Uint8Array;
      readonly checkpoints: number;
      /** Terminals' signatures; `unknown`: by terminals whose keys stand in an archive. */
      readonly statements: { readonly checked: number; readonly unknown: number };
      /** Receipts that agree, and those about entries that are not in this part of the log. */
      readonly receipts: { readonly checked: number; readonly elsewhere: number };
    }
  | LogFault;

/** Who stands behind a device ID in the log; no name if only the keys were told. */
interface Party {
  readonly keys: PublicKeys;
  readonly name: Name | undefined;
}

type EntryOf<K extends LogEntry['kind']> = Extract<LogEntry, { readonly kind: K }>;
interface Ends {
  readonly callerId: DeviceId;
  readonly calleeId: DeviceId;
}

/** What a verifier is made with. */
interface LogVerifierOptions {
  readonly suite: CryptoSuite;
  /** Ed25519, 32 bytes. */
  readonly managerKey: Uint8Array;
  /** Opened with the same key (`openReceipt`). */
  readonly receipts?: readonly Receipt[];
}

/**
 * Verifies a log, or parts of it that follow one another: `begin`, `know`, `add` … for each part,
 * then `finish` once. The first fault stays.
 */
export class LogVerifier {
  readonly #suite: CryptoSuite;
  readonly #managerKey: Uint8Array;
  readonly #receipts: readonly Receipt[];
  readonly #parties = new Map<DeviceId, Party>();
  readonly #sessions = new Map<SessionId, Ends>();
  #fault: LogFault | undefined;
  /** The part that is being read. */
  #part: SignedSpan | undefined;
  #first: LogHead | undefined;
  #place: LogHead = EMPTY_SPAN.head;
  #entries = 0;
  #checkpoints = 0;
  #checked = 0;
  #unknown = 0;
  #agreed = 0;

  constructor(options: LogVerifierOptions) {
    this.#suite = options.suite;
    this.#managerKey = options.managerKey;
    this.#receipts = options.receipts ?? [];
  }

  /**
   * A part begins: `encoded`, borrowed, is its signed span. `use`: it has to be this kind of part.
   * False once something is wrong.
   */
  begin(encoded: Uint8Array, use?: SignedSpan['use']): boolean {
    if (!this.#endPart()) return false;
    const part = decodeSpan(encoded);
    const at = this.#place.sequence;
    if (part === undefined) return this.#fail(at, 'the head of the log cannot be read');
    if (use !== undefined && part.use !== use) return this.#fail(at, 'the head is of an archive');
    if (!isSpanOf(this.#suite, this.#managerKey, part)) {
      return this.#fail(at, 'the head of the log is not signed by this manager');
    }
    if (this.#first !== undefined && !samePlace(part.base, this.#place)) {
      const why = `a part ends at ${at}, the next one begins behind ${part.base.sequence}`;
      return this.#fail(at, `${why}: something between them is missing or was changed`);
    }
    this.#part = part;
    this.#place = part.base;
    if (this.#first !== undefined) return true;
    this.#first = part.base;
    return this.#agrees(part.base);
  }

  /** Keys of a terminal that enrolled before the part began; its ID is their hash. Borrowed. */
  know(encoded: Uint8Array): boolean {
    if (this.#fault !== undefined) return false;
    const keys = decodeCbor(publicKeys, encoded);
    if (keys === undefined) return this.#fail(this.#place.sequence, 'a key cannot be read');
    const id = deviceIdOf(this.#suite, keys);
    if (this.#hasRoom() && !this.#parties.has(id)) this.#parties.set(id, { keys, name: undefined });
    return true;
  }

  /** Takes the next entry, borrowed; false once something is wrong. */
  add(encoded: Uint8Array): boolean {
    if (this.#fault !== undefined) return false;
    const at = this.#place.sequence + 1;
    if (this.#part === undefined) return this.#fail(0, 'the head of the log is missing');
    if (at > this.#part.head.sequence) {
      return this.#fail(at, 'an entry was added behind the last one');
    }
    const entry = decodeLogEntry(encoded);
    if (entry === undefined) return this.#fail(at, 'an entry cannot be read');
    if (entry.sequence !== at) {
      return this.#fail(at, `entry ${at} is missing or out of place (found ${entry.sequence})`);
    }
    if (!sameBytes(entry.previous, this.#place.hash)) {
      return this.#fail(Math.max(1, at - 1), 'an entry was changed: the next names another hash');
    }
    const why = this.#judge(entry);
    if (why !== undefined) return this.#fail(at, why);
    this.#place = { sequence: at, hash: this.#suite.blake2s(encoded) };
    this.#entries += 1;
    return this.#agrees(this.#place);
  }

  /** What was to hold the log cannot be read: a fault where it stands. */
  reject(why: string): false {
    return this.#fail(this.#place.sequence, why);
  }

  /** Everything was read. */
  finish(): LogVerdict {
    this.#endPart();
    const { sequence } = this.#place;
    const part = this.#part;
    if (this.#fault === undefined && part === undefined) {
      this.#fail(0, 'the head of the log is missing');
    }
    // Behind an archive the log goes on; behind the live head nothing may be known.
    const beyond = this.#receipts.find((receipt) => receipt.sequence > sequence);
    if (beyond !== undefined && part?.use === 'head') {
      const why = `a terminal holds a receipt for entry ${beyond.sequence}`;
      this.#fail(sequence, `the log ends at ${sequence}, but ${why}: it was cut or set back`);
    }
    if (this.#fault !== undefined || part === undefined) {
      return this.#fault ?? { ok: false, at: 0, why: 'there is no log' };
    }
    return {
      ok: true,
      entries: this.#entries,
      span: { base: this.#first ?? part.base, head: part.head },
      signature: part.signature,
      checkpoints: this.#checkpoints,
      statements: { checked: this.#checked, unknown: this.#unknown },
      receipts: { checked: this.#agreed, elsewhere: this.#receipts.length - this.#agreed },
    };
  }

  /** Whether all of the part was there. */
  #endPart(): boolean {
    const { sequence, hash } = this.#place;
    const head = this.#part?.head;
    if (this.#fault !== undefined) return false;
    if (head === undefined) return true;
    if (sequence !== head.sequence) {
      return this.#fail(sequence, `the log ends at ${sequence}, not ${head.sequence}`);
    }
    return sameBytes(hash, head.hash) || this.#fail(sequence, 'the last entry was changed');
  }

  /** Whether the receipts for this entry name its hash. */
  #agrees(place: LogHead): boolean {
    for (const { sequence, hash } of this.#receipts) {
      if (sequence !== place.sequence) continue;
      if (!sameBytes(hash, place.hash)) {
        return this.#fail(sequence, 'a terminal holds a receipt for another entry in this place');
      }
      this.#agreed += 1;
    }
    return true;
  }

  /** What is wrong with what an entry says, if anything. */
  #judge(entry: LogEntry): string | undefined {
    switch (entry.kind) {
      case 'checkpoint': {
        this.#checkpoints += 1;
        const { signature } = entry;
        return isCheckpointOf(this.#suite, this.#managerKey, this.#place, signature)
          ? undefined
          : 'the checkpoint is not signed by this manager';
      }
      case 'enrolled':
        return this.#enrol(entry);
      case 'revoked':
        this.#parties.delete(entry.device);
        return undefined;
      case 'introduced':
        return this.#judgeIntroduction(entry);
      case 'extended':
        return this.#judgeExtension(entry);
      case 'ended':
        this.#sessions.delete(entry.session);
        return undefined;
      default:
        return undefined;
    }
  }

  #enrol({ device, name, keys }: EntryOf<'enrolled'>): string | undefined {
    if (deviceIdOf(this.#suite, keys) !== device) return `the keys of ${name} are not of its ID`;
    if (this.#hasRoom() || this.#parties.has(device)) this.#parties.set(device, { keys, name });
    return undefined;
  }

  /** The caller asked for this, and the callee said yes to it: each by its own signature. */
  #judgeIntroduction(entry: EntryOf<'introduced'>): string | undefined {
    const { callerId, calleeId, callerName, calleeName, service } = entry;
    const asked = decodeCbor(requestStatement, entry.request);
    const isAsked =
      asked?.callerId === callerId &&
      asked.callerName === callerName &&
      asked.calleeName === calleeName &&
      asked.service === service;
    if (!isAsked) return `the request of ${callerName} is about something else`;
    const verdict = decodeVerdict(entry.verdict);
    const isAnswered =
      verdict?.calleeId === calleeId &&
      verdict.callerId === callerId &&
      sameBytes(verdict.request, this.#suite.blake2s(entry.request));
    if (!isAnswered) return `the verdict of ${calleeName} is about something else`;
    if (this.#sessions.size < LIMITS.sessionsMax) {
      this.#sessions.set(entry.session, { callerId, calleeId });
    }
    return (
      this.#judgeStatement(callerId, callerName, 'request', entry) ??
      this.#judgeVerdict(calleeId, calleeName, entry)
    );
  }

  /** One end asked for these totals, and the callee said yes to them. */
  #judgeExtension(entry: EntryOf<'extended'>): string | undefined {
    const { session } = entry;
    const ends = this.#sessions.get(session);
    const asked = decodeCbor(extensionStatement, entry.request);
    if (asked?.session !== session || asked.revision !== entry.revision) {
      return 'the request for this extension is about something else';
    }
    const { askerId, want } = asked;
    const verdict = decodeVerdict(entry.verdict);
    const wanted = extensionHash(this.#suite, { session, want });
    if (verdict === undefined || !sameBytes(verdict.request, wanted)) {
      return 'the verdict about this extension is about something else';
    }
    const isOfBoth =
      ends === undefined ||
      ((askerId === ends.callerId || askerId === ends.calleeId) &&
        verdict.callerId === ends.callerId &&
        verdict.calleeId === ends.calleeId);
    if (!isOfBoth) return 'this extension was signed by terminals that are not in the talk';
    return (
      this.#judgeStatement(askerId, undefined, 'extension', entry) ??
      this.#judgeVerdict(verdict.calleeId, undefined, entry)
    );
  }

  #judgeStatement(
    id: DeviceId,
    name: Name | undefined,
    label: 'request' | 'extension',
    entry: { readonly request: Uint8Array; readonly requestSignature: Uint8Array },
  ): string | undefined {
    const { request, requestSignature } = entry;
    return this.#judgeParty(id, name, (key) =>
      verifySigned(this.#suite, key, label, request, requestSignature),
    );
  }

  #judgeVerdict(
    id: DeviceId,
    name: Name | undefined,
    entry: { readonly verdict: Uint8Array; readonly verdictSignature: Uint8Array },
  ): string | undefined {
    const { verdict, verdictSignature } = entry;
    return this.#judgeParty(id, name, (key) =>
      isVerdictOf(this.#suite, key, verdict, verdictSignature),
    );
  }

  /** A terminal whose enrolment stands in an archive that was not given cannot be judged. */
  #judgeParty(
    id: DeviceId,
    name: Name | undefined,
    isSignedBy: (key: Uint8Array) => boolean,
  ): string | undefined {
    const party = this.#parties.get(id);
    if (party === undefined) {
      const isWhole = this.#first?.sequence === 0 && this.#hasRoom();
      if (isWhole) return `${name ?? id} was not enrolled then`;
      this.#unknown += 1;
      return undefined;
    }
    const { keys } = party;
    if (name !== undefined && party.name !== undefined && party.name !== name) {
      return `${name} is the name of another terminal`;
    }
    if (!isSignedBy(keys.ed25519)) return `${name ?? id} did not sign this`;
    this.#checked += 1;
    return undefined;
  }

  #hasRoom(): boolean {
    return this.#parties.size < LIMITS.devicesMax;
  }

  #fail(at: number, why: string): false {
    this.#fault ??= { ok: false, at, why };
    return false;
  }
}

/**
 * What is wrong with the end of a stored log, in words; undefined if nothing is. Quick, for a start:
 * the head is signed by this manager, and the last entry is the one that it names. `isEmpty`: no
 * table holds anything that came with an entry, so that there may be no head yet.
 */
export function checkLogHead(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  stored: {
    readonly meta: readonly Row[];
    /** The row of the log with the highest key. */
    readonly last: Uint8Array | undefined;
    readonly isEmpty: boolean;
  },
): string | undefined {
  const row = stored.meta.find(({ key }) => key === HEAD_KEY);
  if (row === undefined) {
    const isFresh = stored.isEmpty && stored.last === undefined;
    return isFresh ? undefined : 'the head of its log is missing';
  }
  const span = decodeSpan(row.value);
  if (span?.use !== 'head') return 'the head of its log cannot be read';
  if (!isSpanOf(suite, managerKey, span)) {
    return 'the head of its log is not signed by this home’s manager';
  }
  const { head } = span;
  if (stored.last === undefined) return `its log is empty, though it ended at ${head.sequence}`;
  const entry = decodeLogEntry(stored.last);
  if (entry?.sequence !== head.sequence) {
    return `its log ends at ${entry?.sequence ?? 'a damaged entry'}, not ${head.sequence}`;
  }
  return sameBytes(suite.blake2s(stored.last), head.hash)
    ? undefined
    : 'the last entry of its log was changed';
}
