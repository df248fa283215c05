// The TURN client and a real coturn: two allocations talk to each other, and what coturn refuses,
// or leaves unanswered, is said in a sentence.

import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import t from 'tap';
import type { Path } from '../core.ts';
import { randomBytes, seededRng } from '../random.ts';
import { after, seconds } from '../time.ts';
import {
  type RealClient,
  allocated,
  openRelayed,
  realNow,
  skipCoturn,
  startCoturn,
  userOf,
} from './coturn.ts';
import { hex } from './vectors.ts';

// Most of them wait for the relay: all at once they take as long as the longest.
t.jobs = 4;
const coturn = { skip: skipCoturn, buffered: true };
const HOUR_SECONDS = 3_600;
const PAYLOAD = randomBytes(seededRng(4), 1_200);

/** The address of an allocation: its only one, or that of the family. */
function relayedOf({ client }: RealClient, family: 4 | 6 = 4): Path {
  const found =
    client.relayed.length === 1
      ? client.relayed[0]
      : client.relayed.find(({ host }) => host.includes(':') === (family === 6));
  if (found === undefined) throw new Error('there is no relayed address');
  return found;
}

/** `from` sends the payload until `to` has it (one may be lost); who `to` was told sent it. */
async function passes(
  from: RealClient,
  to: RealClient,
  family: 4 | 6 = 4,
): Promise<Path | undefined> {
  const before = to.heard.length;
  let turn = 0;
  await from.reaches(() => {
    to.pump();
    if (turn++ % 50 === 0) from.send(relayedOf(to, family), PAYLOAD);
    return to.heard.length > before;
  }, 'a datagram through the relay');
  const { peer, bytes } = to.heard[before];
  return hex(bytes) === hex(PAYLOAD) ? peer : undefined;
}

t.test('coturn: 1,200 bytes there and back between two allocations', coturn, async (t) => {
  const { server } = await startCoturn(t);
  const one = await allocated(t, { server, ...userOf('one') });
  const two = await allocated(t, { server, ...userOf('two') });
  t.notOk(one.send(relayedOf(two), PAYLOAD), 'not before the relay allows it');
  one.client.permit(realNow(), [relayedOf(two).host]);
  two.client.permit(realNow(), [relayedOf(one).host]);
  const canBoth = (): boolean =>
    one.client.canReach(realNow(), relayedOf(two)) &&
    two.client.canReach(realNow(), relayedOf(one));
  await one.reaches(() => (two.pump(), canBoth()), 'permissions');
  t.strictSame(await passes(one, two), relayedOf(one), 'by indications');
  t.strictSame(await passes(two, one), relayedOf(two));
  const [toTwo, toOne] = [relayedOf(two), relayedOf(one)];
  one.client.bind(realNow(), toTwo);
  two.client.bind(realNow(), toOne);
  const framed = (client: RealClient, peer: Path): boolean => {
    const buffer = new Uint8Array(2_000);
    return client.client.wrap(realNow(), peer, buffer, PAYLOAD.length) === PAYLOAD.length + 4;
  };
  await one.reaches(() => (two.pump(), framed(one, toTwo) && framed(two, toOne)), 'channels');
  t.equal(await passes(one, two), toOne, 'by channels, told by the object that was bound');
  t.equal(await passes(two, one), toTwo);
  one.client.close(realNow());
  one.pump();
  t.equal(one.client.state, 'closed');
});

const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === '::1'),
);
const skipIpv6 = skipCoturn === false && !hasIpv6 ? 'this machine has no ::1' : skipCoturn;

const dual = { ...coturn, skip: skipIpv6 };

