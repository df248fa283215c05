// What both ends count agrees: nobody has received more than was sent, at any time; when both say
// that all was delivered, all that was sent has arrived or counts as lost; and a talk that ends by
// its quota has used it to the byte.

import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { countsOf } from './limits-hold.ts';
import type { RecoveryIsSound } from './recovery.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** One look at both ends for so many acknowledgements that say how the transport fares. */
const LOOK_EVERY = 8;

/** Watches the counts of every talk. */
export function countsAgree(world: World, book: TalkBook, recovery: RecoveryIsSound): Watcher {
  return new CountsAgree(world, book, recovery);
}

class CountsAgree implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #recovery: RecoveryIsSound;
  /** Ends that sent messages: one may be larger than what is left of a quota. */
  readonly #spoke = new WeakSet<TalkEnd>();
  #looks = 0;

  constructor(world: World, book: TalkBook, recovery: RecoveryIsSound) {
    this.#recovery = recovery;
    this.#world = world;
    this.#book = book;
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (end === undefined) return;
    if (happening.kind === 'messageSent') this.#spoke.add(end);
    else if (happening.kind === 'trace') {
      if (happening.event.kind !== 'metrics' || ++this.#looks % LOOK_EVERY !== 0) return;
      if (end.peer !== undefined) this.#arrives(end, end.peer);
    } else if (happening.kind === 'event' && happening.event.kind === 'ended') this.#onEnded(end);
  }

  /** Received is not more than sent, on the way to `to`. */
  #arrives(from: TalkEnd, to: TalkEnd): void {
    if (from.isDead || to.isDead) return;
    const sent = countsOf(this.#world, from);
    const received = countsOf(this.#world, to);
    if (sent === undefined || received === undefined) return;
    if (received.receivedBytes > sent.sentBytes) {
      const what = `has received ${received.receivedBytes} bytes of ${sent.sentBytes}`;
      this.#violate(`the ${to.role} of ${to.session} ${what}`);
    }
  }

  #onEnded(end: TalkEnd): void {
    const { ended, peer, role, session } = end;
    if (ended === undefined) return;
    const { sentBytes, lostBytes } = ended.counts;
    if (lostBytes < 0 || lostBytes > sentBytes)
      this.#violate(`the ${role} of ${session} has lost ${lostBytes} bytes of ${sentBytes}`);
    if (peer === undefined) return;
    this.#arrives(end, peer);
    this.#arrives(peer, end);
    if (ended.reason === 'quota') this.#isUsed(end, peer);
    if (ended.reason !== 'done' || peer.ended?.reason !== 'done') return;
    this.#isComplete(end, peer);
    this.#isComplete(peer, end);
  }

  /** What is declared lost may have arrived after all: that much less is missing. */
  #isComplete(from: TalkEnd, to: TalkEnd): void {
    if (from.ended === undefined || to.ended === undefined) return;
    const { sentBytes, lostBytes } = from.ended.counts;
    const { receivedBytes } = to.ended.counts;
    const surplus = receivedBytes - (sentBytes - lostBytes);
    if (surplus >= 0 && surplus <= this.#recovery.arrivedThoughLost(from)) return;
    const what = `sent ${sentBytes}, lost ${lostBytes}, received ${receivedBytes} bytes`;
    this.#violate(`${from.session} is done, ${from.role} to ${to.role}: ${what}`);
  }

  #isUsed(end: TalkEnd, peer: TalkEnd): void {
    if (peer.isDead || peer.ended !== undefined || end.bytes !== peer.bytes) return;
    if (this.#spoke.has(end) || this.#spoke.has(peer)) return;
    const other = countsOf(this.#world, peer);
    const sent = (end.ended?.counts.sentBytes ?? 0) + (other?.sentBytes ?? 0);
    if (other === undefined || sent === end.bytes) return;
    this.#violate(`${end.session} ends by its quota with ${sent} bytes of ${end.bytes}`);
  }

  #violate(says: string): never {
    this.#world.violate('counts', says);
  }
}
