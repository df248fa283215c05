// First start from the boot partition: what the file may say, how it becomes a terminal, that a
// power cut at any write loses and doubles nothing, and what is told to whom when the ticket is no
// good. With real servers.

import {
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { formatTicket, parseTicket } from '../../protocol/identity/ticket.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes } from '../../protocol/random.ts';
import { type Town, openTown } from '../../sim/fleet/town.ts';
import { parseListFile } from '../list-file.ts';
import { enrol } from '../shell/enrol.ts';
import {
  enrolPending,
  forgetPending,
  loadProvisioned,
  provisioningTrouble,
  refuseIfRefused,
} from '../shell/pending.ts';
import { parseProvisioning } from '../shell/provision-file.ts';
import { type Provisioned, provision } from '../shell/provision.ts';
import { cutAt } from './power-cuts.ts';

const FACTS = { hostname: 'raspberrypi', serial: '10000000abcdef01' };
const TOOLS = { suite: nodeSuite, rng: entropy, log: silentLog };
const CUTS_MAX = 60;

const TICKET = formatTicket({
  url: 'https://192.0.2.1:8443/nakodo/1/enrol',
  managerKey: new Uint8Array(32),
  secret: new Uint8Array(20),
  expiresAt: 2_000_000_000,
  agreementKey: new Uint8Array(32),
  pin: new Uint8Array(32),
});

/** A card: its boot partition, the folder of cloud-init, the home. */
interface Card {
  readonly boot: string;
  readonly cloud: string;
  readonly home: string;
  readonly file: string;
  readonly error: string;
  readonly take: (serial?: string) => Promise<Provisioned>;
}

async function card(test: Test): Promise<Card> {
  const base = await mkdtemp(join(tmpdir(), 'nk-pv-'));
  test.teardown(() => rm(base, { recursive: true, force: true }));
  const [boot, cloud, home] = ['boot', 'cloud', 'home'].map((name) => join(base, name));
  await Promise.all([
    mkdir(boot),
    mkdir(home),
    mkdir(join(cloud, 'instances/i'), { recursive: true }),
  ]);
  const file = join(boot, 'nakodo.toml');
  const copies = [join(boot, 'user-data'), cloud];
  const take: Card['take'] = (serial = FACTS.serial) =>
    provision({ home, from: file, facts: { ...FACTS, serial }, copies });
  return { boot, cloud, home, file, error: join(boot, 'nakodo.error.txt'), take };
}

async function town(test: Test): Promise<Town> {
  const opened = await openTown();
  test.teardown(() => opened.close());
  return opened;
}

async function ticketOf(opened: Town, uses: number, name?: string): Promise<string> {
  const made = await opened.manager.operations.ticket({ name, uses, forSeconds: 600 });
  return made.ticket;
}

const devices = (opened: Town): readonly string[] =>
  opened.manager.operations.devices().map(({ name }) => name);

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

t.test('the file says a ticket, a name and a list, or in which line it does not', (t) => {
  const good = parseProvisioning(
    `ticket = "${TICKET}"\r\nname = "pi-{serial}"\r\n[[allow]]\r\nname = "TERM1"\r\n`,
    FACTS,
  );
  t.equal(good?.ticket, TICKET);
  t.equal(good?.name, 'pi-10000000abcdef01');
  const list = parseListFile(good?.list ?? '');
  t.match(list, { list: { entries: [{ action: 'allow', pattern: 'TERM1' }] } });
  const named = `ticket = "${TICKET}"\nname = "{hostname}.example"`;
  t.match(parseProvisioning(named, FACTS), { name: 'raspberrypi.example', list: undefined });
  const wrapped = `name = "A"\nticket = """\n${TICKET.slice(0, 60)}\n${TICKET.slice(60)}\n"""`;
  t.equal(parseProvisioning(wrapped, FACTS)?.ticket, TICKET, 'a ticket over two lines');

  const own = (rest: string): string => `ticket = "${TICKET}"\n${rest}`;
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /ticket is missing/],
    ['ticket = 5', /line 1: ticket: wanted it in quotes/],
    [`ticket = ${TICKET}`, /^line 1: /],
    ['# mine\nticket = "nakodo1abc"\nname = "A"', /line 2: ticket: a part of the ticket/],
    ['ticket = "hello"', /line 1: ticket: this is not a ticket/],
    ['ticket = "nakodo9abc"', /another release/],
    [own(''), /name is missing/],
    [own('name = 7'), /line 2: name: wanted it in quotes/],
    [own('name = "a b"'), /line 2: name: got 'a b'/],
    [own('name = "{mac}"'), /line 2: name: wanted \{hostname\} or \{serial\}, got '\{mac\}'/],
    [own('name = "A"\nnmae = "B"'), /unknown key 'nmae'/],
    [
      own('name = "A"\n[[allow]]\nname = "T"\nbites = 1'),
      /line 3, \[\[allow\]\]: unknown key 'bites'/,
    ],
    [own('name = "A"\n[[deny]]\n'), /line 3, \[\[deny\]\]: key 'name' is missing/],
    [own(`name = "${'x'.repeat(2e6)}"`), /longer than/],
  ];
  for (const [text, problem] of wrong) {
    t.throws(() => parseProvisioning(text, FACTS), { code: 'provision-file', message: problem });
  }
  t.end();
});

