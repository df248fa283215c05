// The demo's proof that no address leaked rests on this search: it has to find what is there,
// however it came.

import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import t from 'tap';
import { until } from '../../protocol/test/until.ts';
import { RecordingProxy, addressBytes } from '../demo/recording-proxy.ts';

t.test('an address is found raw and as text, wherever it stands', async (t) => {
  const raw = Buffer.from([127, 0, 3, 1]);
  const other = Buffer.from([127, 0, 9, 1]);
  const some = Buffer.from('before');
  const found = (...buffers: Buffer[]): number => addressBytes(buffers, '127.0.3.1');
  t.equal(found(), 0);
  t.equal(found(some, other, Buffer.from('127.0.9.1')), 0);
  t.equal(found(Buffer.concat([some, raw])), 4);
  t.equal(found(Buffer.concat([raw, raw]), raw), 12);
  t.equal(found(Buffer.from('at 127.0.3.1:5000')), 9);
});

t.test('the proxy keeps what passed each way, in whatever pieces it came', async (t) => {
  const server = createServer((socket: Socket) => {
    socket.write(Buffer.from([1, 127, 0]));
    socket.once('data', () => socket.end(Buffer.from([3, 1, 9])));
  });
  t.teardown(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const proxy = await RecordingProxy.listen();
  t.teardown(() => proxy.close());
  const early = connect(Number(new URL(proxy.url).port), '127.0.0.1');
  await once(early, 'close');
  t.same(proxy.received(), [], 'nothing leads anywhere yet');
  proxy.leadTo('127.0.0.1', (server.address() as AddressInfo).port);
  const terminal = connect(Number(new URL(proxy.url).port), '127.0.0.1');
  await once(terminal, 'data');
  terminal.write('127.0.3.1 goes the other way');
  terminal.resume();
  await once(terminal, 'close');
  t.equal(Buffer.concat([...proxy.received()]).toString('hex'), '017f00030109');
  t.equal(addressBytes(proxy.received(), '127.0.3.1'), 4);
  t.equal(Buffer.concat([...proxy.sent()]).toString(), '127.0.3.1 goes the other way');
  t.equal(proxy.connections.ever, 1);
  await until(() => proxy.connections.open === 0, 'the proxy to see the end');
});
