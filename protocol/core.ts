// The core contract (design §2). A core is a state machine without a socket, a clock, a timer, a
// promise or a console: everything comes in as an argument, everything goes out by polling.
//
//   one change (handle… or a command) → drain → arm one timer for nextTimeout() → wait
//
// `now` never decreases: a core that is handed an older `now` takes it for the last one it saw. A
// core never throws for what a peer sent. While output is queued, nextTimeout() is the last `now`,
// so that no driver can forget to drain.

import type { Micros } from './time.ts';

/** Where a datagram came from or goes to. Interned by the shell: same path, same object. */
export interface Path {
  /** IPv4 dotted or IPv6 text, as `node:dgram` prints it. */
  readonly host: string;
  readonly port: number;
  /** Which endpoint of ours, where a talk has more than its first one. */
  readonly via?: number | undefined;
}

/** Same endpoints, whoever made the object. */
export function samePath(a: Path, b: Path): boolean {
  return a === b || (a.port === b.port && a.host === b.host && a.via === b.via);
}

/** One datagram to send; its bytes lie at the start of the buffer lent to `pollTransmit`. */
export interface Transmit {
  readonly path: Path;
  readonly size: number;
}

/** A core that speaks datagrams: one UDP session, or whatever owns several. */
export interface DatagramCore<Event> {
  /**
   * `bytes` are borrowed until the call returns (and may be decrypted in place). False: nothing has
   * changed, so there is nothing to drain, and the timer stays as it is. That keeps what anybody
   * may send cheap.
   */
  handleDatagram(now: Micros, path: Path, bytes: Uint8Array): boolean;
  /** Early, late and repeated calls are harmless. */
  handleTimeout(now: Micros): void;
  nextTimeout(): Micros;
  /** One datagram written to the start of `into`, or nothing may be sent now. */
  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined;
  pollEvent(): Event | undefined;
}

/** A core of the control plane: rare inputs, mixed effects, one union out. */
export interface ControlCore<Input, Output> {
  handle(now: Micros, input: Input): void;
  handleTimeout(now: Micros): void;
  nextTimeout(): Micros;
  poll(): Output | undefined;
}

/** What the shell (or the simulator) offers a datagram core. */
export interface Port<Event> {
  /** A buffer that is this port's to lend; at least MAX_DATAGRAM_BYTES long. */
  borrow(): Uint8Array;
  /** Gives back a buffer in which nothing was sent. */
  release(buffer: Uint8Array): void;
  /** Takes the buffer over. */
  send(transmit: Transmit, buffer: Uint8Array): void;
  /** May issue commands to the core; must not drain. */
  event(event: Event): void;
}

/**
 * Empties a datagram core; the one loop that production and simulation share.
 * Events come first: what the owner writes in answer shares a packet with the acknowledgement.
 * Returns when to wake the core: `now` itself when the step budget ran out.
 */
export function drain<Event>(
  core: DatagramCore<Event>,
  now: Micros,
  port: Port<Event>,
  stepsMax: number,
): Micros {
  for (let step = 0; step < stepsMax; step++) {
    const event = core.pollEvent();
    if (event !== undefined) {
      port.event(event);
      continue;
    }
    const buffer = port.borrow();
    const transmit = core.pollTransmit(now, buffer);
    if (transmit === undefined) {
      port.release(buffer);
      return core.nextTimeout();
    }
    port.send(transmit, buffer);
  }
  return now;
}
