// The agent's own user against root: what somebody who has become it puts into its home while root
// sets the terminal up there, or shows what is wrong with it.

import { execFileSync } from 'node:child_process';
import { linkSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadProvisioned, provisioningTrouble } from '../shell/pending.ts';

const TROUBLE = 'provisioning-trouble.txt';

function home(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'nk-home-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

t.test('what root shows of a home is the trouble of it, and nothing behind a link', async (t) => {
  const secret = join(home(t), 'secret');
  writeFileSync(secret, 'root:$y$j9T$');
  const [byLink, byName, plain] = [home(t), home(t), home(t)];
  symlinkSync(secret, join(byLink, TROUBLE));
  linkSync(secret, join(byName, TROUBLE));
  writeFileSync(join(plain, TROUBLE), 'the ticket \u001b[2J\u009b was used\nnext: another\n');
  t.equal(await provisioningTrouble(byLink), undefined);
  t.equal(await provisioningTrouble(byName), undefined);
  t.equal(await provisioningTrouble(plain), 'the ticket ?[2J? was used\nnext: another');
});

t.test('what holds no pending enrolment holds root up in nothing', async (t) => {
  const [zero, fifo] = [home(t), home(t)];
  symlinkSync('/dev/zero', join(zero, 'provisioning.json'));
  execFileSync('mkfifo', [join(fifo, 'provisioning.json')]);
  for (const folder of [zero, fifo]) {
    await t.rejects(loadProvisioned(folder), { code: 'file-damaged' });
  }
});

t.test('the package makes what is in the home as the user whose it is', (t) => {
  const root = join(import.meta.dirname, '..', '..', '..');
  const script = readFileSync(join(root, 'deploy', 'deb', 'postinst'), 'utf8');
  const made = script.split('\n').filter((line) => line.includes('install -d'));
  const inside = made.filter((line) => line.includes('/var/lib/nakodo/'));
  t.equal(inside.length, 2);
  for (const line of inside) t.match(line, /\|\| as_nakodo install -d -m \d+ \/var/);
  t.end();
});
