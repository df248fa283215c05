// The credit meter [claim 15]: a grant of G bytes for both ends together, kept exactly although
// each end counts by itself and QUOTA frames get lost, doubled and out of order.
//
//   credit = first share + received - given       spare = credit - spent
//
// The first shares are a function of role and total and sum to the total; a giver subtracts before
// the receiver adds; so the credit of both ends never sums to more than the grant, and when both
// have used theirs up it is used up to the byte. A frame holds the sender's whole state, of which
// revision, given and received only grow: the newest frame is the greatest one. `wanted` is the
// level of received credit that its sender would take: what it has received when it wants nothing,
// METER_LIMITS.wantBytes more when it does. No gift is that large, so the reader, who knows what
// it gave, learns from it how much of that has arrived. A new expiry is announced at once and used
// when the peer has announced it too: no honest end overdraws what the other knows.

import { assert } from '../assert.ts';
import type { Role } from './connection-types.ts';
import { METER_LIMITS } from './limits.ts';

/** The content of a QUOTA frame; bytes, cumulative, 0 to 2^53 - 1. */
export interface Quota {
  /** Of the expiry that the sender goes by. */
  readonly revision: number;
  /** Credit that the sender ever gave to the reader. */
  readonly given: number;
  /** The level of received credit that the sender would take. */
  readonly wanted: number;
  /** Credit that the sender holds and has not used. */
  readonly spare: number;
}

/** A frame, or what the newest one said, with `wanted` taken apart. */
interface End {
  readonly revision: number;
  readonly given: number;
  readonly received: number;
  readonly spare: number;
  readonly wants: boolean;
}

/** What an expiry grants; undefined: not limited in bytes. */
interface Total {
  readonly revision: number;
  readonly bytes: number | undefined;
}

const { calleeCreditBytes, reserveBytes, wantBytes } = METER_LIMITS;

/** The share of a total that an end starts with; grows with the total; both sum to the total. */
export function firstShare(role: Role, total: number): number {
  const callee = Math.min(calleeCreditBytes, Math.floor(total / 4));
  return role === 'callee' ? callee : total - callee;
}

/** One end's meter. A total of undefined means: not limited in bytes. */
export class Meter {
  readonly #role: Role;
  /** The newest total that the peer is known to go by too. */
  #confirmed: Total;
  /** Newer ones, oldest first; at most LIMITS.revisionsMax, as expiries are checked before. */
  #announced: Total[] = [];
  #mostGranted: number;
  #spent = 0;
  #peerSpent = 0;
  #given = 0;
  #received = 0;
  /** Bytes that wait to be sent, whether credit covers them or not. */
  #waiting = 0;
  #peer: End | undefined;
  #sent: End | undefined;
  #isDue = false;

  constructor(role: Role, total: number | undefined) {
    this.#role = role;
    this.#confirmed = { revision: 0, bytes: total };
    this.#mostGranted = total ?? Infinity;
  }

