// The whole story through real processes: a ticket, two terminals, a list, a file, a refusal, and
// ends of every kind that a command can bring about.

import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folder, follow, run, serve, terminal } from './program.ts';

const LINE_OF_TRANSPORT =
  /^\w+: on the LAN 127\.0\.0\.1:\d+, .*of \d+ bytes, bbr \(\w+\), .+ in, \d+ lost/m;

interface Status {
  readonly talks: readonly {
    readonly talk: { readonly transport: { readonly congestionWindow: number } };
  }[];
}

const sha256 = (path: string): string =>
  createHash('sha256').update(readFileSync(path)).digest('hex');

t.test('S1002: the user names the peer, and the file lands in its inbox', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  const [, term3] = await Promise.all([
    terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('s'), home: at('3'), name: 'TERM3' }),
  ]);
  t.match(term3.ready, { ready: true, name: 'TERM3', id: /^[a-z2-7]{32}$/ });
  const file = at('photo.jpg');
  writeFileSync(file, randomBytes(300_000));
  const send = (...args: readonly string[]): ReturnType<typeof run> =>
    run(['send', 'TERM3', file, '--wait', '1s', '--home', at('1'), '--json', ...args]);

  const refused = await send();
  t.equal(refused.exit, 3, 'not on the list');
  t.match(refused.said, { error: { code: 'refused', next: /allow/ } });
  await entered(at('s'), 'refused', 1);
  const unknown = await run(['send', 'NOBODY', file, '--wait', '1s', '--home', at('1'), '--json']);
  t.equal(unknown.exit, 3, 'unknown: the same answer');
  const code = (said: unknown): unknown => (said as { error: { code: string } }).error.code;
  t.equal(code(unknown.said), code(refused.said));
  await entered(at('s'), 'refused', 2);

  await run(['allow', 'TERM1', '--service', 'file', '--bytes', '1MB', '--home', at('3')]);
  const sent = await send();
  t.equal(sent.exit, 0, sent.stderr);
  t.match(sent.said, { session: /^[a-z2-7]{26}$/, reason: 'done' });
  t.equal(sha256(join(at('3'), 'inbox', 'photo.jpg')), sha256(file));

  writeFileSync(file, randomBytes(1_500_000));
  const cut = await send('--no-extend');
  t.equal(cut.exit, 4, 'the entry grants 1 MB');
  t.match(cut.said, { reason: 'quota' });

  await entered(at('s'), 'ended', 2);
  await run(['deny', 'TERM1', '--home', at('3')]);
  t.equal((await send()).exit, 3, 'denied again, no restart');

  const sessions = await run(['sessions', '--all', '--home', at('s'), '--json']);
  t.match(sessions.said, [{ caller: 'TERM1', callee: 'TERM3', service: 'file' }, {}]);
  const verified = await run(['log', 'verify', '--home', at('s'), '--json']);
  t.equal(verified.exit, 0);
  t.match(verified.said, { ok: true });
  const status = await run(['status', '--home', at('3'), '--json']);
  t.match(status.said, { name: 'TERM3', registered: true, talks: [] });
  t.equal(await term3.end(), 0, 'SIGTERM ends an agent cleanly');
});

