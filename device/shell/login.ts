// How a terminal proves itself at every MQTT connection: a fresh token with its membership (design
// §3). A membership that ran out while the terminal was off is fetched anew when the broker
// refuses.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { TOKEN_NONCE_BYTES, makeToken } from '../../protocol/identity/token.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { renewMembership, unixSeconds } from './enrol.ts';
import { type Enrolment, type Home, type Identity, saveEnrolment } from './home.ts';

interface LoginOptions {
  readonly home: Home;
  readonly identity: Identity;
  readonly enrolment: Enrolment;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: Clock;
  readonly log: Log;
}

/** One terminal's right to connect. */
export class Login {
  readonly #options: LoginOptions;
  #enrolment: Enrolment;
  #isRenewing = false;
  /** Writes follow one another. */
  #saved: Promise<void> = Promise.resolve();

  constructor(options: LoginOptions) {
    this.#options = options;
    this.#enrolment = options.enrolment;
  }

  /** The MQTT password, good for a few minutes. */
  token(): Uint8Array {
    const { identity, rng, clock } = this.#options;
    return makeToken(identity.signingKey, {
      device: identity.id,
      audience: this.#enrolment.managerKey,
      issuedAt: unixSeconds(clock),
      nonce: randomBytes(rng, TOKEN_NONCE_BYTES),
      membership: this.#enrolment.membership,
    });
  }

  /** Keeps the membership that the manager sent, for this login and those after a restart. */
  keep(membership: Uint8Array): void {
    const { home, log } = this.#options;
    this.#enrolment = { ...this.#enrolment, membership };
    const kept = this.#enrolment;
    this.#saved = this.#saved
      .then(() => saveEnrolment(home, kept))
      .catch((error: unknown) => {
        log.error('membership-not-saved', { why: errorMessage(error) });
      });
  }

  /**
   * The broker refused us: fetches a new membership; the link then tries again by itself. Resolves
   * with what is wrong and what to do, for a person, if the server would not give one.
   */
  async renew(): Promise<string | undefined> {
    if (this.#isRenewing) return undefined;
    this.#isRenewing = true;
    const { identity, suite, clock, log } = this.#options;
    try {
      this.keep(await renewMembership(this.#enrolment, identity, suite, clock));
      return undefined;
    } catch (error) {
      log.warn('membership-not-renewed', { code: errorCode(error), why: errorMessage(error) });
      return error instanceof NakodoError ? `${error.message}: ${error.next}` : errorMessage(error);
    } finally {
      this.#isRenewing = false;
    }
  }

  /** Resolves when everything kept is on disk. */
  settled(): Promise<void> {
    return this.#saved;
  }
}
