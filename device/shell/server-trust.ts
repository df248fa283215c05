// Whom a terminal takes for its server on the way there: the TLS keys that its manager signed for
// (design §3, ADR 0010). At first the ticket names one; from then on the newest statement counts. A
// server that shows another key is asked, over that very connection and without telling it any
// secret, for a newer statement: what the manager signed for is believed, whoever hands it over.

import { sameBytes } from '../../protocol/bytes.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, NakodoError, errorMessage } from '../../protocol/errors.ts';
import { type ServerKeys, openServerKeys } from '../../protocol/identity/server-keys.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { hostOf, isLoopback } from '../../protocol/io/loopback.ts';
import { PinMismatch, requestPinned } from '../../protocol/io/pinned-tls.ts';
import { LIMITS } from '../../protocol/limits.ts';

/** Milliseconds for the server to answer: chosen by us, a Pi signs slowly. */
const ANSWER_MS_MAX = 10_000;
const SERVER_KEYS_PATH = '/nakodo/1/server-keys';
const STATUS_DONE = 200;
/** Characters of a sentence that a server says: chosen by us, ours have under 100. */
const WORDS_MAX = 300;

interface TrustOptions {
  readonly suite: CryptoSuite;
  /** The manager's Ed25519 key, 32 bytes. */
  readonly managerKey: Uint8Array;
  /** Where the ticket was redeemed. */
  readonly enrolUrl: string;
  /** From a ticket that nobody redeemed yet. */
  readonly ticketPin?: Uint8Array | undefined;
  /** The newest statement, as the manager signed it. */
  readonly serverKeys?: Uint8Array | undefined;
}

/** What one terminal knows of its server's keys. */
export class ServerTrust {
  readonly #options: TrustOptions;
  #statement: Uint8Array | undefined;
  #keys: ServerKeys | undefined;

  constructor(options: TrustOptions) {
    this.#options = options;
    if (options.serverKeys !== undefined) this.learn(options.serverKeys);
  }

  /** The newest statement, as the manager signed it; undefined: there was none yet. */
  get statement(): Uint8Array | undefined {
    return this.#statement;
  }

  /** Whether a server with this TLS key is ours. `pin`: 32 bytes. */
  isPinned(pin: Uint8Array): boolean {
    if (this.#keys !== undefined) return names(this.#keys, pin);
    const { ticketPin } = this.#options;
    return ticketPin !== undefined && sameBytes(ticketPin, pin);
  }

  /** Takes a newer statement of our manager; false, and nothing changed, for anything else. */
  learn(statement: Uint8Array): boolean {
    const keys = this.#open(statement);
    if (keys === undefined || keys.sequence <= (this.#keys?.sequence ?? -1)) return false;
    this.#keys = keys;
    this.#statement = statement;
    return true;
  }

  /**
   * The server showed a key that we do not know: asks there for a newer statement, over TLS that
   * proves nothing, and takes it if it names this very key. False if there is none, whatever the
   * reason. With a ticket only, the statement has to name the ticket's key as well: an older one
   * must not bring back a key that was given up before the ticket was made.
   */
  async follow(pin: Uint8Array): Promise<boolean> {
    const { enrolUrl, ticketPin } = this.#options;
    const url = new URL(SERVER_KEYS_PATH, enrolUrl).href;
    try {
      const { status, body } = await requestPinned(url, {
        method: 'GET',
        isPinned: () => true,
        timeoutMs: ANSWER_MS_MAX,
        bytesMax: LIMITS.serverKeysBytesMax,
      });
      const keys = status === STATUS_DONE ? this.#open(body) : undefined;
      if (keys === undefined || !names(keys, pin)) return false;
      const isOlder = ticketPin !== undefined && !names(keys, ticketPin);
      return this.#keys === undefined && isOlder ? false : this.learn(body);
    } catch {
      // Not reached, or not a server of ours: the mismatch is what there is to be told.
      return false;
    }
  }

  /**
   * Posts to the server of `enrolUrl`; a key that was changed in the meantime is followed.
   * @throws NakodoError as the server says it, `server-unreachable` (exit 5), `server-untrusted`,
   *   `plain-not-loopback`.
   */
  async post(body: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#postOnce(body);
    } catch (error) {
      if (!(error instanceof PinMismatch)) throw error;
      if (!(await this.follow(error.pin))) throw this.untrusted();
    }
    try {
      return await this.#postOnce(body);
    } catch (error) {
      throw error instanceof PinMismatch ? this.untrusted() : error;
    }
  }

  /** The error for a server that is not ours, or says what ours would not. */
  untrusted(): NakodoError {
    return new NakodoError(
      'server-untrusted',
      `what answers at ${this.#options.enrolUrl} is not the server that made the ticket`,
      'ask the operator for a new ticket, and whether the server was moved',
    );
  }

  async #postOnce(body: Uint8Array): Promise<Uint8Array> {
    const url = this.#options.enrolUrl;
    let answer: { readonly status: number; readonly body: Uint8Array };
    try {
      answer = await requestPinned(url, {
        method: 'POST',
        body,
        isPinned: (pin) => this.isPinned(pin),
        timeoutMs: ANSWER_MS_MAX,
        bytesMax: IO_LIMITS.smallFileBytesMax,
      });
    } catch (error) {
      if (error instanceof NakodoError || error instanceof PinMismatch) throw error;
      throw new NakodoError(
        'server-unreachable',
        `the server at ${url} does not answer: ${errorMessage(error)}`,
        isLoopback(hostOf(new URL(url)))
          ? 'check that it runs on this very machine; for others it needs --listen, --public-url'
          : 'check that it runs (nakodo serve) and that this machine reaches it',
        EXIT.unreachable,
      );
    }
    if (answer.status === STATUS_DONE) return answer.body;
    throw serverError(answer.status, answer.body);
  }

  #open(statement: Uint8Array): ServerKeys | undefined {
    const { suite, managerKey } = this.#options;
    return openServerKeys(suite, managerKey, statement);
  }
}

const names = (keys: ServerKeys, pin: Uint8Array): boolean =>
  keys.pins.some((known) => sameBytes(known, pin));

/** The server's own words {code, message, next}, as far as they are words. */
function serverError(status: number, answer: Uint8Array): NakodoError {
  let said: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(Buffer.from(answer).toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null) said = parsed as Record<string, unknown>;
  } catch {
    // Not our server's answer; the status has to do.
  }
  const word = (value: unknown, otherwise: string): string =>
    typeof value === 'string' && value.length <= WORDS_MAX && !/\p{C}/u.test(value)
      ? value
      : otherwise;
  return new NakodoError(
    word(said.code, 'server-refused'),
    word(said.message, `the server refused (HTTP status ${status})`),
    word(said.next, 'ask the operator for a new ticket'),
  );
}
