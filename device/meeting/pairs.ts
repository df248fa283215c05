// The ways that a meeting tries: pairs of one of our sockets and one address of the peer, what went
// there and what came back. A pair from which nothing authentic has come gets few, small packets:
// the address stands in what the peer said, and may be a victim's (RFC 8445 §19.5.1).

import type { PathClass } from '../../protocol/address.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { type Path, samePath } from '../../protocol/core.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, NEVER, after, earlier, micros, ms } from '../../protocol/time.ts';
import { MEETING_LIMITS } from './limits.ts';

/** One pair. */
export interface Pair {
  readonly path: Path;
  readonly class: PathClass;
  /** When the next packet is due; NEVER: none is wanted. */
  nextAt: Micros;
  /** One was due, and could not leave. */
  isHeld: boolean;
  pauseMs: number;
  /** When the last packet left; undefined: none did. */
  sentAt: Micros | undefined;
  /** The peer lists it, or was there: it gets packets unasked. The source of one may be forged. */
  isListed: boolean;
  /** Packets that went there unasked, since the peer was last there or was last looked for. */
  sent: number;
  sentBytes: number;
  receivedBytes: number;
  /** When something authentic last came from there; 0: nothing did. */
  heardAt: Micros;
  /** Our probe was answered: the peer is there. */
  isProven: boolean;
  /** Microseconds until it was, when that is certain; 0: not known. */
  roundTrip: number;
  readonly tokens: {
    readonly token: Uint8Array;
    readonly sentAt: Micros;
    isRepeated: boolean;
  }[];
}

/** Unasked packets to one address and port; one of them is forgotten with every pause. */
interface Remote {
  count: number;
  /** Those of addresses before it in this place. */
  inherited: number;
  since: Micros;
  isProven: boolean;
}

/** The pairs of one talk. */
export class Pairs {
  /** That of the talk's way, and what a caller has taken and says: never displaced. */
  main: Pair | undefined;
  choice: Pair | undefined;
  readonly #pairs: Pair[] = [];
  /** By the peer's address and port; at the bound the one with the fewest makes room. */
  readonly #remotes = new Map<string, Remote>();
  /** Addresses beyond those that may get something unasked now; more in time. */
  #room: number = MEETING_LIMITS.remotesMax;
  #roomSince: Micros | undefined;
  /** From when on a move of our own counts again. */
  #movedAfter: Micros = micros(0);
  #tried = 0;

  get all(): readonly Pair[] {
    return this.#pairs;
  }

  /** Addresses of the peer that got anything. */
  get tried(): number {
    return this.#tried;
  }

  find(path: Path): Pair | undefined {
    return this.#pairs.find((pair) => samePath(pair.path, path));
  }

  /** One that the peer lists, made if it is new; its first packet is due at `at`. */
  list(now: Micros, path: Path, of: PathClass, at: Micros): Pair {
    this.#refill(now);
    const pair = this.add(path, of, at);
    pair.isListed = true;
    return pair;
  }

