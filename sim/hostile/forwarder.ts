// Somebody on the path of a talk who would like to carry it (threat model, T7): copies the packets
// of both ends and sends them on from an address of its own, faster than they come by themselves;
// what is answered to that address goes on to the other end. Sometimes it stops the straight way as
// well, and is then the only one. After a while it lets go.

import type { Path } from '../../protocol/core.ts';
import { type Rng, randomBelow } from '../../protocol/random.ts';
import { type Micros, after, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { Host } from '../network/internet.ts';
import { pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { actAtRate, did } from './deeds.ts';

const ADDRESS = '192.0.2.66';
const SECONDS_MAX = 6;
/** A faster way at most: what takes longer comes second. */
const CARRIES_MS = 0.2;
const LURES_MAX = 4;

/** One talk that is carried: what `near` sends to `far`, and what comes back. */
interface Lure {
  readonly near: Path;
  readonly far: Path;
  /** Where `near` is seen by others. */
  readonly nearOutside: Path;
  /** Of the forwarder, towards `far`. */
  readonly socket: Path;
  readonly until: Micros;
}

/** Begins at the rate of `hostile.forwarder`. */
export function beginForwarder(world: World): readonly Watcher[] {
  if (world.options['hostile.forwarder'] === 0) return [];
  const forwarder = new Forwarder(world);
  actAtRate(world, 'hostile.forwarder', {
    'a talk is carried': (rng) => forwarder.begin(rng, false),
    'a talk is carried, and goes no other way': (rng) => forwarder.begin(rng, true),
  });
  return [forwarder];
}

class Forwarder implements Watcher {
  readonly #world: World;
  readonly #host: Host;
  readonly #lures = new Map<Path, Lure>();
  readonly #bySocket = new Map<Path, Lure>();

  constructor(world: World) {
    this.#world = world;
    this.#host = world.internet.addHost({ name: 'forwarder', address: ADDRESS });
    this.#host.onDatagram = (socket, from, bytes) => this.#onAnswer(socket, from, bytes);
  }

  /** One end of a talk that runs. */
  begin(rng: Rng, isOnlyWay: boolean): boolean {
    const world = this.#world;
    if (this.#lures.size >= LURES_MAX) return false;
    const talks = world.terminals.flatMap((terminal) =>
      (terminal.status()?.talks ?? []).map(({ talk }) => ({ terminal, path: talk.path })),
    );
    const open = talks.filter(({ path }) => path !== undefined);
    if (open.length === 0) return false;
    const { terminal, path: far } = pick(rng, open);
    const near = terminal.sockets.length === 0 ? undefined : pick(rng, terminal.sockets);
    if (near === undefined || far === undefined || this.#lures.has(near)) return false;
    const until = after(world.now, ms(500) + randomBelow(rng, seconds(SECONDS_MAX)));
    const nearOutside = world.internet.announce(terminal.host, near);
    const lure = { near, far, nearOutside, socket: this.#host.bind(), until };
    this.#lures.set(near, lure);
    this.#bySocket.set(lure.socket, lure);
    if (isOnlyWay)
      for (const other of world.terminals) this.#stop(terminal.host, other.host, until);
    world.schedule(until, () => this.#letGo(lure));
    return true;
  }

  onHappening(happening: Happening): void {
    if (this.#lures.size === 0 || happening.kind !== 'datagramSent' || !this.#world.isFaulty)
      return;
    const { socket, peer, bytes } = happening;
    const lure = this.#lures.get(socket);
    const isOurs = lure !== undefined && peer.host === lure.far.host && peer.port === lure.far.port;
    if (!isOurs) return;
    const at = after(this.#world.now, ms(CARRIES_MS));
    this.#world.internet.inject(at, lure.socket, lure.far, bytes.slice());
  }

  /** The far end answered the forwarder: it goes on, as if it came from there. */
  #onAnswer(socket: Path, from: Path, bytes: Uint8Array): void {
    const lure = this.#bySocket.get(socket);
    if (lure === undefined || !this.#world.isFaulty) return;
    did(this.#world, 'hostile.forwarder', 'an end answered the forwarder');
    const at = after(this.#world.now, ms(CARRIES_MS));
    this.#world.internet.inject(at, from, lure.nearOutside, bytes.slice());
  }

  #stop(a: Host, b: Host, until: Micros): void {
    if (a === b) return;
    this.#world.internet.partition(a, b, until);
    this.#world.internet.partition(b, a, until);
  }

  #letGo({ near, socket }: Lure): void {
    this.#lures.delete(near);
    this.#bySocket.delete(socket);
    this.#host.unbind(socket);
  }
}
