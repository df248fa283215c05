// The operator's relay (RFC 8656) as this process sees it: names looked up at start and every five
// minutes, since terminals are told addresses, and passwords minted with the secret that the relay
// shares (draft-uberti-behave-turn-rest-00 §2.2). The secret is in no log and in no message.

import { createHmac } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import { addressBytes } from '../../protocol/address.ts';
import { errorCode } from '../../protocol/errors.ts';
import type { RelayTerms } from '../../protocol/control/messages.ts';
import type { Log } from '../../protocol/io/log.ts';
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

/** The addresses of a name. */
type LookUp = (host: string) => Promise<readonly { readonly address: string }[]>;

type Servers = RelayTerms['servers'];

/** Looks names up until it is closed. */
export class RelayServers implements RelayService {
  readonly #options: RelayOptions;
  readonly #log: Log;
  readonly #lookUp: LookUp;
  /** What is known of each place, in their order. */
  readonly #known: Servers[];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Literal addresses are known at once. `lookUp`: default the system's. */
  constructor(options: RelayOptions, log: Log, lookUp: LookUp = systemLookUp) {
    this.#options = options;
    this.#log = log;
    this.#lookUp = lookUp;
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

  /** Base64 of HMAC-SHA1 over the user name: what coturn's `use-auth-secret` expects. */
  credentials(username: string): string {
    return createHmac('sha1', this.#options.secret).update(username).digest('base64');
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
    const { relayLookUpMs, relayRetryMs } = SHELL_LIMITS;
    const waitMs = found.every(Boolean) ? relayLookUpMs : relayRetryMs;
    this.#timer = setTimeout(() => void this.#resolveAll(), waitMs);
    this.#timer.unref();
  }

  /** Whether the name was found; what was known of one that is not is kept. */
  async #resolve(at: number, { host, port }: RelayPlace): Promise<boolean> {
    let addresses: readonly string[];
    try {
      addresses = (await this.#lookUp(host)).map(({ address }) => address);
    } catch (error) {
      const next = 'check the name in --turn, and the name server: trying again';
      this.#log.warn('relay-not-found', { host, code: errorCode(error), next });
      return false;
    }
    const four = addresses.find((each) => isIPv4(each));
    const six = addresses.find((each) => !isIPv4(each));
    this.#known[at] = [four, six].flatMap((text) => {
      const address = text === undefined ? undefined : addressBytes(text);
      return address === undefined ? [] : [{ address, port }];
    });
    return this.#known[at].length > 0;
  }
}

const systemLookUp: LookUp = (host) => lookup(host, { all: true });
