// The small parts of the terminal's shell on real files: addresses, ends, the list at that very
// moment.

import { watch } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { NO_COUNTS } from '../../protocol/ends.ts';
import { type SessionId, randomSessionId } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { addressBytes, addressText } from '../../protocol/address.ts';
import { EndsStore } from '../shell/ends-store.ts';
import { isFileName } from '../services/file/names.ts';
import { openHome } from '../shell/home.ts';
import { allowListReader } from '../shell/list-reader.ts';

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk-sh-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('S1000: an address goes into a candidate and comes out as the same text', async (t) => {
  const there = (host: string): string | undefined => {
    const address = addressBytes(host);
    return address && addressText(address);
  };
  for (const host of ['127.0.1.1', '10.20.30.1', '::1', 'fe80::1:2', '2001:db8::a:0:0:1']) {
    t.equal(there(host), host);
  }
  t.equal(there('fe80::1%eth0'), 'fe80::1', 'a zone is our own business');
  t.equal(there('::ffff:1.2.3.4'), '1.2.3.4');
  t.equal(there('localhost'), undefined);
  t.ok(isLoopback('127.9.9.9') && isLoopback('::1'));
  t.notOk(isLoopback('128.0.0.1') || isLoopback('::2') || isLoopback('127.evil.example'));
  fc.assert(
    fc.property(fc.ipV6(), (host) => [4, 16].includes(addressBytes(host)?.length ?? 0)),
    { numRuns: dose(200) },
  );
  fc.assert(
    fc.property(fc.ipV4(), (host) => addressBytes(host)?.join('.') === host),
    { numRuns: dose(200) },
  );
});

t.test('S5007: ends are kept in order, found again, and forgotten', async (t) => {
  const home = await openHome(await folder(t));
  const store = new EndsStore(home.ends);
  const session = randomSessionId(entropy);
  const counts = { ...NO_COUNTS, sentBytes: 2 ** 40 };
  await Promise.all([
    store.store(session, { session, reason: undefined, counts: NO_COUNTS }),
    store.store(session, { session, reason: 'quota', counts }),
  ]);
  t.strictSame(await new EndsStore(home.ends).load(silentLog), [
    { session, reason: 'quota', counts },
  ]);
  void store.store(session, undefined);
  await store.settled();
  t.strictSame(await store.load(silentLog), []);
});

t.test('S5007: an end that is acknowledged at once costs the disk nothing', async (t) => {
  const home = await openHome(await folder(t));
  const store = new EndsStore(home.ends);
  const [short, long] = [randomSessionId(entropy), randomSessionId(entropy)];
  const written: string[] = [];
  const watcher = watch(home.ends, (_, name) => written.push(String(name)));
  t.teardown(() => watcher.close());
  const begun = { reason: undefined, counts: NO_COUNTS };
  const kept = store.keep(long, { session: long, ...begun });
  void store.keep(short, { session: short, ...begun });
  void store.keep(short, { session: short, reason: 'done', counts: NO_COUNTS });
  await store.keep(short, undefined);
  await kept;
  await until(() => written.includes(long));
  t.notOk(written.includes(short), 'neither written nor removed');
  await store.keep(long, undefined);
  t.strictSame(await readdir(home.ends), [], 'what was written is removed');
});

t.test(
  'S5007: a damaged record is a talk that was under way, a foreign file is left',
  async (t) => {
    const home = await openHome(await folder(t));
    const session = 'a'.repeat(26) as SessionId;
    await writeFile(join(home.ends, session), '{"version":1,"reason":"bored"}');
    await writeFile(join(home.ends, 'notes.txt'), 'mine');
    t.strictSame(await new EndsStore(home.ends).load(silentLog), [
      { session, reason: undefined, counts: NO_COUNTS },
    ]);
    await t.rejects(new EndsStore(join(home.ends, 'gone')).load(silentLog), {
      code: 'no-such-file',
    });
  },
);

t.test('S4003: the list is read at that very moment; none allows nobody', async (t) => {
  const path = join(await folder(t), 'allow-list.toml');
  const read = allowListReader(path, new Clock());
  t.match(read(), { list: { entries: [] }, problem: undefined });
  await writeFile(path, '[[allow]]\nname = "TERM1"\n');
  t.match(read().list?.entries, [{ pattern: 'TERM1' }]);
  await writeFile(path, '[[allow]]\nname = "TERM2"\n');
  t.match(read().list?.entries, [{ pattern: 'TERM2' }]);
  for (const bad of ['[[allow', Buffer.from([0xff, 0xfe]), 'x'.repeat(1_100_000)]) {
    await writeFile(path, bad);
    const { list, problem } = read();
    t.equal(list, undefined);
    t.match(problem, path);
  }
});

t.test('S4005: only a plain base name becomes a file in an inbox', async (t) => {
  for (const good of ['a', 'été.txt', '.profile', 'a b', '写真.jpg', 'x'.repeat(250)]) {
    t.ok(isFileName(good), good);
  }
  const bad = ['', '.', '..', 'a/b', 'a\\b', 'a\u0007', 'a\u202egpj.exe', '.part-a-1', '\ud800'];
  for (const name of [...bad, 'x'.repeat(251)]) t.notOk(isFileName(name), JSON.stringify(name));
});
