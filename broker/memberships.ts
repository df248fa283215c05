// Who is let in and for how long (design §3): a login is judged once, the connection then lives as
// long as the membership behind it, which the terminal renews by showing a newer one; it ends when
// the membership runs out or is revoked. Unix time is asked only where a statement names it; from
// then on the monotonic clock decides.

import { foldedAddress } from '../protocol/address.ts';
import { decodeCbor } from '../protocol/control/cbor.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import { membership, openMembership } from '../protocol/identity/membership.ts';
import { unwrap } from '../protocol/identity/signed.ts';
import type { DeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import {
  MICROS_PER_MS,
  MS_PER_SECOND,
  type Micros,
  NEVER,
  type WallMs,
  after,
  ms,
} from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';
import {
  type Held,
  type Login,
  type ProofFault,
  type Proven,
  type Trust,
  heldOf,
  proveLogin,
} from './login.ts';
import { Revocations } from './revocations.ts';
import { UsedNonces } from './used-nonces.ts';

/** Why a login is refused: `no-list` is the broker's own trouble, and passes. */
export type LoginFault = ProofFault | 'replayed' | 'revoked' | 'no-list';

/** The connection of a terminal is to be ended: its membership ran out or is void. */
export interface Ending {
  readonly kind: 'disconnect';
  readonly device: DeviceId;
  readonly why: 'membership-expired' | 'revoked';
}

/** A terminal with a connection. */
interface Seated extends Due {
  readonly device: DeviceId;
  /** More than one while a new connection takes over from an old one. */
  connections: number;
  held: Held;
  /** Where its newest connection comes from: 4 or 16 bytes; undefined: the shell did not say. */
  seenAt: Uint8Array | undefined;
  /** Until when no other membership of it is looked at: the last one was false. */
  pauseUntil: Micros;
}

/** The memberships of all connected terminals, and what voids them. */
export class Memberships {
  readonly #trust: Trust;
  readonly #revocations: Revocations;
  readonly #nonces = new UsedNonces();
  /** When this broker began to remember what was used: a token of before may have been. */
  #startedAt: Micros | undefined;
  /** One for each connected terminal: a manager enrols at most LIMITS.devicesMax. */
  readonly #seated = new Map<DeviceId, Seated>();
  readonly #deadlines = new DeadlineHeap<Seated>();
  /** Told to the shell next; at most one for each connected terminal, so none is ever dropped. */
  readonly #endings = new Map<DeviceId, Ending>();
  #renewed = 0;
  #renewalsRefused = 0;
  #endedExpired = 0;
  #endedRevoked = 0;
  #listsRefused = 0;

  constructor(trust: Trust) {
    this.#trust = trust;
    this.#revocations = new Revocations(trust.suite, trust.managerKeys);
  }

  get counts(): {
    readonly renewed: number;
    readonly renewalsRefused: number;
    readonly endedExpired: number;
    readonly endedRevoked: number;
    readonly listsRefused: number;
  } {
    return {
      renewed: this.#renewed,
      renewalsRefused: this.#renewalsRefused,
      endedExpired: this.#endedExpired,
      endedRevoked: this.#endedRevoked,
      listsRefused: this.#listsRefused,
    };
  }

  /** Judges a login; each token lets in once. Managers need no list: they are who brings it. */
  login(now: Micros, wall: WallMs, login: Login): Proven | LoginFault {
    const nowSeconds = Math.floor(wall / MS_PER_SECOND);
    // By the clock as it is now: one that was wrong at the start, and is right since, shuts out
    // nobody.
    const age = (now - (this.#startedAt ?? now)) / MICROS_PER_MS;
    const times = { nowSeconds, notBefore: Math.floor((wall - age) / MS_PER_SECOND) };
    const proven = proveLogin(this.#trust, times, login);
    if (typeof proven === 'string') return proven;
    const { held, nonce } = proven;
    if (held !== undefined) {
      if (this.#revocations.isVoid(held)) return 'revoked';
      if (this.#revocations.isStale(now, held.manager)) return 'no-list';
    }
    return this.#nonces.take(now, login.clientId, nonce) ? proven : 'replayed';
  }

  /**
   * A terminal has a connection by this membership, which may have been voided since its login;
   * `seenAt`: from where.
   */
  connect(now: Micros, wall: WallMs, held: Held, seenAt?: Uint8Array): void {
    const { device } = held;
    const seated = this.#seated.get(device) ?? {
      device,
      connections: 0,
      held,
      seenAt,
      pauseUntil: now,
      ...notArmed(),
    };
    this.#seated.set(device, seated);
    seated.connections += 1;
    seated.seenAt = seenAt === undefined ? undefined : foldedAddress(seenAt);
    this.#hold(now, wall, seated, held);
    if (this.#revocations.isVoid(held)) this.#end(seated, 'revoked');
  }

  /** Where a terminal's connection comes from; undefined if that, or the terminal, is unknown. */
  seenAt(device: DeviceId): Uint8Array | undefined {
    return this.#seated.get(device)?.seenAt;
  }

  /** One connection of a terminal ended. */
  disconnect(device: DeviceId): void {
    const seated = this.#seated.get(device);
    if (seated === undefined) return;
    seated.connections -= 1;
    if (seated.connections > 0) return;
    this.#deadlines.stop(seated);
    this.#seated.delete(device);
    this.#endings.delete(device);
  }

  /**
   * A terminal shows a membership: a later one of the same manager for itself prolongs its
   * connection. The one that it has costs no signature, and a false one a pause.
   */
  renew(now: Micros, wall: WallMs, device: DeviceId, encoded: Uint8Array): void {
    const seated = this.#seated.get(device);
    if (seated === undefined || now < seated.pauseUntil) return;
    const { manager, expiresAt } = seated.held;
    if (!this.#looksLater(encoded, expiresAt)) return;
    const { suite, managerKeys } = this.#trust;
    const shown = openMembership(suite, managerKeys[manager], encoded);
    const held = shown === undefined ? undefined : heldOf(manager, shown);
    if (held === undefined || held.device !== device || this.#revocations.isVoid(held)) {
      this.#renewalsRefused += 1;
      seated.pauseUntil = after(now, ms(BROKER_LIMITS.renewalPauseMs));
      return;
    }
    this.#renewed += 1;
    this.#hold(now, wall, seated, held);
  }

  /** Takes a manager's revocation list and ends whom it voids, of this manager's terminals. */
  revoke(now: Micros, from: string, message: MessageOf<'revoked'>): void {
    const manager = this.#revocations.take(now, from, message);
    if (manager === undefined) {
      this.#listsRefused += 1;
      return;
    }
    for (const seated of this.#seated.values())
      if (seated.held.manager === manager && this.#revocations.isVoid(seated.held))
        this.#end(seated, 'revoked');
  }

  handleTimeout(now: Micros): void {
    this.#startedAt ??= now;
    for (;;) {
      const seated = this.#deadlines.popDue(now);
      if (seated === undefined) return;
      this.#end(seated, 'membership-expired');
    }
  }

  nextTimeout(): Micros {
    return this.#deadlines.next();
  }

  get hasEnding(): boolean {
    return this.#endings.size > 0;
  }

  /** The next connection to be ended, once. */
  pollEnding(): Ending | undefined {
    for (const ending of this.#endings.values()) {
      this.#endings.delete(ending.device);
      return ending;
    }
    return undefined;
  }

  /** What it says, not yet proven. Bytes that say nothing are looked at, and refused. */
  #looksLater(encoded: Uint8Array, expiresAt: number): boolean {
    const parts = unwrap(encoded);
    const said = parts === undefined ? undefined : decodeCbor(membership, parts.body);
    return said === undefined || said.expiresAt > expiresAt;
  }

  /** Ends when the token of this membership would be refused: with the clocks' skew. */
  #hold(now: Micros, wall: WallMs, seated: Seated, held: Held): void {
    seated.held = held;
    const endsAt = (held.expiresAt + LIMITS.clockSkewSeconds) * MS_PER_SECOND;
    this.#deadlines.set(seated, after(now, ms(Math.max(0, endsAt - wall))));
  }

  #end(seated: Seated, why: Ending['why']): void {
    this.#deadlines.set(seated, NEVER);
    const { device } = seated;
    if (this.#endings.has(device)) return;
    this.#endings.set(device, { kind: 'disconnect', device, why });
    if (why === 'revoked') this.#endedRevoked += 1;
    else this.#endedExpired += 1;
  }
}
