// The terminal's way to its servers: the MQTT link, the login that opens it, and what can be put
// right when it does not open (a new TLS key, a membership that ran out, a wrong clock). What
// cannot is said in `nakodo status`. A terminal that was told that it is a clone stays away.

import { topic } from '../../protocol/control/topics.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { Log } from '../../protocol/io/log.ts';
import {
  type LinkHealth,
  type LinkOptions,
  type MqttLink,
  brokerAddress,
  openLink,
} from '../../protocol/io/mqtt-link.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import type { TerminalInput, TerminalOutput } from '../terminal-types.ts';
import { ownInterfaces } from './host-addresses.ts';
import type { Login } from './login.ts';

type Trouble = Parameters<LinkOptions['onDown']>[0];
type Publication = Extract<TerminalOutput, { kind: 'publish' }>;
type Wanted = Extract<TerminalOutput, { kind: 'link' }>['want'];
/** What a link tells the core. */
type LinkInput = Extract<TerminalInput, { kind: 'linkUp' | 'linkDown' | 'message' }>;

/** Milliseconds for the broker to answer a ping, by what there is against the connection. */
const PATIENCE_MS = {
  network: IO_LIMITS.linkCheckMs,
  silence: IO_LIMITS.linkCheckSilentMs,
  elsewhere: IO_LIMITS.linkCheckMovedMs,
} as const;
/** The broker does not believe who we are (MQTT 3.1.1 §3.2.2.3): 4 and 5. */
const NOT_LET_IN: readonly number[] = [4, 5];
const UNKNOWN_KEY =
  'the server shows a key that our manager did not sign for: ask the operator whether it was ' +
  'changed, and that this network leads to the real one';
const CLONED =
  'another terminal runs with this identity, and was there first: this one stays off the server ' +
  'until it is started again; stop the other one, or enrol this one from a home of its own';

interface ServerLinkOptions {
  readonly id: DeviceId;
  /** The broker's. */
  readonly url: string;
  readonly login: Login;
  readonly log: Log;
  readonly keepaliveSeconds?: number | undefined;
  readonly onInput: (input: LinkInput) => void;
  /** `trouble` is another one. */
  readonly onTrouble: () => void;
}

/** One terminal's connection to the broker, and through it to its manager. */
export class ServerLink {
  readonly #options: ServerLinkOptions;
  readonly #link: MqttLink;
  /** Once told so by the manager: another one runs with our identity, and we stay away. */
  #isCloned = false;
  /** The last reason that was logged since the link was up. */
  #toldDown: string | undefined;
  #trouble: string | undefined;
  #localAddress: string | undefined;

  /** Connects. @throws NakodoError `bad-broker-url`, `plain-not-loopback`. */
  constructor(options: ServerLinkOptions) {
    const { id, url, login } = options;
    this.#options = options;
    const down = topic('down', id);
    const { isTls } = brokerAddress(url);
    this.#link = openLink({
      url,
      ...(isTls ? { isPinned: (pin) => login.isPinned(pin) } : {}),
      clientId: id,
      username: 'terminal',
      password: (server) => login.token(server),
      subscriptions: [topic('call', id), down],
      keepaliveSeconds: options.keepaliveSeconds,
      onUp: () => {
        this.#toldDown = undefined;
        this.#say(undefined);
        this.#localAddress = this.#link.localAddress;
        options.onInput({ kind: 'linkUp', server: this.#link.remoteAddress });
      },
      onDown: (trouble, wasUp) => this.#onDown(trouble, wasUp),
      onMessage: (name, bytes) =>
        options.onInput({ kind: 'message', via: name === down ? 'down' : 'call', bytes }),
    });
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** This end's address of the TCP connection, or of the last one that was up. */
  get localAddress(): string | undefined {
    return this.#link.localAddress ?? this.#localAddress;
  }

  /**
   * Sees at once whether the connection still works: this machine's network is another one, a talk
   * has fallen silent, or servers see this machine elsewhere.
   */
  check(why: keyof typeof PATIENCE_MS): void {
    const addresses = Object.values(ownInterfaces()).flatMap((infos) => infos ?? []);
    const isOurs = (host: string): boolean => addresses.some(({ address }) => address === host);
    const isGone = (host: string): boolean =>
      addresses.length > 0 && !isLoopback(host) && !isOurs(host);
    this.#link.check(isGone, PATIENCE_MS[why]);
  }

  /** What the connection is doing. */
  health(): LinkHealth {
    return this.#link.health();
  }

  /** The broker's URL, and the seconds between two pings of a quiet link. */
  get broker(): { readonly url: string; readonly keepaliveSeconds: number } {
    return { url: this.#options.url, keepaliveSeconds: this.#link.keepaliveSeconds };
  }

  /** Why the broker cannot be reached, or does not let us in, in words; undefined: nothing. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Publishes at QoS 0; dropped while the link is down. */
  publish(publication: Publication): void {
    this.#link.publish(topic(publication.topic, this.#options.id), publication.bytes);
  }

  /** Connects or disconnects, as a terminal wants that sleeps. */
  want(want: Wanted): void {
    if (want === 'down') this.#disconnect();
    else if (!this.#isCloned) this.#link.up();
  }

  /** Both servers know this terminal. */
  onRegistered(): void {
    this.#say(undefined);
  }

  /**
   * A clone that goes on connecting would throw out the one that may stay, since a broker knows
   * both by one ID; and it would never be let in: the ban is for this boot.
   */
  onRegisterRefused(code: string): void {
    const { log } = this.#options;
    const isCloned = code === 'cloned';
    this.#say(isCloned ? CLONED : `the manager refused: ${code}`);
    if (!isCloned) {
      log.warn('register-refused', { code });
      return;
    }
    this.#isCloned = true;
    log.error('cloned', { why: CLONED });
    this.#disconnect();
  }

  /** Closes for good; resolves when the connection is closed and what was learnt is on disk. */
  async close(): Promise<void> {
    await this.#link.close();
    await this.#options.login.settled();
  }

  #disconnect(): void {
    this.#link.down();
    this.#options.onInput({ kind: 'linkDown' });
  }

  #onDown(trouble: Trouble, wasUp: boolean): void {
    this.#tellDown(trouble.code, trouble.message);
    void this.#mend(trouble);
    if (wasUp) this.#options.onInput({ kind: 'linkDown' });
  }

  /** A broker that is away for a day is no news each time that it is tried. */
  #tellDown(code: string, why: string): void {
    const { log } = this.#options;
    if (code === this.#toldDown) log.debug('link-down', { code, why });
    else log.warn('link-down', { code, why });
    this.#toldDown = code;
  }

  /** Puts right what can be put right, and remembers the rest for `nakodo status`. */
  async #mend({ refusedCode, pin, message }: Trouble): Promise<void> {
    const { login } = this.#options;
    let why = message;
    if (pin !== undefined) {
      if (await login.follow(pin)) return this.#link.retryNow();
      why = UNKNOWN_KEY;
    } else if (refusedCode !== undefined && NOT_LET_IN.includes(refusedCode)) {
      why = (await login.renew()) ?? message;
    }
    if (!this.#link.isUp) this.#say(why);
  }

  #say(trouble: string | undefined): void {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.onTrouble();
  }
}
