// Broker and session manager in two processes and in one [¶0028], what they say when they are
// ready, and what the commands say when one is gone.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { folder, follow, run, serve, start, terminal } from './program.ts';

t.test('claim 22: two servers apart and two terminals, each a process, make a call', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const port = await freePort();
  mkdirSync(at('m'));
  // The manager may come first: the broker needs its public key.
  const managing = start(t, [
    'session-manager',
    '--broker',
    `mqtt://127.0.0.1:${port}`,
    '--http-port',
    '0',
    '--home',
    at('m'),
  ]);
  await appearance(at('m'), 'manager.pub');
  const broker = await start(t, [
    'broker',
    '--manager-pub',
    join(at('m'), 'manager.pub'),
    '--mqtt-port',
    String(port),
    '--home',
    at('b'),
  ]);
  t.match(broker.ready, { ready: true, ports: { mqtt: port, udp: null, http: null } });
  const manager = await managing;
  t.match(manager.ready, { ready: true, ports: { mqtt: null, udp: null, http: Number } });
  const [term1] = await Promise.all([
    terminal(t, { server: at('m'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('m'), home: at('3'), name: 'TERM3' }),
  ]);
  t.match(term1.ready, { ready: true, name: 'TERM1' });
  await run(['allow', 'TERM1', '--home', at('3')]);
  writeFileSync(at('file'), randomBytes(50_000));
  const sent = await run(['send', 'TERM3', at('file'), '--home', at('1'), '--json']);
  t.equal(sent.exit, 0, sent.stderr);
  t.strictSame(readFileSync(join(at('3'), 'inbox', 'file')), readFileSync(at('file')));

  await broker.end();
  const gone = await run([
    'send',
    'TERM3',
    at('file'),
    '--wait',
    '1s',
    '--home',
    at('1'),
    '--json',
  ]);
  t.equal(gone.exit, 5, 'our own server is not reachable');
  t.match(gone.said, { error: { code: 'no-link', next: /server/ } });
  const status = await run(['status', '--home', at('1')]);
  t.match(status.stdout, /not registered|cannot be reached/);
  t.equal(await manager.end(), 0, 'SIGTERM ends a manager cleanly');
});

t.test('claim 20: one process serves as both', async (t) => {
  const base = folder(t);
  const home = join(base, 's');
  const server = await serve(t, home);
  t.match(server.ready, { ready: true, ports: { mqtt: Number, udp: null, http: Number } });
  const second = await run(['serve', '--home', home, '--mqtt-port', '0', '--http-port', '0']);
  t.equal(second.exit, 1);
  t.match(second.stderr, /already running.*\nnext: /);
  const { mqtt } = server.ready.ports as { mqtt: number };
  const taken = await run([
    'serve',
    '--home',
    join(base, 'other'),
    '--mqtt-port',
    String(mqtt),
    '--http-port',
    '0',
  ]);
  t.equal(taken.exit, 1);
  t.match(taken.stderr, /port.*\nnext: .*--mqtt-port/);
  t.equal(await server.end(), 0, 'SIGTERM ends a server cleanly');
  const devices = await run(['devices', '--home', home]);
  t.equal(devices.exit, 5);
});

t.test('claim 21: a broker alone needs the key of its manager', async (t) => {
  const base = folder(t);
  const missing = await run(['broker', '--manager-pub', join(base, 'none'), '--mqtt-port', '0']);
  t.equal(missing.exit, 1);
  t.match(missing.stderr, /there is no file .*\nnext: .*session manager/);
  writeFileSync(join(base, 'wrong'), 'hello\n');
  const wrong = await run(['broker', '--manager-pub', join(base, 'wrong'), '--mqtt-port', '0']);
  t.equal(wrong.exit, 1);
  t.match(wrong.stderr, /does not hold a manager's key\nnext: /);
});

t.test('plain words: what runs where, and that it is loopback only', async (t) => {
  const home = join(folder(t), 's');
  const server = follow(t, ['serve', '--home', home, '--mqtt-port', '0', '--http-port', '0']);
  t.match(await server.line((line) => line.startsWith('Ready')), /loopback only and without TLS/);
  t.match(await server.line((line) => line.startsWith('Next')), /nakodo ticket .*--home/);
});

/** A port that was free a moment ago: the manager is told of it before the broker listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves when the file is there. */
async function appearance(home: string, name: string): Promise<void> {
  const watcher = watch(home);
  while (!existsSync(join(home, name))) await once(watcher, 'change');
  watcher.close();
}
