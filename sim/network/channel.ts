// One direction of one access link, in virtual time: losses in bursts (Gilbert 1960, Elliott 1963),
// a rate with a queue of finite time in front of it, delay, jitter, reordering, copies, replays,
// damage, an MTU that drops in silence, black holes. It schedules nothing: it says when what was
// sent arrives. Every datagram draws the same number of random numbers whatever the faults are, so
// that switching one fault off does not shift the others.

import { MICROS_PER_MS, MICROS_PER_SECOND, type Micros, micros, ms } from '../../protocol/time.ts';
import { Slab } from './slab.ts';

/** What a channel does to datagrams; shares are fractions of 1, sizes are UDP payload bytes. */
export interface ChannelFaults {
  /** Chance that a loss begins. Share lost in the long run: loss / (loss + 1 − burst). */
  readonly loss: number;
  /** Gilbert-Elliott: chance that a loss goes on; 0: losses are independent (share = `loss`). */
  readonly burst: number;
  /** One-way delay. */
  readonly delayMs: number;
  /** Each datagram waits up to this long besides; the order stays, as in one queue. */
  readonly jitterMs: number;
  /** Share that is held back by up to `reorderMs`, so that later ones overtake. */
  readonly reorder: number;
  readonly reorderMs: number;
  /** Share that arrives twice, the copy up to `delayMs` + `jitterMs` later. */
  readonly duplicate: number;
  /** Share that somebody keeps and sends again, the same bytes, once. */
  readonly replay: number;
  /** Replays come from 1 ms to this long after, on a logarithmic scale; up to a day. */
  readonly replayAfterMsMax: number;
  /** Share with one bit flipped. */
  readonly corrupt: number;
  /** Share that loses its tail (0 to all but one of its bytes stay). */
  readonly truncate: number;
  /** Share that has 1 to 64 random bytes more at its end. */
  readonly grow: number;
  /** Larger datagrams vanish (before they are damaged). Infinity: none does. */
  readonly mtuBytes: number;
  /** Infinity: no bottleneck. Copies and replays are made behind it. */
  readonly bytesPerSecond: number;
  /** A datagram that would wait longer for the line is dropped (drop tail). */
  readonly queueMs: number;
}

/** A short line without faults; how late it reorders and replays counts once a share is set. */
export const CLEAN_CHANNEL: ChannelFaults = {
  loss: 0,
  burst: 0,
  delayMs: 5,
  jitterMs: 0,
  reorder: 0,
  reorderMs: 30,
  duplicate: 0,
  replay: 0,
  replayAfterMsMax: 86_400_000,
  corrupt: 0,
  truncate: 0,
  grow: 0,
  mtuBytes: Infinity,
  bytesPerSecond: Infinity,
  queueMs: Infinity,
};

/** Faults in the order in which a datagram meets them. */
export const FAULT_NAMES = [
  'blackHole',
  'mtu',
  'loss',
  'corrupt',
  'truncate',
  'grow',
  'queue',
  'jitter',
  'reorder',
  'duplicate',
  'replay',
] as const;

/** A fault that can fire. */
export type FaultName = (typeof FAULT_NAMES)[number];

/** Every fault, fired so far never. */
export const noFaults = (): Record<FaultName, number> => ({
  blackHole: 0,
  mtu: 0,
  loss: 0,
  corrupt: 0,
  truncate: 0,
  grow: 0,
  queue: 0,
  jitter: 0,
  reorder: 0,
  duplicate: 0,
  replay: 0,
});

/** A datagram and when it comes out; the bytes are the taker's. */
export interface Arrival {
  readonly at: Micros;
  readonly bytes: Uint8Array;
}

/** Replays of one channel that have yet to come: what an attacker's store holds. */
export const REPLAYS_MAX = 256;
/** Bytes that a datagram grows by, at most. */
export const GROW_BYTES_MAX = 64;
/** Longest UDP payload in IPv4. */
const DATAGRAM_BYTES_MAX = 65_507;
const REPLAY_AFTER_MS_MIN = 1;
/** One for all channels: which memory a copy lies in decides nothing. */
const copies = new Slab();
const NOTHING: readonly Arrival[] = [];

/** One direction of one access link. */
export class Channel {
  /** How often each fault fired. */
  readonly counts = noFaults();
  /** Datagrams that were given to it, and bytes. */
  carried = 0;
  carriedBytes = 0;
  readonly #random: () => number;
  #faults: ChannelFaults;
  #isInBurst = false;
  /** When the line has sent what was taken so far; exact, so fractional. */
  #lineFreeAt = 0;
  /** Nothing that keeps its turn arrives before. */
  #lastArrival = 0;
  #blackUntil = 0;
  /** When the replays that have yet to come are due, oldest decision first. */
  readonly #replaysDue: number[] = [];

  /** `random`: 0 to 1, 1 excluded; the same sequence gives the same channel. */
  constructor(random: () => number, faults: ChannelFaults) {
    this.#random = random;
    this.#faults = faults;
  }

  get faults(): ChannelFaults {
    return this.#faults;
  }

  /**
   * Whoever sets them changes what becomes of datagrams from then on: the line is another one,
   * free, and what it carries does not wait for what the old one still holds.
   */
  set faults(faults: ChannelFaults) {
    this.#faults = faults;
    this.#isInBurst = false;
    this.#lineFreeAt = 0;
    this.#lastArrival = 0;
  }

  /** Everything that is sent before `until` is lost; an instant in the past ends it. */
  blackHole(until: Micros): void {
    this.#blackUntil = until;
  }

