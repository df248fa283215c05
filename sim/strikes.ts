// What strikes a world from outside, at random times: everything in options.ts that has a rate.
// Faults of a single message or datagram are drawn where it passes; these here happen to a party.

import type { SessionId } from '../protocol/ids.ts';
import { type Rng, randomBelow, randomFraction } from '../protocol/random.ts';
import { type Micros, after, micros, ms, seconds } from '../protocol/time.ts';
import type { OptionName } from './options.ts';
import type { World } from './world.ts';

const MINUTE = 60;
const DAY_SECONDS = 86_400;
const TEN_YEARS_MS = 10 * 366 * 86_400_000;
const HOLE_SECONDS_MAX = 30;
const OFF_SECONDS_MAX = 5;
const CLONES_MAX = 2;
const CLONE_LIVES_SECONDS = 20;

type Strike = (world: World, rng: Rng) => boolean;

/** Each returns whether there was anything to strike. */
const STRIKES: Partial<Record<OptionName, Strike>> = {
  'udp.hole': (world, rng) => {
    const { host } = pick(rng, world.terminals);
    const until = after(world.now, logBetween(rng, ms(100), seconds(HOLE_SECONDS_MAX)));
    const channel = randomBelow(rng, 2) === 0 ? host.up : host.down;
    channel?.blackHole(until);
    return channel !== undefined;
  },
  'udp.partition': (world, rng) => {
    const [a, b] = [pick(rng, world.terminals), pick(rng, world.terminals)];
    const until = after(world.now, logBetween(rng, ms(100), seconds(HOLE_SECONDS_MAX)));
    if (a !== b) world.internet.partition(a.host, b.host, until);
    return a !== b;
  },
  'udp.clog': (world, rng) => {
    for (const { host } of world.terminals) {
      const begins = after(world.now, randomFraction(rng) * seconds(5));
      const until = after(begins, randomFraction(rng) * seconds(10));
      world.schedule(begins, () => {
        if (!world.isFaulty) return;
        host.up?.blackHole(until);
        host.down?.blackHole(until);
      });
    }
    return true;
  },
  'nat.rebind': (world, rng) => {
    const behind = world.terminals.filter(({ host }) => host.nats.length > 0);
    if (behind.length === 0) return false;
    // One that has a mapping to lose, if there is any.
    const inUse = behind.filter(({ sockets }) => sockets.length > 0);
    const [nat] = pick(rng, inUse.length > 0 ? inUse : behind).host.nats;
    const what = randomBelow(rng, 2) === 0 ? 'port' : 'address';
    nat.rebind(world.now, what);
    // TCP does not survive another address.
    if (what === 'address' && nat.addresses.length > 0)
      for (const { host, connection } of behind)
        if (host.nats.includes(nat) && connection !== undefined) world.broker.die(connection);
    return true;
  },
  'host.move': (world, rng) => {
    const terminal = pick(rng, world.terminals);
    const isTold = randomFraction(world.rng(`told/${world.events}`)) < world.options['host.told'];
    terminal.move(world.places.next(terminal.name), isTold);
    return true;
  },
  'relay.gone': (world, rng) => {
    if (world.relay?.isUp !== true) return false;
    world.relay.kill();
    world.schedule(off(world, rng), () => world.relay?.start());
    return true;
  },
  'relay.stale': (world) => {
    world.relay?.outdateNonce();
    return world.relay?.isUp === true;
  },
  'mqtt.kick': (world, rng) => {
    const { connections } = world.broker;
    if (connections.length === 0) return false;
    world.broker.kick(pick(rng, connections));
    return true;
  },
  'mqtt.cut': (world, rng) => {
    const { connections } = world.broker;
    if (connections.length === 0) return false;
    world.broker.die(pick(rng, connections));
    return true;
  },
  'broker.restart': (world, rng) => {
    if (!world.broker.isUp) return false;
    world.broker.kill();
    world.schedule(off(world, rng), () => world.broker.start());
    return true;
  },
  'manager.crash': (world, rng) => {
    if (world.manager.core === undefined) return false;
    world.manager.kill();
    world.schedule(off(world, rng), () => world.manager.start());
    return true;
  },
  'terminal.crash': (world, rng) => {
    const terminal = pick(rng, world.terminals);
    if (terminal.core === undefined) return false;
    terminal.kill();
    if (terminal.isClone) return true;
    world.schedule(off(world, rng), () => {
      if (world.isFaulty || !world.isRogue(terminal)) terminal.start();
    });
    return true;
  },
  'terminal.suspend': (world, rng) => {
    const terminal = pick(rng, world.terminals);
    if (terminal.core === undefined || terminal.isSuspended) return false;
    const lasts = logBetween(rng, seconds(1), seconds(DAY_SECONDS));
    terminal.suspend();
    // A day need not pass: the others may see one go by in what is left of this world.
    const seen = Math.min(lasts, logBetween(rng, seconds(1), seconds(MINUTE)));
    const counted = randomBelow(rng, 2) === 0 ? seen : 0;
    world.schedule(after(world.now, seen), () => terminal.resume(counted));
    return true;
  },
  'clock.jump': (world, rng) => {
    const clocks = [
      world.manager.clock,
      world.broker.clock,
      ...world.terminals.map(({ clock }) => clock),
    ];
    const by = logBetween(rng, 1, TEN_YEARS_MS);
    pick(rng, clocks).jump(randomBelow(rng, 2) === 0 ? by : -by);
    return true;
  },
  'list.edit': (world, rng) => {
    const [callee, caller] = [pick(rng, world.terminals), pick(rng, world.terminals)];
    if (callee.name === caller.name) return false;
    const isNow = world.permissions.of(callee.name, caller.name) !== undefined;
    world.permissions.edit(callee.name, caller.name, !isNow);
    world.happen({ kind: 'listEdited', terminal: callee, caller });
    return true;
  },
  'operator.end': (world, rng) => {
    const open = openSessions(world);
    if (open.length === 0) return false;
    const session = pick(rng, open);
    world.happen({ kind: 'operatorEnd', session });
    world.manager.order({ kind: 'end', session });
    return true;
  },
  'operator.revoke': (world, rng) => {
    const welcome = world.terminals.filter(({ isRevoked, isClone }) => !isRevoked && !isClone);
    // Somebody has to be left to talk.
    if (welcome.length <= world.terminals.length / 2 || world.manager.core === undefined)
      return false;
    const terminal = pick(rng, welcome);
    world.happen({ kind: 'operatorRevoke', terminal });
    world.manager.order({ kind: 'revoke', name: terminal.name });
    return true;
  },
  'terminal.clone': (world, rng) => {
    if (world.terminals.filter(({ isClone }) => isClone).length >= CLONES_MAX) return false;
    const original = pick(rng, world.terminals);
    if (original.core === undefined || original.isClone) return false;
    const clone = world.clone(original);
    clone.start();
    world.schedule(after(world.now, seconds(CLONE_LIVES_SECONDS)), () => clone.kill());
    return true;
  },
};

