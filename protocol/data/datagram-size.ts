// How large a datagram this path carries (RFC 8899, in the form of RFC 9000 §14): it starts at what
// the owner says, tries larger ones with packets that carry nothing, and falls back to 1200 when
// large datagrams vanish while small ones arrive. An acknowledged size proves only that the size
// arrives, perhaps in fragments: the owner lists none that the first link does not carry whole.

import type { Micros } from '../time.ts';
import { NEVER, after, micros, ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';
import type { SentPacket } from './sent-packets.ts';

const {
  datagramBytesMin,
  datagramBytesMax,
  sizeProbeTriesMax,
  sizeProbePauseMs,
  sizeProbeWaitMs,
  blackHoleLosses,
  blackHolePauseMs,
  blackHolesMax,
} = DATA_LIMITS;

/** What the search begins with. */
interface SizeOptions {
  /** Bytes of a whole datagram at first: 1200 to 65 507. */
  readonly datagramBytes: number;
  /** Larger ones to try, ascending; others are left out. */
  readonly datagramBytesProbes: readonly number[];
  /** Hears of every change, with the new size. */
  readonly onChange: (now: Micros, datagramBytes: number) => void;
}

/** The full size of one talk's datagrams, bytes of UDP payload. */
export class DatagramSize {
  readonly #onChange: (now: Micros, datagramBytes: number) => void;
  /** Every size above the least that is worth a try, ascending. */
  readonly #sizes: readonly number[] = [];
  #current: number;
  /** Of `#sizes`, the next to try. */
  #at: number;
  #tries = 0;
  /** Packet number of the probe under way; -1: none. */
  #probe = -1;
  #nextAt: Micros = NEVER;
  /** Nothing has needed a larger one yet. */
  #isWaiting = false;
  /** Round trips in a row in which large datagrams were lost and none was acknowledged. */
  #losses = 0;
  #lossSeenAt = micros(-1);
  #blackHoles = 0;

  constructor({ datagramBytes, datagramBytesProbes, onChange }: SizeOptions) {
    this.#onChange = onChange;
    this.#current = datagramBytes;
    const sizes: number[] = datagramBytes > datagramBytesMin ? [datagramBytes] : [];
    this.#at = sizes.length;
    let last = datagramBytes;
    for (const bytes of datagramBytesProbes) {
      if (!(bytes > last && bytes <= datagramBytesMax)) continue;
      sizes.push(bytes);
      last = bytes;
    }
    this.#sizes = sizes;
  }

  /** What new packets are filled to. */
  get current(): number {
    return this.#current;
  }

  /** Times that the size fell back. */
  get blackHoles(): number {
    return this.#blackHoles;
  }

  /** When the next probe is due. */
  get deadline(): Micros {
    return this.#nextAt;
  }

  /** The talk is open: the search begins in a while, or when a datagram is full. */
  open(now: Micros): void {
    this.start(after(now, ms(sizeProbeWaitMs)));
    this.#isWaiting = true;
  }

  /** A datagram of the size that it has now was too small for what there is to send. */
  onFilled(now: Micros): void {
    if (!this.#isWaiting) return;
    this.start(now);
  }

  /** The search begins, or goes on. */
  start(now: Micros): void {
    this.#isWaiting = false;
    this.#nextAt = this.#at < this.#sizes.length ? now : NEVER;
  }

  /** Another path: what was learnt of the old one holds no more (RFC 9000 §14.3). */
  restart(now: Micros): void {
    this.#blackHoles = 0;
    this.#fall(now, now);
  }

  /** The same path under another port: nobody tells any more what became of a probe under way. */
  onPortChange(now: Micros): void {
    if (this.#probe < 0) return;
    this.#probe = -1;
    this.#nextAt = now;
  }

  /** Bytes of the probe that is due now; 0: none. */
  due(now: Micros): number {
    return this.#nextAt <= now ? this.#sizes[this.#at] : 0;
  }

  onProbeSent(packet: SentPacket): void {
    this.#probe = packet.packetNumber;
    this.#isWaiting = false;
    this.#nextAt = NEVER;
  }

  /** It did not arrive, or could not be sent: tried again after a pause, a few times. */
  onProbeFailed(now: Micros): void {
    this.#probe = -1;
    this.#tries++;
    this.#nextAt = this.#tries < sizeProbeTriesMax ? after(now, ms(sizeProbePauseMs)) : NEVER;
  }

  /** Any packet was acknowledged. */
  onAcked(now: Micros, packet: SentPacket): void {
    if (packet.bytes > datagramBytesMin) this.#losses = 0;
    if (packet.packetNumber !== this.#probe) return;
    this.#probe = -1;
    this.#tries = 0;
    this.#at++;
    this.#set(now, packet.bytes);
    this.start(now);
  }

  /**
   * Any packet was declared lost, which means that a later one arrived. RFC 8899 §4.3: several
   * round trips of nothing but lost large ones are a black hole; congestion loses small ones too,
   * and not all.
   */
  onLost(now: Micros, packet: SentPacket): void {
    if (packet.isSizeProbe) {
      if (packet.packetNumber === this.#probe) this.onProbeFailed(now);
      return;
    }
    if (packet.bytes <= datagramBytesMin || packet.sentAt <= this.#lossSeenAt) return;
    this.#lossSeenAt = now;
    this.#losses++;
    if (this.#losses < blackHoleLosses || this.#current === datagramBytesMin) return;
    this.#blackHoles++;
    const again = this.#blackHoles < blackHolesMax ? after(now, ms(blackHolePauseMs)) : NEVER;
    this.#fall(now, again);
  }

  #fall(now: Micros, again: Micros): void {
    this.#probe = -1;
    this.#isWaiting = false;
    this.#tries = 0;
    this.#losses = 0;
    this.#at = 0;
    this.#nextAt = this.#sizes.length > 0 ? again : NEVER;
    this.#set(now, datagramBytesMin);
  }

  #set(now: Micros, datagramBytes: number): void {
    if (this.#current === datagramBytes) return;
    this.#current = datagramBytes;
    this.#onChange(now, datagramBytes);
  }
}
