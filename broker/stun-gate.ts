// Which datagrams at our STUN ports are looked into (RFC 8489 §6.3.1). They come from anybody under
// any address, so nothing is kept of a sender: one bucket of tokens for all, and before it one of a
// fixed number for the network that the sender seems to be in, so that one that floods leaves the
// others theirs. Sources can be forged; so what names an address record that the broker holds,
// which nobody can make up, is looked into also when a bucket is empty. What is no STUN by its
// frame is dropped before it costs a token; what is over the rate, before it is read.

import { foldedAddress } from '../protocol/address.ts';
import type { RecordId } from '../protocol/ids.ts';
import { type Rng, randomBelow } from '../protocol/random.ts';
import { recordAhead } from '../protocol/stun/server.ts';
import { type Micros, MICROS_PER_SECOND } from '../protocol/time.ts';
import { isStun } from '../protocol/stun/message.ts';
import { TokenBucket } from '../protocol/token-bucket.ts';
import { BROKER_LIMITS } from './limits.ts';

/** What is done with a datagram. */
type StunVerdict = 'ok' | 'malformed' | 'over-rate';

/** A datagram, borrowed. */
interface StunArrival {
  readonly bytes: Uint8Array;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
}

const IPV4_BYTES = 4;
/** Bytes of an address that are its network's: who has one address there may have all of them. */
const NETWORK_BYTES_4 = 3;
const NETWORK_BYTES_6 = 8;
const HASH_MAX = 0x1_0000_0000;
/** Of FNV-1a, 32 bits. */
const HASH_PRIME = 0x0100_0193;

const bucket = (perSecond: number, burst: number): TokenBucket =>
  new TokenBucket(burst, MICROS_PER_SECOND / perSecond);

/** The gate of all ports of one process. */
export class StunGate {
  readonly #all = bucket(BROKER_LIMITS.stunRequestsPerSecond, BROKER_LIMITS.stunBurst);
  readonly #known = bucket(BROKER_LIMITS.stunKnownPerSecond, BROKER_LIMITS.stunKnownBurst);
  readonly #networks = Array.from({ length: BROKER_LIMITS.stunNetworks }, () =>
    bucket(BROKER_LIMITS.stunNetworkPerSecond, BROKER_LIMITS.stunNetworkBurst),
  );
  /** Nobody outside knows which networks have one bucket. */
  readonly #seed: number;
  readonly #isKnown: (record: RecordId) => boolean;

  /** `isKnown`: asked about a record only where a bucket is empty. */
  constructor(rng: Rng, isKnown: (record: RecordId) => boolean) {
    this.#seed = randomBelow(rng, HASH_MAX);
    this.#isKnown = isKnown;
  }

  /** Judges a datagram by its frame, its sender (nobody can be answered at port 0) and rates. */
  judge(now: Micros, { bytes, address, port }: StunArrival): StunVerdict {
    const isShort = bytes.length <= BROKER_LIMITS.stunRequestBytesMax;
    if (!isShort || port === 0 || !isStun(bytes)) return 'malformed';
    if (this.#networks[this.#networkOf(address)].take(now) && this.#all.take(now)) return 'ok';
    const record = recordAhead(bytes);
    if (record === undefined || !this.#isKnown(record)) return 'over-rate';
    return this.#known.take(now) ? 'ok' : 'over-rate';
  }

  #networkOf(source: Uint8Array): number {
    const address = foldedAddress(source) ?? source;
    const bytes = address.length === IPV4_BYTES ? NETWORK_BYTES_4 : NETWORK_BYTES_6;
    let hash = this.#seed;
    for (let at = 0; at < bytes; at++) hash = Math.imul(hash ^ address[at], HASH_PRIME);
    return ((hash ^ (hash >>> 16)) >>> 0) % this.#networks.length;
  }
}