t.test('coturn: the same over IPv6', dual, async (t) => {
  const { server } = await startCoturn(t, [], { host: '::1' });
  const one = await allocated(t, { server, ...userOf('one') });
  const two = await allocated(t, { server, ...userOf('two') });
  t.equal(relayedOf(one).host, '::1');
  one.client.permit(realNow(), ['::1']);
  two.client.bind(realNow(), relayedOf(one));
  await one.reaches(() => (two.pump(), two.client.canReach(realNow(), relayedOf(one))), 'leave');
  await one.reaches(() => one.client.canReach(realNow(), relayedOf(two)), 'leave');
  t.strictSame(await passes(one, two), relayedOf(one));
  t.strictSame(await passes(two, one), relayedOf(two));
});

t.test('coturn: an address of each IP version, whichever it is reached by', dual, async (t) => {
  const ipv6 = ['--listening-ip=::1', '--relay-ip=::1'];
  const { server } = await startCoturn(t, ipv6);
  const six: Path = { host: '::1', port: server.port };
  const one = await allocated(t, { server, ...userOf('one'), wantsIpv6: true });
  const two = await allocated(t, { server: six, ...userOf('two'), wantsIpv6: true });
  for (const family of [4, 6] as const) {
    const [toOne, toTwo] = [relayedOf(one, family), relayedOf(two, family)];
    t.equal(toOne.host, family === 4 ? '127.0.0.1' : '::1');
    one.client.bind(realNow(), toTwo);
    two.client.bind(realNow(), toOne);
    await one.reaches(() => (two.pump(), two.client.canReach(realNow(), toOne)), 'leave');
    await one.reaches(() => one.client.canReach(realNow(), toTwo), 'leave');
    t.equal(await passes(one, two, family), toOne);
    t.equal(await passes(two, one, family), toTwo);
  }
});

t.test('coturn: 440 for both versions, or for IPv4, and the other is taken', dual, async (t) => {
  // A public address in front of its own: then it gives one version only.
  const mapped = await startCoturn(t, ['--external-ip=127.0.0.1']);
  const one = await allocated(t, { server: mapped.server, ...userOf('one'), wantsIpv6: true });
  t.strictSame(one.codes, [401, 440]);
  t.strictSame(
    one.client.relayed.map(({ host }) => host),
    ['127.0.0.1'],
  );
  const six = await startCoturn(t, [], { host: '::1' });
  for (const wantsIpv6 of [true, false]) {
    const two = await allocated(t, { server: six.server, ...userOf('two'), wantsIpv6 });
    t.strictSame(
      two.client.relayed.map(({ host }) => host),
      ['::1'],
    );
    t.strictSame(two.codes, wantsIpv6 ? [401] : [401, 440]);
  }
});

t.test('coturn: refusals are failures with a sentence', coturn, async (t) => {
  const { server } = await startCoturn(t, [
    '--user-quota=1',
    '--denied-peer-ip=10.0.0.0-10.255.255.255',
  ]);
  const failed = async (user: { username: string; password: string }, code: number) => {
    const real = await openRelayed(t, { server, ...user });
    real.client.start(realNow());
    await real.reaches(() => real.client.state === 'failed', `error ${code}`);
    t.equal(real.client.failure?.code, code);
    t.match(real.client.failure?.says, /^The relay .+\./);
  };
  await failed({ ...userOf('one'), password: 'a guess' }, 401);
  await failed(userOf('one', -HOUR_SECONDS), 401);
  const user = userOf('greedy');
  const first = await allocated(t, { server, ...user });
  await failed(user, 486);
  first.client.permit(realNow(), ['10.1.2.3']);
  await first.reaches(() => first.codes.includes(403), 'a forbidden peer');
  first.client.permit(realNow(), [server.host]);
  const allowed: Path = { host: server.host, port: 9 };
  await first.reaches(() => first.client.canReach(realNow(), allowed), 'an allowed one');
  t.notOk(first.client.canReach(realNow(), { host: '10.1.2.3', port: 9 }));
  t.equal(first.client.state, 'ready');
});

