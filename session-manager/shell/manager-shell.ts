// The session manager as a process sees it: identity and store in the home, the link to the broker,
// enrolment over HTTPS, and the core between them. One input → drain → one timer. Nothing waits
// for a timer on the way of an introduction, but for the flush of its grant, which many share.
// Over 400 lines: its options, and what each input and output of the core is outside of it.

import { join } from 'node:path';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { sameBytes } from '../../protocol/bytes.ts';
import type { OperatorLimits } from '../../protocol/consent/allow-list.ts';
import type { StunServer } from '../../protocol/control/messages.ts';
import { MANAGER_FILTERS, answerTopic, parseTopic } from '../../protocol/control/topics.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { errorCode, errorMessage } from '../../protocol/errors.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { TOKEN_NONCE_BYTES, makeManagerToken } from '../../protocol/identity/token.ts';
import type { ManagerId } from '../../protocol/ids.ts';
import { type Clock, WakeUp } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { type LinkOptions, type MqttLink, openLink } from '../../protocol/io/mqtt-link.ts';
import { type ServerCertificate, readPin } from '../../protocol/io/server-certificate.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { RATE_DEFAULTS } from '../limits.ts';
import type {
  Command,
  ManagerCounts,
  ManagerInput,
  ManagerOutput,
  RateLimits,
  RelayService,
  Reply,
  SessionChange,
  Stored,
  Write,
} from '../manager-types.ts';
import { Manager } from '../manager.ts';
import { authenticatedStore } from './authenticated-store.ts';
import { type EnrolmentServer, faultError, openEnrolment } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';
import { type ManagerKeys, loadManagerKeys } from './manager-home.ts';
import { type BrokerPlace, checkPlaces, enrolUrlOf, pinOfBroker } from './manager-places.ts';
import { type Operations, makeOperations } from './operations.ts';
import { openLmdbStore } from './store-lmdb.ts';
import type { Store } from './store.ts';
import { checkStoredLog } from './stored-log.ts';

/** Settings of a session manager. */
export interface ManagerShellOptions {
  /** Folder of its state: `identity.json`, `manager.pub`, `store/`. */
  readonly home: string;
  readonly broker: BrokerPlace;
  /** The server's key and certificate; absent: plain HTTP, on a loopback literal only. */
  readonly tls?: ServerCertificate | undefined;
  /** An address (default 127.0.0.1), and a port, 0 for any free one (default). */
  readonly httpListen?: string;
  readonly httpPort?: number;
  /** How terminals reach the HTTP port; default: the port itself. */
  readonly publicUrl?: string;
  readonly policy?: OperatorLimits;
  /** Let reasons out with refusals; default false. */
  readonly explain?: boolean;
  /** Former TLS keys are believed no longer; default false. */
  readonly forgetKeys?: boolean;
  /** How often callers may ask in vain; default RATE_DEFAULTS. */
  readonly rates?: RateLimits;
  /** STUN servers that terminals are told of; one without an address is where the broker is. */
  readonly stun?: readonly StunServer[];
  /** The relay that they may meet through; absent: none. */
  readonly relay?: RelayService | undefined;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: Clock;
  readonly log: Log;
  /** In place of LMDB in the home: a test's own. */
  readonly store?: Store;
  /** Gives up waiting for the broker's pin. */
  readonly signal?: AbortSignal;
}

/** What the operator permits where nothing else is said. */
const POLICY_DEFAULT: OperatorLimits = {
  secondsDefault: LIMITS.grantSecondsDefault,
  secondsMax: LIMITS.grantSecondsMax,
};

/** A running session manager. */
export interface RunningManager {
  readonly httpPort: number;
  /** Ed25519, 32 bytes: for the broker. */
  readonly publicKey: Uint8Array;
  readonly operations: Operations;
  /** Resolves when the link to the broker is up for the first time. */
  readonly ready: Promise<void>;
  counts(): Readonly<ManagerCounts>;
  /** Ends no talk; resolves when everything known is on disk and ports and files are free. */
  close(): Promise<void>;
}

