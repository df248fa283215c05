// What lies on a manager's disk, spoiled: rows of its store, entries and heads of its log, a log as
// a file, its own keys. Each is read and written again byte for byte, or refused; of a log as a
// file nothing passes but the very log.

import fc from 'fast-check';
import t from 'tap';
import { sameBytes } from '../../protocol/bytes.ts';
import { decodeCbor, encodeCbor } from '../../protocol/control/cbor.ts';
import { publicKeys } from '../../protocol/control/messages.ts';
import type { Type } from '../../protocol/control/schema.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { toBase64 } from '../../protocol/io/base64.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { wallMs } from '../../protocol/time.ts';
import { valuesOf } from '../../protocol/test/arbitraries.ts';
import { fuzz } from '../../protocol/test/fuzz.ts';
import { EMPTY_SPAN, type SignedSpan, decodeSpan, signSpan } from '../log-head.ts';
import { LogVerifier } from '../log-verify.ts';
import { EMPTY_LOG, type LogEntry, type LogFact, appendLog, decodeLogEntry } from '../log.ts';
import {
  decodeSession,
  deviceRecord,
  encodeSession,
  nameRecord,
  revokedRecord,
  ticketRecord,
} from '../records.ts';
import { RowSeal, storeKeyOf } from '../row-seal.ts';
import { LOG_FILE_TITLE, LogReader, logLine } from '../shell/log-file.ts';
import { secretsIn } from '../shell/manager-home.ts';
import { WrittenLog } from './written-log.ts';

const EXAMPLES = { numRuns: 60, seed: 5 };
const T0 = 1_800_000_000_000;
const log = new WrittenLog();
const one = log.enrol('TERM1');
const three = log.enrol('TERM3');
log.talk(one, three);
const { head, entries } = log.part();

const ROWS = {
  device: deviceRecord,
  name: nameRecord,
  revoked: revokedRecord,
  ticket: ticketRecord,
  'public keys': publicKeys,
} as unknown as Readonly<Record<string, Type<unknown>>>;

for (const [what, type] of Object.entries(ROWS))
  t.test(`any bytes for a row '${what}': that row, or none`, async (t) => {
    fuzz(t, {
      what: `row ${what}`,
      valid: fc.sample(valuesOf(type), EXAMPLES).map((value) => encodeCbor(type, value)),
      read: (bytes) => {
        const row = decodeCbor(type, bytes);
        return row === undefined ? undefined : encodeCbor(type, row);
      },
    });
  });

const counts = { sentBytes: 5, receivedBytes: 0, lostBytes: 0, wireBytes: 9, durationMs: 2 ** 40 };
const session = 'abcdefghijklmnopqrstuvwxyz';
const live = {
  version: 1,
  session,
  callerId: one.id,
  calleeId: three.id,
  callerName: one.name,
  calleeName: three.name,
  service: 'file',
  begun: T0,
  seconds: 60,
  revision: 0,
  forced: false,
  closed: false,
};
const report = { reason: 'done', ...counts };
const past = { ...live, bytes: 7, closed: true, reason: 'done', ended: T0, callerReport: report };

t.test("any bytes for a row 'session': that row, or none", async (t) => {
  const rows = [live, past, { ...past, calleeReport: report, order: 'revoked' }];
  fuzz(t, {
    what: 'row session',
    valid: rows.map((row) => encodeSession(row as never)),
    read: (bytes) => {
      const row = decodeSession(bytes);
      return row && encodeSession(row);
    },
  });
});

/** One entry of every kind. */
function facts(): readonly LogFact[] {
  const { id: device, name, keys } = one;
  const introduced = log.introduction(one, three);
  const extended = log.extension(session as never, one, three);
  return [
    { kind: 'ticket', uses: 1, seconds: 3_600, name },
    { kind: 'ticket', uses: 20, seconds: 1 },
    { kind: 'enrolled', device, name, keys },
    introduced,
    { ...introduced, bytes: 2 ** 33 } as LogFact,
    { kind: 'refused', caller: device, calleeName: name, times: 300 },
    { kind: 'refused', times: 1 },
    extended,
    { ...extended, kind: 'unused', bytes: 7 } as LogFact,
    { kind: 'operatorEnd', session: session as never },
    { kind: 'report', session: session as never, by: 'callee', said: 'done', ...counts },
    { kind: 'ended', session: session as never, reason: 'time', by: 'manager' },
    { kind: 'revoked', device, name, sessions: 3 },
    { kind: 'cloned', device, name },
    { kind: 'checkpoint', signature: new Uint8Array(64).fill(3) },
    { kind: 'archived', through: 2 ** 40 },
  ];
}

