// Whether a terminal hears that its network is another one: by what the system says, in a network
// of its own where that can be changed, and by two clocks of which one stands still in sleep.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { noNetworks } from './own-network.ts';
import { until } from '../../protocol/test/until.ts';
import { addressBytes } from '../../protocol/address.ts';
import type { HostAddress } from '../shell/host-addresses.ts';
import { NetworkWatch, addressesOut, defaultRoutes, headOf } from '../shell/network-watch.ts';

const CHILD = join(import.meta.dirname, 'network-child.js');
/** Milliseconds between two looks in these tests. */
const everyMs = 5;

t.test('a change is heard, a quiet network is not, and rest is rest', async (t) => {
  let network = 'eth0 192.0.2.1';
  let looks = 0;
  const heard: string[] = [];
  const look = (): string => {
    looks += 1;
    return network;
  };
  const watch = new NetworkWatch({ everyMs, look, onChange: (change) => heard.push(change) });
  t.teardown(() => watch.rest());
  t.equal(looks, 0, 'nobody looks before there is a talk');
  watch.watch();
  watch.watch();
  await until(() => looks >= 3);
  t.strictSame(heard, []);
  network = 'wwan0 198.51.100.9';
  await until(() => heard.length === 1);
  const seen = looks;
  await until(() => looks >= seen + 3);
  t.strictSame(heard, ['network'], 'once');
  watch.rest();
  const last = looks;
  network = 'eth0 192.0.2.1';
  watch.watch();
  await until(() => looks >= last + 2);
  t.strictSame(heard, ['network'], 'what happened while nobody looked is not compared');
});

t.test('a machine that slept is heard by the clock that went on, or by a late look', async (t) => {
  for (const which of ['awakeMs', 'alwaysMs'] as const) {
    const clocks = { awakeMs: 1_000_000, alwaysMs: 5_000_000 };
    let looks = 0;
    const heard: string[] = [];
    const watch = new NetworkWatch({
      everyMs,
      look: () => {
        looks += 1;
        clocks.awakeMs += everyMs;
        clocks.alwaysMs += everyMs;
        return 'the same';
      },
      awakeMs: () => clocks.awakeMs,
      alwaysMs: () => clocks.alwaysMs,
      onChange: (change) => heard.push(change),
    });
    t.teardown(() => watch.rest());
    watch.watch();
    await until(() => looks >= 3);
    clocks[which] += 4_000;
    const seen = looks;
    await until(() => looks >= seen + 3);
    t.strictSame(heard, [], 'some seconds of load are no sleep');
    clocks[which] += 3_600_000;
    await until(() => heard.length > 0);
    t.strictSame(heard, ['woken'], which);
    watch.rest();
  }
});

t.test('default routes are read without what is counted in the tables', async (t) => {
  // As Linux prints them (/proc/net/route, /proc/net/ipv6_route).
  const ipv4 = (gateway: string, used: number): string =>
    [
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
      `eth0\t00000000\t${gateway}\t0003\t0\t${used}\t100\t00000000\t0\t0\t0  `,
      'eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0  ',
      'tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0  ',
      '',
    ].join('\n');
  const zeros = '0'.repeat(32);
  const ipv6 = (gateway: string, used: string): string =>
    [
      `20010db8${'0'.repeat(24)} 40 ${zeros} 00 ${zeros} 00000100 00000001 ${used} 00000001 eth0`,
      `${zeros} 00 ${zeros} 00 ${gateway} 00000400 ${used} ${used} 00000003     eth0`,
      `${zeros} 00 ${zeros} 00 ${zeros} ffffffff ${used} 00000000 00200200       lo`,
      '',
    ].join('\n');
  const gateway = `fe80${'0'.repeat(27)}1`;
  const routes = defaultRoutes(ipv4('010200C0', 1), ipv6(gateway, '00000001'));
  t.strictSame(routes, ['eth0 010200C0 100', `eth0 ${gateway} 00000400`]);
  t.strictSame(defaultRoutes(ipv4('010200C0', 99), ipv6(gateway, '00000077')), routes);
  t.notSame(defaultRoutes(ipv4('020200C0', 1), ipv6(gateway, '00000001')), routes);
  t.notSame(
    defaultRoutes(ipv4('010200C0', 1), ipv6(`${gateway.slice(0, -1)}2`, '00000001')),
    routes,
  );
  t.strictSame(defaultRoutes('', ''), [], 'another system');
});

t.test('a bridge for containers is no other network; any way out of the machine is', async (t) => {
  const address = (name: string, host: string): HostAddress => {
    const bytes = addressBytes(host) ?? new Uint8Array();
    return { host, bytes, scope: 'private', interface: name };
  };
  const all = [
    address('eth0', '192.168.1.5'),
    address('eth0:1', '192.168.1.6'),
    address('eth1', '10.0.0.5'),
    address('tun0', '10.8.0.2'),
    address('br0', '192.168.2.1'),
    address('docker0', '172.17.0.1'),
  ];
  const isInside = (name: string): boolean => ['br0', 'docker0', 'veth1'].includes(name);
  const out = (...routes: readonly string[]): readonly string[] =>
    addressesOut(all, routes, isInside).map((one) => one.interface);
  t.strictSame(out('eth0 010200C0 100'), ['eth0', 'eth0:1', 'eth1', 'tun0']);
  t.strictSame(out('br0 010200C0 100'), ['eth0', 'eth0:1', 'eth1', 'tun0', 'br0'], 'its way out');
  t.strictSame(out().length, all.length, 'without a way out nobody can tell');
});

t.test('of a table with a million routes the first ones are read, whole lines', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-routes-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'route');
  const line = `${'x'.repeat(99)}\n`;
  await writeFile(path, line.repeat(100_000));
  const read = headOf(path, Buffer.alloc(65_536));
  t.equal(read, line.repeat(655));
  await writeFile(path, line);
  t.equal(headOf(path, Buffer.alloc(65_536)), line);
  t.equal(headOf(join(folder, 'none'), Buffer.alloc(64)), '');
});

t.test('a network that flaps is told some times, then every 15 s, and as it is', async (t) => {
  let now = 0;
  let looks = 0;
  let flaps = true;
  const heard: string[] = [];
  const watch = new NetworkWatch({
    everyMs: 1,
    look: () => `${flaps ? looks++ : ((looks += 1), 'still')}`,
    awakeMs: () => now,
    alwaysMs: () => now,
    onChange: (change) => heard.push(change),
  });
  t.teardown(() => watch.rest());
  watch.watch();
  await until(() => looks > 30);
  t.equal(heard.length, 16);
  flaps = false;
  const seen = looks;
  await until(() => looks > seen + 5);
  t.equal(heard.length, 16);
  now += 15_000;
  await until(() => heard.length === 17, 'what it came to');
  now += 4_000;
  const last = looks;
  await until(() => looks > last + 5);
  t.equal(heard.length, 17);
});

t.test('addresses and routes of both families are watched', { skip: noNetworks() }, async (t) => {
  const run = promisify(execFile);
  const { stdout } = await run('unshare', ['-n', '-m', process.execPath, CHILD], {
    timeout: 30_000,
  });
  const lines = stdout.split('\n').filter((line) => line !== '' && line !== 'network');
  t.strictSame(lines, [
    'address',
    'route',
    'other route',
    'inside: 0',
    'IPv6 address',
    'IPv6 route',
    'address gone',
  ]);
});
