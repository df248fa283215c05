// A terminal's connection to a relay on real TCP: frames padded and cut, a full socket that drops
// instead of waiting, ends that are told once, and the last word that is still sent.

import { once } from 'node:events';
import { type Server, type Socket, createServer } from 'node:net';
import t, { type Test } from 'tap';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { BufferPool } from '../../protocol/io/udp.ts';
import { TcpFrames } from '../../protocol/stun/tcp-frames.ts';
import { until } from '../../protocol/test/until.ts';
import { RelayStream } from '../shell/relay-stream.ts';
import { Sockets } from '../shell/sockets.ts';
import type { TerminalInput } from '../terminal-types.ts';

const POOL = new BufferPool(2_000);
const HOST = '127.0.0.1';

/** A relay's ear: who connected, and the frames that came. */
class Ear {
  readonly server: Server = createServer((socket) => this.#onSocket(socket));
  readonly sockets: Socket[] = [];
  readonly frames: string[] = [];
  /** Whether it reads at all. */
  reads = true;

  async open(test: Test): Promise<number> {
    this.server.listen(0, HOST);
    await once(this.server, 'listening');
    test.teardown(() => {
      for (const socket of this.sockets) socket.destroy();
      this.server.close();
    });
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  #onSocket(socket: Socket): void {
    this.sockets.push(socket);
    const cutter = new TcpFrames();
    socket.on('error', () => {});
    if (!this.reads) return;
    socket.on('data', (bytes) => {
      for (const frame of cutter.push(bytes)) this.frames.push(Buffer.from(frame).toString('hex'));
    });
  }
}

/** A stream to an ear, and what it said. */
async function stream(test: Test, { reads = true } = {}) {
  const ear = new Ear();
  ear.reads = reads;
  const port = await ear.open(test);
  const heard: string[] = [];
  const ends: string[] = [];
  let opened = 0;
  const made = new RelayStream({
    server: { host: HOST, port },
    localAddress: '127.0.0.1',
    pool: POOL,
    onOpen: () => (opened += 1),
    onDatagram: (path, bytes) => heard.push(`${path.port} ${Buffer.from(bytes).toString('hex')}`),
    onEnd: (code) => ends.push(code),
  });
  test.teardown(() => made.close());
  await until(() => opened === 1 && ear.sockets.length === 1, 'a connection');
  return { ear, port, heard, ends, made };
}

/** ChannelData with so many bytes of payload, not padded. */
function channelData(length: number): { buffer: Uint8Array; size: number } {
  const buffer = POOL.borrow();
  buffer.set([0x40, 1, length >> 8, length & 0xff]);
  buffer.fill(7, 4, 4 + length);
  return { buffer, size: 4 + length };
}

t.test('RFC 8656 §12.5: what goes is padded, what comes is cut', async (t) => {
  const { ear, port, heard, ends, made } = await stream(t);
  for (const length of [1, 4, 5]) {
    const { buffer, size } = channelData(length);
    made.send({ host: HOST, port }, size, buffer);
  }
  await until(() => ear.frames.length === 3, 'three frames');
  t.strictSame(ear.frames, ['4001000107000000', '4001000407070707', '400100050707070707000000']);
  // In pieces, as a network may.
  ear.sockets[0].write(Buffer.from('400100', 'hex'));
  await new Promise((next) => setImmediate(next));
  ear.sockets[0].write(Buffer.from('010900000040010002', 'hex'));
  ear.sockets[0].write(Buffer.from('08080000', 'hex'));
  await until(() => heard.length === 2, 'two frames');
  t.strictSame(heard, [`${port} 4001000109000000`, `${port} 4001000208080000`]);
  t.strictSame(ends, []);
  t.equal(made.droppedFrames, 0);
});

t.test('a full socket drops: nothing waits but a short queue', async (t) => {
  const { port, made, ends } = await stream(t, { reads: false });
  // More than the kernel takes at both ends, in turns as an agent has them.
  for (let turn = 0; turn < 4_000; turn++) {
    for (let sent = 0; sent < 30; sent++) {
      const { buffer, size } = channelData(1_400);
      made.send({ host: HOST, port }, size, buffer);
    }
    await new Promise((next) => setImmediate(next));
    if (made.droppedFrames > 1_000) break;
  }
  t.ok(made.droppedFrames > 1_000, `${made.droppedFrames} were dropped`);
  t.ok(made.waitingBytes <= IO_LIMITS.relayQueueBytesMax, `${made.waitingBytes} wait`);
  await made.close();
  t.strictSame(ends, [], 'who never reads is left, and nobody is told of a failure');
});

t.test('an end is told once; who closes hears of none', async (t) => {
  const one = await stream(t);
  one.ear.sockets[0].destroy();
  await until(() => one.ends.length > 0, 'an end');
  await one.made.close();
  t.equal(one.ends.length, 1);
  const two = await stream(t);
  await two.made.close();
  await two.made.close();
  t.strictSame(two.ends, []);
  const { buffer, size } = channelData(1);
  two.made.send({ host: HOST, port: two.port }, size, buffer);
  t.equal(two.made.droppedFrames, 1);
});

t.test('what is no TURN ends the connection', async (t) => {
  const { ear, heard, ends } = await stream(t);
  ear.sockets[0].write('SSH-2.0-OpenSSH_9.2p1\r\n');
  await until(() => ends.length > 0, 'an end');
  t.strictSame(ends, ['EPROTO']);
  t.strictSame(heard, []);
});

t.test('the last word is still sent', async (t) => {
  const { ear, port, made } = await stream(t);
  const { buffer, size } = channelData(4);
  made.send({ host: HOST, port }, size, buffer);
  await made.close();
  await until(() => ear.frames.length === 1, 'the frame');
  t.strictSame(ear.frames, ['4001000407070707']);
});

t.test('sockets: a connection is answered as a socket is, and is one of them', async (t) => {
  const ear = new Ear();
  const port = await ear.open(t);
  const inputs: TerminalInput[] = [];
  const sockets = new Sockets({
    pool: POOL,
    place: () => ({}),
    stun: () => [],
    onDatagram: () => {},
    onInput: (input) => inputs.push(input),
    onError: (error) => t.fail(String(error)),
  });
  t.teardown(() => sockets.closeAll());
  sockets.connect(5, { host: HOST, port });
  t.notOk(sockets.isIdle);
  await until(() => inputs.length === 1, 'it is open');
  t.strictSame(inputs, [{ kind: 'socketOpen', socket: 5, candidates: [] }]);
  const { buffer, size } = channelData(4);
  sockets.send(5, { host: HOST, port }, size, buffer);
  await until(() => ear.frames.length === 1, 'a frame');
  for (const socket of ear.sockets) socket.destroy();
  await until(() => inputs.length === 2, 'its end');
  t.match(inputs[1], { kind: 'socketFailed', socket: 5 });
  t.ok(sockets.isIdle);
  ear.server.close();
  await once(ear.server, 'close');
  sockets.connect(6, { host: HOST, port });
  await until(() => inputs.length === 3, 'nobody there');
  t.strictSame(inputs[2], { kind: 'socketFailed', socket: 6, code: 'ECONNREFUSED' });
  sockets.connect(7, { host: HOST, port });
  await sockets.close(7);
  t.ok(sockets.isIdle);
  t.equal(inputs.length, 3, 'who closes hears nothing');
});

t.test('an owner that bound UDP to the other family reaches no such relay', async (t) => {
  const inputs: TerminalInput[] = [];
  const sockets = new Sockets({
    pool: POOL,
    place: () => ({ literal: '127.0.0.1' }),
    stun: () => [],
    onDatagram: () => {},
    onInput: (input) => inputs.push(input),
    onError: () => {},
  });
  sockets.connect(1, { host: '::1', port: 9 });
  t.strictSame(inputs, [{ kind: 'socketFailed', socket: 1, code: 'address-unusable' }]);
});
