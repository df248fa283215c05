// Somebody on the network (threat model, T1, T7 to T10): hears every datagram, has no key, and says
// again what was said, at another time, to another socket, from another address, with other bits.
// The cruellest way is to be faster: a genuine new packet comes from a wrong address before it
// comes from the right one.

import type { Path } from '../../protocol/core.ts';
import { HANDSHAKE_PACKET_BYTES } from '../../protocol/data/packet.ts';
import { isProbe } from '../../protocol/data/probe.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { after, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { type Deed, actAtRate, did, later } from './deeds.ts';
import { Overheard, distorted } from './overheard.ts';

const SOON_MS = 20;
const LATER_SECONDS = 20;
/** Who is to be flooded with answers, in TEST-NET-2: where nobody of the world is. */
const VICTIM_NET = '198.51.100.';
const DNS_PORT = 53;
const FLOOD_DATAGRAMS = 60;
const FLOOD_BYTES_MAX = 64;
const FLOOD_MS = 400;
const MOVES = 5;
const WAITING_MAX = 8;
const FLOODS_WAITING_MAX = 4;
/** Of the packets of a talk one in so many is kept; of handshakes, all. */
const KEPT_OF = 3;
const KNOCKS_AFTER_START = 4;

interface Datagram {
  readonly from: Path;
  readonly to: Path;
  readonly bytes: Uint8Array;
}

type Sent = Extract<Happening, { readonly socket: Path; readonly peer: Path }>;

/** Begins to listen and, at the rates of `hostile.network` and `hostile.flood`, to speak. */
export function beginNetworkAttack(world: World): readonly Watcher[] {
  const { options } = world;
  if (options['hostile.network'] === 0 && options['hostile.flood'] === 0) return [];
  const attacker = new NetworkAttacker(world);
  actAtRate(world, 'hostile.network', attacker.deeds);
  actAtRate(world, 'hostile.flood', { 'a new socket is flooded': () => attacker.waitToFlood() });
  return [attacker];
}

class NetworkAttacker implements Watcher {
  readonly deeds: Readonly<Record<string, Deed>>;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #talk = new Overheard<Datagram>();
  readonly #handshakes = new Overheard<Datagram>();
  /** Of STUN: what terminals ask, where; what they are answered, by whom. */
  readonly #questions = new Overheard<Datagram>();
  readonly #answers = new Overheard<Datagram>();
  /** What is done with the next packets of a talk. */
  readonly #waiting: ((next: Datagram) => void)[] = [];
  readonly #restarted = new Set<VirtualTerminal>();
  #floods = 0;
  #packets = 0;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('hostile/network');
    this.deeds = {
      'an old packet comes again': (rng) => this.#replay(rng, this.#talk, ms(SOON_MS)),
      'a packet comes again after long': (rng) =>
        this.#replay(rng, this.#talk, seconds(LATER_SECONDS)),
      'an old handshake comes again': (rng) => this.#replay(rng, this.#handshakes, ms(SOON_MS)),
      'a handshake comes to another socket': (rng) => this.#misdirect(rng, this.#handshakes),
      'a packet comes to another socket': (rng) => this.#misdirect(rng, this.#talk),
      'a packet comes back to its sender': (rng) => this.#reflect(rng),
      'a distorted packet': (rng) => this.#distort(rng),
      'a new packet is distorted on a faster way': (rng) =>
        this.#wait((next) => this.#say(next.from, next.to, distorted(rng, next.bytes))),
      'a new packet comes from a victim first': (rng) => {
        const victim = this.#victim(rng);
        return this.#wait((next) => this.#say(victim, next.to, next.bytes.slice()));
      },
      'new packets come from a source that moves': (rng) => this.#move(rng),
      'a new packet comes from its own receiver': () =>
        this.#wait((next) => this.#say(next.to, next.to, next.bytes.slice())),
      'a question for an address comes from a victim': (rng) => {
        const old = this.#questions.recall(rng);
        if (old !== undefined) this.#say(this.#victim(rng), old.to, old.bytes.slice());
        return old !== undefined;
      },
      'a question or an answer is distorted': (rng) => {
        const old = (randomBelow(rng, 2) === 0 ? this.#questions : this.#answers).recall(rng);
        if (old !== undefined) this.#say(old.from, old.to, distorted(rng, old.bytes));
        return old !== undefined;
      },
      'an answer comes again, or to somebody else': (rng) => this.#misdirect(rng, this.#answers),
      'a handshake comes from a victim first': (rng) => {
        const old = this.#handshakes.newest;
        if (old !== undefined) this.#say(this.#victim(rng), old.to, old.bytes.slice());
        return old !== undefined;
      },
    };
  }

