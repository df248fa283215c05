// A log as the ledger writes it, with a disk in
// memory: terminals that enrol, ask, answer, extend and end, each signing for itself.

import {
  encodeExtension,
  encodeRequest,
  encodeVerdict,
  extensionHash,
  requestHash,
  signExtension,
  signRequest,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import type { SigningKey } from '../../protocol/crypto.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import {
  type DeviceId,
  type Name,
  type SessionId,
  randomRequestId,
  randomSessionId,
} from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Rng, randomBytes, seededRng } from '../../protocol/random.ts';
import { micros, wallMs } from '../../protocol/time.ts';
import { Deadlines } from '../deadlines.ts';
import { Ledger } from '../ledger.ts';
import { HEAD_KEY } from '../log-head.ts';
import { type LogVerdict, LogVerifier } from '../log-verify.ts';
import type { LogFact, LogHead } from '../log.ts';
import type { ManagerOutput, Table } from '../manager-types.ts';
import { WallClock } from '../wall-clock.ts';

const NOW = micros(0);

export interface Signer {
  readonly key: SigningKey;
  readonly keys: { readonly ed25519: Uint8Array; readonly x25519: Uint8Array };
  readonly id: DeviceId;
  readonly name: Name;
}

/** A part of a log: its signed span and its entries. */
export interface Part {
  readonly head: Uint8Array;
  readonly entries: readonly Uint8Array[];
}

export class WrittenLog {
  readonly rng: Rng;
  key: SigningKey = nodeSuite.signingKey(new Uint8Array(32).fill(9));
  readonly tables = new Map<Table, Map<string, Uint8Array>>();
  readonly deadlines = new Deadlines();
  ledger: Ledger;
  /** Whether the next batches can be written. */
  works = true;

  constructor(seed = 11) {
    this.rng = seededRng(seed);
    this.ledger = this.#make();
  }

