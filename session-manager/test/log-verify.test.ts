// What verification finds [S6001], with public keys only: changed bytes, cut entries, other ends,
// statements that nobody signed, and a log that went back.

import t from 'tap';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { openReceipt } from '../../protocol/identity/receipt.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBelow } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import { EMPTY_SPAN, HEAD_KEY, checkLogHead, signSpan } from '../log-head.ts';
import { LogVerifier } from '../log-verify.ts';
import { EMPTY_LOG, type LogFact, appendLog, decodeLogEntry } from '../log.ts';
import { type Part, WrittenLog, verify } from './written-log.ts';

/** The same answers without doing the same sum a thousand times: a signature is right or wrong. */
const known = new Map<string, boolean>();
const suite: CryptoSuite = {
  ...nodeSuite,
  verify(publicKey, message, signature) {
    const key = [publicKey, message, signature].map((part) => Buffer.from(part).toString('latin1'));
    const asked = key.join('/');
    const answer = known.get(asked) ?? nodeSuite.verify(publicKey, message, signature);
    if (known.size < 100_000) known.set(asked, answer);
    return answer;
  },
};
const stranger = nodeSuite.signingKey(new Uint8Array(32).fill(1));
const ENTRIES = dose(100, 10);

function written(entries = 60): { log: WrittenLog; part: Part; key: Uint8Array } {
  const log = new WrittenLog();
  log.fill(entries);
  return { log, part: log.part(), key: log.key.publicKey };
}

const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.with(at, bytes[at] ^ (1 << (at % 8)));
const receiptsOf = (key: Uint8Array, ...receipts: readonly Uint8Array[]) =>
  receipts.flatMap((bytes) => openReceipt(nodeSuite, key, bytes) ?? []);

t.test('S6001: a log verifies with the public key of its manager alone', async (t) => {
  const { part, key } = written(600);
  const verdict = verify(key, [part]);
  t.match(verdict, { ok: true, entries: 600, span: { base: { sequence: 0 } } });
  if (!verdict.ok) return;
  t.ok(verdict.checkpoints >= 2, 'one every 256 entries');
  t.ok(verdict.statements.checked > 300, 'two for each introduction and extension');
  t.equal(verdict.statements.unknown, 0);
  t.match(verify(stranger.publicKey, [part]), { ok: false, why: /not signed by this manager/ });
});

t.test(
  `S6001: of ${ENTRIES} entries every byte of 20, one byte of each and each cut are found`,
  async (t) => {
    const { part, key, log } = written(ENTRIES);
    const { head, entries } = part;
    t.equal(entries.length, ENTRIES);
    const missed: string[] = [];
    let tries = 0;
    const search = (what: string, changed: readonly Uint8Array[], at: number): void => {
      tries += 1;
      const verdict = verify(key, [{ head, entries: changed }], { suite });
      if (verdict.ok) missed.push(what);
      // An entry is either found itself, or by the one behind it.
      else if (Math.abs(verdict.at - at) > 1) missed.push(`${what} is told at ${verdict.at}`);
    };
    // A verification begins at the front each time: the chosen 20 lie all over the log.
    for (let chosen = 0; chosen < 20; chosen++) {
      const at = Math.floor((chosen * (ENTRIES - 1)) / 19);
      const stride = ENTRIES < 1_000 ? 7 : 1;
      for (let byte = chosen % stride; byte < entries[at].length; byte += stride) {
        search(`byte ${byte} of ${at + 1}`, entries.with(at, flipped(entries[at], byte)), at + 1);
      }
    }
    entries.forEach((entry, at) => {
      const byte = randomBelow(log.rng, entry.length);
      search(`a byte of ${at + 1}`, entries.with(at, flipped(entry, byte)), at + 1);
      search(`cut of ${at + 1}`, entries.toSpliced(at, 1), at + 1);
    });
    t.strictSame(missed, []);
    t.comment(`${tries} changes, found ${tries - missed.length}`);
  },
);

t.test('S6001: repeated, swapped, added entries, and any byte of the head', async (t) => {
  const { part, key } = written();
  const { head, entries } = part;
  entries.forEach((entry, at) => {
    const fault = (log: readonly Uint8Array[]): boolean =>
      !verify(key, [{ head, entries: log }]).ok;
    t.ok(fault(entries.toSpliced(at, 0, entry)), `${at + 1} twice`);
    t.ok(fault(entries.slice(0, at)), `nothing from ${at + 1} on`);
    if (at > 0) t.ok(fault(entries.with(at, entries[at - 1]).with(at - 1, entry)), `${at} moved`);
  });
  t.match(verify(key, [{ head, entries: [...entries, entries[0]] }]), { why: /added behind/ });
  for (let byte = 0; byte < head.length; byte++) {
    t.notOk(verify(key, [{ head: flipped(head, byte), entries }]).ok, `byte ${byte} of the head`);
  }
  t.match(verify(key, []), { ok: false });
});

