// Loss recovery as each connection traces it (RFC 9002): packet numbers grow, each packet is
// acknowledged or lost once, a late acknowledgement counts as spurious, bytes in flight are those
// of the packets that are neither; nothing is acknowledged that the other end has not opened;
// windows and round trips are possible ones; and while something is in flight a probe follows in
// time, so that no talk falls silent.

import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { MICROS_PER_MS, type Micros, ms, seconds } from '../../protocol/time.ts';
import type { TraceEvent } from '../../protocol/trace/trace-event.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

type Traced<Kind extends TraceEvent['kind']> = Extract<TraceEvent, { kind: Kind }>;

const WINDOW_LEAST = DATA_LIMITS.minimumWindowDatagrams * DATA_LIMITS.datagramBytesMin;
const WINDOW_FIRST = DATA_LIMITS.initialWindowDatagrams * DATA_LIMITS.datagramBytesMin;
/** A PTO is srtt + 4 rttvar + the peer's delay, and rttvar no more than the largest sample. */
const PTO_RTTS = 5;
/** Before there is a sample it is 1 s (RFC 9002 §6.2.2). */
const RTT_FIRST = ms(DATA_LIMITS.initialRttMs);
/** How much clocks differ at most, and what reading them as fractions costs. */
const CLOCK_SHARE = 0.002;
/** Seconds after which a calm network has carried a probe and its answer. */
const CALM_SECONDS = 15;
const SILENT_PROBES = 3;

/** What one end has sent and heard. */
interface Ledger {
  /** Ack-eliciting, neither acknowledged nor lost, ascending; their bytes. */
  readonly outstanding: Map<number, number>;
  /** Declared lost a while ago, as many as recovery remembers. */
  readonly lost: Map<number, number>;
  /** Packet numbers of the other end that were opened here. */
  readonly opened: Set<number>;
  last: number;
  inFlight: number;
  /** Packets below went along another path. */
  pathStart: number;
  window: number;
  windowMost: number;
  /** Datagrams that may leave beyond the window. */
  probes: number;
  /** The size of a full one, and the largest that was acknowledged. */
  datagramBytes: number;
  provenBytes: number;
  /** The last packet that was larger than a full one; -1: none since sizes changed. */
  sizeProbe: number;
  /** Since when nothing is in flight. */
  idleAt: Micros | undefined;
  timeouts: number;
  /** Since when the probe timer runs, and the largest round trip there was. */
  armedAt: Micros | undefined;
  rttMost: number;
  /** Late acknowledgements that have to be told as such. */
  lateDue: number;
}

