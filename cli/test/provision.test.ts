// `provision` as a user runs it, and the agent that takes it from there: with a ticket that is good
// it enrols and is ready; with one that is not it ends with exit code 3, and `status` says why.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folder, run, serve, start } from './program.ts';

t.test('S1001: from a file to a terminal that is ready', async (t) => {
  const base = folder(t);
  const [server, home, file] = ['server', 'home', 'nakodo.toml'].map((name) => join(base, name));
  await serve(t, server);
  mkdirSync(home);
  const { said } = await run(['ticket', '--home', server, '--json']);
  const ticket = String(said?.ticket);
  writeFileSync(file, `ticket = "${ticket}"\nname = "my-{serial}"\n[[allow]]\nname = "TERM1"\n`);
  const provisioned = await run(['provision', '--from', file, '--home', home]);
  t.equal(provisioned.exit, 0, provisioned.stderr);
  t.match(provisioned.stdout, /the agent enrols as soon as it reaches the server/);
  t.notOk(existsSync(file), 'it is removed');
  const { ready } = await start(t, ['agent', '--home', home]);
  t.match(ready.name, /^my-[0-9A-Za-z]{4,}$/);
  t.match((await run(['allowed', '--home', home])).stdout, /TERM1/);
  t.match((await run(['status', '--home', home])).stdout, /registered/);
  const again = await run(['provision', '--from', file, '--home', home, '--json']);
  t.match(again.said, { outcome: 'none', scrubbed: [] });

  // The same ticket once more, for another machine.
  const other = join(base, 'other');
  mkdirSync(other);
  writeFileSync(file, `ticket = "${ticket}"\nname = "other"\n`);
  t.equal((await run(['provision', '--from', file, '--home', other])).exit, 0);
  const refused = await run(['agent', '--home', other]);
  t.equal(refused.exit, 3);
  t.match(refused.stderr, /boot partition was refused: .*used up/);
  const status = await run(['status', '--home', other]);
  t.not(status.exit, 0);
  t.match(`${status.stdout}${status.stderr}`, /used up/, 'and status says why it does not run');
  t.equal((await run(['provision', '--from', file, '--home', other])).exit, 0);
  t.match(readFileSync(join(base, 'nakodo.error.txt'), 'utf8'), /used up.*\nnext: /);
});

t.test('a file that says nothing sensible stays, and is told about', async (t) => {
  const base = folder(t);
  const [home, file] = ['home', 'nakodo.toml'].map((name) => join(base, name));
  mkdirSync(home);
  writeFileSync(file, 'name = "TERM1"\nticket = "swordfish"\n');
  const wrong = await run(['provision', '--from', file, '--home', home]);
  t.equal(wrong.exit, 1);
  t.match(wrong.stderr, /nakodo\.toml: line 2: ticket: this is not a ticket.*\nnext: correct it/);
  t.ok(existsSync(file));
  t.match(readFileSync(join(base, 'nakodo.error.txt'), 'utf8'), /line 2: ticket/);
});
