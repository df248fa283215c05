// A talk's relay in virtual time: servers that a test makes silent, refusing or lying, over UDP and
// TCP, with a way to them of 25 ms; what was opened, when, and what became of it.

import type { Path } from '../../protocol/core.ts';
import { seededRng } from '../../protocol/random.ts';
import { RELAYED, RELAYED_6, type Lies, answerOf } from '../../protocol/test/turn-server.ts';
import { type Micros, NEVER, after, micros, ms } from '../../protocol/time.ts';
import type { RelayTransport } from '../meeting/relay-plan.ts';
import { Relay } from '../meeting/relay.ts';
import type { SocketId } from '../terminal-types.ts';

const WAY_MS = 25;
const STEPS_MAX = 20_000;
/** The relays' own addresses: RELAYED is what all of them give. */
export const SERVERS: readonly Path[] = [1, 2, 3, 4].map((last) => {
  return { host: `198.51.100.${last}`, port: 3478 };
});
export { RELAYED, RELAYED_6 };

/** What a server does over one transport. */
export interface Behaviour extends Lies {
  /** Its packets are dropped, both ways. */
  isBlocked?: boolean;
  /** TCP: nobody listens there. */
  isShut?: boolean;
}

/** An endpoint that the relay wanted. */
export interface Opened {
  readonly socket: SocketId;
  readonly server: Path;
  readonly transport: RelayTransport;
  readonly atMs: number;
  closedAtMs: number | undefined;
  /** Packets or frames that went there. */
  sent: number;
}

/** One relay with its servers. */
export class RelayBench {
  readonly relay: Relay;
  readonly opened: Opened[] = [];
  now = micros(1);
  /** Undefined: a server without a word here behaves well. */
  readonly behaviours = new Map<string, Behaviour>();
  /** No endpoint can be opened. */
  isBroke = false;
  #agenda: { readonly at: Micros; readonly act: () => void }[] = [];

  constructor(servers = 1) {
    const terms = {
      servers: SERVERS.slice(0, servers).map(({ host, port }) => {
        return { address: Uint8Array.from(host.split('.').map(Number)), port };
      }),
      username: 'someone',
      password: 'secret',
    };
    this.relay = new Relay(terms, seededRng(3), {
      open: (server, transport) => this.#open(server, transport),
      close: (socket) => {
        const one = this.opened.find((each) => each.socket === socket);
        if (one !== undefined) one.closedAtMs ??= this.ms;
      },
    });
  }

  get ms(): number {
    return Math.round(this.now / 1_000);
  }

  /** What is open now, as `tcp 1`: transport and number of the server. */
  get open(): readonly string[] {
    return this.opened
      .filter(({ closedAtMs }) => closedAtMs === undefined)
      .map(({ transport, server }) => `${transport} ${SERVERS.indexOf(at(server)) + 1}`);
  }

  /** What was opened so far, as `1000 tcp 1`. */
  get story(): readonly string[] {
    return this.opened.map(
      ({ atMs, transport, server }) => `${atMs} ${transport} ${SERVERS.indexOf(at(server)) + 1}`,
    );
  }

  /** Changes what a server does over a transport from now on. */
  make(server: number, transport: RelayTransport, behaviour: Behaviour): void {
    this.behaviours.set(`${SERVERS[server - 1].host} ${transport}`, behaviour);
  }

  /** Lets time pass, `until` in milliseconds, or until the condition holds. */
  run(until: number, isEnough: () => boolean = () => false): void {
    const end = micros(until * 1_000);
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#drain();
      if (isEnough()) return;
      const [first] = this.#agenda.toSorted((a, b) => a.at - b.at);
      const next = Math.min(first?.at ?? NEVER, this.relay.nextTimeout());
      if (next > end) {
        this.now = end;
        return;
      }
      this.now = micros(Math.max(next, this.now));
      if (first !== undefined && first.at <= this.now) {
        this.#agenda = this.#agenda.filter((one) => one !== first);
        first.act();
      } else {
        this.relay.handleTimeout(this.now);
      }
    }
    throw new Error('it is busy without end');
  }

  /** The connection or socket fails. */
  fail(opened: Opened): void {
    this.relay.onFailed(this.now, opened.socket);
  }

  #open(server: Path, transport: RelayTransport): SocketId | undefined {
    if (this.isBroke) return undefined;
    const socket = this.opened.length + 1;
    const { now } = this;
    const opened = { socket, server, transport, atMs: this.ms, closedAtMs: undefined, sent: 0 };
    this.opened.push(opened);
    const { isBlocked, isShut } = this.#behaviour(opened);
    if (transport === 'udp') this.#later(now, () => this.relay.onOpen(this.now, socket));
    else if (isShut === true) this.#later(after(now, ms(2 * WAY_MS)), () => this.fail(opened));
    else if (isBlocked !== true)
      this.#later(after(now, ms(2 * WAY_MS)), () => this.relay.onOpen(this.now, socket));
    return socket;
  }

  #behaviour({ server, transport }: Opened): Behaviour {
    return this.behaviours.get(`${server.host} ${transport}`) ?? {};
  }

  #drain(): void {
    const into = new Uint8Array(2_000);
    for (let out; (out = this.relay.pollTransmit(this.now, into)) !== undefined;) {
      const { socket, path, size } = out;
      const opened = this.opened[socket - 1];
      opened.sent += 1;
      const bytes = into.slice(0, size);
      this.#later(after(this.now, ms(2 * WAY_MS)), () => {
        const behaviour = this.#behaviour(opened);
        if (behaviour.isBlocked === true || opened.closedAtMs !== undefined) return;
        const answer = answerOf(bytes, behaviour);
        if (answer === undefined) return;
        this.relay.handleDatagram(this.now, socket, { from: path, bytes: answer });
      });
    }
  }

  #later(when: Micros, act: () => void): void {
    this.#agenda.push({ at: when, act });
  }
}

const at = ({ host }: Path): Path => SERVERS.find((one) => one.host === host) ?? SERVERS[0];
