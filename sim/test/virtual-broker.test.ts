// The broker in virtual time keeps the rules of the real one: messages in order, one seat for each
// client ID, nothing without the right to it, nothing after the end of a connection.

import t from 'tap';
import { topic } from '../../protocol/control/topics.ts';
import { after, ms, seconds } from '../../protocol/time.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import type { Happening } from '../happenings.ts';
import { CALM, type Options } from '../options.ts';
import { World } from '../world.ts';

/** An open world of three, and everything that happens in it from then on. */
function open(options: Partial<Options> = {}): { world: World; heard: Happening[] } {
  const all = { ...CALM, 'work.calls': 0.001, ...options };
  const world = new World({ seed: 1, terminals: 3, options: all, suite: fastSuite });
  world.open();
  const heard: Happening[] = [];
  world.watchers.push({ onHappening: (happening) => heard.push(happening) });
  return { world, heard };
}
const pass = (world: World, milliseconds: number): boolean =>
  world.run(after(world.now, ms(milliseconds)));
const toManager = (heard: readonly Happening[]): number[] =>
  heard.flatMap((each) =>
    each.kind === 'delivered' && each.party === 'manager' && each.bytes.length === 2
      ? [each.bytes[0] * 256 + each.bytes[1]]
      : [],
  );

t.test('messages arrive in order, each once, whatever the delay of each', async (t) => {
  const { world, heard } = open({ 'mqtt.delay': 20, 'mqtt.jitter': 200 });
  const [terminal] = world.terminals;
  const { connection } = terminal;
  for (let at = 0; at < 300 && connection !== undefined; at++)
    world.broker.publish(connection, topic('up', terminal.id), Uint8Array.of(at >> 8, at & 255));
  pass(world, 2_000);
  t.strictSame(
    toManager(heard),
    Array.from({ length: 300 }, (_, at) => at),
  );
});

t.test('a faulty broker drops, repeats and holds back, and is counted', async (t) => {
  const { world, heard } = open({ 'mqtt.drop': 0.2, 'mqtt.duplicate': 0.2, 'mqtt.reorder': 0.2 });
  const [terminal] = world.terminals;
  const { connection } = terminal;
  for (let at = 0; at < 300 && connection !== undefined; at++)
    world.broker.publish(connection, topic('up', terminal.id), Uint8Array.of(at >> 8, at & 255));
  pass(world, 5_000);
  const arrived = toManager(heard);
  t.ok(new Set(arrived).size < 290, 'some are lost');
  t.ok(new Set(arrived).size < arrived.length, 'some come twice');
  t.not(
    JSON.stringify(arrived),
    JSON.stringify([...arrived].sort((a, b) => a - b)),
    'some are late',
  );
  for (const fault of ['mqtt.drop', 'mqtt.duplicate', 'mqtt.reorder'] as const)
    t.ok((world.faults.get(fault) ?? 0) > 20, fault);
});

t.test('claim 16: a terminal publishes where it may and nowhere else', async (t) => {
  const { world, heard } = open();
  const [terminal, other] = world.terminals;
  const { connection } = terminal;
  if (connection === undefined) throw new Error('no link');
  for (const name of [topic('up', other.id), topic('call', other.id), topic('down', terminal.id)])
    world.broker.publish(connection, name, Uint8Array.of(1, 2));
  pass(world, 1_000);
  t.equal(heard.filter(({ kind }) => kind === 'forbidden').length, 3);
  t.equal(heard.filter(({ kind }) => kind === 'delivered').length, 0);
});

t.test('one seat for each client ID: whoever comes last has it', async (t) => {
  const { world, heard } = open();
  const [original] = world.terminals;
  world.clone(original).start();
  pass(world, 100);
  const gone = heard.filter((each) => each.kind === 'linkGone' && each.party === original);
  t.equal(gone.length, 1, 'who sat there is told to go');
  const seats = world.broker.connections.filter(({ user }) => user.clientId === original.clientId);
  t.equal(seats.length, 1);
  t.not(seats[0].user, original);
});

t.test('a connection that dies is noticed after one and a half keep-alives', async (t) => {
  const { world, heard } = open();
  const [terminal] = world.terminals;
  const { connection } = terminal;
  if (connection === undefined) throw new Error('no link');
  world.broker.die(connection);
  world.broker.publish(connection, topic('up', terminal.id), Uint8Array.of(9, 9));
  pass(world, 10_000);
  t.strictSame(toManager(heard), [], 'nothing passes');
  t.equal(terminal.connection, connection, 'and nobody knows');
  world.run(after(world.now, seconds(120)), () => terminal.connection !== connection);
  t.not(terminal.connection, connection);
  world.run(after(world.now, seconds(60)), () => terminal.status()?.registered === true);
  t.equal(terminal.status()?.registered, true, 'it is back by itself');
});

t.test('a broker that is killed forgets all; who is told comes back', async (t) => {
  const { world } = open();
  world.broker.kill();
  pass(world, 50);
  t.equal(world.broker.connections.length, 0);
  t.equal(world.manager.isLinked, false);
  world.broker.start();
  const isBack = (): boolean => world.terminals.every((each) => each.status()?.registered === true);
  t.ok(world.run(after(world.now, seconds(60)), isBack));
  t.equal(world.broker.connections.length, 4);
});
