// A ticket that is no good: used, expired, of another server, copied wrong. `enroll` says which in
// two lines, with its exit code, and leaves no half enrolment behind; and what root enrols in
// another user's home is that user's.

import { chownSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { formatTicket, parseTicket } from '../../protocol/identity/ticket.ts';
import { folder, run, serve } from './program.ts';

/** A user that owns nothing: nobody. */
const NOBODY = 65_534;

async function ticketOf(server: string, name: string): Promise<string> {
  const { said } = await run(['ticket', '--name', name, '--home', server, '--json']);
  return String(said?.ticket);
}

t.test('a ticket that is no good: which, what to do, and nothing half-written', async (t) => {
  const base = folder(t);
  const [one, two] = [join(base, 'one'), join(base, 'two')];
  await Promise.all([serve(t, one), serve(t, two)]);
  const used = await ticketOf(one, 'TERM1');
  t.equal((await run(['enroll', used, '--home', join(base, 'first')])).exit, 0);
  const fresh = parseTicket(await ticketOf(one, 'TERM2'));
  const other = parseTicket(await ticketOf(two, 'TERM2'));
  if (typeof fresh === 'string' || typeof other === 'string') throw new Error('not a ticket');
  const expired = { ...fresh, secret: other.secret, expiresAt: 1_000_000_000 };

  const cases: readonly (readonly [string, string, number, RegExp, RegExp])[] = [
    ['used', used, 1, /used up/, /new ticket/],
    ['expired', formatTicket(expired), 1, /expired at 2001-09-09T01:46:40Z/, /new ticket/],
    [
      'of another server',
      formatTicket({ ...fresh, url: other.url }),
      1,
      /not the server that made the ticket/,
      /new ticket/,
    ],
    [
      'of a server that is gone',
      formatTicket({ ...fresh, url: 'https://127.0.0.1:1/nakodo/1/enrol' }),
      5,
      /does not answer/,
      /check that it runs/,
    ],
    ['cut short', used.slice(0, -5), 2, /part of the ticket is missing/, /copy the whole text/],
    ['of another release', 'nakodo9abcdef', 2, /another release/, /same release/],
    ['no ticket', 'swordfish', 2, /not a ticket/, /nakodo ticket/],
  ];
  for (const [what, ticket, exit, message, next] of cases) {
    const home = join(base, what);
    const refused = await run(['enroll', ticket, '--home', home]);
    t.equal(refused.exit, exit, what);
    const [happened, todo, ...rest] = refused.stderr.trimEnd().split('\n');
    t.match(happened, message, what);
    t.match(todo, next, what);
    t.same(rest, [], what);
    t.notOk(existsSync(join(home, 'enrolment.json')), `${what}: not enrolled`);
  }
});

const skip = process.getuid?.() === 0 ? false : 'only root can act for another user';
t.test("what root enrols in another user's home is that user's", { skip }, async (t) => {
  const base = folder(t);
  const [server, home] = [join(base, 'server'), join(base, 'home')];
  await serve(t, server);
  mkdirSync(home);
  for (const path of [base, home]) chownSync(path, NOBODY, NOBODY);
  const enrolled = await run(['enroll', await ticketOf(server, 'TERM1'), '--home', home]);
  t.equal(enrolled.exit, 0, enrolled.stderr);
  t.equal((await run(['allow', 'TERM2', '--home', home])).exit, 0);
  const files = readdirSync(home, { recursive: true }).map(String);
  t.ok(files.includes('identity.json') && files.includes('allow-list.toml'));
  for (const file of files) t.equal(statSync(join(home, file)).uid, NOBODY, file);
  const asRoot = await run(['agent', '--home', home]);
  t.match(asRoot, { exit: 1, stderr: /belongs to another user\nnext: .*sudo -u nobody/ });
});
