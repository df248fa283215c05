// The broker's door: every connection from its accept until its login is proven or it is gone
// (design §4, Guard). Strangers are counted when TCP accepts them, before anything is spent on
// them; TLS, CONNECT and login share one deadline; who proves nothing is told a code, and Aedes
// never hears of it.

import type { Duplex } from 'node:stream';
import type { Log } from '../../protocol/io/log.ts';
import { parseConnect, refusedConnack } from '../connect-packet.ts';
import type { Login, Proven } from '../login.ts';
import type { LoginFault } from '../memberships.ts';
import { Strangers } from '../strangers.ts';
import { Arrival } from './arrival.ts';
import { Handshakes } from './handshakes.ts';
import type { Secure } from './listener.ts';

/** What became of strangers since the start. */
export interface DoorCounters {
  /** CONNECT packets refused: for their form, for what they should prove. */
  readonly connectsRefused: number;
  readonly loginsRefused: number;
  /** Connections ended: first bytes that are none, no login in time, too many strangers. */
  readonly badFirstBytes: number;
  readonly lateLogins: number;
  readonly strangersDropped: number;
  /** Bytes that are kept of strangers now, and the most that were ever kept of one. */
  readonly strangerBytesHeld: number;
  readonly strangerBytesHeldMost: number;
}

interface DoorOptions {
  /** Undefined where there is no TLS. */
  readonly secure: Secure | undefined;
  /** Milliseconds until a login must be proven. */
  readonly loginMs: number;
  readonly log: Log;
  readonly login: (login: Login) => Proven | LoginFault;
  /** Somebody is let in. */
  readonly onProven: (guest: Guest) => void;
}

/** Who is let in: the stream, paused, and the bytes read of it from CONNECT on. */
export interface Guest {
  readonly stream: Duplex;
  readonly first: Uint8Array;
  readonly proven: Proven;
  /** Where it comes from, as the system prints it; undefined within this process. */
  readonly address: string | undefined;
}

/**
 * CONNACK codes (MQTT 3.1.1 §3.2.2.3): 2 client ID, 3 not now, 4 credentials, 5 not, or no longer,
 * let in.
 */
function returnCodeOf(fault: LoginFault): number {
  if (fault === 'client-id') return 2;
  if (fault === 'no-list') return 3;
  return fault === 'membership-expired' || fault === 'revoked' ? 5 : 4;
}

/** Everybody who knocks, until it is known who that is. */
export class Door {
  readonly #options: DoorOptions;
  /** Each with its deadline. Bounded by `#strangers`; within the process there is the manager. */
  readonly #waiting = new Map<Arrival, NodeJS.Timeout>();
  readonly #strangers = new Strangers<Arrival>();
  readonly #handshakes = new Handshakes();
  readonly #counts = {
    connectsRefused: 0,
    loginsRefused: 0,
    badFirstBytes: 0,
    lateLogins: 0,
    strangersDropped: 0,
    strangerBytesHeldMost: 0,
  };

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /** Connections whose login is not proven, and those of them that came over the network. */
  get waiting(): number {
    return this.#waiting.size;
  }

  get strangers(): number {
    return this.#strangers.size;
  }

  counters(): DoorCounters {
    let strangerBytesHeld = 0;
    for (const arrival of this.#waiting.keys()) strangerBytesHeld += arrival.heldBytes;
    return { ...this.#counts, strangerBytesHeld };
  }

  /**
   * Takes a newcomer over; when there are too many, the oldest goes. `address`: who to count it
   * under; undefined within this process.
   */
  accept(inner: Duplex, address: string | undefined): void {
    const { secure, loginMs } = this.#options;
    const arrival: Arrival = new Arrival(inner, {
      secure,
      handshakes: this.#handshakes,
      onHeld: (bytes) => {
        const most = Math.max(this.#counts.strangerBytesHeldMost, bytes);
        this.#counts.strangerBytesHeldMost = most;
      },
      onFault: (fault) => {
        this.#counts.badFirstBytes += 1;
        this.#options.log.debug('connection-ended', { fault });
      },
      onConnect: (first) => this.#onConnect(arrival, first, address),
      onGone: () => this.#forget(arrival),
    });
    const deadline = setTimeout(() => this.#onLate(arrival), loginMs);
    this.#waiting.set(arrival, deadline);
    const dropped = address === undefined ? undefined : this.#strangers.add(arrival, address);
    if (dropped === undefined) return;
    this.#counts.strangersDropped += 1;
    dropped.destroy();
  }

  /** Ends all who wait. */
  close(): void {
    for (const arrival of this.#waiting.keys()) arrival.destroy();
  }

  #onLate(arrival: Arrival): void {
    this.#counts.lateLogins += 1;
    this.#options.log.debug('connection-ended', { fault: 'no-login' });
    arrival.destroy();
  }

  /** A whole CONNECT has come: it is judged here, and only who is let in goes further. */
  #onConnect(arrival: Arrival, first: Uint8Array, address: string | undefined): void {
    const login = parseConnect(first);
    if (login === undefined) {
      this.#counts.connectsRefused += 1;
      arrival.destroy();
      return;
    }
    const proven = this.#options.login(login);
    if (typeof proven === 'string') {
      this.#counts.loginsRefused += 1;
      this.#options.log.debug('login-refused', { fault: proven });
      arrival.refuse(refusedConnack(returnCodeOf(proven)));
      return;
    }
    this.#forget(arrival);
    this.#options.onProven({ stream: arrival.handOver(), first, proven, address });
  }

  #forget(arrival: Arrival): void {
    clearTimeout(this.#waiting.get(arrival));
    this.#waiting.delete(arrival);
    this.#strangers.remove(arrival);
  }
}
