// Virtual time for tests of the modelled network: an agenda in the order of (time, order), and an
// Internet on it that keeps what it hears.

import type { Path } from '../../protocol/core.ts';
import { DeadlineHeap, type Due, notArmed } from '../../protocol/deadlines.ts';
import { seededRng } from '../../protocol/random.ts';
import { type Micros, NEVER, after, micros, seconds } from '../../protocol/time.ts';
import { Channel, type ChannelFaults, CLEAN_CHANNEL } from '../network/channel.ts';
import type { Attachment, Host } from '../network/host.ts';
import { type DropName, Internet } from '../network/internet.ts';
import { NAT_KINDS, Nat, type NatBehaviour } from '../network/nat.ts';

interface Errand extends Due {
  readonly run: () => void;
}

/** A datagram that came to a socket. */
interface Heard {
  readonly at: Micros;
  readonly host: Host;
  readonly to: Path;
  readonly from: Path;
  readonly bytes: Uint8Array;
}

/** An Internet with its own time. */
export class NetworkAgenda {
  now: Micros = micros(seconds(1));
  readonly internet: Internet;
  readonly heard: Heard[] = [];
  readonly strayed: { readonly from: Path; readonly to: Path }[] = [];
  readonly dropped: DropName[] = [];
  readonly #seed: number;
  readonly #errands = new DeadlineHeap<Errand>();

  /** `across`: microseconds from box to box. */
  constructor(seed = 1, across = 0) {
    this.#seed = seed;
    this.internet = new Internet({
      random: (name) => this.random(name),
      schedule: (at, run) => this.#errands.set({ run, ...notArmed() }, at),
      now: () => this.now,
      across,
      onStray: (from, to) => this.strayed.push({ from, to }),
      onDrop: (why) => this.dropped.push(why),
    });
  }

  random(name: string): () => number {
    let hash = this.#seed;
    for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 16777619);
    const rng = seededRng(hash);
    return () => rng.next() / 2 ** 32;
  }

  /** Lets time pass; NEVER: until nothing is left to do. */
  run(until: Micros = NEVER): void {
    for (;;) {
      const next = this.#errands.next();
      if (next > until || next === NEVER) break;
      this.now = next;

      this.#errands.popDue(this.now)?.run();
    }
    if (until !== NEVER) this.now = until;
  }

  /** Lets so much time pass. */
  pass(microseconds: number): void {
    this.run(after(this.now, microseconds));
  }

  host(name: string, attachment: Attachment): Host {
    const host = this.internet.addHost({ name, ...attachment });
    host.onDatagram = (to, from, bytes) => this.heard.push({ at: this.now, host, to, from, bytes });
    return host;
  }

  nat(behaviour: NatBehaviour, ...addresses: string[]): Nat {
    const { paths } = this.internet;
    return new Nat({ behaviour, addresses, random: this.random(`nat ${addresses[0]}`), paths });
  }

  channel(name: string, faults: Partial<ChannelFaults> = {}): Channel {
    return new Channel(this.random(name), { ...CLEAN_CHANNEL, ...faults });
  }

  /** Sends one datagram and lets a second pass; what came of it, and to whom, as seen there. */
  probe(host: Host, socket: Path, to: Path): Path | undefined {
    const before = this.heard.length;
    host.send(socket, to, new Uint8Array([1]));
    this.pass(seconds(1));
    return this.heard[before]?.from;
  }
}

/** The usual kinds that are boxes at all, for tables. */
export const BOX_KINDS = [
  'firewall',
  'full-cone',
  'address-restricted',
  'port-restricted',
  'symmetric',
  'udp-blocked',
] as const satisfies readonly (keyof typeof NAT_KINDS)[];