  /** Metered bytes that may be sent now; Infinity when not limited. */
  available(): number {
    const newest = this.#newest().bytes;
    if (newest === undefined && this.#confirmed.bytes === undefined) return Infinity;
    // The second holds off a peer that lies about its credit: we never help to exceed the grant.
    const bytesMax = Math.min(this.#confirmed.bytes ?? Infinity, newest ?? Infinity);
    return Math.max(0, Math.min(this.#usable(), bytesMax - this.usedTotal()));
  }

  /** [claim 15]: counts bytes that leave: new highest stream offsets, DATAGRAM payload. */
  spend(bytes: number): void {
    assert(bytes >= 0 && bytes <= this.available(), 'only available credit is spent');
    this.#spent += bytes;
    this.#waiting = Math.max(0, this.#waiting - bytes);
    this.#review();
  }

  /**
   * Tells how many metered bytes wait to be sent, a level that replaces the one told before and
   * that `spend` lowers by itself. What exceeds the credit is asked of the peer; 0: idle.
   */
  want(bytes: number): void {
    this.#waiting = bytes;
    this.#review();
  }

  /** Counts metered bytes of the peer that arrived. */
  onReceived(bytes: number): void {
    this.#peerSpent += bytes;
  }

  /** Takes a QUOTA frame; false if no honest peer can have sent it. */
  onQuota(quota: Quota): boolean {
    const { revision, given, wanted, spare } = quota;
    if (![revision, given, wanted, spare].every((value) => value >= 0)) return false;
    const wants = wanted > this.#given;
    const received = wants ? wanted - wantBytes : wanted;
    if (received < 0 || received > this.#given) return false;
    // It gives what it started with and what it got of us; a newer total it uses once we know it.
    const peerRole = this.#role === 'caller' ? 'callee' : 'caller';
    if (given > firstShare(peerRole, this.#mostGranted) + this.#given) return false;
    const peer = { revision, given, received, spare, wants };
    if (this.#peer !== undefined && !isNewer(peer, this.#peer)) return true;
    this.#peer = peer;
    this.#received = Math.max(this.#received, given);
    this.#confirm();
    this.#review();
    return true;
  }

  /** The QUOTA frame to send, if one is due. */
  pollQuota(): Quota | undefined {
    if (!this.#isDue) return undefined;
    this.#isDue = false;
    const end = this.#state();
    this.#sent = end;
    const { revision, given, received, spare, wants } = end;
    return { revision, given, wanted: wants ? received + wantBytes : received, spare };
  }

  /** A packet with a QUOTA frame was lost: the state as it is now goes again. */
  onQuotaLost(): void {
    this.#isDue = true;
  }

  /**
   * [S5006, claim 15]: adopts the total of a higher revision; others change nothing. What it adds
   * may be sent when the peer has announced that revision too; a lower total holds at once, but
   * what is spent stays spent.
   */
  extend(revision: number, total: number | undefined): void {
    if (revision <= this.#newest().revision) return;
    this.#announced.push({ revision, bytes: total });
    this.#mostGranted = Math.max(this.#mostGranted, total ?? Infinity);
    this.#confirm();
    this.#review();
  }

  /** The newest grant for both ends together; undefined: not limited. */
  get total(): number | undefined {
    return this.#newest().bytes;
  }

  /** Metered bytes this end has sent. */
  get spent(): number {
    return this.#spent;
  }

  /** Metered bytes of both ends as far as this end knows: its own and those that arrived. */
  usedTotal(): number {
    return this.#spent + this.#peerSpent;
  }

  /**
   * [S1006, S4006, claim 15]: this end has more to send and every byte of the grant is used: its
   * own credit is, and either the peer's bytes are all here or the peer said that it has none left
   * either and that no credit is under way.
   */
  exhausted(): boolean {
    const { bytes, revision } = this.#newest();
    const peer = this.#peer;
    if (bytes === undefined || this.#waiting === 0) return false;
    // The peer has a newer expiry: it passes it on, and the talk goes on.
    if (peer !== undefined && peer.revision > revision) return false;
    if (this.usedTotal() >= bytes) return true;
    return (
      this.#spare(bytes) === 0 &&
      peer?.revision === revision &&
      peer.spare === 0 &&
      peer.received === this.#given
    );
  }

  /** The peer sent more than was ever granted: no honest one does. */
  isOverdrawn(): boolean {
    return this.usedTotal() > this.#mostGranted;
  }

  #newest(): Total {
    const { length } = this.#announced;
    // Not by index -1: that is a property with a name, and this runs several times a packet.
    return length === 0 ? this.#confirmed : this.#announced[length - 1];
  }

  /** Moves on to the newest total that the peer is known to have, or a newer one. */
  #confirm(): void {
    const known = this.#peer?.revision ?? 0;
    for (const total of this.#announced) if (total.revision <= known) this.#confirmed = total;
    this.#announced = this.#announced.filter((total) => total.revision > known);
  }

  /** Credit of a total that is not used. A total that was lowered takes back no more than that. */
  #spare(total: number | undefined): number {
    if (total === undefined) return Infinity;
    const credit = firstShare(this.#role, total) + this.#received - this.#given;
    return Math.max(0, credit - this.#spent);
  }

  /** Credit that may be used or given now. */
  #usable(): number {
    return Math.min(this.#spare(this.#confirmed.bytes), this.#spare(this.total));
  }

  #state(): End {
    const spare = this.#spare(this.total);
    return {
      revision: this.#newest().revision,
      given: this.#given,
      received: this.#received,
      spare: Math.min(spare, wantBytes),
      wants: this.#waiting > spare,
    };
  }

  /** After every change: gives what the peer may have, and finds out whether a frame is due. */
  #review(): void {
    // Runs for every packet, so it makes no object and looks at each thing once.
    if (this.#peerAsks()) this.#give();
    const { revision, bytes } = this.#newest();
    const sent = this.#sent;
    if (bytes === undefined) {
      if (revision > (sent?.revision ?? 0)) this.#isDue = true;
      return;
    }
    const spare = this.#spare(bytes);
    const isNews =
      sent === undefined ||
      sent.revision !== revision ||
      sent.given !== this.#given ||
      sent.received !== this.#received;
    // One question for each level of credit, the peer remembers it; a second one when ours is used
    // up, as the first may have left a share that was fair then.
    const ranDry = spare === 0 && (isNews || sent.spare > 0);
    const asks = this.#waiting > spare && (isNews || !sent.wants || ranDry);
    // One answer for each state in which there is nothing to give.
    const regrets = this.#peerWants() && ranDry;
    const announces = revision > (sent?.revision ?? 0);
    if (asks || regrets || announces) this.#isDue = true;
  }

  #peerWants(): boolean {
    return this.#peer?.wants === true;
  }

  /** The peer wants more and everything given before has arrived: one gift is under way at most. */
  #peerAsks(): boolean {
    return this.#peerWants() && this.#peer?.received === this.#given;
  }

  #give(): void {
    const usable = this.#usable();
    if (usable === Infinity) return;
    const gift = Math.min(this.#gift(usable, this.#peer?.spare ?? 0), wantBytes - 1);
    if (gift <= 0) return;
    this.#given += gift;
    this.#isDue = true;
  }

  /**
   * An idle end gives all but a reserve, and all once that is no more than two reserves. One with
   * bytes of its own waiting gives half of what it has more than the peer. The odd byte goes to
   * the callee, so that two ends which cannot send now do not hand it to and fro.
   */
  #gift(spare: number, peerSpare: number): number {
    if (this.#waiting === 0) return spare - (spare > 2 * reserveBytes ? reserveBytes : 0);
    const half = (spare - peerSpare) / 2;
    return this.#role === 'caller' ? Math.ceil(half) : Math.floor(half);
  }
}

/**
 * Of the same end: revision, given and received only grow; while they stay, spare only shrinks. A
 * want that came and went in one such state holds, as the question may have overtaken the rest.
 */
function isNewer(a: End, b: End): boolean {
  if (a.revision !== b.revision) return a.revision > b.revision;
  if (a.given !== b.given) return a.given > b.given;
  if (a.received !== b.received) return a.received > b.received;
  if (a.spare !== b.spare) return a.spare < b.spare;
  return a.wants && !b.wants;
}