t.test('S1001: cards of one image and one ticket become terminals of their own', async (t) => {
  const opened = await town(t);
  const ticket = await ticketOf(opened, 3);
  const text = `ticket = "${ticket}"\nname = "pi-{serial}"\n[[allow]]\nname = "TERM1"\n`;
  const ids = new Set<string>();
  for (const serial of ['0a', '0b', '0c']) {
    const pi = await card(t);
    await writeFile(pi.file, text);
    await writeFile(
      join(pi.boot, 'user-data'),
      `#cloud-config\nwrite_files:\n- content: |\n    ${text}`,
    );
    await writeFile(join(pi.cloud, 'instances/i/user-data.txt'), text);
    await writeFile(join(pi.cloud, 'instances/i/other'), 'of no interest');
    const done = await pi.take(serial);
    t.match(done, { outcome: 'pending', from: pi.file, trouble: undefined });
    t.equal(done.scrubbed.length, 2);
    t.notOk(await isThere(pi.file), 'removed from the boot partition');
    const left = await Promise.all(done.scrubbed.map((path) => readFile(path, 'utf8')));
    for (const copy of left) {
      t.notMatch(copy, ticket.slice(8, 40));
      t.match(copy, /ticket = "removed-after-first-boot-*"/);
    }
    t.equal(left[1].length, text.length, 'overwritten in place');
    t.equal((await stat(join(pi.home, 'provisioning.json'))).mode & 0o777, 0o600);
    t.equal(await enrolPending({ ...TOOLS, home: pi.home }), 'enrolled');
    t.equal(await enrolPending({ ...TOOLS, home: pi.home }), 'none');
    t.notMatch(await readFile(join(pi.home, 'provisioning.json'), 'utf8'), ticket.slice(8, 40));
    t.match(await readFile(join(pi.home, 'allow-list.toml'), 'utf8'), /name = "TERM1"/);
    const agent = await opened.start(pi.home);
    t.equal(agent.name, `pi-${serial}`);
    ids.add(agent.id);
  }
  t.equal(ids.size, 3);
  t.same(devices(opened).toSorted(), ['pi-0a', 'pi-0b', 'pi-0c']);
});

t.test('a power cut at any write of the first step loses nothing', async (t) => {
  let cuts = 0;
  for (; cuts < CUTS_MAX; cuts++) {
    const pi = await card(t);
    const copy = join(pi.cloud, 'instances/i/user-data.txt');
    await writeFile(pi.file, `ticket = "${TICKET}"\nname = "A"\n`);
    await writeFile(copy, `ticket = "${TICKET}"\n`);
    const isCut = await cutAt(cuts, () => pi.take());
    const isPending = (await loadProvisioned(pi.home))?.pending?.ticket === TICKET;
    const onCard = await readFile(pi.file, 'utf8').catch(() => '');
    t.ok(isPending || onCard.includes(TICKET), `cut ${cuts}: it is in one of both places`);
    await pi.take();
    t.equal((await loadProvisioned(pi.home))?.pending?.ticket, TICKET, `cut ${cuts}: taken`);
    t.notOk(await isThere(pi.file), `cut ${cuts}: removed`);
    t.notMatch(await readFile(copy, 'utf8'), TICKET.slice(8, 40), `cut ${cuts}: overwritten`);
    const temporary = (await readdir(pi.home)).filter((name) => !name.startsWith('.tmp-'));
    t.same(temporary, ['provisioning.json']);
    if (!isCut) break;
  }
  t.ok(cuts >= 7 && cuts < CUTS_MAX, `${cuts} places to cut`);
});