/** Has everything strike that the options say, until the world is calm. */
export function beginStrikes(world: World): void {
  for (const [name, strike] of Object.entries(STRIKES) as [OptionName, Strike][]) {
    const perMinute = world.options[name];
    if (perMinute === 0) continue;
    const rng = world.rng(`strike/${name}`);
    const again = (): void =>
      world.schedule(after(world.now, gap(rng, perMinute)), () => {
        if (!world.isFaulty) return;
        if (strike(world, rng)) world.fired(name);
        again();
      });
    again();
  }
}

/** Sessions that nobody has ended yet, as the manager knows them. */
export function openSessions(world: World): readonly SessionId[] {
  const rows = world.manager.core?.sessions('open') ?? [];
  return rows.filter(({ reason }) => reason === undefined).map(({ session }) => session);
}

/** Microseconds between two events of a Poisson process. */
export function gap(rng: Rng, perMinute: number): number {
  return (-Math.log(1 - randomFraction(rng)) * seconds(MINUTE)) / perMinute;
}

const off = (world: World, rng: Rng): Micros =>
  micros(Math.floor(after(world.now, ms(50) + randomFraction(rng) * seconds(OFF_SECONDS_MAX))));

const logBetween = (rng: Rng, least: number, most: number): number =>
  least * (most / least) ** randomFraction(rng);

/** One of them. */
export function pick<T>(rng: Rng, choices: readonly T[]): T {
  return choices[randomBelow(rng, choices.length)];
}