t.test('coturn: a nonce that goes stale costs nothing', coturn, async (t) => {
  const { server } = await startCoturn(t, ['--stale-nonce=1']);
  const real = await allocated(t, { server, ...userOf('one') });
  await real.reaches(() => {
    real.client.check(realNow());
    return real.codes.includes(438);
  }, 'a stale nonce');
  real.client.bind(realNow(), { host: server.host, port: 9 });
  await real.reaches(
    () => real.client.canReach(realNow(), { host: server.host, port: 9 }),
    'a channel with the new nonce',
  );
  t.equal(real.client.state, 'ready');
});

t.test('coturn: an allocation is given back with a nonce that went stale', coturn, async (t) => {
  const { server } = await startCoturn(t, ['--stale-nonce=1', '--user-quota=1']);
  const user = userOf('brief');
  const real = await allocated(t, { server, ...user });
  const nonceIsStale = after(realNow(), seconds(2.5));
  await real.reaches(() => realNow() > nonceIsStale, 'the end of the nonce');
  real.client.close(realNow());
  await real.reaches(() => real.client.isOver, 'the last word');
  t.equal(real.codes.at(-1), 438);
  // The place of this user, the only one, is free: coturn takes about a second for that.
  const patience = after(realNow(), seconds(8));
  let next = await openRelayed(t, { server, ...user });
  while (next.client.state !== 'ready' && realNow() < patience) {
    const asking = await openRelayed(t, { server, ...user });
    next = asking;
    asking.client.start(realNow());
    await asking.reaches(() => ['ready', 'failed'].includes(asking.client.state), 'an answer');
  }
  t.equal(next.client.state, 'ready');
});

t.test('coturn: killed in mid-session, it is missed in 5 s', coturn, async (t) => {
  const { server, child } = await startCoturn(t);
  const real = await allocated(t, { server, ...userOf('one') });
  const late = await openRelayed(t, { server, ...userOf('one') });
  child.kill('SIGKILL');
  const since = realNow();
  real.client.check(since);
  late.client.start(since);
  await real.reaches(() => {
    late.pump();
    return real.client.state === 'failed' && late.client.state === 'failed';
  }, 'that it is gone');
  t.match(real.client.failure?.says, /stopped answering/);
  t.match(late.client.failure?.says, /does not answer/);
  t.ok(realNow() - since < 6_000_000, `${Math.round((realNow() - since) / 1_000)} ms`);
});

t.test('coturn: restarted in mid-session, it says that it knows us no more', coturn, async (t) => {
  const { server, child } = await startCoturn(t);
  const real = await allocated(t, { server, ...userOf('one') });
  child.kill('SIGKILL');
  await once(child, 'exit');
  await startCoturn(t, [], server);
  real.client.check(realNow());
  await real.reaches(() => real.client.state === 'failed', 'that the allocation is lost');
  t.equal(real.client.failure?.code, 437);
  t.match(real.client.failure?.says, /restarted/);
});

t.test(
  'coturn: who has an allocation keeps it when the time of its user name is over',
  coturn,
  async (t) => {
    const { server } = await startCoturn(t, ['--stale-nonce=1']);
    const user = userOf('brief', 2);
    const real = await allocated(t, { server, ...user });
    const late = await openRelayed(t, { server, ...user });
    // coturn counts whole seconds, and looks at its clock once in a while.
    await real.reaches(() => Date.now() > user.untilMs + 1_500, 'the end of its time');
    late.client.start(realNow());
    await late.reaches(() => late.client.state === 'failed', 'that nobody comes in by it any more');
    t.equal(late.client.failure?.code, 401);
    const before = real.codes.length;
    await real.reaches(() => {
      real.client.check(realNow());
      return real.codes.length > before;
    }, 'a new nonce');
    real.client.bind(realNow(), { host: server.host, port: 9 });
    const peer: Path = { host: server.host, port: 9 };
    await real.reaches(() => real.client.canReach(realNow(), peer), 'a channel');
    t.equal(real.client.state, 'ready');
  },
);