t.test(
  'S1001: a power cut at any write of enrolling costs no second use or identity',
  async (t) => {
    const opened = await town(t);
    let cuts = 0;
    let again = 0;
    for (; cuts < CUTS_MAX; cuts++) {
      const pi = await card(t);
      const ticket = await ticketOf(opened, 1);
      const list = '[[allow]]\nname = "TERM1"\n';
      await writeFile(pi.file, `ticket = "${ticket}"\nname = "T${cuts}"\n${list}`);
      await pi.take();
      const isCut = await cutAt(cuts, () =>
        enrolPending({ ...TOOLS, home: pi.home, machine: 'a'.repeat(64) }),
      );
      const outcome = await enrolPending({ ...TOOLS, home: pi.home, machine: 'a'.repeat(64) });
      if (outcome === 'enrolled') again += 1;
      else t.equal(outcome, 'none', `cut ${cuts}: at its end, all was done`);
      t.match(
        await readFile(join(pi.home, 'allow-list.toml'), 'utf8'),
        /TERM1/,
        `cut ${cuts}: list`,
      );
      const agent = await opened.start(pi.home);
      t.equal(agent.name, `T${cuts}`);
      await agent.stop();
      if (!isCut) break;
    }
    t.equal(devices(opened).length, cuts + 1, 'as many terminals as tickets of one use');
    t.ok(cuts >= 10 && cuts < CUTS_MAX, `${cuts} places to cut`);
    t.ok(again >= cuts - 2, 'all but the last of them are gone through once more');
  },
);

t.test(
  'a server that is away is tried again, ever more rarely; one write for one trouble',
  async (t) => {
    const pi = await card(t);
    const home = pi.home;
    const inside = parseTicket(TICKET);
    if (typeof inside === 'string') throw new Error(inside);
    // A port of this machine where nobody listens.
    const ticket = formatTicket({ ...inside, url: 'https://127.0.0.1:1/nakodo/1/enrol' });
    await writeFile(pi.file, `ticket = "${ticket}"\nname = "A"\n`);
    await pi.take();
    const pauses: number[] = [];
    const told: number[] = [];
    const stop = new AbortController();
    const outcome = await enrolPending({
      ...TOOLS,
      home,
      signal: stop.signal,
      async pause(ms) {
        pauses.push(ms);
        told.push((await stat(join(home, 'provisioning-trouble.txt'))).mtimeMs);
        if (pauses.length === 14) stop.abort();
      },
    });
    t.equal(outcome, 'stopped');
    t.ok(pauses[0] >= 1_000 && pauses[0] < 2_000, 'soon at first');
    t.ok(pauses[13] >= 300_000 && pauses[13] < 600_000, 'every 10 min at last');
    t.equal(new Set(told).size, 1);
    t.match(await provisioningTrouble(home), /does not answer/);
    t.ok((await loadProvisioned(home))?.pending, 'it is still pending');
    const { trouble } = await pi.take();
    t.match(trouble, /does not answer/, 'nothing new to take, and told all the same');
    t.match(await readFile(pi.error, 'utf8'), /does not answer.*\nnext: /);
  },
);