t.test('S6001: whoever has no key of the manager cannot sign another end', async (t) => {
  const { log, part, key } = written(600);
  const { entries } = part;
  const heads = [EMPTY_LOG];
  for (const entry of entries) {
    heads.push({ sequence: heads.length, hash: nodeSuite.blake2s(entry) });
  }
  const cut = entries.slice(0, 500);
  const span = { base: EMPTY_LOG, head: heads[500] };
  t.match(verify(key, [{ head: signSpan(stranger, 'head', span), entries: cut }]), { ok: false });
  t.match(verify(key, [{ head: signSpan(log.key, 'head', span), entries: cut }]), { ok: true });
  // A checkpoint of the manager says the same about its place, and is no head.
  const at = entries.findIndex((entry) => decodeLogEntry(entry)?.kind === 'checkpoint');
  const checkpoint = decodeLogEntry(entries[at]);
  if (checkpoint?.kind !== 'checkpoint') throw new Error('no checkpoint');
  const before = { base: EMPTY_LOG, head: heads[at] };
  const forged = signSpan({ publicKey: key, sign: () => checkpoint.signature }, 'head', before);
  t.match(verify(key, [{ head: forged, entries: entries.slice(0, at) }]), { ok: false });
  // Nor is its beginning cut off.
  const later = { base: heads[at], head: heads[600] };
  const headless = signSpan(stranger, 'head', later);
  t.match(verify(key, [{ head: headless, entries: entries.slice(at) }]), { ok: false });
  t.match(verify(key, [{ head: part.head, entries: entries.slice(at) }]), { ok: false });
});

/** All entries from one on, chained anew behind a changed one, by somebody without the key. */
function rewritten(log: WrittenLog, entries: readonly Uint8Array[], from: number): Part {
  const kept = entries.slice(0, from);
  let head = { sequence: from, hash: nodeSuite.blake2s(entries[from - 1]) };
  for (const encoded of entries.slice(from)) {
    const entry = decodeLogEntry(encoded);
    if (entry === undefined) throw new Error('an entry cannot be read');
    const { sequence: _, previous: __, wall, ...fact } = entry;
    const appended = appendLog(nodeSuite, head, (wall + 1) as never, fact as never);
    head = appended.head;
    kept.push(appended.bytes);
  }
  return { head: signSpan(stranger, 'head', { base: EMPTY_LOG, head }), entries: kept };
}

t.test('S6001: a chain made anew is found at its next checkpoint under any head', async (t) => {
  const { log, part, key } = written(600);
  const changed = rewritten(log, part.entries, 100);
  const real = verify(key, [{ head: part.head, entries: changed.entries }]);
  t.match(real, { ok: false, at: 257, why: /checkpoint/ });
});

t.test('S6001: a log rolled back to an older signed state is found by a receipt', async (t) => {
  const { log, part: older, key } = written();
  const early = log.receipt();
  log.enter({ kind: 'refused', times: 1 });
  const late = log.receipt();
  const now = log.part();
  t.match(verify(key, [older]), { ok: true }, 'without a receipt it looks whole');
  const receipts = receiptsOf(key, early, late);
  t.match(verify(key, [now], { receipts }), { ok: true, receipts: { checked: 2 } });
  const set = verify(key, [older], { receipts });
  t.match(set, { ok: false, at: older.entries.length, why: /receipt for entry.*set back/ });
  // The manager itself writes another end: the receipt is for another entry.
  const other = new WrittenLog();
  other.fill(older.entries.length);
  other.enter({ kind: 'refused', times: 2 });
  t.match(verify(key, [other.part()], { receipts }), {
    ok: false,
    at: now.entries.length,
    why: /receipt for another entry/,
  });
  t.strictSame(receiptsOf(stranger.publicKey, early), [], 'only its manager’s key opens it');
});

