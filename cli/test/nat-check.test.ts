// What the doctor makes of STUN servers: asked on real UDP, one that sees every destination at
// another port included, and in words for every kind of network.

import { type Socket, createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Path } from '../../protocol/core.ts';
import { answerBinding } from '../../protocol/stun/server.ts';
import { openTown } from '../../sim/fleet/town.ts';
import { examine } from '../doctor/examination.ts';
import { type Seen, askStun, natFinding, stunPaths } from '../doctor/nat-check.ts';

/** A STUN server on this machine; `seen`: as which port it says that it sees a request. */
async function stunServer(
  test: Test,
  seen: (port: number) => number = (port) => port,
): Promise<Path> {
  const socket: Socket = createSocket('udp4');
  socket.on('message', (bytes, { address: host, port }) => {
    const reply = answerBinding(bytes, { host, port: seen(port) });
    if (reply?.answer !== undefined) socket.send(reply.answer, port, host);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  test.teardown(() => socket.close());
  return { host: '127.0.0.1', port: socket.address().port };
}

const CERTAIN = { own: ['192.168.1.7', '2001:db8::7'], isCertain: true };
const seenAt = (hosts: readonly string[], more: Partial<Seen> = {}): Seen => ({
  asked: 2,
  answers: hosts.map((host, at) => ({
    server: { host: '192.0.2.1', port: 3_478 + at },
    mapped: { host, port: 50_123 },
  })),
  varies: false,
  ...more,
});

t.test('servers that answer are heard, on both their ports', async (t) => {
  const servers = [await stunServer(t), await stunServer(t)];
  const seen = await askStun(servers);
  t.match(seen, { asked: 2, varies: false });
  t.strictSame(
    seen.answers.map(({ mapped }) => mapped.host),
    ['127.0.0.1', '127.0.0.1'],
  );
  t.equal(seen.answers[0].mapped.port, seen.answers[1].mapped.port, 'from one socket');
  t.match(natFinding(seen, CERTAIN), { verdict: 'ok', says: /2 of 2 .*on this machine/ });
});

t.test('a NAT that shows each destination another port is seen', async (t) => {
  const servers = [await stunServer(t), await stunServer(t, (port) => (port % 60_000) + 1)];
  const seen = await askStun(servers);
  t.equal(seen.varies, true);
  const finding = natFinding(seen, CERTAIN);
  t.match(finding, { verdict: 'warn', says: /symmetric NAT/, next: /or else a relay/ });
});

t.test('what stays silent is not waited for without end, and not counted', async (t) => {
  const deaf = createSocket('udp4');
  deaf.bind(0, '127.0.0.1');
  await once(deaf, 'listening');
  t.teardown(() => deaf.close());
  const silent = { host: '127.0.0.1', port: deaf.address().port };
  const seen = await askStun([silent, await stunServer(t)]);
  t.match(seen, { asked: 2, varies: undefined });
  t.equal(seen.answers.length, 1);
  t.match(natFinding(seen, CERTAIN).says, /1 of 2/);
});

t.test('each kind of network has its words', async (t) => {
  t.match(natFinding(seenAt([]), CERTAIN), {
    verdict: 'fail',
    says: /nothing came back from any of 2 STUN servers: UDP seems to be blocked/,
    next: /outgoing UDP/,
  });
  t.match(natFinding(seenAt([]), { own: [], isCertain: false }), {
    verdict: 'warn',
    says: /blocked, or the server has none/,
  });
  t.match(natFinding(seenAt(['192.168.1.7', '2001:db8::7']), CERTAIN), {
    verdict: 'ok',
    says: /no NAT, this machine is 192\.168\.1\.7 and 2001:db8::7/,
  });
  const home = natFinding(seenAt(['198.51.100.7', '198.51.100.7']), CERTAIN);
  t.match(home, { verdict: 'ok', says: /behind a NAT at 198\.51\.100\.7:50123; one port for all/ });
  t.equal(home.next, undefined);
  const shared = natFinding(seenAt(['100.64.3.3']), CERTAIN);
  t.match(shared.says, /which is not a public address either/);
  const unknown = natFinding(seenAt(['198.51.100.7'], { varies: undefined }), CERTAIN);
  t.match(unknown, { verdict: 'ok', says: /one port alone does not show/ });
});

t.test('servers are named by address or name; what is neither is left out', async (t) => {
  t.strictSame(await stunPaths(['192.0.2.1:3478', '[2001:db8::1]:3479', 'nonsense']), [
    { host: '192.0.2.1', port: 3_478 },
    { host: '2001:db8::1', port: 3_479 },
  ]);
  const near = await stunPaths(['localhost:3478']);
  t.ok(near.length > 0 && near.every(({ host }) => host === '127.0.0.1' || host === '::1'));
});

t.test(
  "the doctor asks the servers of the owner's settings, and believes none that is silent",
  async (t) => {
    const town = await openTown();
    t.teardown(() => town.close());
    const home = await town.enrol('TERM3', '');
    const udp = async (stun: readonly Path[]): Promise<unknown> => {
      const servers = stun.map(({ host, port }) => `"${host}:${port}"`).join(', ');
      writeFileSync(join(home, 'agent.toml'), `[agent]\nstun = [${servers}]\n`);
      for await (const finding of examine({ home })) if (finding.check === 'udp') return finding;
      return undefined;
    };
    const server = await stunServer(t);
    t.match(await udp([server]), { verdict: 'ok', says: /datagrams leave.*; 1 of 1 STUN servers/ });
    const deaf = createSocket('udp4');
    deaf.bind(0, '127.0.0.1');
    await once(deaf, 'listening');
    t.teardown(() => deaf.close());
    const silent = { host: '127.0.0.1', port: deaf.address().port };
    t.match(await udp([silent]), {
      verdict: 'fail',
      says: /nothing came back from the STUN server/,
    });
  },
);
