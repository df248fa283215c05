// Who is let in and for how long, in virtual time with real keys: tokens taken once, memberships
// that run out and are renewed, revocation lists that are newer, older, false and too old.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { Message } from '../../protocol/control/messages.ts';
import { REVOKED_TOPIC, topic } from '../../protocol/control/topics.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { ms } from '../../protocol/time.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Proven } from '../login.ts';
import type { LoginFault } from '../memberships.ts';
import { UsedNonces } from '../used-nonces.ts';
import { type TestManager, type TestTerminal, makeManager, makeTerminal } from './parties.ts';
import { VirtualBroker, WALL_START, recordOf } from './virtual-broker.ts';

const manager = makeManager(1);
const other = makeManager(2);
const TERM1 = makeTerminal(manager, 11);
const TERM3 = makeTerminal(manager, 13);
const DAY = LIMITS.membershipSeconds;
const MINUTE = 60;
const FAR = 400 * DAY;

/** A broker of two managers, in which terminals log in, stay and leave. */
class Door extends VirtualBroker {
  constructor() {
    super({ managerKeys: [manager.key.publicKey, other.key.publicKey] });
  }

  get seconds(): number {
    return Math.floor(this.wall / 1000);
  }

  /** The revocation list, as its manager publishes it. */
  told(by: TestManager = manager, list: Parameters<TestManager['revoked']>[1] = {}): void {
    this.tell(by.id, REVOKED_TOPIC, by.revoked(this.seconds, list));
  }

  login(terminal: TestTerminal, password = terminal.password(this.seconds)): Proven | LoginFault {
    const { now, wall } = this;
    return this.core.login(now, wall, {
      clientId: terminal.device,
      username: 'terminal',
      password,
    });
  }

  /** Logs in and takes the seat; the fault if there is one. */
  enter(terminal: TestTerminal, password?: Uint8Array): LoginFault | 'in' {
    const proven = this.login(terminal, password);
    if (typeof proven === 'string' || proven.held === undefined) return proven as LoginFault;
    this.core.handle(this.now, { kind: 'connected', held: proven.held, wall: this.wall });
    this.drain();
    return 'in';
  }

  show(terminal: TestTerminal, membership: Uint8Array): void {
    const address = { kind: 'address', record: recordOf(1), candidates: [], membership } as const;
    this.tell(terminal.device, topic('address', terminal.device), address);
  }

  passSeconds(seconds: number): void {
    this.pass(seconds * 1000);
  }
}

t.test('a token lets in once, for as long as it could be fresh', async (t) => {
  const door = new Door();
  door.told();
  const token = TERM1.password(door.seconds);
  t.equal(door.enter(TERM1, token), 'in');
  t.equal(door.enter(TERM1, token), 'replayed');
  door.passSeconds(LIMITS.tokenSeconds + LIMITS.clockSkewSeconds);
  door.told();
  t.equal(door.enter(TERM1, token), 'replayed', 'to its last second');
  door.passSeconds(1);
  t.equal(door.enter(TERM1, token), 'expired');
  t.equal(door.enter(TERM1), 'in', 'a new one lets in');
});

t.test('a token that was used before a restart lets nobody in after it', async (t) => {
  const before = new Door();
  before.told();
  before.passSeconds(5);
  const [token, made] = [TERM1.password(before.seconds), manager.password(before.seconds)];
  t.equal(before.enter(TERM1, token), 'in');
  const door = new Door();
  door.now = before.now;
  door.passSeconds(2);
  door.core.handleTimeout(door.now);
  door.told();
  t.equal(door.enter(TERM1, token), 'expired');
  const login = { clientId: manager.id, username: 'manager', password: made };
  t.equal(door.core.login(door.now, door.wall, login), 'expired', 'nor the manager’s');
  door.passSeconds(0.5);
  t.equal(door.enter(TERM1), 'in', 'positive control: a new one does');
});

t.test('a manager’s token lets in once, too, and needs no list', async (t) => {
  const door = new Door();
  const password = manager.password(door.seconds);
  const login = { clientId: manager.id, username: 'manager', password };
  t.match(door.core.login(door.now, door.wall, login), { party: { of: 'manager' } });
  t.equal(door.core.login(door.now, door.wall, login), 'replayed');
});

t.test('nonces are bounded, and nobody pushes out another’s', async (t) => {
  const nonces = new UsedNonces();
  const nonceOf = (number: number): Uint8Array => {
    const nonce = new Uint8Array(16);
    new DataView(nonce.buffer).setUint32(0, number);
    return nonce;
  };
  const now = new Door().now;
  t.ok(nonces.take(now, 'quiet', nonceOf(0)));
  for (let at = 0; at < 10_000; at++) nonces.take(now, 'busy', nonceOf(at));
  t.equal(nonces.size, BROKER_LIMITS.noncesPerPartyMax + 1);
  t.notOk(nonces.take(now, 'quiet', nonceOf(0)));
  t.ok(nonces.take(now, 'busy', nonceOf(0)), 'its own oldest it has pushed out');
  for (let at = 0; at < BROKER_LIMITS.noncesMax + 10; at++)
    nonces.take(now, `party ${at}`, nonceOf(at));
  t.equal(nonces.size, BROKER_LIMITS.noncesMax);
  const later = (now + ms(2_000_000)) as typeof now;
  t.ok(nonces.take(later, 'quiet', nonceOf(0)));
  t.equal(nonces.size, 1, 'all forgotten in time');
});

