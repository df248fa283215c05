// A talk follows its peer to another address only when it has asked there (RFC 9000 §8.2): before a
// core says that the path has changed, it has sent something to the new address. Whoever copies one
// packet from elsewhere would otherwise have the talk.

import type { Path } from '../../protocol/core.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** Watches where talks go. */
export function movesAreAsked(world: World, book: TalkBook): Watcher {
  return new MovesAreAsked(world, book);
}

class MovesAreAsked implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #asked = new WeakMap<TalkEnd, Set<Path>>();

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (end === undefined) return;
    if (happening.kind === 'datagramSent') this.#of(end).add(happening.peer);
    else if (happening.kind === 'event' && happening.event.kind === 'talk') {
      const { event } = happening.event;
      if (event.kind !== 'path' || this.#world.isRogue(end.terminal)) return;
      const path = this.#world.internet.paths.intern(event.path);
      if (this.#of(end).has(path)) return;
      const { host, port } = event.path;
      const who = `the ${end.role} of ${end.session}`;
      this.#world.violate('moves', `${who} follows to ${host}:${port}, where it never asked`);
    }
  }

  #of(end: TalkEnd): Set<Path> {
    let asked = this.#asked.get(end);
    if (asked === undefined) this.#asked.set(end, (asked = new Set()));
    return asked;
  }
}
