// Nobody waits for nothing: when both ends of a talk have had nothing in flight for a while, so
// that all that either has sent has arrived, and the reader has read it all, then what the writer
// has not sent yet waits for nobody. Whatever the network does: a window or a credit that was lost
// on its way and never sent again shows as this.

import { type Micros, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { countsOf } from './limits-hold.ts';
import type { RecoveryIsSound } from './recovery.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** Less than the first pause after which a silent end asks (`DATA_LIMITS.silencePauseMs`). */
const WHILE_MICROS = seconds(1.5);

/** What an end's applications have done. */
interface Doings {
  wroteBytes: number;
  readBytes: number;
  at: Micros;
  /** Messages may be given up, and resets leave things unsent: not counted here. */
  isPlain: boolean;
}

/** Watches both ends of each talk in their quiet moments; hears before recovery does. */
export function nobodyWaitsForNothing(
  world: World,
  book: TalkBook,
  recovery: RecoveryIsSound,
): Watcher {
  return new NobodyWaits(world, book, recovery);
}

class NobodyWaits implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #recovery: RecoveryIsSound;
  readonly #while: number;
  readonly #doings = new WeakMap<TalkEnd, Doings>();

  constructor(world: World, book: TalkBook, recovery: RecoveryIsSound) {
    this.#world = world;
    this.#book = book;
    this.#recovery = recovery;
    this.#while = WHILE_MICROS + ms(world.options['clock.late']);
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (end === undefined) return;
    switch (happening.kind) {
      case 'wrote':
        this.#touch(end).wroteBytes += happening.bytes.length;
        return;
      case 'read':
        this.#touch(end).readBytes += happening.bytes.length;
        return;
      case 'resetSent':
      case 'stopSent':
      case 'messageSent':
        this.#touch(end).isPlain = false;
        return;
      case 'event':
        if (happening.event.kind !== 'talk') this.#touch(end);
        return;
      case 'trace':
        // Something wants an answer, or the time is up: until now it was quiet.
        if (happening.event.kind === 'ended' && happening.event.reason !== 'time') return;
        if (happening.event.kind === 'ended' || happening.event.kind === 'packetSent')
          this.#look(end);
        return;
      default:
        return;
    }
  }

  #look(end: TalkEnd): void {
    const { peer } = end;
    if (peer === undefined || !this.#isQuiet(end) || !this.#isQuiet(peer)) return;
    this.#waits(end, peer);
    this.#waits(peer, end);
  }

  #isQuiet(end: TalkEnd): boolean {
    const { isDead, ended, isAsked, hasSlept, establishedAt, terminal } = end;
    if (isDead || ended !== undefined || isAsked || hasSlept) return false;
    const now = terminal.clock.local(this.#world.now);
    const idleAt = this.#recovery.idleSince(end);
    const doings = this.#doings.get(end);
    if (establishedAt === undefined || idleAt === undefined || doings === undefined) return false;
    return doings.isPlain && now - Math.max(idleAt, doings.at) >= this.#while;
  }

  #waits(writer: TalkEnd, reader: TalkEnd): void {
    const sent = countsOf(this.#world, writer)?.sentBytes;
    const received = countsOf(this.#world, reader)?.receivedBytes;
    const wrote = this.#doings.get(writer)?.wroteBytes ?? 0;
    const read = this.#doings.get(reader)?.readBytes ?? 0;
    if (sent === undefined || received === undefined) return;
    if (wrote <= sent || received > read) return;
    const what = `${wrote - sent} bytes of the ${writer.role} of ${writer.session}`;
    this.#world.violate('deadlock', `${what} wait, and nothing is on its way`);
  }

  #touch(end: TalkEnd): Doings {
    const at = end.terminal.clock.local(this.#world.now);
    let doings = this.#doings.get(end);
    if (doings === undefined) {
      doings = { wroteBytes: 0, readBytes: 0, at, isPlain: true };
      this.#doings.set(end, doings);
    }
    doings.at = at;
    return doings;
  }
}
