// How a terminal proves itself at every MQTT connection: a fresh token with its membership (design
// §3), for the very server whose key it sees. A membership that ran out while the terminal was off,
// and a clock that is wrong, are put right over HTTPS when the broker refuses; a key that the
// server changed is followed.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { TOKEN_NONCE_BYTES, makeToken } from '../../protocol/identity/token.ts';
import type { CorrectedClock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { MICROS_PER_MS, MS_PER_SECOND } from '../../protocol/time.ts';
import type { DiskTroubles } from './disk-troubles.ts';
import { renewMembership } from './enrol.ts';
import { type Enrolment, type Home, type Identity, saveEnrolment } from './home.ts';
import { ServerTrust } from './server-trust.ts';

interface LoginOptions {
  readonly home: Home;
  readonly identity: Identity;
  readonly enrolment: Enrolment;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: CorrectedClock;
  readonly log: Log;
  /** Told what could not be written. */
  readonly disk?: DiskTroubles | undefined;
}

/** What the manager sends with a registration. */
interface Renewal {
  readonly bytes: Uint8Array;
  /** The manager's time, Unix milliseconds. */
  readonly time: number;
  /** Milliseconds since the answer was asked for. */
  readonly tookMs: number;
  readonly serverKeys: Uint8Array | undefined;
}

/**
 * Seconds by which a membership differs from the one on disk before it takes its place: one comes
 * with every registration, a memory card wears out, and at a start three quarters of one will do.
 */
const WORTH_WRITING_SECONDS = LIMITS.membershipSeconds / 4;

/** One terminal's right to connect, and its knowledge of where to. */
export class Login {
  readonly #options: LoginOptions;
  readonly #trust: ServerTrust;
  #enrolment: Enrolment;
  /** When the membership on disk ends, Unix seconds; 0: it is not in order. */
  #storedUntil: number;
  #isRenewing = false;
  #isFollowing = false;
  /** Writes follow one another. */
  #saved: Promise<void> = Promise.resolve();

  constructor(options: LoginOptions) {
    const { suite, enrolment } = options;
    this.#options = options;
    this.#enrolment = enrolment;
    this.#storedUntil = this.expiresAt ?? 0;
    this.#trust = new ServerTrust({ suite, ...enrolment });
  }

  /** Until when the membership lets us in, Unix seconds; undefined: it is not in order. */
  get expiresAt(): number | undefined {
    const { suite } = this.#options;
    const { managerKey, membership } = this.#enrolment;
    return openMembership(suite, managerKey, membership)?.expiresAt;
  }

  /** Whether a server with this TLS key is ours. */
  isPinned(pin: Uint8Array): boolean {
    return this.#trust.isPinned(pin);
  }

  /** The MQTT password, good for a few minutes at the server with this pin (NO_PIN: no TLS). */
  token(server: Uint8Array): Uint8Array {
    const { identity, rng, clock } = this.#options;
    return makeToken(identity.signingKey, {
      device: identity.id,
      audience: this.#enrolment.managerKey,
      issuedAt: Math.floor(clock.wall() / MS_PER_SECOND),
      nonce: randomBytes(rng, TOKEN_NONCE_BYTES),
      membership: this.#enrolment.membership,
      server,
    });
  }

  /**
   * Keeps what the manager sent, for this login and, where it is worth a write, for those after a
   * restart, and takes its time. A membership or a statement that is not what it should be is left,
   * the old one kept.
   */
  keep({ bytes, time, tookMs, serverKeys }: Renewal): void {
    const { clock, identity, log, suite } = this.#options;
    clock.correct(time, tookMs);
    const membership = openMembership(suite, this.#enrolment.managerKey, bytes);
    if (membership?.device === identity.id) this.#keepMembership(bytes, membership.expiresAt);
    else log.warn('membership-not-ours');
    if (serverKeys !== undefined && this.#trust.learn(serverKeys)) this.#keepKeys();
  }

  /**
   * The broker refused us: fetches a new membership and the time; the caller then tries again.
   * Resolves with what is wrong and what to do, for a person, if the server would not give one.
   */
  async renew(): Promise<string | undefined> {
    if (this.#isRenewing) return undefined;
    this.#isRenewing = true;
    const { clock, identity, log, rng, suite } = this.#options;
    const known = this.#trust.statement;
    const begun = clock.now();
    try {
      const tools = { suite, rng, trust: this.#trust };
      const renewed = await renewMembership(this.#enrolment, identity, tools);
      const tookMs = (clock.now() - begun) / MICROS_PER_MS;
      clock.correct(renewed.membership.issuedAt * MS_PER_SECOND, tookMs + MS_PER_SECOND);
      this.#keep({ membership: renewed.bytes });
      return undefined;
    } catch (error) {
      log.warn('membership-not-renewed', { code: errorCode(error), why: errorMessage(error) });
      return error instanceof NakodoError ? `${error.message}: ${error.next}` : errorMessage(error);
    } finally {
      if (this.#trust.statement !== known) this.#keepKeys();
      this.#isRenewing = false;
    }
  }

  /**
   * The server showed this TLS key, which we do not know: true if the manager signed for it, so
   * that it is ours from now on.
   */
  async follow(pin: Uint8Array): Promise<boolean> {
    if (this.#isFollowing) return false;
    this.#isFollowing = true;
    try {
      const followed = await this.#trust.follow(pin);
      if (followed) this.#keepKeys();
      return followed;
    } finally {
      this.#isFollowing = false;
    }
  }

  /** Resolves when everything kept is on disk. */
  settled(): Promise<void> {
    return this.#saved;
  }

  #keepMembership(bytes: Uint8Array, expiresAt: number): void {
    const isNear = Math.abs(expiresAt - this.#storedUntil) < WORTH_WRITING_SECONDS;
    if (isNear) this.#enrolment = { ...this.#enrolment, membership: bytes };
    else this.#keep({ membership: bytes });
  }

  #keepKeys(): void {
    this.#options.log.info('server-keys-followed');
    this.#keep({ serverKeys: this.#trust.statement });
  }

  #keep(changed: Partial<Pick<Enrolment, 'membership' | 'serverKeys'>>): void {
    const { home, log, disk } = this.#options;
    this.#enrolment = { ...this.#enrolment, ...changed };
    const kept = this.#enrolment;
    this.#storedUntil = this.expiresAt ?? 0;
    this.#saved = this.#saved
      .then(() => saveEnrolment(home, kept))
      .then(() => disk?.written('enrolment'))
      .catch((error: unknown) => {
        disk?.failed('enrolment', error);
        log.error('enrolment-not-saved', { why: errorMessage(error) });
        // The next one is tried again.
        this.#storedUntil = 0;
      });
  }
}
