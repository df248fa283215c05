// Which way a talk takes, from the agent's outside: the event, the status, the end, the settings
// that rule ways out. Real sockets on this machine, on loopback and on its own addresses.

import t from 'tap';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { hostAddresses, ownInterfaces } from '../shell/host-addresses.ts';
import type { Session } from '../shell/session.ts';
import { ALLOW_TERM1, RealWorld, registeredPair } from './real-world.ts';

const own = hostAddresses(ownInterfaces());

/** What was heard of ways from the introduction on. */
async function called(caller: Agent): Promise<{ session: Session; ways: unknown[][] }> {
  const ways: unknown[][] = [];
  const onIntroduced = (early: Session): void => void early.on('way', (...way) => ways.push(way));
  const session = await caller.call({ to: 'TERM3', service: 'ping', onIntroduced });
  return { session, ways };
}

t.test('S1005: a way is an event, in the status and in the end', async (t) => {
  const { caller } = await registeredPair(t);
  const { session, ways } = await called(caller);
  const path = { host: '127.0.3.1' };
  t.match(ways, [['lan', path]]);
  t.equal(session.way, 'lan');
  const { talks, relay, ownStun } = caller.status();
  t.match(talks, [{ class: 'lan', talk: { path }, meeting: { hasHeard: true } }]);
  t.strictSame({ relay, ownStun }, { relay: 'if-needed', ownStun: [] });
  t.match(await session.close(), {
    reason: 'done',
    way: 'lan',
    meeting: { hasHeard: true, policy: 'if-needed' },
  });
});

for (const [family, bind, length] of [
  ['IPv4', '0.0.0.0', 4],
  ['IPv6', '::', 16],
] as const) {
  const addresses = own.filter(({ bytes }) => bytes.length === length).map(({ host }) => host);
  const skip = addresses.length > 0 ? false : `this machine has no ${family} address to tell`;
  t.test(
    `S1000: on all ${family} addresses two terminals meet at one of them`,
    { skip },
    async (t) => {
      const world = await RealWorld.start(t);
      await world.enrol('TERM1');
      await world.enrol('TERM3', ALLOW_TERM1);
      const caller = await world.agent('TERM1', { udpBind: bind });
      const callee = await world.agent('TERM3', { udpBind: bind });
      await Promise.all([caller.registered, callee.registered]);
      const { session, ways } = await called(caller);
      t.equal(ways.length, 1);
      const [[way, path]] = ways as [[string, { host: string }]];
      t.ok(way === 'lan' || way === 'direct', way);
      t.ok(addresses.includes(path.host));
      await session.close();
    },
  );
}

t.test('a talk without a way says why, as an error and at its end', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  await world.enrol('TERM3', ALLOW_TERM1);
  const connection = { handshakeTimeoutMs: 1_000 };
  // The one is on loopback alone, the other is not: nothing can reach anything.
  const options = { udpBind: '127.0.1.1', relay: 'never', connection } as const;
  const caller = await world.agent('TERM1', options);
  const callee = await world.agent('TERM3', { udpBind: '0.0.0.0', connection });
  await Promise.all([caller.registered, callee.registered]);
  const error = await called(caller).catch((thrown: unknown) => thrown);
  t.match(error, {
    code: 'path-lost',
    exit: 5,
    message: /no path to the other terminal: .*the setting relay = "never" of this terminal/,
    next: /relay = "if-needed" in agent\.toml/,
  });
  t.equal(caller.status().relay, 'never');
});

t.test('what is no STUN server keeps an agent from starting', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  const started = world.agent('TERM1', { stun: ['nonsense'], log: silentLog });
  await t.rejects(started, { code: 'bad-stun-server' });
  const stun = ['stun.example:3478', '[2001:db8::1]:3478'];
  const agent = await world.agent('TERM1', { stun });
  t.strictSame(agent.status().ownStun, stun);
});

t.test('an idle terminal has no UDP socket, before a talk and after it', async (t) => {
  const sockets = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === 'UDPWrap').length;
  const { caller } = await registeredPair(t);
  t.equal(sockets(), 0);
  const { session } = await called(caller);
  t.equal(sockets(), 2, 'one at each end, on loopback');
  await session.close();
  await until(() => sockets() === 0);
});