t.test('a ticket that is refused is said where the owner looks, and not shown again', async (t) => {
  const opened = await town(t);
  const home = (name: string): string => join(opened.folder, name);
  const used = await ticketOf(opened, 1, 'TAKEN');
  await enrol({ ...TOOLS, home: home('TAKEN'), ticket: used, name: undefined });
  const expired = parseTicket(await ticketOf(opened, 1));
  if (typeof expired === 'string') throw new Error(expired);
  const old = { secret: randomBytes(entropy, 20), expiresAt: 1_000_000_000 };
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['used', `ticket = "${used}"`, /used up/],
    [
      'taken',
      `ticket = "${await ticketOf(opened, 1)}"\nname = "TAKEN"`,
      /another terminal has that name/,
    ],
    ['fixed', `ticket = "${await ticketOf(opened, 1, 'X')}"\nname = "Y"`, /for another name/],
    [
      'expired',
      `ticket = "${formatTicket({ ...expired, ...old })}"\nname = "Z"`,
      /expired at 2001-09-09T01:46:40Z/,
    ],
  ];
  for (const [what, text, words] of cases) {
    const pi = await card(t);
    await writeFile(pi.file, text);
    await pi.take();
    const attempt = enrolPending({
      ...TOOLS,
      home: pi.home,
      pause: () => Promise.reject(new Error('tried again')),
    });
    await t.rejects(attempt, { code: 'provision-refused', exit: 3, message: words }, what);
    t.equal(await enrolPending({ ...TOOLS, home: pi.home }), 'none', `${what}: not shown again`);
    await t.rejects(refuseIfRefused(pi.home), { code: 'provision-refused', message: words }, what);
    await writeFile(pi.file, text);
    t.match(await pi.take(), { outcome: 'used', trouble: words }, `${what}: nor from a copy`);
    t.match(await readFile(pi.error, 'utf8'), words, `${what}: on the boot partition`);
    // A new ticket puts it right.
    const good = await ticketOf(opened, 1);
    await writeFile(pi.file, `ticket = "${good}"\nname = "good-${what}"`);
    t.match(await pi.take(), { outcome: 'pending', trouble: undefined });
    t.notOk(await isThere(pi.error), `${what}: the error is gone`);
    t.equal(await enrolPending({ ...TOOLS, home: pi.home }), 'enrolled', what);
  }
  const byHand = await card(t);
  await writeFile(byHand.file, `ticket = "${used}"`);
  await byHand.take();
  const ticket = await ticketOf(opened, 1);
  await enrol({ ...TOOLS, home: byHand.home, ticket, name: 'BYHAND' as Name });
  await forgetPending(byHand.home);
  t.equal(
    await enrolPending({ ...TOOLS, home: byHand.home }),
    'none',
    'enrolled by hand: forgotten',
  );
  await t.resolves(refuseIfRefused(byHand.home));
});

t.test('a file that says nothing sensible stays, and is told about beside it', async (t) => {
  const pi = await card(t);
  await writeFile(pi.file, 'ticket = "nakodo1abc"\n');
  const wrong = { code: 'provision-file', message: /line 1: ticket: a part/, next: /correct it/ };
  await t.rejects(pi.take(), wrong);
  t.match(await readFile(pi.error, 'utf8'), /line 1.*\nnext: correct it/);
  t.ok(await isThere(pi.file));
  await writeFile(pi.file, Buffer.from([0xff, 0xfe, 0x74]));
  await t.rejects(pi.take(), { code: 'provision-file', message: /not UTF-8/ });
  await writeFile(pi.file, `ticket = "${TICKET}"\nname = "A"`);
  t.equal((await pi.take()).outcome, 'pending');
  t.notOk(await isThere(pi.error), 'right again: the error is gone');
  t.match(await pi.take(), { outcome: 'none', from: undefined });
  await rm(pi.home, { recursive: true });
  await t.rejects(pi.take(), { code: 'no-home' });
});

const skip = process.getuid?.() === 0 ? false : 'only root can act for another user';
t.test('run by root, what it keeps belongs to the owner of the home', { skip }, async (t) => {
  const pi = await card(t);
  await Promise.all([chown(pi.home, 65_534, 65_534), chown(join(pi.home, '..'), 65_534, 65_534)]);
  await writeFile(pi.file, `ticket = "${TICKET}"\nname = "A"`);
  await pi.take();
  const facts = await stat(join(pi.home, 'provisioning.json'));
  t.same([facts.uid, facts.gid, facts.mode & 0o777], [65_534, 65_534, 0o600]);
  t.notOk(await isThere(pi.file));
  t.equal(process.geteuid?.(), 0, 'and root it is again');
});