t.test('without a fresh revocation list no terminal is let in; who is in stays', async (t) => {
  const door = new Door();
  t.equal(door.enter(TERM1), 'no-list');
  door.told(other);
  t.equal(door.enter(TERM1), 'no-list', 'another manager’s list says nothing of this terminal');
  door.told();
  t.equal(door.enter(TERM1), 'in');
  door.passSeconds(LIMITS.revocationAgeSecondsMax);
  t.equal(door.enter(TERM3), 'in', 'sixty seconds old');
  door.pass(1);
  const late = makeTerminal(manager, 14);
  t.equal(door.enter(late), 'no-list');
  t.strictSame(door.ended, []);
  t.equal(door.core.counters().connected, 2);
  door.told();
  t.equal(door.enter(late), 'in');
});

t.test('a revoked terminal is ended at once and refused from then on', async (t) => {
  const door = new Door();
  door.told();
  t.equal(door.enter(TERM1), 'in');
  t.equal(door.enter(TERM3), 'in');
  door.told(manager, { devices: [TERM1.device] });
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'revoked' }]);
  door.give({ kind: 'disconnected', device: TERM1.device });
  t.equal(door.enter(TERM1), 'revoked');
  t.equal(door.enter(TERM1, TERM1.password(door.seconds)), 'revoked', 'with whatever token');
  t.match(door.core.counters(), { connected: 1, endedRevoked: 1 });
});

t.test('who is revoked between login and seat does not keep the seat', async (t) => {
  const door = new Door();
  door.told();
  const proven = door.login(TERM1) as Proven;
  door.told(manager, { devices: [TERM1.device] });
  t.strictSame(door.ended, []);
  const held = proven.held ?? t.fail('a terminal holds a membership');
  if (typeof held !== 'object') return;
  door.core.handle(door.now, { kind: 'connected', held, wall: door.wall });
  door.drain();
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'revoked' }]);
});

t.test('notBefore voids all older memberships of that manager, and no others', async (t) => {
  const door = new Door();
  const foreign = makeTerminal(other, 15);
  for (const by of [manager, other]) door.told(by);
  const old = TERM1.membership(door.seconds - MINUTE);
  t.equal(door.enter(TERM1, TERM1.password(door.seconds, { membership: old })), 'in');
  t.equal(door.enter(TERM3), 'in');
  t.equal(door.enter(foreign), 'in');
  door.told(manager, { notBefore: door.seconds });
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'revoked' }]);
  door.give({ kind: 'disconnected', device: TERM1.device });
  t.equal(door.enter(TERM1, TERM1.password(door.seconds, { membership: old })), 'revoked');
  t.equal(door.enter(TERM1), 'in', 'with a new membership it is back');
});

t.test('a list that is not newer, or not its manager’s, changes nothing', async (t) => {
  const door = new Door();
  const first = manager.revoked(door.seconds);
  const second = manager.revoked(door.seconds, { devices: [TERM1.device] });
  door.tell(manager.id, REVOKED_TOPIC, second);
  t.equal(door.enter(TERM1), 'revoked');
  const tampered = { ...manager.revoked(door.seconds), signature: first.signature };
  const cases: readonly (readonly [string, Message])[] = [
    [manager.id, first],
    [manager.id, second],
    [manager.id, tampered],
    [manager.id, other.revoked(door.seconds)],
    [other.id, manager.revoked(door.seconds)],
    [makeManager(9).id, makeManager(9).revoked(door.seconds)],
  ];
  for (const [from, list] of cases) door.tell(from, REVOKED_TOPIC, list);
  t.match(door.core.counters(), { listsRefused: cases.length });
  t.equal(door.enter(TERM1), 'revoked');
  door.passSeconds(LIMITS.revocationAgeSecondsMax);
  for (const [from, list] of cases) door.tell(from, REVOKED_TOPIC, list);
  door.pass(1);
  t.equal(door.enter(TERM3), 'no-list', 'nor does repeating one keep it fresh');
  door.tell(TERM3.device, REVOKED_TOPIC, manager.revoked(door.seconds));
  t.equal(door.core.counters().outOfPlace, 1, 'a terminal brings none');
});

