// How much one event makes a party do: it comes to rest, wakes up only so often without time
// passing, sends only so many datagrams at once; and while it has a talk, it has a timer, which is
// not in the past.

import type { Happening } from '../happenings.ts';
import { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook } from './talk-book.ts';

/** Events of one party in one instant: what arrives at once, and what its applications do. */
const SAME_INSTANT_MAX = 2_000;
/** What each terminal may add to that of a server. */
const EVENTS_OF_EACH = 20;
/** Times in a row that a timer is due at once. */
const AT_ONCE_MAX = 64;
/**
 * Datagrams that one event draws from a terminal: what a pacer lets go that was woken up late, on
 * each talk (`DATA_LIMITS.paceLateMsMax` at the rate of the fastest link of options.ts).
 */
const DATAGRAMS_MAX = 4_096;

interface Work {
  at: number;
  events: number;
  atOnce: number;
  datagrams: number;
}

/** Watches what every party does after each event. */
export function workIsBounded(world: World, book: TalkBook): Watcher {
  return new WorkIsBounded(world, book);
}

class WorkIsBounded implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #works = new Map<unknown, Work>();

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
  }

  onHappening(happening: Happening): void {
    if (happening.kind !== 'datagramSent') return;
    const work = this.#workOf(happening.terminal);
    if (++work.datagrams > DATAGRAMS_MAX)
      this.#violate(`${happening.terminal.name} sends ${work.datagrams} datagrams at once`);
  }

  afterEvent(touched: ReadonlySet<unknown>): void {
    const { now } = this.#world;
    for (const party of touched) {
      const work = this.#workOf(party);
      work.datagrams = 0;
      if (work.at < now) {
        work.at = now;
        work.events = 0;
        work.atOnce = 0;
      }
      if (++work.events > this.#eventsMax(party))
        this.#violate(`${nameOf(party)} stays busy for ever`);
      if (party instanceof VirtualTerminal) this.#isTimed(party, work);
    }
  }

  /** A server may hear everybody at once. */
  #eventsMax(party: unknown): number {
    const heard = party instanceof VirtualTerminal ? 0 : this.#world.terminals.length;
    return SAME_INSTANT_MAX + EVENTS_OF_EACH * heard;
  }

  #isTimed(terminal: VirtualTerminal, work: Work): void {
    const { due, core, isSuspended, name } = terminal;
    if (core === undefined || isSuspended || this.#world.isRogue(terminal)) return;
    if (due.slot < 0) {
      if (this.#book.hasTalks(terminal)) this.#violate(`${name} talks and has no timer`);
      return;
    }
    // A timer in the past is set to now (World.arm): it may ask for that a few times, not for ever.
    if (due.at > this.#world.now) work.atOnce = 0;
    else if (++work.atOnce > AT_ONCE_MAX) this.#violate(`${name} has a timer in the past`);
  }

  #workOf(party: unknown): Work {
    let work = this.#works.get(party);
    if (work === undefined) {
      work = { at: -1, events: 0, atOnce: 0, datagrams: 0 };
      this.#works.set(party, work);
    }
    return work;
  }

  #violate(says: string): never {
    this.#world.violate('work', says);
  }
}

const nameOf = (party: unknown): string =>
  party instanceof VirtualTerminal ? party.name : 'a server';