  #make(): Ledger {
    const wall = new WallClock();
    wall.set(NOW, wallMs(1_800_000_000_000));
    return new Ledger({
      suite: nodeSuite,
      key: this.key,
      wall,
      deadlines: this.deadlines,
      emit: (output) => this.#persist(output),
    });
  }

  /** A manager that was stopped starts again. */
  restart(): void {
    const { span } = this.ledger;
    this.ledger = this.#make();
    this.ledger.restore(span);
  }

  #persist(output: ManagerOutput): void {
    if (output.kind !== 'persist') throw new Error(`the ledger said ${output.kind}`);
    if (!this.works) {
      this.ledger.onFailed(NOW, output.batch, 'ENOSPC');
      return;
    }
    for (const { table, key, value } of output.writes) {
      const rows = this.tables.get(table) ?? new Map<string, Uint8Array>();
      this.tables.set(table, rows);
      if (value === undefined) rows.delete(key);
      else rows.set(key, value);
    }
    this.ledger.onPersisted(NOW, output.batch);
  }

  /** Enters facts as one change; a change that was not written is undone. */
  enter(...entries: readonly LogFact[]): void {
    this.ledger.add(NOW, { entries, writes: () => [], persisted: () => {}, failed: () => {} });
  }

  receipt(): Uint8Array {
    const receipt = this.ledger.receipt(NOW);
    if (receipt === undefined) throw new Error('the log is empty');
    return receipt;
  }

  /** What is kept. */
  part(): Part {
    const head = this.tables.get('meta')?.get(HEAD_KEY);
    if (head === undefined) throw new Error('no head was stored');
    const rows = [...(this.tables.get('log') ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    return { head, entries: rows.map(([, value]) => value) };
  }

  /** The past is moved away. */
  archive(through: LogHead): void {
    const entries: readonly LogFact[] = [{ kind: 'archived', through: through.sequence }];
    this.ledger.add(NOW, { entries, writes: () => [], base: through, persisted: () => {} });
    const log = this.tables.get('log');
    for (const key of log?.keys() ?? []) if (Number(key) <= through.sequence) log?.delete(key);
  }

  enrol(name: string): Signer {
    const key = nodeSuite.signingKey(randomBytes(this.rng, 32));
    const keys = { ed25519: key.publicKey, x25519: randomBytes(this.rng, 32) };
    const signer = { key, keys, id: deviceIdOf(nodeSuite, keys), name: name as Name };
    this.enter({ kind: 'enrolled', device: signer.id, name: signer.name, keys });
    return signer;
  }

  /** The entry of an introduction; `change` puts something else into it. */
  introduction(caller: Signer, callee: Signer, change: object = {}): LogFact {
    const asked = {
      nonce: randomRequestId(this.rng),
      callerId: caller.id,
      callerName: caller.name,
      calleeName: callee.name,
      service: 'file',
      want: { seconds: 60 },
    };
    const context = {
      calleeId: callee.id,
      callerId: caller.id,
      request: requestHash(nodeSuite, asked),
    };
    const verdict = this.#verdict(context);
    return {
      kind: 'introduced',
      session: randomSessionId(this.rng),
      callerId: caller.id,
      calleeId: callee.id,
      callerName: caller.name,
      calleeName: callee.name,
      service: 'file',
      seconds: 60,
      request: encodeRequest(asked),
      requestSignature: signRequest(caller.key, asked),
      verdict,
      verdictSignature: signVerdict(callee.key, verdict),
      ...change,
    };
  }

  /** The entry of an extension that the caller asked for. */
  extension(session: SessionId, caller: Signer, callee: Signer, change: object = {}): LogFact {
    const want = { seconds: 120 };
    const asked = {
      request: randomRequestId(this.rng),
      session,
      revision: 1,
      want,
      askerId: caller.id,
    };
    const context = {
      calleeId: callee.id,
      callerId: caller.id,
      request: extensionHash(nodeSuite, { session, want }),
    };
    const verdict = this.#verdict(context);
    return {
      kind: 'extended',
      session,
      revision: 1,
      seconds: 120,
      request: encodeExtension(asked),
      requestSignature: signExtension(caller.key, asked),
      verdict,
      verdictSignature: signVerdict(callee.key, verdict),
      ...change,
    };
  }

  /** A talk from its introduction to its end: six entries. */
  talk(caller: Signer, callee: Signer): void {
    const introduced = this.introduction(caller, callee);
    if (introduced.kind !== 'introduced') throw new Error('not an introduction');
    const { session } = introduced;
    this.enter(introduced);
    this.enter(this.extension(session, caller, callee));
    const counts = { sentBytes: 5, receivedBytes: 0, lostBytes: 0, wireBytes: 9, durationMs: 3 };
    const report = { kind: 'report', session, said: 'done', ...counts } as const;
    this.enter(
      { ...report, by: 'caller' },
      { kind: 'ended', session, reason: 'done', by: 'caller' },
    );
    this.enter({ ...report, by: 'callee' });
    this.enter({ kind: 'refused', caller: caller.id, calleeName: callee.name, times: 3 });
  }

  /** A log of exactly so many entries, at least 3. */
  fill(entries: number): void {
    const caller = this.enrol('TERM1');
    const callee = this.enrol('TERM3');
    while (this.ledger.span.head.sequence + 8 < entries) this.talk(caller, callee);
    while (this.ledger.span.head.sequence < entries) {
      this.enter({ kind: 'refused', caller: caller.id, times: 1 });
    }
  }

  #verdict(context: Parameters<typeof encodeVerdict>[2]): Uint8Array {
    const answer = {
      request: randomRequestId(this.rng),
      nonce: randomRequestId(this.rng),
      mode: 'verdict',
      version: '1',
      entries: [],
      reduced: false,
      record: undefined,
      approved: false,
    } as const;
    return encodeVerdict(nodeSuite, answer, context);
  }
}

/** Verifies parts with a public key. */
export function verify(
  managerKey: Uint8Array,
  parts: readonly Part[],
  more: Partial<ConstructorParameters<typeof LogVerifier>[0]> = {},
): LogVerdict {
  const verifier = new LogVerifier({ suite: nodeSuite, managerKey, ...more });
  for (const { head, entries } of parts) {
    if (!verifier.begin(head)) break;
    if (!entries.every((entry) => verifier.add(entry))) break;
  }
  return verifier.finish();
}
