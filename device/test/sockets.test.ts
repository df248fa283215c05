// A terminal's UDP sockets on this machine's real kernel: two families under one number, what is
// told of this machine, what the kernel refuses, and very many of them.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import t, { type Test } from 'tap';
import { addressText } from '../../protocol/address.ts';
import type { Path } from '../../protocol/core.ts';
import { BufferPool, openUdp } from '../../protocol/io/udp.ts';
import { until } from '../../protocol/test/until.ts';
import { bindsFor, openEndpoint } from '../shell/endpoint.ts';
import { type Interfaces, hostAddresses } from '../shell/host-addresses.ts';
import { Sockets } from '../shell/sockets.ts';
import type { SocketId, TerminalInput } from '../terminal-types.ts';

const POOL = new BufferPool(70_000);

interface Heard {
  readonly socket: SocketId;
  readonly path: Path;
  readonly text: string;
}

/** Sockets as an agent has them, and what they said. */
class Desk {
  readonly sockets: Sockets;
  readonly inputs: TerminalInput[] = [];
  readonly heard: Heard[] = [];
  readonly errors: Error[] = [];

  constructor(test: Test, options: Partial<ConstructorParameters<typeof Sockets>[0]> = {}) {
    this.sockets = new Sockets({
      pool: POOL,
      place: () => ({}),
      stun: () => [],
      onDatagram: (socket, path, bytes) =>
        this.heard.push({ socket, path, text: Buffer.from(bytes).toString() }),
      onInput: (input) => this.inputs.push(input),
      onError: (error) => this.errors.push(error),
      ...options,
    });
    test.teardown(() => this.sockets.closeAll());
  }

  /** Opens, and waits until it is; `undefined`: it failed. */
  async open(socket: SocketId, to?: string) {
    this.sockets.open(socket, to);
    await until(() => this.inputs.some((input) => 'socket' in input && input.socket === socket));
    return this.inputs.find((input) => input.kind === 'socketOpen' && input.socket === socket);
  }

  say(socket: SocketId, path: Path, text: string): void {
    const buffer = POOL.borrow();
    this.sockets.send(socket, path, Buffer.from(buffer.buffer).write(text), buffer);
  }
}

const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === '::1'),
);

const at = (address: string, internal = false): NetworkInterfaceInfo =>
  ({
    address,
    internal,
    family: address.includes(':') ? 'IPv6' : 'IPv4',
    netmask: '',
    mac: '00:00:00:00:00:00',
    cidr: null,
    ...(address.includes(':') ? { scopeid: 0 } : {}),
  }) as NetworkInterfaceInfo;

/** The first port of a family that a socket told. */
function portOf(input: TerminalInput | undefined, family: 4 | 6): number {
  if (input?.kind !== 'socketOpen') throw new Error('not open');
  const found = input.candidates.find(({ address }) => address.length === (family === 4 ? 4 : 16));
  if (found === undefined) throw new Error(`no candidate of IPv${family}`);
  return found.port;
}

/** An interface of each family: these addresses are nobody's, the ports are real. */
const BOTH: Interfaces = { eth0: [at('198.51.100.7'), at('2001:db8::7')] };

const skip = hasIpv6 ? false : 'this machine has no IPv6';
t.test('S1000: a socket is both families under one number', { skip }, async (t) => {
  const desk = new Desk(t, { interfaces: () => BOTH });
  const one = await desk.open(1);
  const two = await desk.open(2);
  t.match(one, { kind: 'socketOpen', isOnLoopback: false });
  const overFour = { host: '127.0.0.1', port: portOf(two, 4) };
  const overSix = { host: '::1', port: portOf(two, 6) };
  desk.say(1, overFour, 'over four');
  desk.say(1, overSix, 'over six');
  await until(() => desk.heard.length === 2);
  const sorted = [...desk.heard].sort((a, b) => (a.text < b.text ? -1 : 1));
  t.match(sorted, [
    { socket: 2, text: 'over four', path: { host: '127.0.0.1', port: portOf(one, 4) } },
    { socket: 2, text: 'over six', path: { host: '::1', port: portOf(one, 6) } },
  ]);
  t.notOk('via' in sorted[0].path, 'which endpoint it came to is for the core to say');
  desk.say(2, sorted[0].path, 'back');
  desk.say(1, overFour, 'again');
  await until(() => desk.heard.length === 4);
  const fromOne = desk.heard.filter(({ socket, path }) => socket === 2 && path.host !== '::1');
  t.equal(fromOne[0].path, fromOne[1].path, 'the same path is the same object');
  t.strictSame(desk.errors, []);
});

