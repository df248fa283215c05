// How often a terminal pings its broker is its owner's choice: the broker goes by it, and notices
// one without power within one and a half of its own keepalives (MQTT 3.1.1 §3.1.2.10).

import { once } from 'node:events';
import { type AddressInfo, type Socket, createConnection, createServer } from 'node:net';
import t, { type Test } from 'tap';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { openTown } from '../../sim/fleet/town.ts';

/** A way to a TCP port that can be cut without a word, as a power cut does. */
async function cuttableWay(test: Test, port: number) {
  const pairs: [near: Socket, far: Socket][] = [];
  const server = createServer((near) => {
    const far = createConnection({ host: '127.0.0.1', port });
    for (const socket of [near, far]) socket.on('error', () => {});
    near.on('data', (bytes) => far.write(bytes));
    far.on('data', (bytes) => near.write(bytes));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    pairs.push([near, far]);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    server.close();
  });
  return {
    url: `mqtts://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pairs,
    /** Nothing passes any more, either way; resolves when the broker lets go of its end. */
    async cut(): Promise<void> {
      const gone = pairs.map(([near, far]) => {
        near.removeAllListeners('data').pause();
        far.removeAllListeners('data').resume();
        return once(far, 'close');
      });
      await Promise.all(gone);
    },
  };
}

/** A TLS record of two bytes of MQTT: head, type, tag (RFC 8446 §5.2); PINGREQ or PINGRESP. */
const PING_RECORD_BYTES = 5 + 2 + 1 + 16;
/** IPv4 and TCP with time stamps (RFC 7323 §3.2), for the ping, its answer, and the last ACK. */
const PACKET_BYTES = 20 + 32;
const PACKETS_PER_PING = 3;
const SECONDS_PER_DAY = 86_400;

t.test('a broker goes by the keepalive of the terminal, which costs little', async (t) => {
  const town = await openTown({ apart: true });
  t.teardown(() => town.close());
  const home = await town.enrol('TERM1', '');
  const way = await cuttableWay(t, brokerAddress(town.broker.url).port);
  const agent = await town.start(home, { brokerUrl: way.url, keepaliveSeconds: 1 });
  const { broker, link } = agent.status();
  t.strictSame([link, broker.keepaliveSeconds, broker.url], ['up', 1, way.url]);
  const [[near, far]] = way.pairs;
  const sizes: { readonly up: number[]; readonly down: number[] } = { up: [], down: [] };
  near.on('data', (bytes) => sizes.up.push(bytes.length));
  far.on('data', (bytes) => sizes.down.push(bytes.length));
  // Whatever registering still says comes before the first ping.
  const sincePing = (all: readonly number[]): readonly number[] =>
    all.includes(PING_RECORD_BYTES) ? all.slice(all.indexOf(PING_RECORD_BYTES)) : [];
  while (sincePing(sizes.down).length < 2) await once(far, 'data');
  t.strictSame(sincePing(sizes.up), [PING_RECORD_BYTES, PING_RECORD_BYTES]);
  t.strictSame(sincePing(sizes.down), [PING_RECORD_BYTES, PING_RECORD_BYTES]);
  const pingBytes = 2 * PING_RECORD_BYTES + PACKETS_PER_PING * PACKET_BYTES;
  const bytesADay = (keepaliveSeconds: number): number =>
    (SECONDS_PER_DAY / keepaliveSeconds) * pingBytes;
  t.ok(bytesADay(60) <= 500_000, `${bytesADay(60)} bytes a day at 60 s`);
  t.ok(bytesADay(300) <= 100_000, `${bytesADay(300)} bytes a day at 5 min`);
  t.equal(way.pairs.length, 1, 'the link held meanwhile');
  t.ok((agent.status().broker.heardSecondsAgo ?? 9) < 5, 'an answer to a ping is heard');
  const before = performance.now();
  await way.cut();
  const tookMs = performance.now() - before;
  // A keepalive and a half; by the usual one it would be 90 s.
  t.ok(tookMs > 400 && tookMs < 10_000, `noticed after ${Math.round(tookMs)} ms`);
});

t.test('20 minutes is the longest keepalive that a broker takes', async (t) => {
  const town = await openTown({ plain: true, apart: true });
  t.teardown(() => town.close());
  const home = await town.enrol('TERM1', '');
  const longest = await town.start(home, { keepaliveSeconds: 1_200 });
  t.match(longest.status(), { link: 'up', troubles: { link: undefined } });
  await longest.stop();
  const longer = await town.begin(home, { keepaliveSeconds: 1_201 });
  await new Promise<void>((resolve) => longer.onStanding(resolve));
  t.match(longer.status(), { link: 'down', broker: { retrySeconds: Number } });
  t.match(longer.status().troubles.link, /refused/);
});
