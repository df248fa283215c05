// What a login keeps, and how often it writes that down: a membership comes with every
// registration, and a terminal on a bad link registers all day.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeMembership } from '../../protocol/identity/membership.ts';
import type { Name } from '../../protocol/ids.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { loadEnrolment, openHome, ownIdentity, saveEnrolment } from '../shell/home.ts';
import { Login } from '../shell/login.ts';
import { recordDisk } from './disk-record.ts';

const T0 = 1_900_000_000;
const HOUR = 3_600;

async function enrolled(test: Test): Promise<{
  readonly login: Login;
  readonly path: string;
  /** The manager's answer to a registration, this many seconds after the enrolment. */
  readonly registered: (seconds: number) => Promise<void>;
  /** When the membership on disk ends, seconds after the enrolment. */
  readonly onDisk: () => Promise<number>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-login-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  const home = await openHome(folder);
  const tools = { suite: nodeSuite, rng: entropy };
  const identity = await ownIdentity(home, { ...tools, machine: undefined });
  const manager = nodeSuite.signingKey(new Uint8Array(32).fill(3));
  const { id: device, keys } = identity;
  const membership = (seconds: number): Uint8Array =>
    makeMembership(manager, {
      device,
      keys,
      issuedAt: T0 + seconds,
      expiresAt: T0 + seconds + LIMITS.membershipSeconds,
    });
  const enrolment = {
    name: 'TERM1' as Name,
    managerKey: manager.publicKey,
    agreementKey: keys.x25519,
    brokerUrl: 'mqtt://127.0.0.1:1883',
    enrolUrl: 'http://127.0.0.1:1/',
    membership: membership(0),
    serverKeys: undefined,
  };
  await saveEnrolment(home, enrolment);
  const clock = new CorrectedClock();
  const made = { ...tools, home, identity, clock, log: silentLog };
  const login = new Login({ ...made, enrolment });
  return {
    login,
    path: home.enrolment,
    async registered(seconds) {
      const time = (T0 + seconds) * 1_000;
      login.keep({ bytes: membership(seconds), time, tookMs: 0, serverKeys: undefined });
      await login.settled();
    },
    async onDisk() {
      const stored = await loadEnrolment(home);
      if (stored === undefined) throw new Error('it is enrolled');
      const { expiresAt = 0 } = new Login({ ...made, enrolment: stored });
      return expiresAt - T0 - LIMITS.membershipSeconds;
    },
  };
}

t.test('a bad link does not wear out a memory card: few memberships are written', async (t) => {
  const { login, path, registered, onDisk } = await enrolled(t);
  const before = await readFile(path);
  const record = recordDisk(join(path, '..'));
  t.teardown(() => record.stop());
  for (let seconds = 60; seconds <= 5 * HOUR; seconds += 60) await registered(seconds);
  record.stop();
  t.strictSame(record.calls, [], 'nothing for hundreds of registrations');
  t.strictSame(await readFile(path), before);
  t.equal(login.expiresAt, T0 + 5 * HOUR + LIMITS.membershipSeconds, 'the login has the newest');
  await registered(6 * HOUR);
  t.equal(await onDisk(), 6 * HOUR, 'a quarter of a membership later it is written');
  await registered(7 * HOUR);
  t.equal(await onDisk(), 6 * HOUR);
  await registered(12 * HOUR);
  t.equal(await onDisk(), 12 * HOUR);
});

t.test('a clock of the server that was set back leads to no older membership', async (t) => {
  const { login, registered, onDisk } = await enrolled(t);
  await registered(7 * HOUR);
  await registered(-30 * HOUR);
  t.equal(login.expiresAt, T0 - 30 * HOUR + LIMITS.membershipSeconds, 'it is what the server says');
  t.equal(await onDisk(), -30 * HOUR, 'and of the time that it is now');
  await registered(8 * HOUR);
  t.equal(await onDisk(), 8 * HOUR);
});
