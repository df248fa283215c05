// Tickets and enrolment in virtual time:
// who may have a name [41].

import t from 'tap';
import {
  MEMBERSHIP_NONCE_BYTES,
  makeEnrolRequest,
  makeMembershipRequest,
  openEnrolResponse,
  openMembershipResponse,
} from '../../protocol/identity/enrolment.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { ENROL_URL, World, holds } from './virtual-manager.ts';

t.test(
  'S2000: of two that race for the last use of a ticket exactly one is enrolled',
  async (t) => {
    const world = new World();
    const secret = world.ticket(1);
    world.disk = 'hold';
    const first = world.enrol(world.stranger('TERM1'), secret);
    const second = world.enrol(world.stranger('TERM2'), secret);
    t.equal(world.reply(second, 'failed').code, 'ticket-invalid');
    t.notOk(world.replies.has(first), 'not before it is on disk');
    world.flush();
    t.ok(world.reply(first, 'enrolled'));
    t.equal(world.manager.devices().length, 1);
    t.equal(world.table('tickets').size, 0);
  },
);

t.test(
  'S2000: of two that race for a name exactly one gets it, and the ticket keeps its use',
  async (t) => {
    const world = new World();
    const secret = world.ticket(2);
    world.reply(world.enrol(world.stranger('TERM1'), secret), 'enrolled');
    t.equal(world.reply(world.enrol(world.stranger('TERM1'), secret), 'failed').code, 'name-taken');
    t.ok(world.reply(world.enrol(world.stranger('TERM2'), secret), 'enrolled'));
  },
);

t.test('S2000: the answer is signed, names the broker, and repeats without a use', async (t) => {
  const world = new World();
  const terminal = world.stranger('TERM1');
  const secret = world.ticket(1);
  const first = world.reply(world.enrol(terminal, secret), 'enrolled').bytes;
  const again = world.reply(world.enrol(terminal, secret), 'enrolled').bytes;
  const check = { managerKey: world.key.publicKey, ed25519: terminal.keys.ed25519 };
  for (const bytes of [first, again]) {
    const response = openEnrolResponse(nodeSuite, bytes, check);
    t.match(response, { name: 'TERM1', brokerUrl: 'mqtt://127.0.0.1:1883' });
  }
  t.equal(world.logged('enrolled').length, 1);
});

t.test('S2000: expired, unknown, fixed, foreign and unreadable requests are refused', async (t) => {
  const world = new World();
  const code = (to: number): string => world.reply(to, 'failed').code;
  const fixed = world.ticket(1, 'TERM1');
  t.equal(code(world.enrol(world.stranger('TERM2'), fixed)), 'name-fixed');
  t.equal(code(world.enrol(world.stranger('TERM2'), new Uint8Array(20))), 'ticket-invalid');
  t.equal(code(world.enrolBody(new Uint8Array(50))), 'bad-request');
  const { key, keys } = world.stranger('TERM3');
  const url = 'http://127.0.0.1:1/elsewhere';
  const foreign = makeEnrolRequest(key, { url, secret: fixed, keys, name: undefined });
  t.equal(code(world.enrolBody(foreign)), 'wrong-server');
  const nameless = makeEnrolRequest(key, {
    url: ENROL_URL,
    secret: world.ticket(),
    keys,
    name: undefined,
  });
  t.equal(code(world.enrolBody(nameless)), 'name-missing');
  world.advance(600_000);
  t.equal(code(world.enrol(world.stranger('TERM1'), fixed)), 'ticket-invalid');
  t.equal(world.manager.devices().length, 0);
});

t.test('S2000: a full disk enrols nobody, and gives the use and the name back', async (t) => {
  const world = new World();
  const secret = world.ticket(1);
  const terminal = world.stranger('TERM1');
  world.disk = 'full';
  t.equal(world.reply(world.enrol(terminal, secret), 'failed').code, 'disk');
  t.equal(world.manager.devices().length, 0);
  world.disk = 'works';
  t.ok(world.reply(world.enrol(terminal, secret), 'enrolled'));
});

t.test('a ticket’s secret is stored as a hash only, and survives a restart', async (t) => {
  const world = new World();
  const secret = world.ticket(2);
  const rows = [...world.tables.values()].flatMap((table) => [...table]);
  t.notOk(rows.some(([key, value]) => holds(value, secret) || holds(Buffer.from(key), secret)));
  world.reply(world.enrol(world.stranger('TERM1'), secret), 'enrolled');
  world.restart(1_000);
  t.ok(world.reply(world.enrol(world.stranger('TERM2'), secret), 'enrolled'));
  const third = world.enrol(world.stranger('TERM3'), secret);
  t.equal(world.reply(third, 'failed').code, 'ticket-invalid');
});

t.test('a ticket without a use, or for no time or for ever, is not made', async (t) => {
  const world = new World();
  for (const [uses, seconds] of [
    [0, 60],
    [1.5, 60],
    [1, 0],
    [1, 1e12],
  ]) {
    const to = world.command({ kind: 'ticket', name: undefined, uses, seconds });
    t.equal(world.reply(to, 'failed').code, 'bad-request');
  }
});

t.test('a membership is renewed for whoever proves its keys', async (t) => {
  const world = new World();
  const terminal = world.terminal('TERM1');
  const nonce = randomBytes(seededRng(5), MEMBERSHIP_NONCE_BYTES);
  const ask = (of: typeof terminal): number =>
    world.enrolBody(makeMembershipRequest(of.key, { url: ENROL_URL, keys: of.keys, nonce }));
  const { bytes } = world.reply(ask(terminal), 'membership');
  const managerKey = world.key.publicKey;
  const renewed = openMembershipResponse(nodeSuite, bytes, { managerKey, nonce });
  t.equal(renewed && openMembership(nodeSuite, managerKey, renewed)?.device, terminal.id);
  const other = { managerKey, nonce: nonce.toReversed() };
  t.equal(openMembershipResponse(nodeSuite, bytes, other), undefined, 'for this request alone');
  t.equal(world.reply(ask(world.stranger('TERM2')), 'failed').code, 'not-enrolled');
});
