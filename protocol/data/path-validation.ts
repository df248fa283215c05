// Which address the peer has (RFC 9000 §8.2, §9): a NAT gives it another one, or it changes its
// network, and the talk goes on. Anybody who sees a packet can send a copy of it from anywhere, so
// an address is only asked at first, and gets no data until it has answered: that costs the peer
// one round trip, and whoever forwards packets gains nothing. The address so far is asked as well
// (§9.3.3): while it answers, nobody is followed. Probing packets are no evidence for congestion
// control; they are never in flight, and are repeated from here. Long because all answers of all
// addresses meet in one decision.
//
//   packet with the highest number from a new address → asked, and so is the present one
//   the present one answers → all stays as it is      the new one alone answers → it is the path

import { type Path, samePath } from '../core.ts';
import type { Rng } from '../random.ts';
import { randomBytes } from '../random.ts';
import type { Micros } from '../time.ts';
import { NEVER, after, earlier, micros, ms } from '../time.ts';
import { CHALLENGE_BYTES } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import { PACKET_OVERHEAD_BYTES } from './packet.ts';

const {
  datagramBytesMin,
  amplification,
  pathCandidatesMax,
  pathChallengesMax,
  pathResponsesMax,
  pathValidationMsLeast,
  pathValidationPtos,
  migrationPauseMs,
  homePathMs,
  homeCheckMs,
  paddingBytes,
} = DATA_LIMITS;

/** What the smallest packet with a challenge or response takes. */
const MESSAGE_BYTES_LEAST = PACKET_OVERHEAD_BYTES + paddingBytes;

/** One probing packet to send. */
export interface PathMessage {
  readonly path: Path;
  readonly kind: 'challenge' | 'response';
  /** 8 bytes. */
  readonly token: Uint8Array;
  /** Bytes of the datagram, to be padded to: RFC 9000 §8.2.1, as far as the bound allows. */
  readonly bytes: number;
}

/** Why a path at which the peer has proven itself by other means had better be taken. */
export interface Preference {
  /** The owner likes it better than the present one, even if that works. */
  readonly isBetter: boolean;
  /**
   * The peer has just answered there a question that nobody could guess, after so many
   * microseconds, 0: after an unknown time; undefined: it was proven earlier.
   */
  readonly answeredMicros: number | undefined;
}

/** The peer's address is another one. */
export interface Move {
  readonly from: Path;
  readonly to: Path;
  /** Microseconds from the challenge to its response. */
  readonly rttMicros: number;
}

/** The challenges sent to one address, and when the next one is due. */
class Challenges {
  readonly #sent: { readonly token: Uint8Array; readonly at: Micros }[] = [];
  #nextAt: Micros;
  #pause: number;
  #rttMicros = 0;
  #isAnswered = false;

