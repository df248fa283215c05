// The ways that a meeting tries: pairs of one of our sockets and one address of the peer, what went
// there and what came back. A pair from which nothing authentic has come gets few, small packets:
// the address stands in what the peer said, and may be a victim's (RFC 8445 §19.5.1).

import type { PathClass } from '../../protocol/address.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { type Path, samePath } from '../../protocol/core.ts';
import { type Micros, NEVER, after, ms } from '../../protocol/time.ts';
import { MEETING_LIMITS } from './limits.ts';

/** One pair. */
export interface Pair {
  readonly path: Path;
  readonly class: PathClass;
  /** When the next packet is due; NEVER: none is wanted. */
  nextAt: Micros;
  pauseMs: number;
  /** Packets since something last came. */
  sent: number;
  sentBytes: number;
  receivedBytes: number;
  /** Our probe was answered: the peer is there, and gets what we send. */
  isProven: boolean;
  readonly tokens: { readonly token: Uint8Array; readonly sentAt: Micros }[];
}

/** The pairs of one talk. */
export class Pairs {
  readonly #pairs: Pair[] = [];
  /** Unproven packets by the peer's address and port. */
  readonly #remotes = new Map<string, number>();

  get all(): readonly Pair[] {
    return this.#pairs;
  }

  /** Addresses of the peer that got anything. */
  get tried(): number {
    return this.#remotes.size;
  }

  find(path: Path): Pair | undefined {
    return this.#pairs.find((pair) => samePath(pair.path, path));
  }

  /** The pair, made if it is new; its first packet is due at `at`. */
  add(path: Path, of: PathClass, at: Micros): Pair {
    const known = this.find(path);
    if (known !== undefined) return known;
    if (this.#pairs.length >= MEETING_LIMITS.pairsMax) {
      const oldest = this.#pairs.findIndex(({ isProven }) => !isProven);
      this.#pairs.splice(Math.max(0, oldest), 1);
    }
    const pair: Pair = {
      path,
      class: of,
      nextAt: at,
      pauseMs: MEETING_LIMITS.pauseMsFirst,
      sent: 0,
      sentBytes: 0,
      receivedBytes: 0,
      isProven: false,
      tokens: [],
    };
    this.#pairs.push(pair);
    return pair;
  }

  /** Forgets those of a socket that is closed. */
  drop(via: number): void {
    const kept = this.#pairs.filter(({ path }) => path.via !== via);
    this.#pairs.splice(0, this.#pairs.length, ...kept);
  }

  /** Whether one more packet of `bytes` may go there. */
  mayCarry(pair: Pair, bytes: number): boolean {
    const { sent, sentBytes, receivedBytes } = pair;
    if (sentBytes + bytes <= MEETING_LIMITS.amplification * receivedBytes) return true;
    if (sent >= MEETING_LIMITS.unprovenPacketsMax) return false;
    const key = remoteKey(pair.path);
    const ever = this.#remotes.get(key);
    if (ever === undefined) return this.#remotes.size < MEETING_LIMITS.remotesMax;
    return ever < MEETING_LIMITS.unprovenPacketsEver;
  }

  /** A packet of `bytes` leaves; the next one is due after a pause that doubles. */
  onSent(now: Micros, pair: Pair, bytes: number): void {
    pair.sent += 1;
    pair.sentBytes += bytes;
    const key = remoteKey(pair.path);
    this.#remotes.set(key, (this.#remotes.get(key) ?? 0) + 1);
    pair.nextAt = after(now, ms(pair.pauseMs));
    pair.pauseMs = Math.min(pair.pauseMs * 2, MEETING_LIMITS.pauseMsMax);
  }

  /** Something that only the peer can have made came from there. */
  onHeard(pair: Pair, bytes: number): void {
    pair.receivedBytes += bytes;
    pair.sent = 0;
    this.#remotes.set(remoteKey(pair.path), 0);
  }

  /** Notes a token that may be answered. */
  onToken(now: Micros, pair: Pair, token: Uint8Array): void {
    pair.tokens.push({ token, sentAt: now });
    if (pair.tokens.length > MEETING_LIMITS.tokensMax) pair.tokens.shift();
  }

  /** When the probe left that this answers; undefined: none of ours, or answered already. */
  answered(pair: Pair, token: Uint8Array): Micros | undefined {
    const at = pair.tokens.findIndex((one) => sameBytes(one.token, token));
    if (at < 0) return undefined;
    const [{ sentAt }] = pair.tokens.splice(at, 1);
    return sentAt;
  }

  /** Every pair is tried anew, as far as the bounds for its address still let it. */
  again(now: Micros): void {
    for (const pair of this.#pairs) {
      pair.nextAt = now;
      pair.pauseMs = MEETING_LIMITS.pauseMsFirst;
      pair.sent = 0;
      pair.isProven = false;
    }
  }

  /** Nothing more is sent to those that are not wanted. */
  rest(isWanted: (pair: Pair) => boolean): void {
    for (const pair of this.#pairs) if (!isWanted(pair)) pair.nextAt = NEVER;
  }
}

const remoteKey = ({ host, port }: Path): string => `${port} ${host}`;
