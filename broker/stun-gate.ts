// Which datagrams at our STUN ports are looked into (RFC 8489 §6.3.1). They come from anybody under
// any address, so nothing is kept of a sender: one bucket of tokens for all. What is no STUN by its
// frame is dropped before it costs a token; what is over the rate, before it is read.

import { type Micros, MICROS_PER_SECOND } from '../protocol/time.ts';
import { isStun } from '../protocol/stun/message.ts';
import { TokenBucket } from '../protocol/token-bucket.ts';
import { BROKER_LIMITS } from './limits.ts';

/** What is done with a datagram. */
type StunVerdict = 'ok' | 'malformed' | 'over-rate';

/** The gate of all ports of one process. */
export class StunGate {
  readonly #rate = new TokenBucket(
    BROKER_LIMITS.stunBurst,
    MICROS_PER_SECOND / BROKER_LIMITS.stunRequestsPerSecond,
  );

  /** Judges a datagram by its frame, its sender's port (nobody can be answered at 0) and rate. */
  judge(now: Micros, bytes: Uint8Array, fromPort: number): StunVerdict {
    const isShort = bytes.length <= BROKER_LIMITS.stunRequestBytesMax;
    if (!isShort || fromPort === 0 || !isStun(bytes)) return 'malformed';
    return this.#rate.take(now) ? 'ok' : 'over-rate';
  }
}