  /** The peer does not list the others any more: it is there no longer. */
  unlist(isKept: (pair: Pair) => boolean): void {
    for (const pair of this.#pairs) pair.isListed &&= isKept(pair);
  }

  /** The pair of a packet that came, or of a path that is taken; made if it is new. */
  add(path: Path, of: PathClass, at: Micros = NEVER): Pair {
    const known = this.find(path);
    if (known !== undefined) return known;
    const pair: Pair = {
      path,
      class: of,
      nextAt: at,
      isHeld: false,
      pauseMs: MEETING_LIMITS.pauseMsFirst,
      sentAt: undefined,
      isListed: false,
      sent: 0,
      sentBytes: 0,
      receivedBytes: 0,
      heardAt: micros(0),
      isProven: false,
      roundTrip: 0,
      tokens: [],
    };
    if (this.#pairs.length >= MEETING_LIMITS.pairsMax) this.#makeRoom();
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
    if (isAsked(pair, bytes)) return true;
    if (!pair.isListed || pair.sent >= MEETING_LIMITS.unprovenPacketsMax) return false;
    const remote = this.#remotes.get(remoteKey(pair.path));
    if (remote === undefined && this.#room <= 0) return false;
    const count = remote?.count ?? this.#leastUsed?.[1].count ?? 0;
    return count < MEETING_LIMITS.remotePacketsMax;
  }

  /** An answer of `bytes` leaves: it counts, and changes nothing of when our own packets do. */
  onAnswered(now: Micros, pair: Pair, bytes: number): void {
    if (!isAsked(pair, bytes)) this.#onUnasked(now, pair);
    pair.sentBytes += bytes;
  }

  /** A packet of `bytes` leaves; the next one is due after a pause that doubles. */
  onSent(now: Micros, pair: Pair, bytes: number): void {
    this.onAnswered(now, pair, bytes);
    pair.sentAt = now;
    pair.isHeld = false;
    pair.nextAt = after(now, ms(pair.pauseMs));
    pair.pauseMs = Math.min(pair.pauseMs * 2, MEETING_LIMITS.pauseMsMax);
  }

  /** A packet is due soon: at once, or a first pause after the last one, whatever comes. */
  soon(now: Micros, pair: Pair): void {
    const { sentAt } = pair;
    const paced = sentAt === undefined ? now : after(sentAt, ms(MEETING_LIMITS.pauseMsFirst));
    pair.nextAt = earlier(pair.nextAt, paced > now ? paced : now);
  }

  /** A packet is due, and has to wait for `release`. */
  hold(pair: Pair): void {
    pair.nextAt = NEVER;
    pair.isHeld = true;
  }

  /** What waited and can leave now does so at once. */
  release(now: Micros, canLeave: (pair: Pair) => boolean): void {
    for (const pair of this.#pairs) {
      if (!pair.isHeld || !canLeave(pair)) continue;
      pair.isHeld = false;
      pair.nextAt = earlier(pair.nextAt, now);
    }
  }

  /** Nothing more is to be sent there. */
  done(pair: Pair): void {
    pair.nextAt = NEVER;
    pair.isHeld = false;
  }

  /** Something that only the peer can have made came from there, or from who says so. */
  onHeard(now: Micros, pair: Pair, bytes: number): void {
    pair.receivedBytes += bytes;
    pair.heardAt = now;
  }

  /** What we sent there was answered: it is an address of the peer's, and counts as none. */
  onProven(pair: Pair): void {
    pair.isProven = true;
    pair.isListed = true;
    pair.sent = 0;
    const remote = this.#remotes.get(remoteKey(pair.path));
    if (remote === undefined) return;
    remote.count = Math.min(remote.count, remote.inherited);
    if (!remote.isProven) this.#room += 1;
    remote.isProven = true;
  }

  /**
   * The token of the next probe there: `fresh`, or the last one again when as many as we keep wait
   * for an answer, as on a path of seconds.
   */
  token(now: Micros, pair: Pair, fresh: () => Uint8Array): Uint8Array {
    const last = pair.tokens.at(-1);
    if (last !== undefined && pair.tokens.length >= MEETING_LIMITS.tokensMax) {
      last.isRepeated = true;
      return last.token;
    }
    const token = fresh();
    pair.tokens.push({ token, sentAt: now, isRepeated: false });
    return token;
  }

  /**
   * Whether this answers a probe of ours, each once; `sentAt`: when that left, if it is certain
   * which one it was.
   */
  answered(pair: Pair, token: Uint8Array): { readonly sentAt: Micros | undefined } | undefined {
    const at = pair.tokens.findIndex((one) => sameBytes(one.token, token));
    if (at < 0) return undefined;
    const [{ sentAt, isRepeated }] = pair.tokens.splice(at, 1);
    return { sentAt: isRepeated ? undefined : sentAt };
  }

  /**
   * Our own way is lost for sure, so that what was sent from where we were tells nothing: a few
   * packets more for each address, however many it has had; once a minute.
   */
  onMoved(now: Micros): void {
    if (now < this.#movedAfter) return;
    const { movedPackets, movedPauseMs, remotePacketsMax } = MEETING_LIMITS;
    this.#movedAfter = after(now, ms(movedPauseMs));
    for (const remote of this.#remotes.values())
      remote.count = Math.min(remote.count, remotePacketsMax - movedPackets);
  }

  /** Every pair is tried anew, as far as the bounds for its address still let it. */
  again(now: Micros, isWanted: (pair: Pair) => boolean = () => true): void {
    this.#refill(now);
    for (const pair of this.#pairs) {
      if (!isWanted(pair)) continue;
      pair.nextAt = now;
      pair.pauseMs = MEETING_LIMITS.pauseMsFirst;
      pair.sent = 0;
      pair.isProven = false;
    }
  }

  /** Nothing more is sent to those that are not wanted. */
  rest(isWanted: (pair: Pair) => boolean): void {
    for (const pair of this.#pairs) if (!isWanted(pair)) this.done(pair);
  }

  /**
   * Who replays packets from many places displaces its own ones, not those of the peer: one goes
   * that is not listed, before one that is not proven, and of them the one silent for longest.
   */
  #makeRoom(): void {
    const rank = ({ isListed, isProven }: Pair): number => 2 * Number(isListed) + Number(isProven);
    let gone: Pair | undefined;
    for (const pair of this.#pairs) {
      if (pair === this.main || pair === this.choice) continue;
      const order = gone === undefined ? -1 : rank(pair) - rank(gone);
      if (gone === undefined || order < 0 || (order === 0 && pair.heardAt < gone.heardAt))
        gone = pair;
    }
    if (gone !== undefined) this.#pairs.splice(this.#pairs.indexOf(gone), 1);
  }

  /** A long talk's peer moves often; who names others' addresses gets no further than time does. */
  #refill(now: Micros): void {
    this.#roomSince ??= now;
    const { remotePauseMs, remotesMax } = MEETING_LIMITS;
    const more = Math.floor((now - this.#roomSince) / ms(remotePauseMs));
    this.#roomSince = after(this.#roomSince, more * ms(remotePauseMs));
    this.#room = Math.min(this.#room + more, remotesMax);
    for (const remote of this.#remotes.values()) age(now, remote);
  }

  #onUnasked(now: Micros, pair: Pair): void {
    pair.sent += 1;
    const key = remoteKey(pair.path);
    const remote = this.#remotes.get(key);
    if (remote !== undefined) {
      age(now, remote);
      remote.count += 1;
      return;
    }
    const [gone, before] = this.#leastUsed ?? [key, { count: 0, since: now }];
    const { count: inherited, since } = before;
    this.#remotes.delete(gone);
    this.#remotes.set(key, { count: inherited + 1, inherited, since, isProven: false });
    this.#tried = Math.min(this.#tried + 1, LIMITS.probesMax);
    this.#room -= 1;
  }

  /**
   * At the bound of addresses the one that makes room, and hands on what is counted: else who lists
   * more than are kept would have each of them forgotten, and get it more packets.
   */
  get #leastUsed(): readonly [string, Remote] | undefined {
    if (this.#remotes.size < MEETING_LIMITS.remotesMax) return undefined;
    let least: readonly [string, Remote] | undefined;
    for (const one of this.#remotes) if (one[1].count < (least?.[1].count ?? Infinity)) least = one;
    return least;
  }
}

/** Forgets what is long ago. */
function age(now: Micros, remote: Remote): void {
  const pause = ms(MEETING_LIMITS.remotePacketPauseMs);
  const more = Math.floor((now - remote.since) / pause);
  remote.count = Math.max(0, remote.count - more);
  remote.inherited = Math.max(0, remote.inherited - more);
  remote.since = remote.count === 0 ? now : after(remote.since, more * pause);
}

/** Whether what came from there pays for one more packet. */
const isAsked = ({ sentBytes, receivedBytes }: Pair, bytes: number): boolean =>
  sentBytes + bytes <= MEETING_LIMITS.amplification * receivedBytes;

const remoteKey = ({ host, port }: Path): string => `${port} ${host}`;