/**
 * The public key of a home's manager, made at the first start: a broker beside it needs it first.
 */
export async function managerPublicKey(
  home: string,
  suite: CryptoSuite,
  rng: Rng,
): Promise<Uint8Array> {
  return (await loadManagerKeys(home, suite, rng)).key.publicKey;
}

/**
 * Starts a session manager [claim 9, claim 20]; with a broker apart, when that one's pin is there.
 * @throws NakodoError for whatever keeps it from starting: store locked or unwritable, port taken,
 *   a home that cannot be used, a bad URL. A broker that is away does not: it is tried again.
 */
export async function startManager(options: ManagerShellOptions): Promise<RunningManager> {
  const { home, suite, rng, tls, httpListen: host = '127.0.0.1', httpPort: port = 0 } = options;
  const { broker: place, publicUrl } = options;
  const broker = place.connect === undefined ? place : undefined;
  checkPlaces({ broker, listen: host, publicUrl, isTls: tls !== undefined });
  const keys = await loadManagerKeys(home, suite, rng);
  const brokerPin = await pinOfBroker(options);
  const folder = join(home, 'store');
  const rows = options.store ?? (await openLmdbStore({ folder }));
  let enrolment: EnrolmentServer | undefined;
  try {
    const store = authenticatedStore(rows, { suite, key: keys.storeKey, folder });
    const stored = store.load();
    checkStoredLog(suite, keys.key.publicKey, store, { folder, stored });
    enrolment = await openEnrolment({ host, port, tls });
    return new ManagerShell(options, { keys, brokerPin, store, stored, enrolment });
  } catch (error) {
    await enrolment?.close();
    await rows.close();
    throw error;
  }
}

interface Opened {
  readonly keys: ManagerKeys;
  /** Of a broker apart, as it was at start. */
  readonly brokerPin: Uint8Array | undefined;
  readonly store: Store;
  readonly stored: Stored;
  readonly enrolment: EnrolmentServer;
}

class ManagerShell implements RunningManager {
  readonly httpPort: number;
  readonly publicKey: Uint8Array;
  readonly operations: Operations;
  readonly ready: Promise<void>;
  readonly #options: ManagerShellOptions;
  readonly #opened: Opened;
  readonly #id: ManagerId;
  readonly #core: Manager;
  readonly #link: MqttLink;
  readonly #wake: WakeUp;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  readonly #watchers = new Set<(change: SessionChange) => void>();
  #brokerPin: Uint8Array | undefined;
  #onReady = (): void => {};
  #lastReply = 0;
  #writing: Promise<void> = Promise.resolve();
  #committedAtMs = Number.NEGATIVE_INFINITY;
  #draining = false;
  #closed = false;