  /** What becomes of a datagram: 0, 1 or more arrivals (at `now` or later), each with its copy. */
  carry(now: Micros, bytes: Uint8Array): readonly Arrival[] {
    return this.carryOwn(now, copies.copy(bytes));
  }

  /** The same, for bytes that the caller gives away: the first arrival has them. */
  carryOwn(now: Micros, bytes: Uint8Array): readonly Arrival[] {
    const { faults, counts } = this;
    const random = this.#random;
    const lossDraw = random();
    const corruptDraw = random();
    const truncateDraw = random();
    const growDraw = random();
    const jitterDraw = random();
    const reorderDraw = random();
    const duplicateDraw = random();
    const replayDraw = random();
    this.carried += 1;
    this.carriedBytes += bytes.length;
    if (this.#isDropped(now, bytes.length, lossDraw)) return NOTHING;
    let sent = bytes;
    if (corruptDraw < faults.corrupt && sent.length > 0) {
      counts.corrupt += 1;
      flipBit(sent, corruptDraw / faults.corrupt);
    }
    if (truncateDraw < faults.truncate && sent.length > 0) {
      counts.truncate += 1;
      sent = sent.subarray(0, Math.floor((truncateDraw / faults.truncate) * sent.length));
    }
    if (growDraw < faults.grow && sent.length < DATAGRAM_BYTES_MAX) {
      counts.grow += 1;
      sent = grown(sent, growDraw / faults.grow);
    }
    const behindLine = this.#throughLine(now, sent.length);
    if (behindLine === undefined) {
      counts.queue += 1;
      return NOTHING;
    }
    const arrivals = [{ at: this.#arrivalOf(behindLine, jitterDraw, reorderDraw), bytes: sent }];
    if (duplicateDraw < faults.duplicate) {
      counts.duplicate += 1;
      const later = (duplicateDraw / faults.duplicate) * ms(faults.delayMs + faults.jitterMs);
      arrivals.push({ at: micros(arrivals[0].at + Math.round(later)), bytes: sent.slice() });
    }
    if (replayDraw < faults.replay && this.#canReplay(now)) {
      counts.replay += 1;
      const at = replayedAt(arrivals[0].at, replayDraw / faults.replay, faults.replayAfterMsMax);
      this.#replaysDue.push(at);
      arrivals.push({ at, bytes: sent.slice() });
    }
    return arrivals;
  }

  /** Black hole, MTU, loss: what vanishes before it comes to the line. */
  #isDropped(now: Micros, length: number, lossDraw: number): boolean {
    const { faults, counts } = this;
    // The state of the burst goes on with every datagram, also of those that nobody sees.
    const isLost = lossDraw < (this.#isInBurst ? faults.burst : faults.loss);
    this.#isInBurst = isLost && faults.burst > 0;
    if (now < this.#blackUntil) counts.blackHole += 1;
    else if (length > faults.mtuBytes) counts.mtu += 1;
    else if (isLost) counts.loss += 1;
    else return false;
    return true;
  }

  /** When the line has sent it, or undefined: the queue is full. */
  #throughLine(now: Micros, length: number): number | undefined {
    const { bytesPerSecond, queueMs } = this.faults;
    if (bytesPerSecond === Infinity) return now;
    const start = Math.max(now, this.#lineFreeAt);
    if (start - now > queueMs * MICROS_PER_MS) return undefined;
    this.#lineFreeAt = start + (length * MICROS_PER_SECOND) / bytesPerSecond;
    return this.#lineFreeAt;
  }

  #arrivalOf(behindLine: number, jitterDraw: number, reorderDraw: number): Micros {
    const { delayMs, jitterMs, reorder, reorderMs } = this.faults;
    const jitter = jitterDraw * jitterMs;
    if (jitterMs > 0) this.counts.jitter += 1;
    const inTurn = Math.max(Math.ceil(behindLine + ms(delayMs + jitter)), this.#lastArrival);
    if (reorderDraw < reorder && reorderMs > 0) {
      this.counts.reorder += 1;
      return micros(inTurn + Math.ceil((reorderDraw / reorder) * ms(reorderMs)));
    }
    this.#lastArrival = inTurn;
    return micros(inTurn);
  }

  #canReplay(now: Micros): boolean {
    const due = this.#replaysDue;
    if (due.length < REPLAYS_MAX) return true;
    let kept = 0;
    for (const at of due) if (at > now) due[kept++] = at;
    due.length = kept;
    return kept < REPLAYS_MAX;
  }
}

/** `where`: 0 to 1, 1 excluded. */
function flipBit(bytes: Uint8Array, where: number): void {
  const bit = Math.floor(where * bytes.length * 8);
  bytes[bit >>> 3] ^= 1 << (bit & 7);
}

/** With a tail that depends on `draw`. */
function grown(bytes: Uint8Array, draw: number): Uint8Array {
  const room = Math.min(GROW_BYTES_MAX, DATAGRAM_BYTES_MAX - bytes.length);
  const longer = new Uint8Array(bytes.length + 1 + Math.floor(draw * room));
  longer.set(bytes);
  let state = Math.floor(draw * 2 ** 32) | 1;
  for (let at = bytes.length; at < longer.length; at++) {
    state = Math.imul(state, 0x9e3779b1) ^ (state >>> 15);
    longer[at] = state >>> 24;
  }
  return longer;
}

/** On a logarithmic scale, so that a minute sees some and a day sees some. */
function replayedAt(first: Micros, draw: number, afterMsMax: number): Micros {
  const range = Math.max(afterMsMax, REPLAY_AFTER_MS_MIN) / REPLAY_AFTER_MS_MIN;
  return micros(first + Math.round(ms(REPLAY_AFTER_MS_MIN * range ** draw)));
}
