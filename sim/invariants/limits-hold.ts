// Time and quota of a grant are kept: nothing is taken or sent by an end whose time is up, on its
// own clock; what both ends have sent never sums to more than the grant that both know, to the byte
// (docs/wire.md §9, "Meter"); an end adopts no expiry that the manager has not given.

import type { Counts } from '../../protocol/ends.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { Connection } from '../../protocol/data/connection.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { type Micros, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** Clocks are read as fractions and kept as whole microseconds. */
const ROUNDING = 2;
/** How much a timer that is late by world time may be late by a clock that is fast. */
const FAST = 1.1;
const ENDS_KEPT_MAX = 65_536;

/** What the manager has granted of one session. */
interface Granted {
  readonly seconds: number;
  readonly bytes: number;
}

/** The counts of an end as they are now. */
export function countsOf(world: World, end: TalkEnd): Counts | undefined {
  if (end.ended !== undefined) return end.ended.counts;
  const talk = end.terminal.talk(end.session);
  return talk instanceof Connection ? talk.counts(end.terminal.clock.local(world.now)) : undefined;
}

/** Watches the limits of every talk. */
export function limitsHold(world: World, book: TalkBook): Watcher {
  return new LimitsHold(world, book);
}

class LimitsHold implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #lateMs: number;
  readonly #granted = new Map<SessionId, Granted>();
  /** Metered bytes that an end has sent, as it said last. */
  readonly #sent = new WeakMap<TalkEnd, number>();
  /** Ends that have told their connection's trace that they are over. */
  readonly #over = new WeakSet<TalkEnd>();

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    this.#lateMs = world.options['clock.late'];
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'change') return this.#onChange(happening.change);
    const { end } = this.#book;
    if (end === undefined) return;
    if (happening.kind === 'trace') {
      const { event } = happening;
      if (event.kind === 'ended') this.#over.add(end);
      else if (event.kind === 'packetReceived') this.#inTime(end, event.at, 'takes a packet');
    } else if (happening.kind === 'datagramSent') {
      this.#inTime(end, this.#localOf(end), 'sends a datagram');
      if (end.bytesMost !== Infinity) this.#meter(end);
    } else if (happening.kind === 'event') this.#onEvent(end, happening.event);
  }

  #onChange(change: (Happening & { kind: 'change' })['change']): void {
    const { event, session } = change;
    if (event !== 'begun' && event !== 'extended') return;
    this.#granted.set(session.session, {
      seconds: session.seconds,
      bytes: session.bytes ?? Infinity,
    });
    if (this.#granted.size <= ENDS_KEPT_MAX) return;
    for (const oldest of this.#granted.keys()) {
      this.#granted.delete(oldest);
      return;
    }
  }

  #onEvent(end: TalkEnd, event: (Happening & { kind: 'event' })['event']): void {
    if (event.kind === 'introduced' || event.kind === 'extended') this.#wasGranted(end);
    else if (event.kind === 'ended') this.#onEnded(end);
    else if (event.kind === 'talk' && event.event.kind === 'expiryNear') {
      if (event.event.by === 'time') this.#near(end);
    }
  }

  #inTime(end: TalkEnd, at: Micros, what: string): void {
    const over = at - deadlineOf(end);
    if (over < ROUNDING || this.#over.has(end)) return;
    const who = `the ${end.role} of ${end.session}`;
    this.#violate('expiry', `${who} ${what} ${Math.round(over)} µs after its time was up`);
  }

  /** All that this end has sent, with what the other one has, against what both know of. */
  #meter(end: TalkEnd): void {
    const counts = countsOf(this.#world, end);
    if (counts === undefined) return;
    this.#sent.set(end, counts.sentBytes);
    const { peer } = end;
    const both = counts.sentBytes + ((peer && this.#sent.get(peer)) ?? 0);
    const most = Math.min(end.bytesMost, peer?.bytesMost ?? Infinity);
    if (both <= most) return;
    this.#violate('quota', `both ends of ${end.session} have sent ${both} bytes of ${most}`);
  }

  #wasGranted(end: TalkEnd): void {
    const { session, role } = end;
    const granted = this.#granted.get(session) ?? this.#recorded(session);
    if (granted !== undefined && end.seconds <= granted.seconds && end.bytes <= granted.bytes)
      return;
    // The manager may have been killed between its disk and its word.
    const recorded = this.#recorded(session);
    if (recorded !== undefined && end.seconds <= recorded.seconds && end.bytes <= recorded.bytes)
      return;
    const has = `${end.seconds} s and ${end.bytes} bytes`;
    this.#violate('grants', `the ${role} of ${session} has ${has}, which nobody gave`);
  }

  #recorded(session: SessionId): Granted | undefined {
    for (const row of this.#world.manager.core?.sessions('open') ?? [])
      if (row.session === session) return { seconds: row.seconds, bytes: row.bytes ?? Infinity };
    return undefined;
  }

  #onEnded(end: TalkEnd): void {
    const { ended, peer } = end;
    if (ended === undefined) return;
    if (end.bytesMost !== Infinity) this.#meter(end);
    const past = ended.at - deadlineOf(end);
    const who = `the ${end.role} of ${end.session}`;
    // Who hears of it from the other end goes by the other's clock.
    const isAlone = peer === undefined || (peer.ended === undefined && !peer.isDead);
    const isFirst = isAlone && !end.isWithRogue;
    if (ended.reason === 'time' && isFirst && past < -ROUNDING)
      this.#violate('expiry', `${who} ends ${Math.round(-past)} µs before its time is up`);
    const most = ms(this.#lateMs) * FAST + ROUNDING;
    if (past > most && !end.hasSlept)
      this.#violate('expiry', `${who} ends ${Math.round(past)} µs after its time was up`);
    if (ended.reason === 'quota') this.#quotaIsUsed(end);
  }

  /** A talk ends by its quota only if it has one. */
  #quotaIsUsed(end: TalkEnd): void {
    if (end.bytes === Infinity && (end.peer?.bytes ?? Infinity) === Infinity)
      this.#violate('quota', `${end.session} has no quota and ends by it`);
  }

  #near(end: TalkEnd): void {
    const { startedAt } = end;
    if (startedAt === undefined) return;
    const share = (this.#localOf(end) - startedAt + ROUNDING) / seconds(end.seconds);
    if (share < LIMITS.extendAtShare)
      this.#violate('expiry', `${end.session} is near its end at ${share} of its time`);
  }

  #localOf({ terminal }: TalkEnd): Micros {
    return terminal.clock.local(this.#world.now);
  }

  #violate(invariant: string, says: string): never {
    this.#world.violate(invariant, says);
  }
}

/** On its own clock; never, before that has begun. */
function deadlineOf({ startedAt, seconds: granted }: TalkEnd): number {
  return startedAt === undefined ? Infinity : startedAt + seconds(granted);
}
