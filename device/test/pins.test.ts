// Pinning: who is behind a name is remembered from the first talk on; somebody else in that name's
// place is refused loudly, called and calling, until the owner says `trust`.

import t from 'tap';
import { base32 } from '../../protocol/base32.ts';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { Outbox } from '../outbox.ts';
import { Pins } from '../pins.ts';
import { eventsOf, introduced, sentOf, talkEvents, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

const ALLOW_TERM1 = { action: 'allow', pattern: 'TERM1' } as const;
const idOf = (number: number): DeviceId => {
  const bytes = new Uint8Array(20);
  new DataView(bytes.buffer).setUint32(0, number);
  return base32(bytes) as DeviceId;
};
const nameOf = (number: number): Name => `N${number}` as Name;

/** A talk that is over, and a second terminal that has taken the callee's or the caller's name. */
function replaced(
  which: 'caller' | 'callee',
  entry: Partial<AllowEntry> = {},
): { world: World; caller: Node; callee: Node; impostor: Node } {
  const { world, caller, callee, session } = introduced();
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
  world.run(20);
  const old = which === 'caller' ? caller : callee;
  world.nodes.splice(world.nodes.indexOf(old), 1);
  const list = [{ ...ALLOW_TERM1, ...entry }];
  const impostor = world.add(old.name, which === 'callee' ? { list } : {});
  return { world, caller, callee, impostor };
}

t.test('the peer of a talk is pinned once its key is proven, at both ends', async (t) => {
  const { caller, callee } = introduced();
  t.strictSame([...caller.pins], [['TERM3', callee.id]]);
  t.strictSame([...callee.pins], [['TERM1', caller.id]]);
});

t.test('an introduction alone pins nobody', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  world.add('TERM3', { list: [ALLOW_TERM1] });
  world.alter = (to, notice) => (to === caller ? notice : undefined);
  world.call(caller, 'TERM3');
  t.equal(eventsOf(caller, 'introduced').length, 1);
  world.run(120);
  t.equal(talkEvents(caller, 'established').length, 0);
  t.equal(caller.pins.size, 0);
});

t.test('S1004: somebody else in the place of a pinned callee is refused loudly', async (t) => {
  const { world, caller, callee, impostor } = replaced('callee');
  world.call(caller, 'TERM3', { call: 2 });
  t.match(eventsOf(caller, 'callFailed'), [{ call: 2, why: 'peer-changed' }]);
  const changed = { name: 'TERM3', pinned: callee.id, seen: impostor.id };
  t.strictSame(eventsOf(caller, 'peerChanged'), [
    { kind: 'peerChanged', ...changed, role: 'caller' },
  ]);
  t.strictSame(caller.terminal.status(world.now).changedPeers, [changed]);
  t.match(sentOf(caller, 'endNotice').at(-1), { reason: 'protocol-error', wireBytes: 0 });
  world.run(30);
  t.equal(eventsOf(caller, 'introduced').length, 1, 'only the first talk');
  t.equal(caller.sockets.size, 0);
});

t.test('S4002: somebody else who calls in a pinned name is refused loudly', async (t) => {
  const { world, caller, callee, impostor } = replaced('caller');
  world.call(impostor, 'TERM3');
  t.match(eventsOf(impostor, 'callFailed'), [{ why: 'refused' }]);
  t.match(eventsOf(callee, 'peerChanged'), [
    { name: 'TERM1', pinned: caller.id, seen: impostor.id, role: 'callee' },
  ]);
  t.match(sentOf(callee, 'allowList').at(-1), { entries: [], record: undefined });
  t.equal(callee.sockets.size, 0);
});

t.test('trust takes the peer that was last refused, and the next call is let in', async (t) => {
  const { world, caller, impostor } = replaced('callee');
  t.equal(caller.terminal.trust('TERM3' as Name), undefined, 'nobody was refused yet');
  world.call(caller, 'TERM3', { call: 2 });
  t.equal(caller.terminal.trust('TERM3' as Name), impostor.id);
  t.strictSame(caller.terminal.status(world.now).changedPeers, []);
  world.call(caller, 'TERM3', { call: 3 });
  t.ok(world.run(2, () => talkEvents(caller, 'established').length === 2));
  t.equal(caller.pins.get('TERM3' as Name), impostor.id);
});

t.test('trust with an ID pins a peer before the first talk', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', { list: [ALLOW_TERM1] });
  t.equal(caller.terminal.trust(callee.name, caller.id), caller.id);
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'peer-changed' }]);
  t.equal(caller.terminal.trust(callee.name, callee.id), callee.id);
  world.call(caller, 'TERM3', { call: 2 });
  t.ok(world.run(2, () => talkEvents(caller, 'established').length === 1));
});

t.test('pins survive a restart', async (t) => {
  const { world, caller } = replaced('callee');
  world.restart(caller);
  world.link(caller, true);
  world.call(caller, 'TERM3', { call: 2 });
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'peer-changed' }]);
});

t.test('S4003: a name with a stated ID is nobody else, whatever a wider entry says', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const other = world.add('OTHER');
  const list = [
    { action: 'allow', pattern: 'TERM1', id: other.id },
    { action: 'allow', pattern: '*' },
  ] as const;
  const callee = world.add('TERM3', { list });
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
  t.match(eventsOf(callee, 'peerChanged'), [{ pinned: other.id, seen: caller.id }]);
  world.call(other, 'TERM3');
  t.ok(
    world.run(2, () => talkEvents(other, 'established').length === 1),
    'others may',
  );
});