  constructor(now: Micros, pause: number) {
    this.#nextAt = now;
    this.#pause = pause;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }
  get rttMicros(): number {
    return this.#rttMicros;
  }
  get nextAt(): Micros {
    return this.#isAnswered || this.#sent.length >= pathChallengesMax ? NEVER : this.#nextAt;
  }

  /** A fresh token each time: an answer tells which challenge arrived. */
  ask(now: Micros, rng: Rng): Uint8Array {
    const token = randomBytes(rng, CHALLENGE_BYTES);
    this.#sent.push({ token, at: now });
    this.#nextAt = after(now, this.#pause);
    this.#pause *= 2;
    return token;
  }

  /** True when `token` answers one of ours. */
  onResponse(now: Micros, token: Uint8Array): boolean {
    const asked = this.#sent.find((one) => one.token.every((byte, i) => byte === token[i]));
    if (asked === undefined || this.#isAnswered) return false;
    this.#isAnswered = true;
    this.#rttMicros = now - asked.at;
    return true;
  }
}

/** An address that the peer may have now. */
interface Candidate {
  readonly path: Path;
  readonly challenges: Challenges;
  readonly deadline: Micros;
  /** Taken as soon as it answers, whatever the present one does. */
  isPreferred: boolean;
  /** Bytes from it; Infinity for one that answered before. */
  receivedBytes: number;
  sentBytes: number;
}

/** The peer's address and those that claim to be it. */
export class PathValidation {
  readonly #rng: Rng;
  readonly #onMove: (now: Micros, move: Move) => void;
  readonly #onDoubt: (now: Micros) => void;
  #main: Path | undefined;
  /**
   * The address that was left: whoever forwards packets faster than they come may have lured us
   * away (§9.3.3), so it is asked again, and taken back as soon as it answers.
   */
  #home: Path | undefined;
  #homeUntil = micros(0);
  #homeCheckAt: Micros = NEVER;
  readonly #candidates: Candidate[] = [];
  readonly #responses: PathMessage[] = [];
  /** Of the present path; defined while a candidate is asked. */
  #doubts: Challenges | undefined;
  /** Until then the present path may still answer. */
  #patientUntil = micros(0);
  #pausedUntil = micros(0);
  /** The peer owes an answer, and nothing has come from the present path since that was told. */
  #isUnheard = false;
  #moves = 0;

  /** `onDoubt`: addresses are being asked; `onMove`: the path has changed. */
  constructor(
    rng: Rng,
    how: {
      readonly onDoubt: (now: Micros) => void;
      readonly onMove: (now: Micros, move: Move) => void;
    },
  ) {
    this.#rng = rng;
    this.#onDoubt = how.onDoubt;
    this.#onMove = how.onMove;
  }

  /** Where everything goes; undefined until the talk is open. */
  get main(): Path | undefined {
    return this.#main;
  }
  /** Times that the path changed. */
  get moves(): number {
    return this.#moves;
  }
  /** Addresses that are being asked. */
  get candidates(): number {
    return this.#candidates.length;
  }

  /** The handshake has proven the first one. */
  establish(path: Path): void {
    this.#main = path;
  }

  /**
   * An authenticated packet of `bytes` came from `path`; `isNewest`: none with a higher number has
   * come. Only the newest packet can say where the peer is (§9.3). `patience`: microseconds, see
   * Rtt.
   */
  onPacket(now: Micros, path: Path, bytes: number, isNewest: boolean, patience: number): void {
    const main = this.#main;
    if (main === undefined) return;
    if (samePath(path, main)) {
      this.#isUnheard = false;
      return;
    }
    const known = this.#candidate(path);
    if (known !== undefined) {
      known.receivedBytes += bytes;
      return;
    }
    if (!isNewest || this.#candidates.length >= pathCandidatesMax) return;
    const isHome = this.#isHome(path);
    if (this.#doubts?.isAnswered === true && !isHome) return;
    if (this.#doubts === undefined && now < this.#pausedUntil && !isHome) return;
    this.#consider(now, path, isHome ? Infinity : bytes, patience);
  }

  /**
   * An address at which the peer has proven itself by other means. A better one is taken when it
   * answers, without a look at the present one (RFC 9000 §9.2), another only if that is silent: it
   * needs no second question if it has just answered one, and the silence was told.
   */
  prefer(
    now: Micros,
    path: Path,
    patience: number,
    { isBetter, answeredMicros }: Preference,
  ): void {
    const main = this.#main;
    if (main === undefined || samePath(path, main)) return;
    if (answeredMicros !== undefined && this.#isUnheard) {
      this.#move(now, { path, rttMicros: answeredMicros, isPreferred: isBetter });
      return;
    }
    const known = this.#candidate(path);
    if (known === undefined) {
      if (this.#candidates.length >= pathCandidatesMax) {
        const spared = this.#candidates.findIndex(({ isPreferred }) => !isPreferred);
        if (spared < 0) return;
        this.#candidates.splice(spared, 1);
      }
      this.#consider(now, path, Infinity, patience, isBetter);
      return;
    }
    known.isPreferred ||= isBetter;
    known.receivedBytes = Infinity;
    this.#decide(now);
  }

  /** Nothing is acknowledged any more: perhaps the peer is where it was before. */
  onSilence(now: Micros, patience: number): void {
    const home = this.#home;
    if (home === undefined || this.#candidate(home) !== undefined) return;
    this.#consider(now, home, Infinity, patience);
  }

  /**
   * The peer has been silent for longer than the present path ever took: it has had the time that
   * an answer of it would be waited for, so that another one is taken as soon as it answers.
   */
  onUnheard(now: Micros): void {
    this.#isUnheard = true;
    this.#decide(now);
  }

  /** A PATH_CHALLENGE in a datagram of `bytes` from `path`; answered there, and nowhere else. */
  onChallenge(path: Path, token: Uint8Array, bytes: number): void {
    if (this.#responses.length >= pathResponsesMax) return;
    const most = Math.min(datagramBytesMin, amplification * bytes);
    this.#responses.push({ path, kind: 'response', token: token.slice(), bytes: most });
  }

  /**
   * A PATH_RESPONSE from `path`. A new address must answer from there. Wherever the present one's
   * answer comes from, our question has reached the peer (§8.2.3): who forwards packets faster
   * than they come would otherwise make that answer look like its own.
   */
  onResponse(now: Micros, path: Path, token: Uint8Array): void {
    if (this.#doubts?.onResponse(now, token) === true) this.#onMainAlive(now);
    else if (this.#candidate(path)?.challenges.onResponse(now, token) === true) this.#decide(now);
  }

  /** Gives up addresses that did not answer, follows one whose rival did not. */
  handleTimeout(now: Micros, patience: number): void {
    if (this.#homeCheckAt <= now) {
      const next = after(now, ms(homeCheckMs));
      this.#homeCheckAt = next < this.#homeUntil ? next : NEVER;
      this.onSilence(now, patience);
    }
    if (this.#doubts === undefined) return;
    this.#decide(now);
    this.#keep((candidate) => candidate.deadline > now);
  }

  /** When something is to be sent, decided or given up. */
  get deadline(): Micros {
    if (this.#responses.length > 0) return micros(0);
    if (this.#doubts === undefined) return this.#homeCheckAt;
    let next = earlier(this.#doubts.nextAt, this.#homeCheckAt);
    for (const candidate of this.#candidates) {
      next = earlier(next, candidate.deadline);
      if (candidate.challenges.isAnswered && !this.#doubts.isAnswered)
        next = earlier(next, this.#patientUntil);
      if (this.#allowance(candidate) > 0) next = earlier(next, candidate.challenges.nextAt);
    }
    return next;
  }

  /** The next probing packet, which must be sent and told to `onSent`. */
  poll(now: Micros): PathMessage | undefined {
    for (;;) {
      const response = this.#responses.shift();
      if (response === undefined) break;
      const candidate = this.#candidate(response.path);
      const most = candidate === undefined ? Infinity : this.#allowance(candidate);
      const bytes = Math.min(response.bytes, most);
      if (bytes >= MESSAGE_BYTES_LEAST) return { ...response, bytes };
    }
    const doubts = this.#doubts;
    const main = this.#main;
    if (doubts === undefined || main === undefined) return undefined;
    if (doubts.nextAt <= now) return this.#ask(now, main, doubts, datagramBytesMin);
    for (const candidate of this.#candidates) {
      const { path, challenges } = candidate;
      const bytes = this.#allowance(candidate);
      if (bytes > 0 && challenges.nextAt <= now) return this.#ask(now, path, challenges, bytes);
    }
    return undefined;
  }

  onSent(path: Path, bytes: number): void {
    const candidate = this.#candidate(path);
    if (candidate !== undefined) candidate.sentBytes += bytes;
  }

  #consider(
    now: Micros,
    path: Path,
    receivedBytes: number,
    patience: number,
    isPreferred = false,
  ): void {
    // One that has answered an earlier question is asked anew: it may be gone since.
    if (this.#doubts === undefined || this.#doubts.isAnswered) {
      this.#doubts = new Challenges(now, patience);
      this.#patientUntil = after(now, patience);
      this.#pausedUntil = after(now, ms(migrationPauseMs));
      this.#onDoubt(now);
    }
    // The new path may be much slower than the one that the PTO was measured on (§8.2.4).
    const most = pathValidationPtos * Math.max(patience, ms(pathValidationMsLeast));
    this.#candidates.push({
      path,
      challenges: new Challenges(now, patience),
      deadline: after(now, most),
      isPreferred,
      receivedBytes,
      sentBytes: 0,
    });
  }

  #ask(now: Micros, path: Path, challenges: Challenges, bytes: number): PathMessage {
    return { path, kind: 'challenge', token: challenges.ask(now, this.#rng), bytes };
  }

  #candidate(path: Path): Candidate | undefined {
    for (const candidate of this.#candidates) if (samePath(candidate.path, path)) return candidate;
    return undefined;
  }

  /** Bytes of the next datagram to an address that has proven nothing (§8.1); 0: none now. */
  #allowance({ receivedBytes, sentBytes }: Candidate): number {
    const bytes = Math.min(datagramBytesMin, amplification * receivedBytes - sentBytes);
    return bytes >= MESSAGE_BYTES_LEAST ? bytes : 0;
  }

  #isHome(path: Path): boolean {
    return this.#home !== undefined && samePath(path, this.#home);
  }

  /** The peer is where it was; only the address it had before that may still be the better one. */
  #onMainAlive(now: Micros): void {
    this.#isUnheard = false;
    this.#pausedUntil = after(now, ms(migrationPauseMs));
    this.#keep(({ path, isPreferred }) => isPreferred || this.#isHome(path));
  }

  #decide(now: Micros): void {
    const answered = this.#candidates.filter(({ challenges }) => challenges.isAnswered);
    const home = answered.find(({ path, isPreferred }) => isPreferred || this.#isHome(path));
    if (home !== undefined) this.#moveTo(now, home);
    else if (answered.length > 0 && this.#isPatienceOver(now) && !this.#doubts?.isAnswered)
      this.#moveTo(now, answered[0]);
  }

  #isPatienceOver(now: Micros): boolean {
    return this.#isUnheard || now >= this.#patientUntil;
  }

  #moveTo(now: Micros, { path, challenges: { rttMicros }, isPreferred }: Candidate): void {
    this.#move(now, { path, rttMicros, isPreferred });
  }

  #move(
    now: Micros,
    {
      path,
      rttMicros,
      isPreferred,
    }: Pick<Candidate, 'path' | 'isPreferred'> & Pick<Move, 'rttMicros'>,
  ): void {
    const from = this.#main;
    if (from === undefined) return;
    const isReturn = this.#isHome(path);
    // Who steers the talk away twice does not make itself the home of it.
    if (isReturn || isPreferred) {
      this.#home = undefined;
      this.#homeCheckAt = NEVER;
    } else if (this.#home === undefined || now >= this.#homeUntil) {
      this.#home = from;
      this.#homeUntil = after(now, ms(homePathMs));
      this.#homeCheckAt = after(now, ms(homeCheckMs));
    }
    this.#main = path;
    this.#isUnheard = false;
    this.#moves++;
    this.#pausedUntil = after(now, ms(migrationPauseMs));
    this.#keep(() => false);
    this.#onMove(now, { from, to: path, rttMicros });
  }

  #keep(isKept: (candidate: Candidate) => boolean): void {
    const kept = this.#candidates.filter(isKept);
    this.#candidates.splice(0, this.#candidates.length, ...kept);
    if (kept.length === 0) this.#doubts = undefined;
  }
}
