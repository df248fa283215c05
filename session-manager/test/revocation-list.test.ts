// The list of the revoked that brokers get: when,
// signed by whom, how long, and what if it is full.

import t from 'tap';
import { REVOKED_TOPIC } from '../../protocol/control/topics.ts';
import {
  MEMBERSHIP_NONCE_BYTES,
  makeMembershipRequest,
} from '../../protocol/identity/enrolment.ts';
import { type RevocationList, openRevocationList } from '../../protocol/identity/revocation.ts';
import type { Name } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { ENROL_URL, START_WALL, type Terminal, World } from './virtual-manager.ts';

/** A membership's time, twice what clocks may differ, and a step of the list's numbers. */
const LISTED_SECONDS = LIMITS.membershipSeconds + 2 * LIMITS.clockSkewSeconds + 600;

function town(): { readonly world: World; readonly one: Terminal; readonly two: Terminal } {
  const world = new World();
  return { world, one: world.terminal('TERM1'), two: world.terminal('TERM2') };
}

const revoke = (world: World, name: string): number =>
  world.command({ kind: 'revoke', name: name as Name });

/** All lists so far, each verified with the manager's public key. */
function lists(world: World): RevocationList[] {
  return world.of('revoked').map(({ topic: name, message }) => {
    const list = openRevocationList(nodeSuite, world.key.publicKey, message);
    if (list === undefined || name !== REVOKED_TOPIC) throw new Error('not a signed list');
    return list;
  });
}

const newest = (world: World): RevocationList => {
  const list = lists(world).at(-1);
  if (list === undefined) throw new Error('no list yet');
  return list;
};

const rises = (numbers: readonly number[]): boolean =>
  numbers.every((number, at) => at === 0 || number > numbers[at - 1]);

t.test('the list goes out when the link is up, and every two seconds', async (t) => {
  const { world, one, two } = town();
  revoke(world, 'TERM1');
  world.advance(10_000);
  t.equal(lists(world).length, 0, 'nobody is there to read it');
  world.input({ kind: 'linkUp' });
  t.match(newest(world), { devices: [one.id], notBefore: 0 });
  t.equal(newest(world).issuedAt, Math.floor((START_WALL + world.nowMs) / 1_000));
  const every = LIMITS.revocationEverySeconds * 1_000;
  world.advance(5 * every);
  t.equal(lists(world).length, 6);
  world.advance(every / 2);
  revoke(world, 'TERM2');
  t.equal(lists(world).length, 7, 'at once');
  t.strictSame(newest(world).devices, [one.id, two.id]);
  world.advance(every / 2);
  t.equal(lists(world).length, 7, 'two seconds after the last one');
  world.input({ kind: 'linkDown' });
  world.advance(10 * every);
  t.equal(lists(world).length, 7);
  t.ok(rises(lists(world).map(({ sequence }) => sequence)));
});

t.test('its sequence rises over restarts, whatever the clock does', async (t) => {
  const { world } = town();
  const some = (): void => {
    world.input({ kind: 'linkUp' });
    world.advance(20_000);
  };
  some();
  world.restart(1);
  some();
  for (const shift of [-86_400_000, -365 * 86_400_000, 30 * 365 * 86_400_000, 0]) {
    world.wallShiftMs = shift;
    some();
    world.restart(1);
    some();
  }
  world.advance(3_600_000);
  world.wallShiftMs = -86_400_000;
  world.restart(1);
  some();
  const sequences = lists(world).map(({ sequence }) => sequence);
  t.ok(sequences.length > 1_800);
  t.ok(rises(sequences));
});

t.test('a full disk holds up no list', async (t) => {
  const { world } = town();
  world.disk = 'full';
  world.input({ kind: 'linkUp' });
  world.advance(60_000);
  t.equal(lists(world).length, 31);
  world.disk = 'works';
  world.advance(2_000);
  t.ok(world.table('meta').has('revocation-list'));
});

t.test(
  'a clock that ran ahead while the disk was full does not outrun the next start',
  async (t) => {
    const { world } = town();
    world.input({ kind: 'linkUp' });
    world.advance(4_000);
    world.disk = 'full';
    world.wallShiftMs = 10 * 365 * 86_400_000;
    world.advance(10_000);
    const { sequence } = newest(world);
    world.disk = 'works';
    world.wallShiftMs = 0;
    world.restart(1_000);
    world.input({ kind: 'linkUp' });
    t.ok(newest(world).sequence > sequence, 'a broker that has the old ones takes the new one');
  },
);

