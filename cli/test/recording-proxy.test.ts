// What the demo says of a refusal rests on what this proxy saw: everything, both ways, and when;
// and what the tests say of a broker, on what it heard inside TLS.

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import t from 'tap';
import { Clock } from '../../protocol/io/clock.ts';
import { connectPinned } from '../../protocol/io/pinned-tls.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { until } from '../../protocol/test/until.ts';
import { RecordingProxy } from '../demo/recording-proxy.ts';

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
  const begun = performance.now();
  const terminal = connect(Number(new URL(proxy.url).port), '127.0.0.1');
  await once(terminal, 'data');
  const middle = performance.now();
  terminal.write('127.0.3.1 goes the other way');
  terminal.resume();
  await once(terminal, 'close');
  t.equal(Buffer.concat([...proxy.received()]).toString('hex'), '017f00030109');
  t.equal(Buffer.concat([...proxy.sent()]).toString(), '127.0.3.1 goes the other way');
  t.match(proxy.since(begun), { sentBytes: 28, receivedBytes: 6 });
  t.match(proxy.since(middle), { sentBytes: 28, receivedBytes: 3 }, 'what came before is left out');
  t.ok(proxy.since(middle).tookMs <= performance.now() - middle);
  const later = performance.now() + 1;
  t.strictSame(proxy.since(later), { sentBytes: 0, receivedBytes: 0, tookMs: 0 });
  t.equal(proxy.connections.ever, 1);
  await until(() => proxy.connections.open === 0, 'the proxy to see the end');
});

t.test('with the server’s own key it hears what is inside TLS, and is taken for it', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-proxy-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  const tls = await loadServerCertificate({ home, clock: new Clock() });
  const server = createTlsServer({ ...tls, minVersion: 'TLSv1.3' }, (socket) => {
    socket.once('data', () => socket.end('inside'));
  });
  t.teardown(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const [opened, passing] = [await RecordingProxy.listen(tls), await RecordingProxy.listen()];
  for (const proxy of [opened, passing]) {
    t.teardown(() => proxy.close());
    proxy.leadTo('127.0.0.1', (server.address() as AddressInfo).port);
    const port = Number(new URL(proxy.url).port);
    const isPinned = (pin: Uint8Array): boolean => Buffer.from(pin).equals(tls.pin);
    const { socket } = await connectPinned({ host: '127.0.0.1', port, isPinned, timeoutMs: 5_000 });
    socket.write('hello');
    socket.resume();
    await once(socket, 'close');
  }
  const heard = (proxy: RecordingProxy): string =>
    Buffer.concat([...proxy.sent(), ...proxy.received()]).toString('latin1');
  t.equal(heard(opened), 'helloinside');
  t.notMatch(heard(passing), /hello|inside/, 'without the key there is TLS to hear');
  t.ok(heard(passing).length > 500);
});
