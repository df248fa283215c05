// The log as an operator, and somebody who does not trust the operator, handles it [S6001]: real
// processes, a real talk, files on disk; verified without a server and without any private key.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openLmdbStore } from '../../session-manager/shell/store-lmdb.ts';
import { type Result, folder, run, serve, terminal } from './program.ts';

interface Scene {
  readonly at: (name: string) => string;
  /** `log …` on a machine that has the public key alone. */
  readonly elsewhere: (...args: readonly string[]) => Promise<Result>;
}

/** One talk between two terminals; both have their receipts, the server is stopped by `stop`. */
async function talked(
  t: Parameters<typeof terminal>[0],
): Promise<Scene & { readonly stop: () => Promise<unknown> }> {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const server = await serve(t, at('s'));
  const agents = await Promise.all([
    terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('s'), home: at('3'), name: 'TERM3' }),
  ]);
  await run(['allow', 'TERM1', '--home', at('3')]);
  writeFileSync(at('file'), 'hello');
  await run(['send', 'TERM3', at('file'), '--home', at('1')]);
  // An agent that stops has written what it knows.
  for (let looks = 0; looks < 50; looks++) {
    const { said } = await run(['sessions', '--json', '--home', at('s')]);
    if (Array.isArray(said) && said.length === 0) break;
  }
  for (const agent of agents) await agent.end();
  mkdirSync(at('other'));
  copyFileSync(join(at('s'), 'manager.pub'), join(at('other'), 'manager.pub'));
  return {
    at,
    elsewhere: (...args) => run(['log', ...args, '--home', at('other')]),
    stop: () => server.end(),
  };
}

t.test('S6001: exported, archived and verified elsewhere with public keys alone', async (t) => {
  const { at, elsewhere, stop } = await talked(t);
  const here = (...args: readonly string[]): Promise<Result> =>
    run(['log', ...args, '--home', at('s'), '--json']);
  const receipt = join(at('1'), 'receipt');
  t.equal(statSync(receipt).mode & 0o777, 0o600);
  const live = await here('verify', '--receipt', receipt, '--receipt', join(at('3'), 'receipt'));
  t.equal(live.exit, 0, live.stdout);
  t.match(live.said, {
    ok: true,
    from: 1,
    head: /^[0-9a-f]{64}$/,
    signatures: { checked: 2, unknown: 0 },
    receipts: { checked: 2, elsewhere: 0 },
  });
  const entries = Number(live.said?.entries);
  const inWords = await run(['log', '--home', at('s')]);
  const reports = inWords.stdout.split('\n').filter((line) => line.includes('  report  '));
  t.equal(reports.length, 2);
  for (const line of reports) t.match(line, /  path=on the LAN(?:  |$)/);
  const talks = await run(['sessions', '--all', '--home', at('s')]);
  t.match(talks.stdout, /on the LAN/);
  t.match((await here('export', at('whole'))).said, { ok: true, entries, file: at('whole') });
  t.match((await here('archive', at('past'))).said, { ok: true, entries });
  t.equal(statSync(at('past')).mode & 0o777, 0o600);
  t.match((await here()).said, [{ sequence: entries + 1, kind: 'archived', through: entries }]);
  t.match((await here('verify')).said, { ok: true, from: entries + 1, entries: 1 });
  t.match((await here('export', at('tail'))).said, { ok: true, from: entries + 1 });
  const again = await here('export', at('tail'));
  t.equal(again.exit, 2, 'never written over');
  t.match(again.said, { error: { code: 'file-exists' } });
  await stop();

  t.notOk(existsSync(join(at('other'), 'identity.json')));
  for (const files of [['whole'], ['past', 'tail']]) {
    const found = await elsewhere('verify', ...files.map(at), '--receipt', receipt);
    t.equal(found.exit, 0, found.stderr);
    t.match(found.stdout, /^The log is whole: /);
  }
  const swapped = await elsewhere('verify', at('tail'), at('past'), '--json');
  t.equal(swapped.exit, 1);
  const error = { code: 'log-damaged', next: /archives first/ };
  t.match(swapped.said, { ok: false, why: /between them/, error });
  const stranger = await run(['log', 'verify', at('whole'), '--manager-pub', at('file')]);
  t.match(stranger.stderr, /does not hold a manager's key\nnext: .*--manager-pub FILE/);
  const none = await elsewhere('verify', at('whole'), '--receipt', at('file'));
  t.equal(none.exit, 1);
  t.match(none.stderr, /not a receipt that this manager signed\nnext: /);
  t.match((await elsewhere('verify', at('gone'))).stderr, /no such file.*\nnext: /);
  t.equal((await elsewhere('verify')).exit, 5, 'without files the server is asked');
});

t.test('S6001: files that were changed or cut, and a store that was, are told', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const server = await serve(t, at('s'));
  for (let ticket = 0; ticket < 4; ticket++) await run(['ticket', '--home', at('s')]);
  await run(['log', 'export', at('early'), '--home', at('s')]);
  await server.end();
  const lines = readFileSync(at('early'), 'latin1').split('\n');
  writeFileSync(at('changed'), lines.toSpliced(4, 1).join('\n'), 'latin1');
  const found = await run(['log', 'verify', at('changed'), '--home', at('s'), '--json']);
  t.equal(found.exit, 1);
  t.match(found.said, { ok: false, at: 3, why: /missing/, error: { code: 'log-damaged' } });
  const place = join(at('s'), 'store');
  const store = await openLmdbStore({ folder: place });
  const [last] = store.range('log', { reverse: true, limit: 1 });
  await store.write([{ table: 'log', key: last.key, value: undefined }]);
  await store.close();
  const refused = await run(['serve', '--home', at('s'), '--mqtt-port', '0', '--http-port', '0']);
  t.equal(refused.exit, 1);
  t.ok(refused.stderr.includes(place), 'it names the store');
  t.match(refused.stderr, /its log ends at \d+, not \d+\nnext: .*backup/);
});