t.test('S6001: an introduction that the terminals did not sign is found', async (t) => {
  const { log, key } = written();
  const one = log.enrol('ONE');
  const three = log.enrol('THREE');
  const other = log.enrol('OTHER');
  const signed = log.introduction(one, three);
  if (signed.kind !== 'introduced') throw new Error('not an introduction');
  const zeros = new Uint8Array(64);
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ['no request', { requestSignature: zeros }, /ONE did not sign/],
    ['no verdict', { verdictSignature: zeros }, /THREE did not sign/],
    ['somebody else asked', { requestSignature: signed.verdictSignature }, /ONE did not sign/],
    ['another service', { service: 'port:22' }, /request of ONE/],
    ['another callee', { calleeId: other.id }, /verdict of THREE/],
    ['another caller', { callerId: other.id }, /request of ONE/],
    ['a verdict about another request', { request: requestOf(log, one, three) }, /verdict/],
    ['no statement', { verdict: Uint8Array.of(1) }, /verdict of THREE/],
  ];
  const base = log.part();
  const extended = (fact: LogFact): Part => {
    const head = log.ledger.span.head;
    const appended = appendLog(nodeSuite, head, 1_800_000_000_000 as never, fact);
    const span = { base: EMPTY_LOG, head: appended.head };
    const entries = [...base.entries, appended.bytes];
    return { head: signSpan(log.key, 'head', span), entries };
  };
  t.match(verify(key, [extended(signed)]), { ok: true }, 'positive control');
  for (const [what, change, why] of cases) {
    const verdict = verify(key, [extended({ ...signed, ...change })]);
    t.match(verdict, { ok: false, at: base.entries.length + 1, why }, what);
  }
  const elsewhere = new WrittenLog(12);
  const gone = extended(log.introduction(elsewhere.enrol('GONE'), three));
  t.match(verify(key, [gone]), { ok: false, why: /GONE was not enrolled/ });
  const renamed = extended(log.introduction({ ...one, name: 'OTHER' as never }, three));
  t.match(verify(key, [renamed]), { ok: false, why: /OTHER is the name of another/ });
  const thief = { kind: 'enrolled', device: one.id, name: one.name, keys: other.keys } as const;
  t.match(verify(key, [extended(thief)]), { ok: false, why: /keys of ONE/ });
  log.enter({ kind: 'revoked', device: one.id, name: one.name, sessions: 0 });
  log.enter(log.introduction(one, three));
  t.match(verify(key, [log.part()]), { ok: false, why: /ONE was not enrolled then/ });
});

function requestOf(log: WrittenLog, ...[caller, callee]: Parameters<WrittenLog['introduction']>) {
  const fact = log.introduction(caller, callee);
  if (fact.kind !== 'introduced') throw new Error('not an introduction');
  return fact.request;
}

t.test('S6003: an extension that the terminals did not sign is found', async (t) => {
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ['no request', { requestSignature: new Uint8Array(64) }, /did not sign/],
    ['no verdict', { verdictSignature: new Uint8Array(64) }, /did not sign/],
    ['another revision', { revision: 2 }, /about something else/],
  ];
  for (const [what, change, why] of cases) {
    const { log, key } = written();
    const one = log.enrol('ONE');
    const three = log.enrol('THREE');
    const introduced = log.introduction(one, three);
    if (introduced.kind !== 'introduced') throw new Error('not an introduction');
    log.enter(introduced);
    log.enter(log.extension(introduced.session, one, three));
    t.match(verify(key, [log.part()]), { ok: true }, 'positive control');
    log.enter(log.extension(introduced.session, one, three, change));
    t.match(verify(key, [log.part()]), { ok: false, why }, what);
  }
  const { log, key } = written();
  const [one, three, other] = ['ONE', 'THREE', 'OTHER'].map((name) => log.enrol(name));
  const introduced = log.introduction(one, three);
  if (introduced.kind !== 'introduced') throw new Error('not an introduction');
  log.enter(introduced, log.extension(introduced.session, one, other));
  t.match(verify(key, [log.part()]), { ok: false, why: /not in the talk/ });
});