t.test('S6004: the operator ends a talk; both terminals obey', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  await Promise.all([
    terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('s'), home: at('3'), name: 'TERM3' }),
  ]);
  await run(['allow', 'TERM1', '--home', at('3')]);
  const file = at('long.bin');
  writeFileSync(file, randomBytes(2_000_000));
  const watch = follow(t, ['sessions', '--watch', '--json', '--home', at('s')]);
  const sending = run(['send', 'TERM3', file, '--rate', '200kB', '--home', at('1'), '--json']);
  const begun = await sessionOf(watch, /^(live|begun)$/);
  const status = await run(['status', '--home', at('3')]);
  t.match(status.stdout, LINE_OF_TRANSPORT, 'how the talk gets through');
  const { talks } = (await run(['status', '--home', at('3'), '--json'])).said as unknown as Status;
  t.ok(Number.isInteger(talks[0].talk.transport.congestionWindow), 'whole bytes');
  const ended = await run(['end', begun.slice(0, 6), '--home', at('s'), '--json']);
  t.equal(ended.exit, 0, ended.stderr);
  t.match(ended.said, { session: begun, reason: 'operator', unconfirmed: [] });
  const sent = await sending;
  t.equal(sent.exit, 4);
  t.match(sent.said, { session: begun, reason: 'operator' });
  t.equal(await sessionOf(watch, /^ended$/), begun);
  const gone = await run(['end', begun, '--home', at('s')]);
  t.equal(gone.exit, 1);
  t.match(gone.stderr, /\nnext: /);
});

t.test(
  'claim 19: a terminal that sleeps between polls is ready, and says that it sleeps',
  async (t) => {
    const base = folder(t);
    const at = (name: string): string => join(base, name);
    await serve(t, at('s'));
    const agent = await terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }, [
      '--poll-every',
      '1h',
    ]);
    t.match(agent.ready, { name: 'TERM1' });
    const asleep = async (): Promise<boolean> =>
      /asleep, polls in/.test((await run(['status', '--home', at('1')])).stdout);
    let looks = 0;
    while (!(await asleep()) && looks < 50) looks += 1;
    t.ok(looks < 50, 'it went to sleep');
    const devices = await run(['devices', '--home', at('s'), '--json']);
    t.match(devices.said, [{ name: 'TERM1', pollSeconds: 3600 }]);
    t.equal(await agent.end(), 0);
  },
);

t.test('a ticket is used once, a name is taken once', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  const ticket = async (...args: readonly string[]): Promise<string> =>
    String((await run(['ticket', '--home', at('s'), '--json', ...args])).said?.ticket);
  const one = await ticket();
  const first = await run(['enroll', one, '--name', 'TERM1', '--home', at('1'), '--json']);
  t.match(first.said, { name: 'TERM1', id: /^[a-z2-7]{32}$/ });
  const twice = await run(['enroll', one, '--name', 'TERM2', '--home', at('2')]);
  t.equal(twice.exit, 1);
  t.match(twice.stderr, /ticket.*\nnext: .*ticket/);
  const taken = await run(['enroll', await ticket(), '--name', 'TERM1', '--home', at('2')]);
  t.equal(taken.exit, 1);
  t.match(taken.stderr, /TERM1|name.*\nnext: /);
  const damaged = await run(['enroll', one.slice(0, 60), '--home', at('2')]);
  t.equal(damaged.exit, 2);
  t.match(damaged.stderr, /ticket.*\nnext: /);
  const agent = await run(['agent', '--home', at('2')]);
  t.equal(agent.exit, 1);
  t.match(agent.stderr, /no name yet\nnext: .*nakodo enroll/);
});

/**
 * Waits until the log has so many entries of a kind: a server whose disk is slow takes no call
 * until it has written what it knows, and is not what a refusal in time is about.
 */
async function entered(home: string, kind: string, times: number): Promise<void> {
  type Entries = readonly { readonly kind: string }[];
  for (let looks = 0; looks < 50; looks++) {
    const entries = (await run(['log', '--json', '--home', home])).said as unknown as Entries;
    if (entries.filter((entry) => entry.kind === kind).length >= times) return;
  }
  throw new Error(`waited in vain: ${times} times ${kind} in the log`);
}

/** The session of the first watched event that fits. */
async function sessionOf(watch: ReturnType<typeof follow>, wanted: RegExp): Promise<string> {
  type Watched = { readonly event: string; readonly session: { readonly session: string } };
  const line = await watch.line((each) => wanted.test((JSON.parse(each) as Watched).event));
  return (JSON.parse(line) as Watched).session.session;
}
