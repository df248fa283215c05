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
  readonly #sockets: number[] = [];
  #wanted = 0;
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
    this.#sockets.push(socket);
  }

  /** It is no more. */
  onSocketFailed(socket: number): void {
    const at = this.#sockets.indexOf(socket);
    if (at >= 0) this.#sockets.splice(at, 1);
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
    if (this.#sent < Math.min(this.#sockets.length, searchSockets) * searchTries) {
      // Every socket once as soon as it is open, then all of them once more.
      const isFirst = this.#sent < this.#sockets.length;
      const isWhole = this.#sockets.length >= searchSockets;
      if (isFirst || isWhole) {
        const via = this.#sockets[this.#sent % this.#sockets.length];
        this.#sent += 1;
        return { kind: 'send', path: { host: this.#host, port, via } };
      }
    }
    const opening = this.#wanted - this.#sockets.length;
    if (this.#wanted >= searchSockets || opening >= searchOpeningMax) return undefined;
    this.#wanted += 1;
    return { kind: 'socket' };
  }
}