t.test('S6001: what was archived and what is kept verify alone and together', async (t) => {
  const { log, key } = written();
  const { span } = log.ledger;
  const archive: Part = { head: signSpan(log.key, 'archive', span), entries: log.part().entries };
  const receipt = log.receipt();
  log.archive(span.head);
  const caller = log.enrol('NEW');
  log.talk(caller, log.enrol('NEWER'));
  log.restart();
  log.enter({ kind: 'refused', times: 1 });
  const tail = log.part();
  t.match(decodeLogEntry(tail.entries[0]), { sequence: 61, kind: 'archived', through: 60 });
  t.match(verify(key, [archive]), { ok: true, entries: 60 });
  t.match(verify(key, [tail]), { ok: true, span: { base: { sequence: 60 } } });
  const both = verify(key, [archive, tail]);
  t.match(both, { ok: true, entries: 60 + tail.entries.length, statements: { unknown: 0 } });
  // Each receipt is found wherever its entry lies.
  const receipts = receiptsOf(key, receipt, log.receipt());
  t.match(verify(key, [archive, tail], { receipts }), { receipts: { checked: 2 } });
  t.match(verify(key, [tail], { receipts }), { receipts: { checked: 2 } }, 'the base agrees too');
  t.match(verify(key, [archive], { receipts }), { receipts: { checked: 1, elsewhere: 1 } });
  // Nothing takes another's place.
  t.match(verify(key, [tail, archive]), { ok: false, why: /between them/ });
  t.match(verify(key, [{ ...archive, head: tail.head }]), { ok: false });
  t.match(verify(key, [archive, archive]), { ok: false });
  t.match(verify(key, [{ ...tail, entries: tail.entries.slice(1) }]), { ok: false });
  const live = new LogVerifier({ suite: nodeSuite, managerKey: key });
  t.notOk(live.begin(archive.head, 'head'), 'an archive is not the live log');
  // Cut in the middle, and archived twice in a row.
  const again = { base: span.head, head: log.ledger.span.head };
  const second: Part = { head: signSpan(log.key, 'archive', again), entries: tail.entries };
  log.archive(again.head);
  t.match(verify(key, [archive, second, log.part()]), { ok: true });
  t.match(verify(key, [archive, log.part()]), { ok: false, why: /missing/ });
});

t.test('S6001: keys that are told beside a kept tail let its signatures be checked', async (t) => {
  const { log, key } = written();
  const one = log.enrol('ONE');
  const three = log.enrol('THREE');
  log.archive(log.ledger.span.head);
  log.talk(one, three);
  const tail = log.part();
  t.match(verify(key, [tail]), { ok: true, statements: { checked: 0, unknown: 4 } });
  const { encodeCbor } = await import('../../protocol/control/cbor.ts');
  const { publicKeys } = await import('../../protocol/control/messages.ts');
  const verifier = new LogVerifier({ suite: nodeSuite, managerKey: key });
  verifier.begin(tail.head);
  for (const { keys } of [one, three]) t.ok(verifier.know(encodeCbor(publicKeys, keys)));
  for (const entry of tail.entries) t.ok(verifier.add(entry));
  t.match(verifier.finish(), { ok: true, statements: { checked: 4, unknown: 0 } });
  t.notOk(new LogVerifier({ suite: nodeSuite, managerKey: key }).know(Uint8Array.of(1)));
});

t.test('S6001: a start looks at the end of its log', async (t) => {
  const { log, part, key } = written();
  const last = part.entries.at(-1);
  const meta = [{ key: HEAD_KEY, value: part.head }];
  const check = (stored: Partial<Parameters<typeof checkLogHead>[2]>): string | undefined =>
    checkLogHead(nodeSuite, key, { meta, last, isEmpty: false, ...stored });
  t.equal(check({}), undefined);
  t.equal(check({ meta: [], last: undefined, isEmpty: true }), undefined, 'the first start');
  t.match(check({ meta: [] }), /head of its log is missing/);
  t.match(check({ meta: [], last: undefined }), /missing/, 'log and head gone, the rest not');
  t.match(check({ meta: [], isEmpty: true }), /missing/);
  t.match(check({ last: part.entries.at(-2) }), /ends at 59, not 60/);
  t.match(check({ last: undefined }), /empty/);
  t.match(check({ last: Uint8Array.of(1) }), /damaged entry/);
  const head = (value: Uint8Array) => check({ meta: [{ key: HEAD_KEY, value }] });
  t.match(head(Uint8Array.of(1)), /cannot be read/);
  t.match(head(signSpan(log.key, 'archive', log.ledger.span)), /cannot be read/);
  t.match(head(signSpan(stranger, 'head', log.ledger.span)), /not signed/);
  t.match(head(signSpan(log.key, 'head', EMPTY_SPAN)), /ends at 60, not 0/);
  let missed = 0;
  for (let byte = 0; byte < part.head.length; byte++) {
    if (head(flipped(part.head, byte)) === undefined) missed += 1;
  }
  for (let byte = 0; last !== undefined && byte < last.length; byte++) {
    if (check({ last: flipped(last, byte) }) === undefined) missed += 1;
  }
  t.equal(missed, 0, 'any byte of the head and of the last entry');
});
