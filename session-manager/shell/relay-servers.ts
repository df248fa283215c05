// The operator's relay (RFC 8656) as this process sees it: names looked up at start and every five
// minutes, since terminals are told addresses, and passwords minted with the secret that the relay
// shares (draft-uberti-behave-turn-rest-00 §2.2). The secret is in no log and in no message.

import { addressBytes } from '../../protocol/address.ts';
import { errorCode } from '../../protocol/errors.ts';
import type { RelayTerms } from '../../protocol/control/messages.ts';
import { type LookUp, addressesOf } from '../../protocol/io/host-port.ts';
import type { Log } from '../../protocol/io/log.ts';
import { relayCredentials } from '../../protocol/stun/credentials.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { RelayService } from '../manager-types.ts';
import { SHELL_LIMITS } from './limits.ts';

/** A TURN server as the operator names it: a host name or a literal address, and its UDP port. */
export interface RelayPlace {
  readonly host: string;
  readonly port: number;
}

/** The relay of a server. */
export interface RelayOptions {
  /** At most LIMITS.meetingServersMax; the first are told first. */
  readonly servers: readonly RelayPlace[];
  /** What `static-auth-secret` of the relay says, as bytes. */
  readonly secret: Uint8Array;
}

/** How names are looked up, and when again: once all were found, and until then. */
interface LookUps {
  readonly lookUp: LookUp | undefined;
  readonly againMs: number;
  readonly retryMs: number;
}

type Servers = RelayTerms['servers'];

/** Looks names up until it is closed. */
export class RelayServers implements RelayService {
  readonly #options: RelayOptions;
  readonly #log: Log;
  readonly #lookUps: LookUps;
  /** What is known of each place, in their order. */
  readonly #known: Servers[];
  /** Why a place is not found, as the operator was last told. */
  readonly #missing = new Map<number, string>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Literal addresses are known at once. `lookUps`: default the system's, SHELL_LIMITS. */
  constructor(options: RelayOptions, log: Log, lookUps: Partial<LookUps> = {}) {
    this.#options = options;
    this.#log = log;
    this.#lookUps = { ...SYSTEM, ...lookUps };
    this.#known = options.servers.map(({ host, port }) => {
      const address = addressBytes(host);
      return address === undefined ? [] : [{ address, port }];
    });
    void this.#resolveAll();
  }

  /** The first address of each place, then the second ones: IPv4 and IPv6 of one name. */
  servers(): Servers {
    const ofFirst = this.#known.flatMap((each) => each.slice(0, 1));
    const ofSecond = this.#known.flatMap((each) => each.slice(1, 2));
    return [...ofFirst, ...ofSecond].slice(0, LIMITS.meetingServersMax);
  }

  credentials(username: string): string {
    return relayCredentials(this.#options.secret, username);
  }

  /** Looks nothing up any more. */
  close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    return Promise.resolve();
  }

  async #resolveAll(): Promise<void> {
    const places = this.#options.servers.entries();
    const named = [...places].filter(([, { host }]) => addressBytes(host) === undefined);
    if (named.length === 0) return;
    const found = await Promise.all(named.map(([at, place]) => this.#resolve(at, place)));
    if (this.#isClosed) return;
    const { againMs, retryMs } = this.#lookUps;
    const waitMs = found.every(Boolean) ? againMs : retryMs;
    this.#timer = setTimeout(() => void this.#resolveAll(), waitMs);
    this.#timer.unref();
  }

  /**
   * Whether the name was found; what was known of one that is not is kept. The operator hears of
   * a change only: a warning may wake somebody, and there is a try every few seconds.
   */
  async #resolve(at: number, { host, port }: RelayPlace): Promise<boolean> {
    const { found, code } = await addressesOf(host, this.#lookUps.lookUp).then(
      (addresses) => ({ found: addresses, code: 'ENODATA' }),
      (error: unknown) => ({ found: [], code: errorCode(error) }),
    );
    const servers = found.flatMap((text) => {
      const address = addressBytes(text);
      return address === undefined ? [] : [{ address, port }];
    });
    if (servers.length === 0) {
      const next = 'check the name in --turn, and the name server: trying again';
      if (this.#missing.get(at) !== code) this.#log.warn('relay-not-found', { host, code, next });
      this.#missing.set(at, code);
      return false;
    }
    if (this.#missing.delete(at)) this.#log.info('relay-found', { host });
    this.#known[at] = servers;
    return true;
  }
}

const SYSTEM: LookUps = {
  lookUp: undefined,
  againMs: SHELL_LIMITS.relayLookUpMs,
  retryMs: SHELL_LIMITS.relayRetryMs,
};
