// What goes wrong around the servers, as a user meets it: each a sentence, the next step and an
// exit code that a script can use. A wrong clock is in device/test/clock.test.ts, a name that is
// taken in story.test.ts, a full disk in session-manager/test/disk-full.test.ts.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folder, run, serve, start, terminal } from './program.ts';

const ports = (ready: Record<string, unknown>): { mqtt: number; http: number } =>
  ready.ports as { mqtt: number; http: number };

t.test('a port that is taken: which one, and how to choose another', async (t) => {
  const base = folder(t);
  const { ready } = await serve(t, join(base, 's'));
  const { mqtt, http } = ports(ready);
  const again = (...args: readonly string[]): ReturnType<typeof run> =>
    run(['serve', '--home', join(base, 'other'), ...args]);
  const mqttTaken = await again('--mqtt-port', String(mqtt), '--http-port', '0');
  t.equal(mqttTaken.exit, 1);
  t.match(mqttTaken.stderr, new RegExp(`${mqtt}\nnext: .*--mqtt-port`));
  const httpTaken = await again('--mqtt-port', '0', '--http-port', String(http));
  t.equal(httpTaken.exit, 1);
  t.match(httpTaken.stderr, new RegExp(`${http} is taken\nnext: .*--http-port`));
  const homeTaken = await run(['serve', '--home', join(base, 's'), '--mqtt-port', '0']);
  t.equal(homeTaken.exit, 1);
  t.match(homeTaken.stderr, /already running.*\nnext: .*--home/);
});

t.test('broker gone, manager gone: a call says so, and works when they are back', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  // The first start makes the key that the broker needs; one that waits for its broker is no fault.
  const first = await serve(t, at('m'));
  const mqtt = String(ports(first.ready).mqtt);
  const http = String(ports(first.ready).http);
  await first.end();
  const pub = join(at('m'), 'manager.pub');
  const its = ['--mqtt-port', mqtt, '--no-stun', '--home', at('b')];
  const broker = () => start(t, ['broker', '--manager-pub', pub, ...its]);
  const manager = () =>
    start(t, [
      'session-manager',
      '--broker',
      `mqtts://127.0.0.1:${mqtt}`,
      '--broker-pin',
      join(at('b'), 'tls.pin'),
      '--http-port',
      http,
      '--no-stun',
      '--home',
      at('m'),
    ]);
  const firstBroker = await broker();
  const firstManager = await manager();
  await Promise.all([
    terminal(t, { server: at('m'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('m'), home: at('3'), name: 'TERM3' }),
  ]);
  await run(['allow', 'TERM1', '--home', at('3')]);
  const file = at('f');
  writeFileSync(file, 'content');
  const send = (wait: string): ReturnType<typeof run> =>
    run(['send', 'TERM3', file, '--wait', wait, '--home', at('1')]);
  t.equal((await send('5s')).exit, 0);

  firstManager.child.kill('SIGKILL');
  await firstManager.end();
  const withoutManager = await send('100ms');
  t.match(withoutManager.stderr, /session manager does not answer\nnext: /);
  t.equal(withoutManager.exit, 5, withoutManager.stderr);
  const operator = await run(['sessions', '--home', at('m')]);
  t.equal(operator.exit, 5);
  t.match(operator.stderr, /\nnext: .*serve|session-manager/);

  firstBroker.child.kill('SIGKILL');
  await firstBroker.end();
  const withoutBroker = await send('100ms');
  t.equal(withoutBroker.exit, 5);
  t.match(withoutBroker.stderr, /server cannot be reached\nnext: .*nakodo status/);
  const status = await run(['status', '--home', at('1')]);
  t.match(status.stdout, /! .*(ECONNREFUSED|closed)/);

  await broker();
  await manager();
  let last = await send('5s');
  for (let tries = 0; last.exit !== 0 && tries < 20; tries++) last = await send('5s');
  t.equal(last.exit, 0, last.stderr);
  const verified = await run(['log', 'verify', '--home', at('m')]);
  t.equal(verified.exit, 0, verified.stdout);
});
