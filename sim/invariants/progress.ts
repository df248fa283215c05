// A talk does not stand still: while there is something to deliver, and grant for it, something is
// in flight (what is in flight is probed: recovery.ts). And a talk that an end has ended as done
// has delivered every stream that it finished. Asked when an end ends, of both ends: what stood
// still then stood still for seconds.

import type { StreamId } from '../../protocol/data/connection-types.ts';
import { MICROS_PER_SECOND, type Micros, ms, seconds } from '../../protocol/time.ts';
import type { TraceEvent } from '../../protocol/trace/trace-event.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { countsOf } from './limits-hold.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** Nobody who has something to say is silent for so long, nor for some times a timer's lateness. */
const STILL_SECONDS = 5;
const LATE_TIMES = 3;

/** One direction of one stream, as its writer has it. */
interface Flow {
  written: number;
  read: number;
  isFinished: boolean;
  /** Its reader has seen its end, or its writer that all arrived. */
  isEnded: boolean;
  isDelivered: boolean;
  isGivenUp: boolean;
}

interface Doings {
  readonly flows: Map<StreamId, Flow>;
  /** Packets that are neither acknowledged nor lost. */
  readonly outstanding: Set<number>;
  /** When anything happened last. */
  movedAt: Micros;
}

/** Watches that talks get on. */
export function progressIsMade(world: World, book: TalkBook): Watcher {
  return new ProgressIsMade(world, book);
}

class ProgressIsMade implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #doings = new WeakMap<TalkEnd, Doings>();
  readonly #stillMicros: number;

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    this.#stillMicros = seconds(STILL_SECONDS) + LATE_TIMES * ms(world.options['clock.late']);
  }

  onHappening(happening: Happening): void {
    const { end } = this.#book;
    if (end === undefined) return;
    switch (happening.kind) {
      case 'trace':
        return this.#onTrace(this.#of(end), happening.event);
      case 'wrote':
        this.#flowOf(end, happening.stream).written += happening.bytes.length;
        break;
      case 'finished':
        this.#flowOf(end, happening.stream).isFinished = true;
        break;
      case 'resetSent':
        this.#flowOf(end, happening.stream).isGivenUp = true;
        break;
      case 'stopSent':
        if (end.peer !== undefined) this.#flowOf(end.peer, happening.stream).isGivenUp = true;
        break;
      case 'read':
        if (end.peer !== undefined)
          this.#flowOf(end.peer, happening.stream).read += happening.bytes.length;
        break;
      case 'readEnd':
        if (end.peer !== undefined) this.#flowOf(end.peer, happening.stream).isEnded = true;
        break;
      case 'event':
        return this.#onEvent(end, happening.event);
      default:
        return;
    }
    this.#of(end).movedAt = this.#world.now;
  }

  #onTrace(doings: Doings, event: TraceEvent): void {
    const { outstanding } = doings;
    const before = outstanding.size;
    if (event.kind === 'packetSent' && event.eliciting) outstanding.add(event.packetNumber);
    else if (event.kind === 'packetLost') outstanding.delete(event.packetNumber);
    else if (event.kind === 'acknowledged') {
      for (const number of outstanding)
        if (event.ranges.some(([from, to]) => from <= number && number <= to))
          outstanding.delete(number);
    }
    if (outstanding.size !== before) doings.movedAt = this.#world.now;
  }

  #onEvent(end: TalkEnd, event: (Happening & { kind: 'event' })['event']): void {
    if (event.kind === 'talk' && event.event.kind === 'delivered') {
      this.#flowOf(end, event.event.stream).isDelivered = true;
    } else if (event.kind === 'ended') this.#onEnded(end, event.reason);
  }

  #onEnded(end: TalkEnd, reason: string): void {
    const { peer } = end;
    if (peer === undefined || peer.isDead || peer.ended !== undefined) return;
    if (this.#world.isRogue(end.terminal) || this.#world.isRogue(peer.terminal)) return;
    if (reason === 'done') this.#hasDelivered(end);
    if (end.hasSlept || peer.hasSlept || this.#isUsedUp(end, peer)) return;
    this.#didNotStandStill(end, peer);
    this.#didNotStandStill(peer, end);
  }

  /** It says so itself: its peer has not ended. */
  #hasDelivered(end: TalkEnd): void {
    for (const [stream, flow] of this.#of(end).flows) {
      if (flow.isFinished && !flow.isDelivered && !flow.isGivenUp)
        this.#violate(end, `is done, and its stream ${stream} is not delivered`);
    }
  }

  #didNotStandStill(from: TalkEnd, to: TalkEnd): void {
    const [own, others] = [this.#of(from), this.#of(to)];
    if (own.outstanding.size > 0 || others.outstanding.size > 0) return;
    const still = this.#world.now - Math.max(own.movedAt, others.movedAt);
    if (still < this.#stillMicros) return;
    for (const [stream, { written, read, isFinished, isEnded, isGivenUp }] of own.flows) {
      if (isGivenUp || (read === written && (isEnded || !isFinished))) continue;
      const what = `${read} of ${written} bytes of stream ${stream} arrived`;
      this.#violate(from, `stood still for ${Math.round(still / MICROS_PER_SECOND)} s: ${what}`);
    }
  }

  #isUsedUp(end: TalkEnd, peer: TalkEnd): boolean {
    const sent = [end, peer].map((one) => countsOf(this.#world, one)?.sentBytes ?? 0);
    return sent[0] + sent[1] >= Math.min(end.bytes, peer.bytes);
  }

  #flowOf(end: TalkEnd, stream: StreamId): Flow {
    const { flows } = this.#of(end);
    let flow = flows.get(stream);
    if (flow === undefined) {
      flow = {
        written: 0,
        read: 0,
        isFinished: false,
        isEnded: false,
        isDelivered: false,
        isGivenUp: false,
      };
      flows.set(stream, flow);
    }
    return flow;
  }

  #of(end: TalkEnd): Doings {
    let doings = this.#doings.get(end);
    if (doings === undefined) {
      doings = { flows: new Map(), outstanding: new Set(), movedAt: this.#world.now };
      this.#doings.set(end, doings);
    }
    return doings;
  }

  #violate({ role, session }: TalkEnd, says: string): never {
    this.#world.violate('progress', `the ${role} of ${session} ${says}`);
  }
}
