// What the entries of a log say about terminals, judged by the terminals' own signatures (S6001):
// an ID is the hash of its keys, a request was the caller's, a verdict the callee's. Keeps the keys
// of terminals and the sessions that are open in the log, both bounded.

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
import { verifySigned } from '../protocol/identity/signed.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { LogEntry } from './log.ts';

/** Who stands behind a device ID in the log; no name if only the keys were told. */
interface Party {
  readonly keys: PublicKeys;
  readonly name: Name | undefined;
}

type EntryOf<K extends LogEntry['kind']> = Extract<LogEntry, { readonly kind: K }>;
/** Who should have signed; no name where the statement has none. */
interface Signer {
  readonly id: DeviceId;
  readonly name?: Name;
  readonly isWhole: boolean;
}

interface Ends {
  readonly callerId: DeviceId;
  readonly calleeId: DeviceId;
}

/** The terminals of one log, entry by entry. */
export class LogStatements {
  readonly #suite: CryptoSuite;
  readonly #parties = new Map<DeviceId, Party>();
  readonly #sessions = new Map<SessionId, Ends>();
  /** Every talk that has begun in this log and not ended is in `#sessions`. */
  #knowsAll = true;
  #checked = 0;
  #unknown = 0;

  constructor(suite: CryptoSuite) {
    this.#suite = suite;
  }

  /** Signatures that were right, and those of terminals whose keys are not known. */
  get counts(): { readonly checked: number; readonly unknown: number } {
    return { checked: this.#checked, unknown: this.#unknown };
  }

  /** Keys of a terminal that enrolled before the log begins; false for bytes that are none. */
  know(encoded: Uint8Array): boolean {
    const keys = decodeCbor(publicKeys, encoded);
    if (keys === undefined) return false;
    const id = deviceIdOf(this.#suite, keys);
    if (this.#hasRoom() && !this.#parties.has(id)) this.#parties.set(id, { keys, name: undefined });
    return true;
  }

  /**
   * What is wrong with what an entry says, if anything. `isWhole`: the log is read from its first
   * entry, so that every terminal's enrolment was seen.
   */
  judge(entry: LogEntry, isWhole: boolean): string | undefined {
    switch (entry.kind) {
      case 'enrolled':
        return this.#enrol(entry);
      case 'revoked':
        this.#parties.delete(entry.device);
        return undefined;
      case 'introduced':
        return this.#judgeIntroduction(entry, isWhole);
      case 'extended':
        return this.#judgeExtension(entry, isWhole);
      case 'ended':
        this.#sessions.delete(entry.session);
        return undefined;
      case 'reintroduced':
        return this.#judgeReintroduction(entry, isWhole);
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
  #judgeIntroduction(entry: EntryOf<'introduced'>, isWhole: boolean): string | undefined {
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
    } else this.#knowsAll = false;
    return (
      this.#judgeStatement({ id: callerId, name: callerName, isWhole }, 'request', entry) ??
      this.#judgeVerdict({ id: calleeId, name: calleeName, isWhole }, entry)
    );
  }

  /** One end asked for these totals, and the callee said yes to them. */
  #judgeExtension(entry: EntryOf<'extended'>, isWhole: boolean): string | undefined {
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
      this.#judgeStatement({ id: askerId, isWhole }, 'extension', entry) ??
      this.#judgeVerdict({ id: verdict.calleeId, isWhole }, entry)
    );
  }

  /** Only in a talk that has begun and not ended; the terminals sign nothing about it. */
  #judgeReintroduction(
    { session, by }: EntryOf<'reintroduced'>,
    isWhole: boolean,
  ): string | undefined {
    if (by !== 'caller' && by !== 'callee') return 'this re-introduction is of neither terminal';
    if (this.#sessions.has(session) || !isWhole || !this.#knowsAll) return undefined;
    return 'this re-introduction is of a talk that was not under way';
  }

  #judgeStatement(
    signer: Signer,
    label: 'request' | 'extension',
    entry: { readonly request: Uint8Array; readonly requestSignature: Uint8Array },
  ): string | undefined {
    const { request, requestSignature } = entry;
    return this.#judgeParty(signer, (key) =>
      verifySigned(this.#suite, key, label, request, requestSignature),
    );
  }

  #judgeVerdict(
    signer: Signer,
    entry: { readonly verdict: Uint8Array; readonly verdictSignature: Uint8Array },
  ): string | undefined {
    const { verdict, verdictSignature } = entry;
    return this.#judgeParty(signer, (key) =>
      isVerdictOf(this.#suite, key, verdict, verdictSignature),
    );
  }

  /** A terminal whose enrolment stands in an archive that was not given cannot be judged. */
  #judgeParty(
    { id, name, isWhole }: Signer,
    isSignedBy: (key: Uint8Array) => boolean,
  ): string | undefined {
    const party = this.#parties.get(id);
    if (party === undefined) {
      if (isWhole && this.#hasRoom()) return `${name ?? id} was not enrolled then`;
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
}
