// Where terminals stand on the Internet: by a public address, behind a box of their own or of
// another one's home, or behind that and a carrier's, which they share; some by an IPv6 address as
// well; and where they go when they move. What the boxes do is in network/nat.ts, what the access
// links do in network/channel.ts.

import { type Rng, randomBelow, randomFraction } from '../protocol/random.ts';
import { Channel, type ChannelFaults } from './network/channel.ts';
import type { Attachment } from './network/host.ts';
import type { Internet } from './network/internet.ts';
import { NAT_KINDS, type NatBehaviour, Nat } from './network/nat.ts';
import type { Options } from './options.ts';

/** What an IPv4 packet has before the UDP payload (RFC 791, RFC 768). */
const HEADER_BYTES = 28;
const KINDS: readonly NatBehaviour[] = Object.values(NAT_KINDS);
/** How long a reordered datagram is held back, and a replayed one kept, at most. */
const REORDER_MS = 30;
const DAY_MS = 86_400_000;
/** Addresses of one block: the last two numbers of an address. */
const BLOCK = 65_536;

interface PlacesOptions {
  readonly options: Options;
  readonly internet: Internet;
  readonly random: (name: string) => () => number;
  readonly rng: (name: string) => Rng;
}

/** Gives every host its place. */
export class Places {
  readonly #parts: PlacesOptions;
  #carrier: Nat | undefined;
  #given = 0;
  /** Homes with somebody in them: who comes later may live there, too. */
  readonly #homes: (readonly Nat[])[] = [];

  constructor(parts: PlacesOptions) {
    this.#parts = parts;
  }

  /** A place that nobody has had; `name` is the host's. */
  next(name: string): Attachment {
    const { options, random, rng: rngOf } = this.#parts;
    const number = this.#given;
    this.#given += 1;
    const label = `${name}/${number}`;
    const rng = rngOf(`place/${label}`);
    const block = Math.floor(number / BLOCK);
    const rest = `${(number >> 8) & 255}.${number & 255}`;
    const isBehind = randomFraction(rng) < options['nat.share'];
    const kind = KINDS[randomBelow(rng, KINDS.length)];
    const hasCarrier = isBehind && randomFraction(rng) < options['nat.carrier'];
    // Drawn of generators of their own: what is new shifts nobody's place.
    const home = isBehind ? this.#homeOf(label) : undefined;
    const also = this.#also(label, number);
    const faults = channelFaults(options);
    const link = {
      up: new Channel(random(`up/${label}`), faults),
      down: new Channel(random(`down/${label}`), faults),
      also,
    };
    if (home !== undefined) return { address: `10.${block}.${rest}`, nats: home, ...link };
    const nats: Nat[] = [];
    if (isBehind) {
      const outside = hasCarrier ? `${100 + block}.64.${rest}` : `${198 + block}.18.${rest}`;
      const addresses = [outside, outside.replace(/^(\d+)\.(\d+)/, '$1.1$2')];
      nats.push(this.#box(kind, addresses, `nat/${label}`));
    }
    if (hasCarrier) nats.push((this.#carrier ??= this.#carrierBox()));
    const isInside = isBehind && kind.translates;
    if (isInside) this.#homes.push(nats);
    return { address: this.#address(isInside, hasCarrier, { block, rest }), nats, ...link };
  }

  /** Another one's home, if this one is to live there. */
  #homeOf(label: string): readonly Nat[] | undefined {
    const rng = this.#parts.rng(`home/${label}`);
    const isShared = randomFraction(rng) < this.#parts.options['nat.lan'];
    if (!isShared || this.#homes.length === 0) return undefined;
    return this.#homes[randomBelow(rng, this.#homes.length)];
  }

  /** An IPv6 address of its own, half of the time behind a firewall (RFC 6092). */
  #also(label: string, number: number): Attachment['also'] {
    const rng = this.#parts.rng(`also/${label}`);
    if (randomFraction(rng) >= this.#parts.options['host.dual']) return undefined;
    const isOpen = randomBelow(rng, 2) === 0;
    const nats = isOpen ? [] : [this.#box(NAT_KINDS.firewall, [], `firewall/${label}`)];
    return { address: `2001:db8:0:${(number + 1).toString(16)}::1`, nats };
  }

  #address(
    isInside: boolean,
    hasCarrier: boolean,
    { block, rest }: { readonly block: number; readonly rest: string },
  ): string {
    if (isInside) return `10.${block}.${rest}`;
    // A box that only filters leaves the host in the network behind it.
    return hasCarrier ? `${100 + block}.65.${rest}` : `${203 + block}.0.${rest}`;
  }

  #box(kind: NatBehaviour, addresses: readonly string[], label: string): Nat {
    const { options, random, internet, rng: rngOf } = this.#parts;
    const rng = rngOf(`habits/${label}`);
    const hairpins = kind.hairpins || randomFraction(rng) < options['nat.hairpin'];
    const earlyTakesPort = randomFraction(rng) < options['nat.early'];
    return new Nat({
      behaviour: { ...kind, timeoutSeconds: options['nat.timeout'], hairpins, earlyTakesPort },
      addresses: kind.translates ? addresses : [],
      random: random(label),
      paths: internet.paths,
    });
  }

  /** One for the whole world: its customers meet behind it. */
  #carrierBox(): Nat {
    const kind = { ...NAT_KINDS['port-restricted'], hairpins: true };
    return this.#box(kind, ['192.88.0.1', '192.88.0.2'], 'nat/carrier');
  }
}

/** What the options say of each access link, each way. */
export function channelFaults(options: Options): ChannelFaults {
  const { 'udp.loss': share, 'udp.burst': burst } = options;
  return {
    // `share` of all datagrams is lost, in bursts or one by one: the channel asks how often a loss
    // begins.
    loss: (share * (1 - burst)) / (1 - share),
    burst: share === 0 ? 0 : burst,
    delayMs: options['udp.delay'] / 2,
    jitterMs: options['udp.jitter'],
    reorder: options['udp.reorder'],
    reorderMs: REORDER_MS,
    duplicate: options['udp.duplicate'],
    replay: options['udp.replay'],
    replayAfterMsMax: DAY_MS,
    corrupt: options['udp.corrupt'],
    truncate: options['udp.truncate'],
    grow: options['udp.grow'],
    mtuBytes: options['udp.mtu'] - HEADER_BYTES,
    bytesPerSecond: options['udp.rate'] === 0 ? Infinity : options['udp.rate'],
    queueMs: options['udp.queue'],
  };
}