  constructor(options: ManagerShellOptions, opened: Opened) {
    const { suite, clock, broker } = options;
    const { keys, enrolment, store, stored } = opened;
    const { key, agreementKey } = keys;
    this.#options = options;
    this.#opened = opened;
    this.#brokerPin = opened.brokerPin;
    this.httpPort = enrolment.port;
    this.publicKey = key.publicKey;
    this.#id = managerClientId(suite, key.publicKey);
    const enrolUrl = enrolUrlOf(options.publicUrl ?? enrolment.url, options.tls !== undefined);
    this.#core = new Manager({
      id: this.#id,
      key,
      agreementKey,
      pins: this.#pins(),
      forgetKeys: options.forgetKeys ?? false,
      suite,
      rng: options.rng,
      policy: options.policy ?? POLICY_DEFAULT,
      explain: options.explain ?? false,
      rates: options.rates ?? RATE_DEFAULTS,
      enrolUrl,
      brokerUrl: broker.url,
      stun: options.stun,
      relay: options.relay,
    });
    this.#wake = new WakeUp(clock, () => this.#onWake(), { unref: true });
    this.ready = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    this.#input({ kind: 'restore', wall: clock.wall(), stored });
    this.operations = makeOperations({
      core: this.#core,
      store,
      suite,
      key,
      agreementKey: agreementKey.publicKey,
      pin: options.tls?.pin,
      enrolUrl,
      command: (command) => this.#command(command),
      watchers: this.#watchers,
    });
    enrolment.serve({
      answer: (bytes) => this.#ask((to) => ({ ...this.#at('enrol'), to, bytes })),
      serverKeys: () => this.#core.serverKeys,
    });
    this.#link = this.#openLink();
  }

  counts(): Readonly<ManagerCounts> {
    return this.#core.counts;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    // What is known is on disk before anything is torn down.
    await this.#command({ kind: 'stop' }).catch(() => {});
    this.#closed = true;
    this.#wake.stop();
    await Promise.all([this.#link.close(), this.#opened.enrolment.close(), this.#writing]);
    for (const reply of this.#replies.values()) reply({ kind: 'failed', code: 'busy' });
    this.#replies.clear();
    await this.#opened.store.close();
  }

  #openLink(): MqttLink {
    const { broker, clock, log, rng } = this.#options;
    const { keys, brokerPin } = this.#opened;
    const { key } = keys;
    return openLink({
      url: broker.url,
      clientId: this.#id,
      username: 'manager',
      password: () =>
        makeManagerToken(key, {
          client: this.#id,
          issuedAt: Math.floor(clock.wall() / MS_PER_SECOND),
          nonce: randomBytes(rng, TOKEN_NONCE_BYTES),
        }),
      subscriptions: [...MANAGER_FILTERS, answerTopic(this.#id)],
      onUp: () => {
        log.info('broker-link-up');
        this.#input(this.#at('linkUp'));
        this.#onReady();
      },
      onDown: (trouble, wasUp) => this.#onLinkDown(trouble, wasUp),
      onMessage: (topic, bytes) => this.#onMessage(topic, bytes),
      ...(broker.connect && { connect: broker.connect }),
      ...(brokerPin && { isPinned: (pin: Uint8Array) => this.#isBroker(pin) }),
    });
  }

  /** The file of the broker's pin is read anew: a broker whose key was changed wrote another. */
  #isBroker(pin: Uint8Array): boolean {
    const { pinFile } = this.#options.broker;
    const current = pinFile === undefined ? undefined : readPin(pinFile);
    if (current !== undefined && !isSame(current, this.#brokerPin)) {
      this.#brokerPin = current;
      this.#options.log.info('broker-key-changed');
      this.#input({ ...this.#at('pins'), pins: this.#pins() });
    }
    return isSame(pin, this.#brokerPin);
  }

  /** Of the keys that terminals meet; the first is that of this port. */
  #pins(): readonly Uint8Array[] {
    const { tls } = this.#options;
    return [...(tls ? [tls.pin] : []), ...(this.#brokerPin ? [this.#brokerPin] : [])];
  }

  #onLinkDown(...[trouble, wasUp]: Parameters<LinkOptions['onDown']>): void {
    if (this.#closed) return;
    const { code, message } = trouble;
    const next = NEXT_OF[code] ?? 'trying again';
    this.#options.log.warn(wasUp ? 'broker-link-lost' : 'broker-unreachable', {
      code,
      message,
      next,
    });
    if (wasUp) this.#input(this.#at('linkDown'));
  }

  #onMessage(name: string, bytes: Uint8Array): void {
    const place = parseTopic(name);
    const { clock, log } = this.#options;
    const wall = clock.wall();
    if (place?.of === 'up' || place?.of === 'allow-list') {
      this.#input({ kind: 'message', wall, from: place.device, via: place.of, bytes });
    } else if (place?.of === 'trigger-state') this.#input({ kind: 'triggerState', wall, bytes });
    else if (place?.of === 'answer') this.#input({ kind: 'addressAnswer', wall, bytes });
    else log.debug('foreign-topic', { topic: name });
  }

  #at<K extends 'linkUp' | 'linkDown' | 'enrol' | 'pins'>(
    kind: K,
  ): { readonly kind: K; readonly wall: ManagerInput['wall'] } {
    return { kind, wall: this.#options.clock.wall() };
  }

  #command(command: Command): Promise<Reply> {
    const wall = this.#options.clock.wall();
    return this.#ask((to) => ({ kind: 'command', wall, to, command }));
  }

  /** Feeds an input that is answered by a reply. @throws NakodoError `busy` at the bound. */
  #ask(input: (to: number) => ManagerInput): Promise<Reply> {
    if (this.#closed || this.#replies.size >= SHELL_LIMITS.repliesMax) {
      return Promise.reject(faultError('busy'));
    }
    const to = ++this.#lastReply;
    return new Promise((resolve) => {
      this.#replies.set(to, resolve);
      this.#input(input(to));
    });
  }

  #input(input: ManagerInput): void {
    if (this.#closed) return;
    this.#core.handle(this.#options.clock.now(), input);
    this.#drain();
  }

  #onWake(): void {
    if (this.#closed) return;
    this.#core.handleTimeout(this.#options.clock.now());
    this.#drain();
  }

  /** One change → drain → arm one timer. An output that feeds an input waits for its turn. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let step = 0; step < SHELL_LIMITS.stepsMax; step++) {
        const output = this.#core.poll();
        if (output === undefined) break;
        this.#carryOut(output);
      }
    } finally {
      // Whatever a watcher throws, the next input drains again.
      this.#draining = false;
    }
    this.#wake.arm(this.#core.nextTimeout());
  }

  #carryOut(output: ManagerOutput): void {
    switch (output.kind) {
      case 'publish':
        // Dropped and counted by the link while it is down: whoever waits has its own deadline.
        this.#link.publish(output.topic, output.bytes);
        return;
      case 'persist':
        this.#writing = this.#persist(output.batch, output.writes);
        return;
      case 'reply': {
        const reply = this.#replies.get(output.to);
        this.#replies.delete(output.to);
        reply?.(output.reply);
        return;
      }
      case 'event':
        for (const watcher of this.#watchers) watcher(output.change);
        return;
      case 'alarm': {
        const { alarm, device, name } = output;
        const next = 'revoke it and enrol the terminal from a new home: nakodo revoke NAME';
        this.#options.log.error(alarm, { name, device, next });
      }
    }
  }

  async #persist(batch: number, writes: readonly Write[]): Promise<void> {
    const { clock, log } = this.#options;
    const waitMs = this.#committedAtMs + SHELL_LIMITS.commitGapMs - performance.now();
    if (waitMs > 0) await delay(Math.ceil(waitMs));
    try {
      // A flush holds up the process; what was published before it is still on its way out of it.
      for (let turn = 0; turn < SHELL_LIMITS.turnsBeforeFlush; turn++) await setImmediate();
      await this.#opened.store.write(writes);
      this.#committedAtMs = performance.now();
    } catch (error) {
      const code = errorCode(error);
      log.error('store-write-failed', { code, message: errorMessage(error) });
      this.#input({ kind: 'persistFailed', wall: clock.wall(), batch, code });
      return;
    }
    this.#input({ kind: 'persisted', wall: clock.wall(), batch });
  }
}

/** Trouble of the link → what to do about it. */
const NEXT_OF: Readonly<Record<string, string>> = {
  'not-let-in': 'give the broker this home’s manager.pub',
  'pin-mismatch': 'copy tls.pin anew from the home of the broker to the file of --broker-pin',
  'file-damaged': 'copy tls.pin anew from the home of the broker to the file of --broker-pin',
};

const isSame = (a: Uint8Array, b: Uint8Array | undefined): boolean =>
  b !== undefined && sameBytes(a, b);