t.test(
  'S1000: what is told are addresses that a peer may reach, the global ones first',
  async (t) => {
    const interfaces: Interfaces = {
      lo: [at('127.0.0.1', true), at('::1', true)],
      eth0: [at('192.168.1.7'), at('fe80::1'), at('2001:db8::7'), at('2001:db8::8')],
      docker0: [at('172.17.0.1')],
      wlan0: [at('169.254.3.3'), at('100.64.0.9'), at('fd00::1'), at('198.51.100.9')],
      odd: undefined,
    };
    const desk = new Desk(t, {
      interfaces: () => interfaces,
      place: () => ({ link: '172.17.0.1' }),
    });
    const open = await desk.open(1);
    if (open?.kind !== 'socketOpen') throw new Error('not open');
    const hosts = open.candidates.map(({ address }) => addressText(address));
    t.strictSame(hosts, [
      '2001:db8::7',
      '2001:db8::8',
      '198.51.100.9',
      '172.17.0.1',
      '192.168.1.7',
      '100.64.0.9',
      'fd00::1',
    ]);
    t.ok(open.candidates.every(({ type, port }) => type === 'host' && port > 0));
    const many = Array.from({ length: 300 }, (_, index) => at(`10.0.${index >> 8}.${index & 255}`));
    t.equal(hostAddresses({ eth0: many }).length, 300);
    const crowded = new Desk(t, { interfaces: () => ({ eth0: many }) });
    const told = await crowded.open(1);
    t.equal(told?.kind === 'socketOpen' && told.candidates.length, 8, 'eight at most');
  },
);

t.test('gathering again tells the same ports at the addresses of now', async (t) => {
  let host = '192.0.2.1';
  const stun = [
    { host: '192.0.2.200', port: 3_478 },
    { host: '127.0.0.1', port: 3_478 },
  ];
  const interfaces = (): Interfaces => ({ eth0: [at(host)] });
  const desk = new Desk(t, { interfaces, stun: () => stun });
  const open = await desk.open(7);
  t.match(open, { kind: 'socketOpen', stun: [stun[0]] });
  t.equal(open?.kind === 'socketOpen' && open.stun?.length, 1, 'loopback is nowhere from there');
  host = '192.0.2.2';
  desk.sockets.gather(7);
  const again = desk.inputs.find(({ kind }) => kind === 'gathered');
  if (again?.kind !== 'gathered') throw new Error('not gathered');
  t.strictSame(
    again.candidates.map(({ address, port }) => [addressText(address), port]),
    [['192.0.2.2', portOf(open, 4)]],
  );
  t.strictSame(again.stun, [stun[0]]);
  desk.inputs.length = 0;
  desk.sockets.gather(8);
  t.strictSame(desk.inputs, [], 'nothing is said of a socket that is not open');
});

t.test(
  'where the broker is on loopback, so is the socket, and it tells nothing else',
  async (t) => {
    const stun = [
      { host: '192.0.2.200', port: 3_478 },
      { host: '127.0.0.1', port: 3_478 },
    ];
    const desk = new Desk(t, {
      place: () => ({ link: '127.0.0.1' }),
      interfaces: () => BOTH,
      stun: () => stun,
    });
    const open = await desk.open(1);
    if (open?.kind !== 'socketOpen') throw new Error('not open');
    t.match(open, { isOnLoopback: true, stun: [stun[1]] });
    t.strictSame(
      open.candidates.map(({ address }) => addressText(address)),
      ['127.0.0.1'],
    );
    t.ok((open.link?.windowBytes ?? 0) > 0, 'a window that its receive buffer holds');
  },
);

t.test(
  'what to bind to: the owner, loopback, else everything; one family for one host',
  async (t) => {
    t.strictSame(bindsFor({}), ['0.0.0.0', '::']);
    t.strictSame(bindsFor({ link: '192.0.2.1' }), ['0.0.0.0', '::']);
    t.strictSame(bindsFor({ link: '127.0.0.1' }), ['127.0.0.1']);
    t.strictSame(bindsFor({ link: '::1' }), ['::1']);
    t.strictSame(bindsFor({ literal: '192.0.2.9', link: '127.0.0.1' }), ['192.0.2.9']);
    t.strictSame(bindsFor({}, '192.0.2.1'), ['0.0.0.0']);
    t.strictSame(bindsFor({}, '2001:db8::1'), ['::']);
    t.strictSame(bindsFor({ link: '::1' }, '127.0.0.1'), ['127.0.0.1']);
    t.strictSame(bindsFor({ link: '127.0.0.1' }, '::1'), ['::1']);
    t.strictSame(bindsFor({ literal: '192.0.2.9' }, '192.0.2.1'), ['192.0.2.9']);
    t.strictSame(bindsFor({ literal: '192.0.2.9' }, '2001:db8::1'), []);
  },
);

