// How talks deal with silence: a quiet one asks whether the other end is still there, one that
// hears something is not given up, and the CLOSE of an end that nobody answers is repeated
// (docs/wire.md §9). In a calm network nobody is given up whom the network would carry to.

import { Connection } from '../../protocol/data/connection.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../../protocol/data/limits.ts';
import { type Micros, ms, seconds } from '../../protocol/time.ts';
import type { TraceEvent } from '../../protocol/trace/trace-event.ts';
import type { Path } from '../../protocol/core.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

/** How much clocks differ at most, beside a timer that is late. */
const CLOCK_SHARE = 1.002;
const ROUNDING = ms(1);
/** Seconds after which a calm network has carried whatever was under way. */
const CALM_SECONDS = 9;
/** Round trips of which the longest PTO is longer than the pauses of a calm network. */
const RTT_MOST = seconds(0.5);
/** A CLOSE is repeated after one PTO, and after three in all, while the talk is closing. */
const REPEATS_LEAST = 2;
const PTO_MOST = ms(DATA_LIMITS.closingMsMax / 2 / 4);

interface Quiet {
  heardAt: Micros | undefined;
  /** When something left that wants an answer, or came. */
  activeAt: Micros | undefined;
  isSampled: boolean;
  rttMost: number;
  timeouts: number;
  /** After its end, by which it was the first: packets that left, and whether any came. */
  closes: number;
  isFirst: boolean;
  isAnswered: boolean;
}

/** Watches every open talk's silence. */
export function silenceIsKept(world: World, book: TalkBook): Watcher {
  return new SilenceIsKept(world, book);
}

