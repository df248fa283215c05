// One identity that lives twice: restarts, clones,
// and what a broker can make of them.

import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { judgeBoot } from '../clones.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import { START_WALL, World } from './virtual-manager.ts';

/** Two machines with one identity: `run(process)` lets one of them talk. */
function twins() {
  const world = new World();
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const a = world.line(one);
  world.reboot(one);
  const b = world.line(one);
  world.lines.set(one.id, a);
  const run = (line: typeof a): void => {
    world.lines.set(one.id, line);
    world.advance(2_000);
    world.up(one, world.registerMessage(one));
  };
  const cloned = (): number =>
    world.of('refusal').filter(({ message }) => message.code === 'cloned').length;
  return { world, one, three, a, b, run, cloned };
}

t.test('A, A and A, B, B are restarts: nobody is alarmed', async (t) => {
  const { world, one, three, a, b, run } = twins();
  run(a);
  run(a);
  run(b);
  run(b);
  run(b);
  for (let start = 0; start < 20; start++) {
    world.reboot(one);
    run(world.line(one));
  }
  t.strictSame(world.alarms, []);
  t.strictSame(world.logged('cloned'), []);
  t.match(world.manager.devices()[0], { name: 'TERM1', cloned: undefined });
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1, 'the last one is in charge');
});

t.test('A, B, A is one identity twice: alarm, and the later one is kept out', async (t) => {
  const { world, one, three, a, b, run, cloned } = twins();
  run(a);
  run(b);
  t.equal(world.alarms.length, 0);
  run(a);
  t.match(world.alarms, [{ alarm: 'cloned', device: one.id, name: 'TERM1' }]);
  t.match(world.logged('cloned'), [{ device: one.id, name: 'TERM1' }]);
  const [device] = world.manager.devices();
  t.equal(device.cloned, START_WALL + world.nowMs);
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1, 'A is in charge');
  run(b);
  t.ok(cloned() >= 1, 'B is told why');
  const refused = world.sent.findLast(
    ({ message }) => message.kind === 'refusal' && message.code === 'cloned',
  );
  t.equal(decodeMessage(refused?.wire ?? new Uint8Array())?.kind, 'sealed', 'and by whom');
  const triggers = world.of('trigger').length;
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, triggers, 'B is not obeyed');
  run(a);
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, triggers + 1, 'A still is');
  t.equal(world.logged('cloned').length, 1, 'one entry an hour');
});

t.test('a thief that starts anew in haste is found all the same', async (t) => {
  const { world, one, a, run } = twins();
  run(a);
  // As many hellos as the manager answers while the terminal that lost its link comes back.
  for (let start = 0; start < 2 * MANAGER_LIMITS.hellosPerSecondMax; start++) {
    world.reboot(one);
    run(world.line(one));
  }
  t.strictSame(world.alarms, [], 'a terminal that cannot start, as far as anybody knows');
  run(a);
  t.match(world.alarms, [{ alarm: 'cloned', device: one.id }]);
});

t.test(
  'what the later one of two says is dropped, also while it is in charge of nothing',
  async (t) => {
    const { world, one, three, a, b, run } = twins();
    const { session } = world.introduce(one, three);
    run(b);
    run(a);
    const { channel } = b;
    const before = world.manager.counts.unopened;
    const end = { sentBytes: 9, receivedBytes: 0, lostBytes: 0, wireBytes: 0, durationMs: 0 };
    const request = randomRequestId(world.rng);
    const notice = { kind: 'endNotice', request, session, reason: 'done', ...end } as const;
    world.answersReseal = false;
    world.raw(one, channel?.seal(encodeMessage(notice)) ?? new Uint8Array());
    t.equal(world.manager.counts.unopened, before + 1, 'its channel is closed');
    t.match(world.manager.sessions('open'), [{ session, reason: undefined }]);
  },
);

t.test('a register that a broker kept back raises no alarm', async (t) => {
  const { world, one, a, b, run, cloned } = twins();
  run(a);
  const kept = a.channel?.seal(encodeMessage(world.registerMessage(one))) ?? new Uint8Array();
  run(b);
  world.raw(one, kept);
  t.strictSame(world.alarms, [], 'only a process that lives can shake hands anew');
  run(b);
  t.equal(cloned(), 0);
});

t.test('alarms are folded by the hour, and survive a restart in the list of devices', async (t) => {
  const { world, one, three, a, b, run } = twins();
  const clash = (): void => {
    run(a);
    world.reboot(one);
    run(world.line(one));
    run(a);
  };
  for (let at = 0; at < 5; at++) clash();
  t.equal(world.logged('cloned').length, 1);
  t.equal(world.alarms.length, 1);
  world.advance(MANAGER_LIMITS.foldMs);
  clash();
  t.equal(world.logged('cloned').length, 2);
  const [{ cloned }] = world.manager.devices();
  world.restart(1_000);
  const restored = world.manager.devices();
  t.equal(restored.find(({ id }) => id === one.id)?.cloned, cloned);
  t.equal(restored.find(({ id }) => id === three.id)?.cloned, undefined);
  t.ok(b);
});

t.test('an alarm does not wait for a full disk', async (t) => {
  const { world, a, b, run } = twins();
  run(b);
  world.disk = 'full';
  run(a);
  t.equal(world.alarms.length, 1);
  world.disk = 'works';
  world.advance(MANAGER_LIMITS.diskRetryMs);
  t.equal(world.logged('cloned').length, 1);
});

t.test('boots are judged by what came before, and bounded', async (t) => {
  const world = new World();
  const boots = Array.from({ length: 8 }, () => randomRequestId(world.rng));
  /** Letters are processes; the words what is made of each of their registrations. */
  const judged = (letters: string): string[] => {
    let known: Parameters<typeof judgeBoot>[0] = [];
    return letters.split('').map((letter) => {
      const { verdict, boots: next } = judgeBoot(known, boots[letter.charCodeAt(0) - 65]);
      t.ok(next.length <= LIMITS.bootsPerDeviceMax);
      t.equal(next.filter(({ state }) => state === 'current').length, 1);
      known = next;
      return verdict;
    });
  };
  t.strictSame(judged('AA'), ['restart', 'same']);
  t.strictSame(judged('ABB'), ['restart', 'restart', 'same']);
  t.strictSame(judged('ABABA'), ['restart', 'restart', 'returned', 'banned', 'same']);
  t.strictSame(judged('ABCBCA').slice(3), ['returned', 'banned', 'returned']);
  t.strictSame(judged('ABCABC').slice(3), ['returned', 'banned', 'banned']);
  t.strictSame(judged('ABAC').at(-1), 'restart', 'one that was never seen may be a restart of A');
  t.strictSame(judged('ABACA').at(-1), 'returned', 'or is another clone');
  t.strictSame(
    judged('ABCDEFGH').every((verdict) => verdict === 'restart'),
    true,
  );
});