/** The entry as it stands in a chain. */
function written({ sequence, wall, previous, ...fact }: LogEntry): Uint8Array {
  const before = { sequence: sequence - 1, hash: previous };
  return appendLog(nodeSuite, before, wallMs(wall), fact as LogFact).bytes;
}

t.test('S6001: any bytes for an entry of the log: that entry, or none', async (t) => {
  const all = facts();
  t.equal(new Set(all.map(({ kind }) => kind)).size, 13, 'every kind');
  const places = [EMPTY_LOG, { sequence: 2 ** 45, hash: new Uint8Array(32).fill(8) }];
  fuzz(t, {
    what: 'log entry',
    valid: places.flatMap((at) =>
      all.map((fact) => appendLog(nodeSuite, at, wallMs(T0), fact).bytes),
    ),
    read: (bytes) => {
      const entry = decodeLogEntry(bytes);
      return entry && written(entry);
    },
  });
});

t.test('S6001: any bytes for the head of a log: that head, or none', async (t) => {
  const again = ({ use, signature, ...span }: SignedSpan): Uint8Array =>
    signSpan({ publicKey: log.key.publicKey, sign: () => signature }, use, span);
  const span = { base: { sequence: 5, hash: log.key.publicKey }, head: EMPTY_LOG };
  fuzz(t, {
    what: 'log head',
    valid: [head, signSpan(log.key, 'archive', span), signSpan(log.key, 'head', EMPTY_SPAN)],
    read: (bytes) => {
      const found = decodeSpan(bytes);
      return found && again(found);
    },
  });
});

t.test('S6001: any text for a log: the very log, or refused', async (t) => {
  const text = [
    LOG_FILE_TITLE,
    logLine('head', head),
    ...entries.map((entry) => logLine('entry', entry)),
  ].join('');
  const whole = Uint8Array.from(Buffer.from(text));
  fuzz(t, {
    what: 'log file',
    valid: [whole],
    read: (bytes) => {
      const verifier = new LogVerifier({ suite: nodeSuite, managerKey: log.key.publicKey });
      const reader = new LogReader(verifier);
      reader.take(bytes);
      reader.end();
      if (!verifier.finish().ok) return undefined;
      if (sameBytes(bytes, whole)) return bytes;
      throw new Error('a log that was changed was believed');
    },
  });
});

t.test('any bytes for a stored row under its seal: the very row, or none', async (t) => {
  const seal = new RowSeal(nodeSuite, storeKeyOf(nodeSuite, log.key.publicKey));
  const key = one.name;
  const rows = [encodeSession(live as never), encodeSession(past as never), Uint8Array.of(1)];
  const valid = rows.map((value) => seal.seal('names', { key, value }).stored);
  fuzz(t, {
    what: 'sealed row',
    valid,
    read: (value) => {
      const opened = seal.open('names', { key, value });
      if (opened === undefined) return undefined;
      if (valid.some((each) => sameBytes(each, value))) return value;
      throw new Error('a row that nobody sealed was opened');
    },
  });
});

t.test("any text for the server's identity.json: its keys, or refused by name", async (t) => {
  const path = '/s/identity.json';
  const [signingSeed, agreementSecret] = [log.key.publicKey, three.keys.x25519].map(toBase64);
  const files = [
    { version: 2, signingSeed, agreementSecret },
    { version: 1, signingSeed },
  ];
  fuzz(t, {
    what: 'identity.json',
    valid: files.map((file) => Uint8Array.from(Buffer.from(JSON.stringify(file)))),
    again: 'settled',
    read: (bytes) => {
      let found: unknown;
      try {
        found = JSON.parse(Buffer.from(bytes).toString('utf8'));
      } catch {
        return undefined;
      }
      try {
        const secrets = secretsIn(path, found);
        const agreement = secrets.agreementSecret;
        return Uint8Array.from(
          Buffer.from(
            JSON.stringify({
              version: agreement === undefined ? 1 : 2,
              signingSeed: toBase64(secrets.signingSeed),
              ...(agreement && { agreementSecret: toBase64(agreement) }),
            }),
          ),
        );
      } catch (error) {
        if (error instanceof NakodoError && error.message.includes(path)) return undefined;
        throw error;
      }
    },
  });
});
