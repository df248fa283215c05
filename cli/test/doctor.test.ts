// The doctor, on homes that are sound and on homes that are broken in one way each: what it says of
// that, and what it would have done about it.

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { type Town, openTown } from '../../sim/fleet/town.ts';
import { type Examined, type ExamineOptions, examine } from '../doctor/examination.ts';
import type { Patient } from '../doctor/finding.ts';
import { SERVER_CHECKS } from '../doctor/server-checks.ts';
import { folder, run } from './program.ts';

async function findings(options: ExamineOptions): Promise<Record<string, Examined>> {
  const found: Record<string, Examined> = {};
  for await (const finding of examine(options)) found[finding.check] = finding;
  return found;
}

async function town(t: Test): Promise<Town> {
  const opened = await openTown();
  t.teardown(() => opened.close());
  return opened;
}

const of = (found: Record<string, Examined>, verdict: Examined['verdict']): string[] =>
  Object.values(found)
    .filter((finding) => finding.verdict === verdict)
    .map(({ check }) => check);

t.test('a sound terminal without its agent: nothing has failed', async (t) => {
  const world = await town(t);
  const home = await world.enrol('TERM3', '');
  const lines = ['TERM1', '*@example.org'].map((name) => `[[allow]]\nname = "${name}"\n`);
  await world.allow(home, `${lines.join('')}[[deny]]\nname = "TERM9"\n`);
  const before = readdirSync(home);
  const found = await findings({ home });
  t.strictSame(of(found, 'fail'), []);
  t.strictSame(of(found, 'unchecked'), ['relay', 'peer'], 'what was not looked at is said');
  t.match(found.relay.says, /is seen in a call; here: if-needed \(as usual\)$/);
  t.match(found.peer, { says: /takes one that answers/, next: /--peer NAME/ });
  t.match(found.agent, { verdict: 'warn', next: /nakodo agent --home/ });
  t.match(found.identity.says, /^TERM3 \(/);
  t.match(found.list.says, /allows TERM1, \*@example\.org; refuses TERM9/);
  t.match(found.broker.says, /with a key of our manager's/);
  t.match(found.login.says, /would let it in/);
  t.match(found.membership.says, /good for 2[34] h .*renewed when the agent connects|good for 1 d/);
  t.match(found.clock, { verdict: 'ok', says: /the server's/ });
  t.strictSame(readdirSync(home), before, 'and nothing is left behind');
});

t.test('with its agent, and a peer: UDP both ways is seen, not believed', async (t) => {
  const world = await town(t);
  const [home, peerHome] = [await world.enrol('TERM1', ''), await world.enrol('TERM3', '')];
  const agent = await world.start(home, { udpBind: '127.0.1.1' });
  const peer = await world.start(peerHome, { udpBind: '127.0.3.1' });
  const served = await serveAgent(agent, { log: silentLog });
  const peerServed = await serveAgent(peer, { log: silentLog });
  t.teardown(() => Promise.all([served.close(), peerServed.close()]));
  const refused = await findings({ home, peer: 'TERM3', waitMs: 200 });
  t.match(refused.peer, { verdict: 'fail', says: /does not take this call/ });
  writeFileSync(join(peerHome, 'allow-list.toml'), '[[allow]]\nname = "TERM1"\n');
  const found = await findings({ home, peer: 'TERM3' });
  t.strictSame([...of(found, 'fail'), ...of(found, 'unchecked')], ['relay']);
  t.match(found.peer.says, /UDP passes both ways with TERM3, on the LAN 127\.0\.3\.1:\d+/);
  t.match(found.agent, { verdict: 'ok', says: /^runs, 0 talks/ });
  t.match(found.login.says, /^registered at the broker/);
  t.match(found.membership.says, /renewed in 1[12] h/);
  await t.rejects(findings({ home, peer: 'no name' }), { code: /name/ });
});

/** One thing that is broken in a home, and what the doctor has to say about it. */
interface Broken {
  readonly what: string;
  readonly how: (home: string) => void;
  readonly check: string;
  readonly says: RegExp;
  readonly next: RegExp;
}
const ENROLMENT = 'enrolment.json';
const rewrite = (path: string, change: (text: string) => string): void =>
  writeFileSync(path, change(readFileSync(path, 'utf8')));

const BROKEN: readonly Broken[] = [
  {
    what: 'keys that others may read',
    how: (home) => chmodSync(join(home, 'identity.json'), 0o644),
    check: 'home',
    says: /others.*read or write .*identity\.json \(0644\)/,
    next: /^chmod 600 .*identity\.json/,
  },
  {
    what: 'a home for everybody',
    how: (home) => chmodSync(home, 0o755),
    check: 'home',
    says: /open to everybody \(0755\)/,
    next: /^chmod o= /,
  },
  {
    what: 'a list that others may write',
    how: (home) => chmodSync(join(home, 'allow-list.toml'), 0o666),
    check: 'home',
    says: /others may write .*let themselves in/,
    next: /^chmod 600 .*allow-list/,
  },
  {
    what: 'an identity cut short',
    how: (home) => truncateSync(join(home, 'identity.json'), 40),
    check: 'identity',
    says: /identity\.json/,
    next: /./,
  },
  {
    what: 'an enrolment that is another one',
    how: (home) =>
      rewrite(join(home, ENROLMENT), (text) => text.replace(/"membership": "..../, '$&A')),
    check: 'identity',
    says: /enrolment\.json/,
    next: /./,
  },
  {
    what: 'no enrolment',
    how: (home) => rmSync(join(home, ENROLMENT)),
    check: 'identity',
    says: /not enrolled/,
    next: /nakodo enroll TICKET --home/,
  },
  {
    what: 'a list that says nothing sensible',
    how: (home) => appendFileSync(join(home, 'allow-list.toml'), '[[allow]]\nnam = "TERM1"\n'),
    check: 'list',
    says: /line 1, .*'name' is missing/,
    next: /correct that line/,
  },
  {
    what: 'settings that say nothing sensible',
    how: (home) => writeFileSync(join(home, 'agent.toml'), '[agent]\nkeepalive = "0s"\n'),
    check: 'settings',
    says: /keepalive/,
    next: /no service is served/,
  },
  {
    what: 'a hook that is not there',
    how: (home) =>
      writeFileSync(join(home, 'agent.toml'), '[[run]]\nname = "x"\ncommand = "/no/such -v"\n'),
    check: 'settings',
    says: /run:x cannot be run: \/no\/such/,
    next: /./,
  },
  {
    what: 'a folder that is not there',
    how: (home) => writeFileSync(join(home, 'agent.toml'), '[get]\nfolder = "/no/such"\n'),
    check: 'settings',
    says: /\[get\] is not there: \/no\/such/,
    next: /./,
  },
  {
    what: 'a broker whose name nobody knows',
    how: (home) =>
      rewrite(join(home, ENROLMENT), (text) =>
        text.replace(/mqtts:\/\/[^:]*/, 'mqtts://x.invalid'),
      ),
    check: 'name',
    says: /x\.invalid is not found/,
    next: /name server/,
  },
];

t.test('each broken home is found, with what to do', async (t) => {
  const world = await town(t);
  for (const [at, { what, how, check, says, next }] of BROKEN.entries()) {
    const home = await world.enrol(`TERM${at}`, '');
    chmodSync(join(home, 'allow-list.toml'), 0o600);
    how(home);
    const found = await findings({ home });
    t.match(found[check], { verdict: 'fail', says, next }, what);
  }
});

t.test('a server that is away, and one that is another', async (t) => {
  const [ours, other] = [await openTown(), await town(t)];
  const home = await ours.enrol('TERM3', '');
  const misled = join(folder(t), 'home');
  mkdirSync(misled, { mode: 0o700 });
  for (const file of ['identity.json', ENROLMENT])
    copyFileSync(join(home, file), join(misled, file));
  const way = other.broker.url;
  rewrite(join(misled, ENROLMENT), (text) => text.replace(/mqtts:\/\/[^"]*/, way));
  const wrong = await findings({ home: misled });
  t.match(wrong.broker, { verdict: 'fail', says: /did not sign for/, next: /ask the operator/ });
  t.equal(wrong.login.verdict, 'ok', 'the other way still leads to ours');
  const kept = join(folder(t), 'home');
  mkdirSync(kept, { mode: 0o700 });
  for (const file of ['identity.json', ENROLMENT]) copyFileSync(join(home, file), join(kept, file));
  await ours.close();
  const away = await findings({ home: kept });
  t.match(away.broker, { verdict: 'fail', says: /does not answer/, next: /ask the operator/ });
  t.match(away.login, { verdict: 'fail', says: /does not answer/ });
  t.equal(away.clock.verdict, 'unchecked', 'nobody said what time it is');
  const { exit, said } = await run(['doctor', '--home', kept, '--json']);
  t.equal(exit, 1);
  t.match(said, { ok: false });
  t.equal((said as unknown as { checks: unknown[] }).checks.length, 16);
});

t.test('a clock that is off is said, and how far', async (t) => {
  const check = SERVER_CHECKS.find(({ name }) => name === 'clock');
  const look = (clockOffsetMs: number) =>
    check?.look({ status: { clockOffsetMs } } as unknown as Patient);
  t.match(await look(3_600_000), { verdict: 'warn', says: /1 h behind the server/, next: /ntp/ });
  t.match(await look(-90_000), { verdict: 'warn', says: /1 min 30 s ahead of the server/ });
  t.match(await look(-59_000), { verdict: 'ok' });
});

t.test('a membership that ran out, and one whose renewal is due', async (t) => {
  const check = SERVER_CHECKS.find(({ name }) => name === 'membership');
  const look = (leftSeconds: number) => {
    const membershipExpiresAt = Math.floor(Date.now() / 1_000) + leftSeconds;
    return check?.look({ status: { membershipExpiresAt } } as unknown as Patient);
  };
  t.match(await look(-7_200), { verdict: 'warn', says: /ran out 2 h ago/ });
  t.match(await look(86_400 - 3_600), { verdict: 'ok', says: /renewed in 1[01] h/ });
});

/** A small disk at a folder, unmounted by `umount`. @throws Error where this user may not */
function mountSmall(at: string): void {
  const args = ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'none', at];
  execFileSync('mount', args, { stdio: 'ignore' });
}

/** Why this cannot be tried here; false: it can. */
function noMount(): string | false {
  const at = mkdtempSync(join(tmpdir(), 'nk-m-'));
  try {
    mountSmall(at);
    execFileSync('umount', [at]);
    return false;
  } catch {
    return 'this user may not mount a small file system';
  } finally {
    rmSync(at, { recursive: true });
  }
}

t.test('a disk that is full, and one that is read-only', { skip: noMount() }, async (t) => {
  const home = join(folder(t), 'home');
  mkdirSync(home);
  mountSmall(home);
  t.teardown(() => execFileSync('umount', [home]));
  t.match((await findings({ home })).disk, { verdict: 'fail', says: /full: 65.* free/ });
  t.throws(() => writeFileSync(join(home, 'big'), new Uint8Array(100_000)), { code: 'ENOSPC' });
  t.match((await findings({ home })).disk, { verdict: 'fail', says: /disk is full/, next: /free/ });
  execFileSync('mount', ['-o', 'remount,ro', home]);
  t.match((await findings({ home })).disk, { verdict: 'fail', says: /read-only/, next: /findmnt/ });
});
