// The log before and since talks tell which way they took [S6001]: what was written then verifies
// still, alone and under what is written now; what is written now is judged.

import t from 'tap';
import { fromBase64 } from '../../protocol/io/base64.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomSessionId } from '../../protocol/ids.ts';
import { LogVerifier } from '../log-verify.ts';
import { type LogFact, decodeLogEntry, logKey } from '../log.ts';
import { LOG_FILE_TITLE, LogReader, logLine } from '../shell/log-file.ts';
import { logView } from '../shell/views.ts';
import { FORMER_LOG } from './former-log.ts';
import { WrittenLog, verify } from './written-log.ts';

const KEY = new WrittenLog().key;

function verdictOf(text: string) {
  const verifier = new LogVerifier({ suite: nodeSuite, managerKey: KEY.publicKey });
  const reader = new LogReader(verifier, 'head');
  reader.take(Buffer.from(text));
  reader.end();
  return verifier.finish();
}

t.test('S6001: a log of former days verifies, and every change of it is found still', async (t) => {
  t.match(verdictOf(FORMER_LOG), { ok: true, entries: 8, statements: { checked: 4, unknown: 0 } });
  const lines = FORMER_LOG.split('\n');
  const last = fromBase64(lines[9].slice('entry '.length));
  t.match(last && decodeLogEntry(last), { kind: 'refused', sequence: 8 });
  const report = fromBase64(lines[6].slice('entry '.length));
  const entry = report && decodeLogEntry(report);
  t.match(entry, { kind: 'report', by: 'caller' });
  t.equal(entry?.kind === 'report' && entry.path, undefined, 'it tells no way');
  const shown = report && Object.keys(logView(nodeSuite, logKey(5), report));
  t.notOk(shown?.some((name) => name === 'path' || name === 'probes'));
  const changed = logLine('entry', (report ?? new Uint8Array(1)).with(60, 1)).trimEnd();
  t.match(verdictOf(lines.with(6, changed).join('\n')), { ok: false });
});

t.test('S6001: what a manager of today writes behind it verifies with it', async (t) => {
  const log = new WrittenLog();
  log.talk(log.enrol('TERM1'), log.enrol('TERM3'));
  const { head, entries } = log.part();
  const lines = entries.map((bytes) => logLine('entry', bytes));
  const text = [LOG_FILE_TITLE, logLine('head', head), ...lines].join('');
  t.equal(text, FORMER_LOG, 'the same facts are the same bytes as then');
  const one = log.enrol('ONE');
  const three = log.enrol('THREE');
  const introduced = log.introduction(one, three);
  if (introduced.kind !== 'introduced') throw new Error('not an introduction');
  const { session } = introduced;
  const counts = { sentBytes: 5, receivedBytes: 0, lostBytes: 0, wireBytes: 9, durationMs: 3 };
  log.enter(introduced);
  log.enter({ kind: 'reintroduced', session, by: 'callee', generation: 3 });
  log.enter({
    kind: 'report',
    session,
    by: 'caller',
    said: 'done',
    ...counts,
    path: 'relay',
    probes: 2_048,
  });
  log.enter({ kind: 'ended', session, reason: 'done', by: 'caller' });
  const part = log.part();
  t.match(verify(KEY.publicKey, [part]), { ok: true, entries: 14 });
  const views = part.entries.map((bytes, at) => logView(nodeSuite, logKey(at + 1), bytes));
  t.match(views[11], { kind: 'reintroduced', session, by: 'callee', generation: 3 });
  t.match(views[12], { kind: 'report', path: 'relay', probes: 2_048 });
});

t.test('S6001: a re-introduction of no talk, or of one that is over, is found', async (t) => {
  const log = new WrittenLog();
  const one = log.enrol('ONE');
  const three = log.enrol('THREE');
  const introduced = log.introduction(one, three);
  if (introduced.kind !== 'introduced') throw new Error('not an introduction');
  const { session } = introduced;
  log.enter(introduced);
  const again = (of: object = {}): LogFact => ({
    kind: 'reintroduced',
    session,
    by: 'caller',
    generation: 1,
    ...of,
  });
  const cases: readonly (readonly [string, readonly LogFact[], RegExp | undefined])[] = [
    ['positive control', [again()], undefined],
    ['of no talk', [again({ session: randomSessionId(log.rng) })], /not under way/],
    [
      'of one that is over',
      [{ kind: 'ended', session, reason: 'done', by: 'caller' }, again()],
      /not under way/,
    ],
    ['of nobody in it', [again({ by: 'operator' })], /of neither terminal/],
  ];
  for (const [what, facts, why] of cases) {
    const copy = new WrittenLog();
    const [first, second] = [copy.enrol('ONE'), copy.enrol('THREE')];
    t.strictSame([first.id, second.id], [one.id, three.id]);
    copy.introduction(first, second);
    copy.enter(introduced, ...facts);
    const verdict = verify(copy.key.publicKey, [copy.part()]);
    t.match(verdict, why === undefined ? { ok: true } : { ok: false, why }, what);
  }
  const tail = new WrittenLog();
  tail.enrol('ONE');
  tail.archive(tail.ledger.span.head);
  tail.enter(again());
  t.match(verify(tail.key.publicKey, [tail.part()]), { ok: true }, 'it may stand in an archive');
});
