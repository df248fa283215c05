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
import { parseTicket } from '../../protocol/identity/ticket.ts';
import { folder, follow, run, serve, start, terminal } from './program.ts';

const PIN = /^[0-9a-f]{64}$/;

t.test('claim 22: two servers apart and two terminals, each a process, make a call', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const port = await freePort();
  mkdirSync(at('m'));
  // The manager may come first: the broker needs its public key.
  const managing = start(t, [
    'session-manager',
    '--broker',
    `mqtts://127.0.0.1:${port}`,
    '--broker-pin',
    join(at('b'), 'tls.pin'),
    '--http-port',
    '0',
    '--no-stun',
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
    '--no-stun',
    '--home',
    at('b'),
  ]);
  t.match(broker.ready, { ready: true, ports: { mqtt: port, udp: null, http: null }, pin: PIN });
  const manager = await managing;
  t.match(manager.ready, { ready: true, ports: { mqtt: null, udp: null, http: Number }, pin: PIN });
  t.not(manager.ready.pin, broker.ready.pin, 'each has a key of its own');
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
  t.match(server.ready, {
    ready: true,
    ports: { mqtt: Number, udp: Number, udp2: Number, http: Number },
    pin: PIN,
  });
  t.equal(readFileSync(join(home, 'tls.pin'), 'utf8').trim(), server.ready.pin);
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

t.test('plain words: what runs where, and how it is protected', async (t) => {
  const ports = ['--mqtt-port', '0', '--http-port', '0'];
  const home = join(folder(t), 's');
  const server = follow(t, ['serve', '--home', home, ...ports]);
  t.match(await server.line((line) => line.startsWith('Ready')), /TLS 1\.3 on 127\.0\.0\.1, key/);
  t.match(await server.line((line) => line.startsWith('Next')), /nakodo ticket .*--home/);
  const bare = follow(t, ['serve', '--plain', '--home', join(folder(t), 's'), ...ports]);
  t.match(await bare.line((line) => line.startsWith('Ready')), /Without TLS.*this machine only/);
});

t.test(
  'S2000: without TLS two terminals talk on this machine, and nothing leaves it',
  async (t) => {
    const base = folder(t);
    const at = (name: string): string => join(base, name);
    const ports = ['--mqtt-port', '0', '--http-port', '0'];
    const server = await start(t, ['serve', '--plain', '--home', at('s'), ...ports]);
    t.equal(server.ready.pin, null);
    t.notOk(existsSync(join(at('s'), 'tls.key')), 'no key is made for nothing');
    await Promise.all([
      terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }),
      terminal(t, { server: at('s'), home: at('3'), name: 'TERM3' }),
    ]);
    await run(['allow', 'TERM1', '--home', at('3')]);
    writeFileSync(at('file'), 'plain');
    const sent = await run(['send', 'TERM3', at('file'), '--home', at('1'), '--json']);
    t.equal(sent.exit, 0, sent.stderr);
    const open = ['serve', '--plain', '--listen', '0.0.0.0', '--home', at('x'), ...ports];
    const refused = await run(open);
    t.not(refused.exit, 0);
    t.match(refused.stderr, /without TLS.*\nnext: .*127\.0\.0\.1/i);
  },
);

t.test('what TLS needs is said: a public URL, both files, the pin of the broker', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  const ports = ['--mqtt-port', '0', '--http-port', '0'];
  const everywhere = await run(['serve', '--listen', '0.0.0.0', '--home', at('s'), ...ports]);
  t.equal(everywhere.exit, 2);
  t.match(everywhere.stderr, /0\.0\.0\.0\nnext: .*--public-url https:/);
  const half = await run(['serve', '--tls-cert', at('c'), '--home', at('s'), ...ports]);
  t.equal(half.exit, 2);
  t.match(half.stderr, /next: .*--tls-cert and --tls-key/);
  const both = await run(['serve', '--plain', '--tls-key', at('k'), '--home', at('s'), ...ports]);
  t.equal(both.exit, 2);
  const manager = ['session-manager', '--broker', 'mqtts://127.0.0.1:1', '--http-port', '0'];
  const blind = await run([...manager, '--home', at('m')]);
  t.equal(blind.exit, 2);
  t.match(blind.stderr, /next: .*--broker-pin/);
  const given = await serve(t, at('g'));
  await given.end();
  const files = ['--tls-cert', join(at('g'), 'tls.crt'), '--tls-key', join(at('g'), 'tls.key')];
  const url = ['--public-url', 'https://nakodo.example:8183'];
  const shown = await start(t, ['serve', ...files, ...url, '--home', at('h'), ...ports]);
  t.equal(shown.ready.pin, given.ready.pin, 'the given key is shown');
  const { said } = await run(['ticket', '--home', at('h'), '--json']);
  t.match(parseTicket(String(said?.ticket)), { url: 'https://nakodo.example:8183/nakodo/1/enrol' });
  writeFileSync(join(at('g'), 'tls.key'), 'nothing');
  const damaged = await run(['serve', '--home', at('g'), ...ports]);
  t.equal(damaged.exit, 1);
  t.match(damaged.stderr, /tls\.key cannot be used.*\nnext: restore it from a backup/);
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