t.test('a family that this host lacks is left out; with none it is an error', async (t) => {
  const options = {
    pool: POOL,
    receiveBuffer: 'large' as const,
    onDatagram: () => {},
    onError: () => {},
  };
  // 2001:db8::/32 is nobody's (RFC 3849): as good as no IPv6 at all.
  const half = await openEndpoint({ ...options, binds: ['127.0.0.1', '2001:db8::1'] });
  t.teardown(() => half.close());
  t.equal(half.sockets.length, 1);
  t.ok(half.socketFor('192.0.2.1'));
  t.equal(half.socketFor('2001:db8::2'), undefined);
  half.send({ host: '2001:db8::2', port: 1 }, 1, POOL.borrow());
  const nowhere = openEndpoint({ ...options, binds: ['203.0.113.1', '2001:db8::1'] });
  await t.rejects(nowhere, { code: 'address-unusable' });
  const desk = new Desk(t, { place: () => ({ literal: '127.0.0.1' }) });
  t.equal(await desk.open(3, '2001:db8::1'), undefined);
  t.match(desk.inputs, [{ kind: 'socketFailed', socket: 3, code: 'address-unusable' }]);
  t.ok(desk.sockets.isIdle);
});

t.test('what the kernel refuses is loss: counted, told, and the socket goes on', async (t) => {
  const errors: Error[] = [];
  const heard: string[] = [];
  const onDatagram = (_path: Path, bytes: Uint8Array): void =>
    void heard.push(Buffer.from(bytes).toString());
  const onError = (error: Error): void => void errors.push(error);
  const udp = await openUdp({ bind: '127.0.0.1', pool: POOL, onDatagram, onError });
  t.teardown(() => udp.close());
  const itself = { host: udp.host, port: udp.port };
  // Longer than IPv4 can say (RFC 768): EMSGSIZE.
  udp.send({ path: itself, size: 65_508 }, POOL.borrow());
  await until(() => errors.length === 1);
  t.match(errors, [{ code: 'EMSGSIZE' }]);
  for (let at = 0; at < 100; at++) udp.send({ path: itself, size: 65_508 }, POOL.borrow());
  await until(() => udp.refusedDatagrams > 1);
  t.ok(errors.length <= 101);
  const buffer = POOL.borrow();
  udp.send({ path: itself, size: Buffer.from(buffer.buffer).write('alive') }, buffer);
  await until(() => heard.includes('alive'));
});

t.test('a socket that proves to be used gets the large receive buffer', async (t) => {
  let count = 0;
  const onDatagram = (): void => void (count += 1);
  const onError = (error: Error): void => void t.fail(error.message);
  const wanted = { bind: '127.0.0.1', pool: POOL, onDatagram, onError };
  const large = await openUdp(wanted);
  const later = await openUdp({ ...wanted, receiveBuffer: 'later' });
  t.teardown(() => Promise.all([large.close(), later.close()]));
  const before = later.receiveBufferBytes;
  t.ok(before < large.receiveBufferBytes, 'the system gives less by itself');
  for (let at = 0; at < 70; at++) {
    large.send({ path: { host: '127.0.0.1', port: later.port }, size: 9 }, POOL.borrow());
  }
  await until(() => count === 70);
  t.equal(later.receiveBufferBytes, large.receiveBufferBytes);
});

t.test('256 sockets open at once, work, and leave nothing', async (t) => {
  const desk = new Desk(t);
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const receiver = createSocket('udp4');
  const senders = new Set<number>();
  receiver.on('message', (_bytes, from) => senders.add(from.port));
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  t.teardown(() => receiver.close());
  const before = descriptors();
  for (let socket = 1; socket <= 256; socket++) desk.sockets.open(socket, '127.0.0.1');
  await until(() => desk.inputs.length === 256);
  t.ok(desk.inputs.every((input) => input.kind === 'socketOpen' && input.candidates.length === 0));
  t.equal(descriptors() - before, 256, 'one of one family each');
  const to = { host: '127.0.0.1', port: receiver.address().port };
  for (let socket = 1; socket <= 256; socket++) desk.say(socket, to, 'knock');
  await until(() => senders.size === 256);
  // Those that are still being opened when they are given up are closed too.
  for (let socket = 257; socket <= 300; socket++) desk.sockets.open(socket, '127.0.0.1');
  await Promise.all(Array.from({ length: 300 }, (_, index) => desk.sockets.close(index + 1)));
  await until(() => descriptors() === before);
  t.ok(desk.sockets.isIdle);
  t.strictSame(desk.errors, []);
});