t.test('who was revoked is listed until its last membership has run out everywhere', async (t) => {
  const { world, one } = town();
  revoke(world, 'TERM1');
  world.advance((LISTED_SECONDS - 1) * 1_000);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id]);
  world.advance(2_000);
  t.strictSame(newest(world).devices, []);
  world.restart(0);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id], 'nobody knows whether the clock is ahead');
  world.input({ kind: 'linkDown' });
  world.advance(LISTED_SECONDS * 1_000);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, []);
  t.ok(world.table('revoked').has(one.id), 'but it never enrols again');
  t.equal(world.reply(world.enrol(one, world.ticket()), 'failed').code, 'revoked');
});

t.test('nor is one forgotten that was made before a restart with a clock set back', async (t) => {
  const { world, one } = town();
  world.input({ kind: 'linkUp' });
  world.advance(4_000);
  world.wallShiftMs = -365 * 86_400_000;
  world.restart(1_000);
  revoke(world, 'TERM1');
  world.wallShiftMs = 0;
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id], 'it still holds a membership of today');
});

t.test('a clock that runs ahead takes nobody off the list', async (t) => {
  const { world, one } = town();
  revoke(world, 'TERM1');
  world.wallShiftMs = 10 * LIMITS.membershipSeconds * 1_000;
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id], 'a broker with the right time would let it in');
  world.input({ kind: 'linkDown' });
  world.advance((LISTED_SECONDS - 1) * 1_000);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id]);
  world.advance(2_000);
  t.strictSame(newest(world).devices, [], 'its membership has run out by any clock');
});

t.test('nor does a start under a clock that runs ahead', async (t) => {
  const { world, one } = town();
  revoke(world, 'TERM1');
  world.wallShiftMs = 10 * LIMITS.membershipSeconds * 1_000;
  world.restart(1_000);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id]);
});

t.test('a membership made before the clock was set back is waited for as well', async (t) => {
  const { world, one } = town();
  const day = LIMITS.membershipSeconds * 1_000;
  world.wallShiftMs = -day;
  revoke(world, 'TERM1');
  world.input({ kind: 'linkUp' });
  world.input({ kind: 'linkDown' });
  world.advance(2 * day);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [one.id]);
  world.advance((LISTED_SECONDS - LIMITS.membershipSeconds) * 1_000 + 2_000);
  t.strictSame(newest(world).devices, []);
});

t.test('a server that is started again and again lists nobody for longer', async (t) => {
  const { world } = town();
  for (let start = 0; start < 200; start++) {
    world.input({ kind: 'linkUp' });
    world.advance(1_000);
    world.restart(1_000);
  }
  revoke(world, 'TERM1');
  world.advance((LISTED_SECONDS + 3_600) * 1_000);
  world.input({ kind: 'linkUp' });
  t.strictSame(newest(world).devices, [], 'its last membership ran out an hour ago');
  const sequences = lists(world).map(({ sequence }) => sequence);
  t.ok(rises(sequences) && sequences.length > 200);
});

t.test('more than one list holds: all memberships until then are void', async (t) => {
  const world = new World();
  const secret = world.ticket(LIMITS.revokedMax + 2);
  const devices = Array.from({ length: LIMITS.revokedMax + 2 }, (_, at) => {
    const stranger = world.stranger(`T${at}`);
    world.reply(world.enrol(stranger, secret), 'enrolled');
    return stranger;
  });
  world.input({ kind: 'linkUp' });
  for (const { name } of devices.slice(0, LIMITS.revokedMax)) revoke(world, name);
  t.equal(newest(world).devices.length, LIMITS.revokedMax);
  t.equal(newest(world).notBefore, 0);
  world.advance(60_000);
  const [last, kept] = devices.slice(LIMITS.revokedMax);
  revoke(world, last.name);
  const { notBefore, devices: listed } = newest(world);
  t.strictSame(listed, [last.id]);
  t.equal(notBefore, START_WALL / 1_000 + 1, 'later than every membership of those before');
  world.restart(1_000);
  world.input({ kind: 'linkUp' });
  t.match(newest(world), { notBefore, devices: [last.id] }, 'and it stays so');
  const nonce = new Uint8Array(MEMBERSHIP_NONCE_BYTES);
  const request = makeMembershipRequest(kept.key, { url: ENROL_URL, keys: kept.keys, nonce });
  t.ok(world.reply(world.enrolBody(request), 'membership'), 'who is welcome renews');
});

t.test('rows that cannot be read are counted, and shut out all the same', async (t) => {
  const { world, one, two } = town();
  revoke(world, 'TERM1');
  revoke(world, 'TERM2');
  world.table('revoked').set(one.id, Uint8Array.of(1, 2, 3));
  world.table('meta').set('revocation-list', Uint8Array.of(9));
  world.restart(1_000);
  t.equal(world.manager.counts.malformed, 2);
  world.input({ kind: 'linkUp' });
  t.strictSame(new Set(newest(world).devices), new Set([one.id, two.id]));
  t.equal(world.reply(world.enrol(one, world.ticket()), 'failed').code, 'revoked');
});
