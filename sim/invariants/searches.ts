// The many-socket search (docs/nat.md): hundreds of packets to ports of which one may be the
// peer's. It goes only to an address at which the STUN server beside the broker and the broker
// itself have seen the peer, so that nobody can have it aimed at somebody else; once in a session,
// for a few seconds, at a rate.

import type { Path } from '../../protocol/core.ts';
import { isProbe } from '../../protocol/data/probe.ts';
import { MICROS_PER_SECOND, type Micros, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import { isBusHonest } from './bus.ts';
import type { SeenFrom } from './seen-from.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

const SECONDS_MAX = 5;
const PER_SECOND = 500;
/** Ports of the peer, or sockets of ours with two packets each. */
const PACKETS_MAX = 2_048;
/** Packets of a search from one socket to one port: further ones are an ordinary meeting's. */
const TRIES_MAX = 2;
/** First packets that an ordinary meeting sends to the same host meanwhile: of its pairs. */
const OTHERS_MAX = 96;
const CLOCK_SHARE = 1.002;

interface Search {
  readonly address: string;
  readonly at: Micros;
  packets: number;
}

/** Judges searches, and knows which datagrams belong to one. */
export class Searches implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #lateMicros: number;
  readonly #seen: SeenFrom;
  readonly #of = new WeakMap<TalkEnd, Search>();

  constructor(world: World, book: TalkBook, seen: SeenFrom) {
    this.#world = world;
    this.#book = book;
    this.#seen = seen;
    this.#lateMicros = ms(world.options['clock.late']);
  }

  onHappening(happening: Happening): void {
    if (happening.kind !== 'event' || happening.event.kind !== 'searching') return;
    if (!this.#world.isRogue(happening.terminal))
      this.#onSearching(happening.terminal, happening.event);
  }

  /**
   * Whether a datagram is one of a search that its end may make now; counts it. `tries`: how many
   * such ones went from this socket to this address.
   */
  isOf(end: TalkEnd, peer: Path, bytes: Uint8Array, tries: number): boolean {
    const search = this.#of.get(end);
    if (search?.address !== peer.host || !isProbe(bytes) || tries >= TRIES_MAX) return false;
    const lasts = (this.#world.now - search.at) * CLOCK_SHARE;
    // Later probes are as bounded as any.
    if (lasts > seconds(SECONDS_MAX) * CLOCK_SHARE + this.#lateMicros) return false;
    search.packets += 1;
    const due = (PER_SECOND * (lasts + this.#lateMicros)) / MICROS_PER_SECOND;
    if (search.packets > Math.min(due, PACKETS_MAX) + OTHERS_MAX)
      this.#fail(`the ${end.role} of ${end.session} searches too fast: ${search.packets} packets`);
    return true;
  }

  #onSearching(
    terminal: VirtualTerminal,
    event: { readonly session: TalkEnd['session']; readonly address: string },
  ): void {
    const { session, address } = event;
    const end = this.#book.endOf(terminal, session);
    if (end === undefined) return this.#fail(`${terminal.name} searches without a notice`);
    if (this.#of.has(end)) return this.#fail(`the ${end.role} of ${session} searches twice`);
    this.#of.set(end, { address, at: this.#world.now, packets: 0 });
    this.#world.mark('a search');
    const { peerId } = end;
    const isProven =
      this.#seen.byStun(peerId).has(address) && this.#seen.byBroker(peerId).has(address);
    if (!isProven && isBusHonest(this.#world.options))
      this.#fail(`the ${end.role} of ${session} searches at ${address}, where nobody saw its peer`);
  }

  #fail(says: string): void {
    this.#world.violate('searches', says);
  }
}
