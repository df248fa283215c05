// What a socket's first link allows: sizes to probe, and the window that its buffer holds. Links
// here are made up; only the last test asks this system.

import t from 'tap';
import { linkConfig, mtuOf } from '../shell/link-config.ts';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';

const LARGE_BUFFER = 8 * 1024 * 1024;
/** What a stock Debian gives whoever asks for 4 MiB. */
const STOCK_BUFFER = 425_984;

const probes = (host: string, receiveBufferBytes: number, mtu?: number): readonly number[] =>
  linkConfig({ host, receiveBufferBytes, mtu: () => mtu }).datagramBytesProbes ?? [];

t.test('no probe is larger than what the interface carries whole', async (t) => {
  t.strictSame(probes('192.0.2.1', LARGE_BUFFER, 1500), [1452, 1472], 'Ethernet');
  t.strictSame(probes('2001:db8::1', LARGE_BUFFER, 1500), [1452], 'Ethernet, IPv6');
  t.strictSame(probes('192.0.2.1', LARGE_BUFFER, 9000), [1452, 1472, 8972], 'jumbo frames');
  t.strictSame(probes('192.0.2.1', LARGE_BUFFER, 1280), [1252], 'a tunnel');
  t.strictSame(probes('192.0.2.1', LARGE_BUFFER, 576), [], 'less than we begin with');
  t.strictSame(probes('192.0.2.1', LARGE_BUFFER), [1452, 1472], 'an unknown interface');
});

t.test('on loopback a datagram is as large as the receive buffer holds many of', async (t) => {
  t.strictSame(probes('127.0.0.1', LARGE_BUFFER, 65_536), [DATA_LIMITS.datagramBytesMax]);
  t.strictSame(probes('::1', LARGE_BUFFER, 65_536), [DATA_LIMITS.datagramBytesMax]);
  t.strictSame(probes('127.0.0.1', STOCK_BUFFER, 65_536), [32_768]);
  t.strictSame(probes('127.0.0.1', 100_000, 65_536), []);
});

t.test(
  'on loopback the window is what the kernel holds; elsewhere the path holds it',
  async (t) => {
    const window = (host: string, receiveBufferBytes: number): number | undefined =>
      linkConfig({ host, receiveBufferBytes, mtu: () => 1500 }).windowBytes;
    t.equal(window('127.0.0.1', LARGE_BUFFER), 2 * 1024 * 1024);
    t.equal(window('127.0.0.1', 1_000_000), 800_000, 'large datagrams are charged a quarter more');
    t.equal(window('127.0.0.1', 100_000), DATA_LIMITS.initialMaxData, 'never below the least');
    t.equal(window('192.0.2.1', STOCK_BUFFER), undefined, 'the default');
    const mtu = (): never => {
      throw new Error('nobody asks on loopback');
    };
    const loopback = { host: '127.0.0.1', receiveBufferBytes: LARGE_BUFFER, mtu };
    t.equal(linkConfig(loopback).sendBufferBytesMax, 1024 * 1024);
  },
);

t.test('the MTU comes from the interface that holds the address', async (t) => {
  t.equal(mtuOf('192.0.2.1'), undefined, 'nobody here');
  const loopback = mtuOf('127.0.0.1');
  if (loopback === undefined) t.pass('this system does not say');
  else t.ok(loopback >= 1500, `${loopback}`);
});
