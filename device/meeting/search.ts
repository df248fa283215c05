// The many-socket search (docs/nat.md), for the one common pair that plain punching loses: a home
// router that keeps one port for a socket, and one that gives every destination another. The end
// behind the latter opens many sockets towards the other's one port; that other tries many ports.
// After 256 sockets and some hundred tries one of them fits, as birthdays do. Only after consent,
// only to an address that two witnesses have shown, and bounded in packets, rate and time.

import type { Path } from '../../protocol/core.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow } from '../../protocol/random.ts';
import { MICROS_PER_SECOND, type Micros, NEVER, after, ms } from '../../protocol/time.ts';
import { MEETING_LIMITS } from './limits.ts';

const { searchPortMin, searchPorts, searchSockets, searchTries, searchOpeningMax } = MEETING_LIMITS;
const { searchMs, searchStepMs } = MEETING_LIMITS;
const PORTS = LIMITS.portMax - searchPortMin + 1;

/** Where the search of one end stands; `socket` asks for one more socket. */
type SearchStep = { readonly kind: 'send'; readonly path: Path } | { readonly kind: 'socket' };

/** One search of one end, from its beginning to its end. */
export class Search {
  readonly #host: string;
  /** The one port of the peer, if it is us whose NAT varies. */
  readonly #port: number | undefined;
  readonly #rng: Rng;
  readonly #begun: Micros;
  readonly #tried = new Set<number>();
  /** Open sockets that are still to send, and how often; those that never did come first. */
  #queue: { readonly socket: number; readonly left: number }[] = [];
  /** Sockets that were asked for and are not open yet; that are open; that failed. */
  #opening = 0;
  readonly #open = new Set<number>();
  #failed = 0;
  /** There are no more to be had: those that are open have to do. */
  #isShort = false;
  #sent = 0;
  /** Packets whose time passed while the timer was late. */
  #skipped = 0;
  #next: Micros;
  #isOver = false;

  /** `port`: of the peer; undefined: it has many, and they are tried. */
  constructor(
    now: Micros,
    to: { readonly host: string; readonly port: number | undefined },
    rng: Rng,
  ) {
    this.#host = to.host;
    this.#port = to.port;
    this.#rng = rng;
    this.#begun = now;
    this.#next = now;
  }

  nextTimeout(): Micros {
    return this.#isOver ? NEVER : this.#next;
  }

  stop(): void {
    this.#isOver = true;
  }

  /** A socket that was asked for is open. */
  onSocket(socket: number): void {
    this.#opening -= 1;
    this.#open.add(socket);
    this.#queue.push({ socket, left: searchTries });
  }

  /** It is no more, or could not be opened: another one is asked for, so many times. */
  onSocketFailed(socket: number): void {
    this.#failed += 1;
    if (this.#failed >= searchOpeningMax) this.#isShort = true;
    if (!this.#open.delete(socket)) this.#opening -= 1;
    this.#queue = this.#queue.filter((one) => one.socket !== socket);
  }

  /** The socket that was asked for last cannot be had, nor can more. */
  onNoSocket(): void {
    this.#opening -= 1;
    this.#isShort = true;
  }

  /** The next thing to do now, or nothing until `nextTimeout()`. */
  step(now: Micros): SearchStep | undefined {
    if (this.#isOver || now < this.#next) return undefined;
    if (now >= after(this.#begun, ms(searchMs))) {
      this.#isOver = true;
      return undefined;
    }
    const passed = (now - this.#begun) / MICROS_PER_SECOND;
    const { searchBurst, searchPerSecond } = MEETING_LIMITS;
    const due = 1 + passed * searchPerSecond - this.#sent - this.#skipped;
    this.#skipped += Math.max(0, due - searchBurst);
    const found = due > 0 ? this.#one() : undefined;
    if (found !== undefined) return found;
    this.#next = after(now, ms(searchStepMs));
    return undefined;
  }

  #one(): SearchStep | undefined {
    return this.#port === undefined ? this.#onePort() : this.#oneSocket(this.#port);
  }

  #onePort(): SearchStep | undefined {
    if (this.#tried.size >= searchPorts) return undefined;
    let port = searchPortMin + randomBelow(this.#rng, PORTS);
    while (this.#tried.has(port)) port = port === LIMITS.portMax ? searchPortMin : port + 1;
    this.#tried.add(port);
    this.#sent += 1;
    return { kind: 'send', path: { host: this.#host, port } };
  }

  #oneSocket(port: number): SearchStep | undefined {
    // Every socket once as soon as it is open, then all of them once more.
    const isMore = !this.#isShort && this.#open.size + this.#opening < searchSockets;
    const isWhole = !isMore && this.#opening === 0;
    const at = this.#queue.findIndex(({ left }) => isWhole || left === searchTries);
    if (at >= 0) {
      const [{ socket, left }] = this.#queue.splice(at, 1);
      if (left > 1) this.#queue.push({ socket, left: left - 1 });
      this.#sent += 1;
      return { kind: 'send', path: { host: this.#host, port, via: socket } };
    }
    if (!isMore || this.#opening >= searchOpeningMax) return undefined;
    this.#opening += 1;
    return { kind: 'socket' };
  }
}