  onHappening(happening: Happening): void {
    if (!this.#world.isFaulty) return;
    if (happening.kind === 'datagramSent') this.#onSent(happening);
    else if (happening.kind === 'stunSent') this.#onStun(happening);
    else if (happening.kind === 'stunReceived')
      this.#answers.hear({
        from: happening.peer,
        to: happening.socket,
        bytes: happening.bytes.slice(),
      });
    else if (happening.kind === 'started' && happening.terminal.boots > 1)
      this.#restarted.add(happening.terminal);
    else if (happening.kind === 'socketOpened') this.#onSocket(happening.terminal, happening.path);
  }

  /** The next socket that opens is flooded before its peer can know of it. */
  waitToFlood(): boolean {
    this.#floods = Math.min(this.#floods + 1, FLOODS_WAITING_MAX);
    return true;
  }

  #onSent({ terminal, socket, peer, bytes }: Sent): void {
    const isHandshake = isProbe(bytes) || (bytes.length === HANDSHAKE_PACKET_BYTES && bytes[0] < 4);
    this.#packets += 1;
    const act = isHandshake ? undefined : this.#waiting.shift();
    if (!isHandshake && act === undefined && this.#packets % KEPT_OF !== 0) return;
    const from = this.#world.internet.announce(terminal.host, socket);
    const datagram = { from, to: peer, bytes: bytes.slice() };
    if (isHandshake) this.#handshakes.hear(datagram);
    else this.#talk.hear(datagram);
    act?.(datagram);
  }

  #onStun({ terminal, socket, peer, bytes }: Sent): void {
    const from = this.#world.internet.announce(terminal.host, socket);
    this.#questions.hear({ from, to: peer, bytes: bytes.slice() });
  }

  /** Where it is announced is known only later: who sees the router's mappings need not wait. */
  #onSocket(terminal: VirtualTerminal, path: Path): void {
    if (this.#floods === 0 && !this.#restarted.has(terminal)) return;
    const { host } = terminal;
    if (this.#floods > 0) {
      this.#floods -= 1;
      later(this.#world, 0, () => this.#flood(this.#world.internet.announce(host, path)));
    }
    if (!this.#restarted.delete(terminal)) return;
    // Who was somebody else's peer in another boot has forgotten it: nobody may come back to that.
    later(this.#world, 0, () => {
      for (let count = 0; count < KNOCKS_AFTER_START; count++) {
        const old = this.#handshakes.recall(this.#rng);
        if (old === undefined) return;
        this.#say(old.from, this.#world.internet.announce(host, path), old.bytes.slice());
        did(this.#world, 'hostile.network', 'an old handshake comes after a restart');
      }
    });
  }

  #flood(to: Path): void {
    const { internet, now } = this.#world;
    const rng = this.#rng;
    const from = this.#victim(rng);
    const old = this.#handshakes.newest;
    for (let count = 0; count < FLOOD_DATAGRAMS; count++) {
      const bytes = randomBytes(rng, randomBelow(rng, FLOOD_BYTES_MAX));
      // Half of them look as what is waited for.
      if (count % 2 === 0 && old !== undefined) bytes.set(old.bytes.subarray(0, bytes.length));
      else if (bytes.length > 0) bytes[0] = pick(rng, PACKET_TYPES);
      internet.inject(after(now, randomBelow(rng, ms(FLOOD_MS))), from, to, bytes);
    }
  }

  #replay(rng: Rng, heard: Overheard<Datagram>, within: number): boolean {
    const old = heard.recall(rng);
    if (old === undefined) return false;
    const from = randomBelow(rng, 3) === 0 ? this.#victim(rng) : old.from;
    later(this.#world, randomBelow(rng, within), () => this.#say(from, old.to, old.bytes.slice()));
    return true;
  }

  #misdirect(rng: Rng, heard: Overheard<Datagram>): boolean {
    const old = heard.recall(rng);
    const open = this.#world.terminals.filter(({ sockets }) => sockets.length > 0);
    if (old === undefined || open.length === 0) return false;
    const terminal = pick(rng, open);
    const to = this.#world.internet.announce(terminal.host, pick(rng, terminal.sockets));
    this.#say(randomBelow(rng, 2) === 0 ? old.from : old.to, to, old.bytes.slice());
    return true;
  }

  #reflect(rng: Rng): boolean {
    const old = (randomBelow(rng, 2) === 0 ? this.#talk : this.#handshakes).recall(rng);
    if (old !== undefined) this.#say(old.to, old.from, old.bytes.slice());
    return old !== undefined;
  }

  #distort(rng: Rng): boolean {
    const old = (randomBelow(rng, 4) === 0 ? this.#handshakes : this.#talk).recall(rng);
    if (old !== undefined) this.#say(old.from, old.to, distorted(rng, old.bytes));
    return old !== undefined;
  }

  /** A source that moves with every packet: a lure to follow it. */
  #move(rng: Rng): boolean {
    for (let count = 0; count < MOVES; count++) {
      const from = this.#victim(rng);
      if (!this.#wait((next) => this.#say(from, next.to, next.bytes.slice()))) return count > 0;
    }
    return true;
  }

  /** Acts on the next packet of any talk, ahead of it. */
  #wait(act: (next: Datagram) => void): boolean {
    if (this.#waiting.length >= WAITING_MAX) return false;
    this.#waiting.push(act);
    return true;
  }

  #victim(rng: Rng): Path {
    const port = randomBelow(rng, 2) === 0 ? DNS_PORT : 1_024 + randomBelow(rng, 60_000);
    return this.#world.internet.paths.of(`${VICTIM_NET}${1 + randomBelow(rng, 8)}`, port);
  }

  #say(from: Path, to: Path, bytes: Uint8Array): void {
    if (this.#world.isFaulty) this.#world.internet.inject(this.#world.now, from, to, bytes);
  }
}

/** Those that mean something, and some that do not. */
const PACKET_TYPES = [1, 2, 4, 5, 0, 3, 6, 255];