/** Watches every connection's trace. */
export class RecoveryIsSound implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #lateMicros: number;
  readonly #rttLeast: number;
  readonly #ledgers = new WeakMap<TalkEnd, Ledger>();
  #calmAt = Infinity;

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    const { options } = world;
    this.#lateMicros = ms(options['clock.late']);
    // Who stands on the path carries some packets faster than it does.
    const isPathShort = options['hostile.network'] > 0 || options['hostile.forwarder'] > 0;
    this.#rttLeast = isPathShort ? 0 : 2 * ms(options['udp.delay']) * (1 - CLOCK_SHARE);
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'calm') {
      this.#calmAt = this.#world.now;
      return;
    }
    const { end } = this.#book;
    if (end === undefined || happening.kind !== 'trace') return;
    const { event } = happening;
    const ledger = this.#ledgerOf(end);
    this.#isProbed(end, ledger, event.at);
    if (ledger.lateDue > 0 && event.kind !== 'spuriousLoss')
      this.#violate(end, 'does not tell that what it took for lost was acknowledged');
    this.#onTrace(end, ledger, event);
  }

  /**
   * Bytes of packets that an end takes for lost although the other one has opened them: what it
   * counts as lost may be too much by so many. Infinity: recovery has forgotten some.
   */
  arrivedThoughLost(end: TalkEnd): number {
    const ledger = this.#ledgerOf(end);
    const opened = end.peer && this.#ledgers.get(end.peer)?.opened;
    if (opened === undefined || ledger.lost.size >= DATA_LIMITS.lostPacketsKept) return Infinity;
    let sum = 0;
    for (const [number, bytes] of ledger.lost) if (opened.has(number)) sum += bytes;
    return sum;
  }

  /** Since when an end has nothing in flight, on its own clock; undefined: it has. */
  idleSince(end: TalkEnd): Micros | undefined {
    return this.#ledgers.get(end)?.idleAt;
  }

  #onTrace(end: TalkEnd, ledger: Ledger, event: TraceEvent): void {
    switch (event.kind) {
      case 'packetSent':
        return this.#onSent(end, ledger, event);
      case 'packetReceived':
        if (ledger.opened.has(event.packetNumber))
          this.#violate(end, `opens packet ${event.packetNumber} twice`);
        ledger.opened.add(event.packetNumber);
        return;
      case 'acknowledged':
        return this.#onAcknowledged(end, ledger, event);
      case 'packetLost':
        this.#settle(end, ledger, event.packetNumber, 'loses');
        ledger.lost.set(event.packetNumber, event.bytes);
        if (ledger.lost.size > DATA_LIMITS.lostPacketsKept) {
          const [oldest] = ledger.lost.keys();
          ledger.lost.delete(oldest);
        }
        return;
      case 'spuriousLoss':
        if (!ledger.lost.delete(event.packetNumber))
          this.#violate(end, `finds packet ${event.packetNumber} late, which was not lost`);
        ledger.lateDue -= 1;
        // The controller takes back what it did for that loss, and traces it with the next ACK.
        ledger.window = ledger.windowMost;
        this.#world.mark('spurious loss');
        return;
      case 'roundTrip':
        ledger.rttMost = Math.max(ledger.rttMost, event.micros);
        return;
      case 'metrics':
        return this.#onMetrics(end, ledger, event);
      case 'timeout':
        return this.#onTimeout(end, ledger, event);
      case 'path':
        return this.#onPath(ledger, event);
      case 'datagramBytes':
        if (event.bytes > ledger.provenBytes)
          this.#violate(end, `sends ${event.bytes} bytes, of which nothing has arrived`);
        ledger.datagramBytes = event.bytes;
        ledger.sizeProbe = -1;
        return;
      case 'ended':
        ledger.outstanding.clear();
        ledger.idleAt = undefined;
        ledger.armedAt = undefined;
        return;
      default:
        return;
    }
  }

  #onSent(end: TalkEnd, ledger: Ledger, event: Traced<'packetSent'>): void {
    const { packetNumber, bytes, eliciting } = event;
    if (packetNumber <= ledger.last)
      this.#violate(end, `sends packet ${packetNumber} after packet ${ledger.last}`);
    ledger.last = packetNumber;
    if (!eliciting) return;
    ledger.idleAt = undefined;
    this.#isOfSize(end, ledger, packetNumber, bytes);
    ledger.outstanding.set(packetNumber, bytes);
    ledger.inFlight += bytes;
    ledger.armedAt = event.at;
    if (ledger.probes > 0) ledger.probes -= 1;
    // A probe of a larger size may leave beyond the window as well (RFC 8899 §4.1).
    else if (bytes <= ledger.datagramBytes) this.#isInWindow(end, ledger, bytes);
  }

  /** Only a probe is larger than what has arrived, and there is one at a time (RFC 8899). */
  #isOfSize(end: TalkEnd, ledger: Ledger, packetNumber: number, bytes: number): void {
    if (bytes <= ledger.datagramBytes) return;
    if (ledger.outstanding.has(ledger.sizeProbe) && ledger.sizeProbe >= ledger.pathStart)
      this.#violate(end, `sends ${bytes} bytes while its first packet of that size is under way`);
    ledger.sizeProbe = packetNumber;
  }

  /** One datagram may always be in flight; messages borrow a share (docs/congestion.md). */
  #isInWindow(end: TalkEnd, ledger: Ledger, bytes: number): void {
    const { window, inFlight } = ledger;
    if (inFlight <= Math.max(window * DATA_LIMITS.messageWindowShare, bytes)) return;
    this.#violate(end, `has ${inFlight} bytes in flight, its window is ${Math.round(window)}`);
  }

  #onAcknowledged(end: TalkEnd, ledger: Ledger, { ranges }: Traced<'acknowledged'>): void {
    if (ranges.length === 0) return;
    const [, largest] = ranges[0];
    const [smallest] = ranges[ranges.length - 1];
    if (largest > ledger.last)
      this.#violate(end, `takes an ACK of packet ${largest}, not yet sent`);
    const opened = end.peer && this.#ledgers.get(end.peer)?.opened;
    for (const number of ledger.outstanding.keys()) {
      if (number > largest) break;
      if (number < smallest || !isCovered(ranges, number)) continue;
      ledger.provenBytes = Math.max(ledger.provenBytes, ledger.outstanding.get(number) ?? 0);
      this.#settle(end, ledger, number, 'acknowledges');
      if (opened?.has(number) !== true && !end.isWithRogue)
        this.#violate(end, `takes an ACK of packet ${number}, which has not arrived`);
    }
    for (const number of ledger.lost.keys())
      if (number >= smallest && isCovered(ranges, number)) ledger.lateDue += 1;
  }

  #settle(end: TalkEnd, ledger: Ledger, number: number, does: string): void {
    const bytes = ledger.outstanding.get(number);
    if (bytes === undefined) this.#violate(end, `${does} packet ${number}, which is not in flight`);
    ledger.outstanding.delete(number);
    if (number >= ledger.pathStart) ledger.inFlight -= bytes;
    if (ledger.outstanding.size > 0) return;
    ledger.armedAt = undefined;
    ledger.idleAt = end.terminal.clock.local(this.#world.now);
  }

  #onMetrics(end: TalkEnd, ledger: Ledger, event: Traced<'metrics'>): void {
    const { bytesInFlight, congestionWindow, pacingRate, smoothedRtt, latestRtt, minimumRtt } =
      event;
    if (bytesInFlight !== ledger.inFlight)
      this.#violate(end, `says ${bytesInFlight} bytes are in flight, it is ${ledger.inFlight}`);
    if (!(congestionWindow >= WINDOW_LEAST))
      this.#violate(end, `has a window of ${congestionWindow} bytes`);
    if (pacingRate !== undefined && !(pacingRate > 0))
      this.#violate(end, `paces at ${pacingRate} bytes per microsecond`);
    // Before the first sample there is none to be possible.
    const isSampled = minimumRtt !== Infinity;
    const arePossible = latestRtt > 0 && minimumRtt > 0 && minimumRtt <= latestRtt;
    if (!(smoothedRtt > 0 && (arePossible || !isSampled)))
      this.#violate(end, `has round trips of ${latestRtt}, ${smoothedRtt}, ${minimumRtt} µs`);
    const least = this.#calmAt === Infinity ? this.#rttLeast : 0;
    if (minimumRtt < least && !end.hasSlept)
      this.#violate(end, `has a round trip of ${minimumRtt} µs on a path of ${least} µs`);
    ledger.window = congestionWindow;
    ledger.windowMost = Math.max(ledger.windowMost, congestionWindow);
    ledger.rttMost = Math.max(ledger.rttMost, latestRtt, smoothedRtt);
    ledger.probes = 0;
    ledger.timeouts = 0;
  }

  #onTimeout(end: TalkEnd, ledger: Ledger, { at, count }: Traced<'timeout'>): void {
    if (ledger.outstanding.size === 0) this.#violate(end, 'probes for nothing');
    if (count !== ledger.timeouts + 1)
      this.#violate(end, `counts probe timeout ${count} after ${ledger.timeouts}`);
    ledger.timeouts = count;
    ledger.armedAt = at;
    ledger.probes = DATA_LIMITS.probesPerPto;
    if (count === 2) this.#world.mark('two probe timeouts in a row');
    if (count >= SILENT_PROBES && this.#isPathOpen(end))
      this.#violate(end, `hears nothing after ${count} probes on an open path`);
  }

  #onPath(ledger: Ledger, { at, isValidated }: Traced<'path'>): void {
    if (!isValidated) return;
    this.#world.mark('a talk moved to another address');
    ledger.pathStart = ledger.last + 1;
    ledger.inFlight = 0;
    ledger.timeouts = 0;
    ledger.probes = DATA_LIMITS.probesPerPto;
    ledger.window = Math.max(ledger.window, WINDOW_FIRST);
    if (ledger.armedAt !== undefined) ledger.armedAt = at;
  }

  /** A probe timeout follows what is in flight, however late timers are. */
  #isProbed(end: TalkEnd, ledger: Ledger, at: Micros): void {
    const { armedAt } = ledger;
    if (armedAt === undefined || end.hasSlept) return;
    const pto = PTO_RTTS * ledger.rttMost + ms(DATA_LIMITS.peerAckDelayMs);
    const most = Math.max(ms(DATA_LIMITS.ptoMsMax), pto) + this.#lateMicros;
    const past = at - armedAt;
    if (past <= most * (1 + CLOCK_SHARE) + MICROS_PER_MS) return;
    const count = ledger.outstanding.size;
    this.#violate(end, `has ${count} packets in flight and probes nothing for ${past} µs`);
  }

  /** Both are there, and nothing is between them that could forget a mapping. */
  #isPathOpen(end: TalkEnd): boolean {
    const { peer, terminal } = end;
    if (this.#world.now < this.#calmAt + seconds(CALM_SECONDS)) return false;
    if (peer === undefined || peer.isDead || peer.ended !== undefined) return false;
    return terminal.host.nats.length === 0 && peer.terminal.host.nats.length === 0;
  }

  #ledgerOf(end: TalkEnd): Ledger {
    let ledger = this.#ledgers.get(end);
    if (ledger === undefined) {
      ledger = {
        outstanding: new Map(),
        lost: new Map(),
        opened: new Set(),
        last: -1,
        inFlight: 0,
        pathStart: 0,
        window: WINDOW_FIRST,
        windowMost: WINDOW_FIRST,
        probes: 0,
        datagramBytes: DATA_LIMITS.datagramBytesMin,
        provenBytes: DATA_LIMITS.datagramBytesMin,
        sizeProbe: -1,
        idleAt: undefined,
        timeouts: 0,
        armedAt: undefined,
        rttMost: RTT_FIRST,
        lateDue: 0,
      };
      this.#ledgers.set(end, ledger);
    }
    return ledger;
  }

  #violate({ role, session }: TalkEnd, says: string): never {
    this.#world.violate('recovery', `the ${role} of ${session} ${says}`);
  }
}

/** Whether a number lies in one of the ranges; the highest stands first. */
function isCovered(ranges: Traced<'acknowledged'>['ranges'], number: number): boolean {
  for (const [from, to] of ranges) if (number >= from) return number <= to;
  return false;
}