t.test('a connection ends when its membership runs out, to the second', async (t) => {
  const door = new Door();
  door.told();
  const membership = TERM1.membership(door.seconds, door.seconds + MINUTE);
  t.equal(door.enter(TERM1, TERM1.password(door.seconds, { membership })), 'in');
  door.passSeconds(MINUTE + LIMITS.clockSkewSeconds);
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'membership-expired' }]);
  t.match(door.core.counters(), { endedExpired: 1 });
  door.give({ kind: 'disconnected', device: TERM1.device });
  door.told();
  const again = TERM1.password(door.seconds, { membership });
  t.equal(door.enter(TERM1, again), 'membership-expired', 'and it is refused from that moment');
  const early = new Door();
  early.told();
  t.equal(early.enter(TERM1, TERM1.password(early.seconds, { membership })), 'in');
  early.pass((MINUTE + LIMITS.clockSkewSeconds) * 1000 - 1);
  t.strictSame(early.ended, [], 'not a millisecond early');
});

t.test('a newer membership in an address message prolongs the connection', async (t) => {
  const door = new Door();
  door.told();
  t.equal(door.enter(TERM1), 'in');
  for (let day = 0; day < 5; day++) {
    door.passSeconds(DAY - MINUTE);
    const renewed = TERM1.membership(door.seconds);
    door.show(TERM1, renewed);
    door.show(TERM1, renewed);
  }
  t.strictSame(door.ended, []);
  t.match(door.core.counters(), { renewed: 5, renewalsRefused: 0, connected: 1 });
  door.passSeconds(DAY + LIMITS.clockSkewSeconds);
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'membership-expired' }]);
});

t.test('a membership that is false, another’s, older or void prolongs nothing', async (t) => {
  const door = new Door();
  door.told();
  t.equal(door.enter(TERM1), 'in');
  const far = door.seconds + FAR;
  const forged = Uint8Array.from(TERM1.membership(door.seconds, far));
  forged[forged.length - 1] ^= 1;
  const refused = [
    forged,
    TERM3.membership(door.seconds, far),
    makeTerminal(other, 11).membership(door.seconds, far),
    new Uint8Array(40),
  ];
  for (const each of refused) {
    door.show(TERM1, each);
    door.show(TERM1, TERM1.membership(door.seconds, far));
    t.equal(door.core.counters().renewed, 0, 'after a false one there is a pause');
    door.pass(BROKER_LIMITS.renewalPauseMs);
  }
  door.show(TERM1, TERM1.membership(door.seconds - MINUTE, door.seconds + MINUTE));
  t.match(door.core.counters(), { renewalsRefused: refused.length, renewed: 0 });
  t.equal(door.core.counters().registered, 1, 'its address is recorded all the same');
  door.told(manager, { notBefore: door.seconds - 2 * MINUTE });
  door.show(TERM1, TERM1.membership(door.seconds - 3 * MINUTE, far));
  t.match(door.core.counters(), { renewalsRefused: refused.length + 1, renewed: 0 });
  door.passSeconds(DAY + LIMITS.clockSkewSeconds);
  t.strictSame(door.ended, [{ device: TERM1.device, why: 'membership-expired' }]);
});

t.test('a takeover goes by the new connection’s membership', async (t) => {
  const door = new Door();
  door.told();
  const short = TERM1.membership(door.seconds, door.seconds + MINUTE);
  t.equal(door.enter(TERM1, TERM1.password(door.seconds, { membership: short })), 'in');
  t.equal(door.enter(TERM1), 'in');
  door.give({ kind: 'disconnected', device: TERM1.device });
  door.passSeconds(DAY);
  t.strictSame(door.ended, []);
  door.give({ kind: 'disconnected', device: TERM1.device });
  door.passSeconds(DAY);
  t.strictSame(door.ended, [], 'who left is not ended any more');
});

t.test('five thousand terminals that run out or are voided are all ended, each once', async (t) => {
  for (const why of ['membership-expired', 'revoked'] as const) {
    const door = new Door();
    const crowd = Array.from({ length: 5000 }, (_, at) => `${at}`.padStart(32, 'a') as never);
    for (const device of crowd)
      door.core.handle(door.now, {
        kind: 'connected',
        held: { device, manager: 0, issuedAt: 0, expiresAt: door.seconds },
        wall: door.wall,
      });
    if (why === 'revoked') door.told(manager, { notBefore: 1 });
    else door.passSeconds(LIMITS.clockSkewSeconds);
    t.equal(new Set(door.ended.map(({ device }) => device)).size, crowd.length);
    t.ok(door.ended.every((each) => each.why === why));
    t.equal(door.ended.length, crowd.length);
    t.equal(door.core.counters().outputsDropped, 0);
  }
});

t.test('who is ended is told nothing more before that', async (t) => {
  const door = new Door();
  door.told();
  t.equal(door.enter(TERM1), 'in');
  const bytes = encodeMessage(manager.revoked(door.seconds, { devices: [TERM1.device] }));
  const { wall } = door;
  door.core.handle(door.now, { kind: 'polled', device: TERM1.device });
  const place = { of: 'revoked' } as const;
  door.core.handle(door.now, { kind: 'message', from: manager.id, topic: place, bytes, wall });
  t.equal(door.core.nextTimeout(), door.now);
  t.match(door.core.poll(), { kind: 'disconnect', device: TERM1.device });
  t.match(door.core.poll(), { kind: 'publish' });
  t.equal(WALL_START, wall);
});
