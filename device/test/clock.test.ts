// A terminal whose clock is wrong (a Pi has none at boot, and says 1970) joins all the same: the
// server's time comes with the first answer over the pinned TLS, the system's clock is left alone.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  makeMembershipResponse,
  openMembershipRequest,
} from '../../protocol/identity/enrolment.ts';
import { makeMembership } from '../../protocol/identity/membership.ts';
import type { Name } from '../../protocol/ids.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type WallMs, wallMs } from '../../protocol/time.ts';
import { Agent } from '../agent.ts';
import { openHome, ownIdentity } from '../shell/home.ts';
import { Login } from '../shell/login.ts';
import { RealWorld } from './real-world.ts';
import { sentOf } from './talking.ts';
import { AT, World } from './world.ts';

/** A machine whose clock is off, and may be set while the terminal runs. */
class WrongClock extends CorrectedClock {
  shiftMs = 0;
  isCorrected = false;

  override wall(): WallMs {
    return this.isCorrected ? super.wall() : wallMs(Math.max(0, super.wall() + this.shiftMs));
  }

  override correct(unixMs: number): void {
    this.isCorrected = true;
    super.correct(unixMs);
  }
}

const HOURS_MS = 2 * 3_600_000;
const SINCE_1970_MS = Date.now() - 5_000;

for (const [which, shiftMs] of [
  ['two hours fast', HOURS_MS],
  ['two hours slow', -HOURS_MS],
  ['in 1970', -SINCE_1970_MS],
] as const) {
  t.test(`S1001: a terminal whose clock is ${which} registers, and knows the time`, async (t) => {
    const world = await RealWorld.start(t);
    await world.enrol('TERM1');
    const clock = new WrongClock();
    clock.shiftMs = shiftMs;
    t.ok(Math.abs(clock.wall() - Date.now()) > HOURS_MS / 2, 'it is wrong');
    const agent = await Agent.start({ home: world.home('TERM1'), log: silentLog, clock });
    t.teardown(() => agent.stop());
    await agent.registered;
    t.ok(Math.abs(clock.wall() - Date.now()) < 10_000, 'it follows the server');
    t.equal(agent.status().troubles.link, undefined);
    const offset = clock.wall() - Date.now();
    clock.shiftMs = -shiftMs;
    t.ok(Math.abs(clock.wall() - Date.now() - offset) < 1_000, 'a jump of the system is nothing');
    t.equal(agent.status().link, 'up', 'and cuts no link');
  });
}

t.test('an old membership, shown again in answer, turns back no clock', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nk-clock-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const home = await openHome(folder);
  const tools = { suite: nodeSuite, rng: entropy };
  const identity = await ownIdentity(home, { ...tools, machine: undefined });
  const manager = nodeSuite.signingKey(new Uint8Array(32).fill(3));
  let nowSeconds = 1_900_000_000;
  let recorded: Uint8Array | undefined;
  let replays = false;
  const { id: device, keys } = identity;
  const membershipNow = (): Uint8Array =>
    makeMembership(manager, { device, keys, issuedAt: nowSeconds, expiresAt: nowSeconds + 86_400 });
  const server = createServer((request, response) => {
    request.once('data', (body: Buffer) => {
      const asked = openMembershipRequest(nodeSuite, Uint8Array.from(body));
      if (asked === undefined) throw new Error('a terminal asks for a membership');
      const membership = membershipNow();
      const fresh = makeMembershipResponse(manager, { nonce: asked.nonce, membership });
      recorded ??= fresh;
      response.end(replays ? recorded : fresh);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const clock = new CorrectedClock();
  const enrolment = {
    name: 'TERM1' as Name,
    managerKey: manager.publicKey,
    agreementKey: keys.x25519,
    brokerUrl: 'mqtt://127.0.0.1:1883',
    enrolUrl: `http://127.0.0.1:${port}/`,
    membership: membershipNow(),
    serverKeys: undefined,
  };
  const login = new Login({ ...tools, home, identity, enrolment, clock, log: silentLog });
  t.equal(await login.renew(), undefined);
  nowSeconds += 40_000;
  t.equal(await login.renew(), undefined);
  t.ok(clock.wall() >= nowSeconds * 1_000, 'it follows the server');
  replays = true;
  t.match(await login.renew(), /is not the server/);
  t.ok(clock.wall() >= nowSeconds * 1_000, 'and nobody who repeats what the server once said');
  await login.settled();
});

t.test('S1001: an answer to a registration that was held back says so', async (t) => {
  const world = new World();
  world.answers.register = false;
  const node = world.add('TERM1');
  const [{ request, name }] = sentOf(node, 'register');
  world.run(3_600);
  const membership = Uint8Array.of(1);
  world.tell(node, 'down', { kind: 'registered', request, name, membership, time: AT.wallMs });
  world.settle();
  const told = node.outputs.find(({ kind }) => kind === 'membership');
  t.match(told, { time: AT.wallMs, tookMs: 3_600_000 });
});