t.test('S4003: the list decides who a caller is, over an older pin', async (t) => {
  const { world, caller, callee, impostor } = replaced('caller');
  callee.list = {
    version: 'v2',
    mode: 'verdict',
    entries: [{ ...ALLOW_TERM1, id: impostor.id }],
  };
  world.call(impostor, 'TERM3');
  t.ok(world.run(2, () => talkEvents(impostor, 'established').length === 1));
  t.equal(eventsOf(callee, 'peerChanged').length, 0);
  world.run(1);
  t.equal(talkEvents(callee, 'established').length, 2);
  t.equal(callee.pins.get(caller.name), caller.id, 'which only trust moves');
});

t.test('S4004: an ID stated between question and notice is obeyed', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', { list: [ALLOW_TERM1] });
  world.alter = (to, notice) => {
    if (callee.list !== undefined && to === callee) {
      callee.list = { ...callee.list, entries: [{ ...ALLOW_TERM1, id: callee.id }] };
    }
    return notice;
  };
  world.call(caller, 'TERM3');
  t.equal(eventsOf(callee, 'introduced').length, 0);
  t.match(eventsOf(callee, 'peerChanged'), [{ pinned: callee.id, seen: caller.id }]);
});

/** TERM1 believed a notice about TERM3, whose own notice is still on its way. */
function halfway(): { world: World; caller: Node; callee: Node; goOn: () => void } {
  const { world, caller, callee } = two();
  let held: MessageOf<'addressNotice'> | undefined;
  world.alter = (to, notice) => {
    if (to === callee) held = notice;
    return to === callee ? undefined : notice;
  };
  world.call(caller, 'TERM3');
  const goOn = (): void => {
    if (held !== undefined) world.tell(callee, 'down', held);
    world.run(2);
  };
  return { world, caller, callee, goOn };
}

t.test('S1005: of two talks that begin side by side under one name, one is refused', async (t) => {
  const { world, caller, callee, goOn } = halfway();
  const other = world.add('TERM3', { list: [ALLOW_TERM1] });
  world.nodes.reverse();
  world.call(caller, 'TERM3', { call: 2 });
  t.ok(world.run(2, () => talkEvents(caller, 'established').length === 1));
  t.equal(caller.pins.get('TERM3' as Name), other.id);
  goOn();
  t.equal(talkEvents(caller, 'established').length, 1, 'the other is nobody to talk to');
  t.match(eventsOf(caller, 'peerChanged'), [
    { name: 'TERM3', pinned: other.id, seen: callee.id, role: 'caller' },
  ]);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'protocol-error' }]);
});

t.test('S1005: what the owner trusts while a talk begins counts for that talk', async (t) => {
  const { caller, callee, goOn } = halfway();
  t.ok(caller.terminal.trust(callee.name, caller.id));
  goOn();
  t.equal(talkEvents(caller, 'established').length, 0);
  t.match(eventsOf(caller, 'peerChanged'), [{ pinned: caller.id, seen: callee.id }]);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'protocol-error' }]);
});

t.test('at the bound nobody new is pinned, and no flood of names pushes out a pin', async (t) => {
  const outbox = new Outbox();
  const pins = new Pins(outbox);
  const full = Array.from({ length: LIMITS.pinsMax + 5 }, (_, at) => ({
    name: nameOf(at),
    id: idOf(at),
  }));
  pins.restore(full);
  t.equal(pins.idOf(nameOf(LIMITS.pinsMax)), undefined);
  const proven = (name: Name, id: DeviceId): boolean =>
    pins.onProven({ peer: { name, id }, role: 'caller', pinned: undefined });
  t.ok(proven('NEW' as Name, idOf(1)));
  t.equal(pins.idOf('NEW' as Name), undefined);
  t.equal(outbox.shift(), undefined);
  t.notOk(proven(nameOf(7), idOf(8)));
  t.equal(pins.idOf(nameOf(7)), idOf(7), 'a talk moves no pin');
  t.match(outbox.shift(), { event: { kind: 'peerChanged', name: nameOf(7), seen: idOf(8) } });
  t.equal(pins.trust('NEW' as Name, idOf(1)), idOf(1), "the owner's word makes room");
  t.strictSame(outbox.shift(), { kind: 'pin', name: nameOf(0), id: undefined });
  t.strictSame(outbox.shift(), { kind: 'pin', name: 'NEW', id: idOf(1) });
  t.equal(pins.idOf(nameOf(0)), undefined);
});

t.test('of those refused the newest are shown, each once, newest last', async (t) => {
  const pins = new Pins(new Outbox());
  const refuse = (number: number, seen: number): void =>
    pins.onMismatch({ name: nameOf(number), pinned: idOf(0), seen: idOf(seen), role: 'callee' });
  for (let at = 0; at < LIMITS.changedPeersMax + 3; at++) refuse(at, 1);
  refuse(5, 2);
  const names = pins.changed().map(({ name }) => name);
  t.equal(names.length, LIMITS.changedPeersMax);
  t.equal(names[0], nameOf(3));
  t.strictSame(pins.changed().at(-1), { name: nameOf(5), pinned: idOf(0), seen: idOf(2) });
  t.equal(names.filter((name) => name === nameOf(5)).length, 1);
});
