// A machine that changes its network in mid-talk, with the real program's parts: what the watch
// sees, what the core makes of it, and how long nothing passes.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { noNetworks } from './own-network.ts';

const CHILD = join(import.meta.dirname, 'moving-child.js');

t.test('S3000: both ends move at once, and the talk goes on', { skip: noNetworks() }, async (t) => {
  const run = promisify(execFile);
  const { stdout } = await run('unshare', ['-n', process.execPath, CHILD], { timeout: 60_000 });
  const { stallMs, changes, reintroduced, ...rest } = JSON.parse(stdout) as Record<string, number>;
  t.match(rest, { before: '192.0.2.7', after: '198.51.100.9', isMetered: true, addresses: 0 });
  t.notOk('ended' in rest, 'it never ended');
  t.ok(changes >= 2, 'both saw it');
  t.ok(reintroduced >= 2, 'and told one another where they are');
  // A look a second, and a meeting.
  t.ok(stallMs < 5_000, `${stallMs} ms`);
  t.comment(`nothing passed for ${stallMs} ms`);
});
