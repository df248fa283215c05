// What has to occur in some world, or nothing is shown by its never going wrong ("sometimes"
// assertions): rare mixtures of the data plane, counted as marks of the world.

import type { Path } from '../../protocol/core.ts';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import type { Micros } from '../../protocol/time.ts';
import { seconds } from '../../protocol/time.ts';
import type { TraceEvent } from '../../protocol/trace/trace-event.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

const RESPONSE = 2;
/** Long enough for a packet to be sent again. */
const REPAIR_MICROS = seconds(1);
const AT_ONCE_MICROS = seconds(1);

interface Seen {
  lostAt: number;
  /** It asks for more near its end, and has. */
  mayAsk: boolean;
  isAsking: boolean;
  isUnproven: boolean;
  datagramBytes: number;
  readonly knockers: Set<Path>;
}

/** Marks what occurs. */
export function sometimesInTalks(world: World, book: TalkBook): Watcher {
  return new SometimesInTalks(world, book);
}

class SometimesInTalks implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #seen = new WeakMap<TalkEnd, Seen>();
  /** Each one's last call that is to be extended. */
  readonly #extending = new WeakMap<VirtualTerminal, number>();
  #killedAt = -Infinity;

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (happening.kind === 'called' && happening.extend)
      this.#extending.set(happening.terminal, happening.call);
    if (happening.kind === 'killed') this.#onKilled();
    if (happening.kind === 'suspended' && this.#book.hasTalks(happening.terminal))
      this.#world.mark('a terminal slept in mid-talk');
    if (end === undefined) return;
    if (happening.kind === 'trace') this.#onTrace(this.#of(end), happening.event);
    else if (happening.kind === 'event') this.#onEvent(end, this.#of(end), happening.event);
    else if (happening.kind === 'datagramSent')
      this.#onSent(this.#of(end), happening.peer, happening.bytes);
    else if (happening.kind === 'read' && end.ended !== undefined)
      this.#world.mark('bytes were read after the end');
  }

  #onKilled(): void {
    const { now } = this.#world;
    if (now - this.#killedAt < AT_ONCE_MICROS) this.#world.mark('two restarts at once');
    this.#killedAt = now;
  }

  #onTrace(seen: Seen, event: TraceEvent): void {
    if (event.kind === 'packetLost') seen.lostAt = event.at;
    else if (event.kind === 'path') {
      if (seen.isUnproven && !event.isValidated) this.#world.mark('a path validation failed');
      seen.isUnproven = !event.isValidated;
    } else if (event.kind === 'datagramBytes') {
      const grows = event.bytes > seen.datagramBytes;
      this.#world.mark(grows ? 'datagrams grew' : 'a path carried large datagrams no more');
      seen.datagramBytes = event.bytes;
    }
  }

  #onSent(seen: Seen, peer: Path, bytes: Uint8Array): void {
    if (bytes[0] === RESPONSE) {
      seen.knockers.add(peer);
      if (seen.knockers.size === 2) this.#world.mark('another address during the handshake');
    }
  }

  #onEvent(end: TalkEnd, seen: Seen, event: (Happening & { kind: 'event' })['event']): void {
    const { mark } = this;
    if (event.kind === 'introduced')
      seen.mayAsk = event.call !== undefined && this.#extending.get(end.terminal) === event.call;
    if (event.kind === 'extended' || event.kind === 'extensionRefused') {
      seen.isAsking = false;
      mark(event.kind === 'extended' ? 'a talk was extended' : 'an extension was refused');
    } else if (event.kind === 'talk' && event.event.kind === 'expiryNear') {
      seen.isAsking = seen.mayAsk;
      mark(`70 % of the ${event.event.by} was used`);
    } else if (event.kind === 'ended') this.#onEnded(end, seen);
  }

  #onEnded({ ended, peer, terminal }: TalkEnd, seen: Seen): void {
    if (ended === undefined) return;
    const { reason } = ended;
    this.mark(`a talk ended by ${reason}`);
    const now: Micros = terminal.clock.local(this.#world.now);
    if (reason === 'quota' && now - seen.lostAt < REPAIR_MICROS)
      this.mark('the quota ran out while packets were sent again');
    if (reason === 'time' && seen.isAsking) this.mark('time ran out while more was asked for');
    if (seen.isUnproven) this.mark('a talk ended while an address was asked');
    if (peer?.isDead === true) this.mark('a talk outlived the other process');
    if (peer?.ended === undefined) return;
    if (peer.ended.reason !== reason) this.mark('two ends, two reasons');
  }

  readonly mark = (name: string): void => this.#world.mark(name);

  #of(end: TalkEnd): Seen {
    let seen = this.#seen.get(end);
    if (seen === undefined) {
      seen = {
        lostAt: -Infinity,
        mayAsk: false,
        isAsking: false,
        isUnproven: false,
        datagramBytes: DATA_LIMITS.datagramBytesMin,
        knockers: new Set(),
      };
      this.#seen.set(end, seen);
    }
    return seen;
  }
}