class SilenceIsKept implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #lateMicros: number;
  readonly #keepAlive: number;
  readonly #idle: number;
  readonly #quiet = new WeakMap<TalkEnd, Quiet>();
  readonly #closing = new Map<Path, TalkEnd>();
  /** Sockets that an end which is over has still open. */
  readonly #left = new WeakMap<TalkEnd, number>();
  #calmAt = Infinity;

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    this.#lateMicros = ms(world.options['clock.late']);
    const { keepAliveMs, idleTimeoutMs } = { ...CONNECTION_DEFAULTS, ...world.connection };
    this.#keepAlive = ms(keepAliveMs);
    this.#idle = ms(idleTimeoutMs);
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'calm') this.#calmAt = this.#world.now;
    if (happening.kind === 'socketClosed') this.#onClosed(happening.path);
    const { end } = this.#book;
    if (end === undefined || end.isWithRogue) return;
    if (happening.kind === 'trace') this.#onTrace(end, this.#of(end), happening.event);
    else if (happening.kind === 'event') {
      const { event } = happening;
      if (event.kind === 'talk' && event.event.kind === 'established') {
        const quiet = this.#of(end);
        quiet.heardAt = quiet.activeAt = end.terminal.clock.local(this.#world.now);
      } else if (event.kind === 'ended') {
        this.#left.set(end, end.sockets.size);
        for (const socket of end.sockets) this.#closing.set(socket, end);
      }
    }
  }

  #onTrace(end: TalkEnd, quiet: Quiet, event: TraceEvent): void {
    if (quiet.isFirst) return this.#onAfterwards(quiet, event);
    this.#isAsked(end, quiet, event.at);
    if (event.kind === 'packetReceived') {
      quiet.heardAt = event.at;
      if (quiet.activeAt !== undefined) quiet.activeAt = event.at;
    } else if (event.kind === 'packetSent') {
      if (event.eliciting && quiet.activeAt !== undefined) quiet.activeAt = event.at;
    } else if (event.kind === 'metrics') {
      // Before the first sample the PTO is a second.
      quiet.isSampled = event.minimumRtt !== Infinity;
      quiet.rttMost = Math.max(quiet.rttMost, event.latestRtt);
      quiet.timeouts = 0;
    } else if (event.kind === 'roundTrip') {
      quiet.rttMost = Math.max(quiet.rttMost, event.micros);
    } else if (event.kind === 'timeout') quiet.timeouts = event.count;
    else if (event.kind === 'ended') this.#onEnd(end, quiet, event);
  }

  /** The keep-alive: nothing that wants an answer left for so long, and nothing came. */
  #isAsked(end: TalkEnd, { activeAt }: Quiet, at: Micros): void {
    if (activeAt === undefined || end.hasSlept) return;
    const past = at - activeAt;
    if (past <= this.#keepAlive * CLOCK_SHARE + this.#lateMicros + ROUNDING) return;
    // With a full window nothing may leave but probes, which are recovery's.
    const talk = end.terminal.talk(end.session);
    if (!(talk instanceof Connection) || talk.state(at).transport.bytesInFlight > 0) return;
    this.#violate(end, `asks nothing in ${Math.round(past)} µs of silence`);
  }

  #onEnd(end: TalkEnd, quiet: Quiet, event: TraceEvent & { kind: 'ended' }): void {
    const { peer } = end;
    if (event.reason === 'peer-gone') this.#isGone(end, quiet, event.at);
    quiet.isFirst = peer === undefined || peer.ended === undefined;
    quiet.activeAt = undefined;
  }

  #isGone(end: TalkEnd, { heardAt, rttMost }: Quiet, at: Micros): void {
    const { peer, isAsked, hasSlept } = end;
    // Who is asked to end waits for progress, not for packets (settlement.ts).
    const isFirst = peer?.ended === undefined;
    if (heardAt !== undefined && isFirst && !isAsked && !hasSlept) {
      const silent = at - heardAt;
      if (silent * CLOCK_SHARE + ROUNDING < this.#idle)
        this.#violate(end, `gives up after ${Math.round(silent)} µs of silence`);
    }
    if (peer === undefined || peer.isDead || peer.ended !== undefined || hasSlept) return;
    if (this.#world.now < this.#calmAt + seconds(CALM_SECONDS) || rttMost > RTT_MOST) return;
    const isBoxed = end.terminal.host.nats.length + peer.terminal.host.nats.length > 0;
    if (isBoxed || peer.hasSlept || this.#lateMicros > 0) return;
    this.#violate(end, 'gives up whom a calm network would have reached');
  }

  #onAfterwards(quiet: Quiet, event: TraceEvent): void {
    if (event.kind === 'packetReceived') quiet.isAnswered = true;
    else if (event.kind === 'packetSent') quiet.closes += 1;
  }

  #onClosed(socket: Path): void {
    const end = this.#closing.get(socket);
    if (end === undefined) return;
    this.#closing.delete(socket);
    const left = (this.#left.get(end) ?? 1) - 1;
    this.#left.set(end, left);
    // A talk may close what it does not need at once; it speaks over the last one.
    if (left > 0) return;
    const { isFirst, isAnswered, closes, isSampled, rttMost, timeouts } = this.#of(end);
    // Its PTO is at most five round trips, and was not backed off.
    const isPrompt = isSampled && 5 * rttMost + ms(5) < PTO_MOST && timeouts === 0;
    const isLate = this.#lateMicros > 0 || end.hasSlept;
    if (!isFirst || isAnswered || !isPrompt || isLate || closes > REPEATS_LEAST) return;
    this.#violate(end, `says CLOSE ${closes} times and is not answered`);
  }

  #of(end: TalkEnd): Quiet {
    let quiet = this.#quiet.get(end);
    if (quiet === undefined) {
      quiet = {
        heardAt: undefined,
        activeAt: undefined,
        isSampled: false,
        rttMost: 0,
        timeouts: 0,
        closes: 0,
        isFirst: false,
        isAnswered: false,
      };
      this.#quiet.set(end, quiet);
    }
    return quiet;
  }

  #violate({ role, session }: TalkEnd, says: string): never {
    this.#world.violate('silence', `the ${role} of ${session} ${says}`);
  }
}
