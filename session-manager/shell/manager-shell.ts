// The session manager as a process sees it: identity and store in the home, the link to the broker,
// enrolment over HTTP, and the core between them. One input → drain → one timer. Nothing waits for
// a timer on the way of an introduction: its only delay is the flush of its grant.

import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { OperatorLimits } from '../../protocol/consent/allow-list.ts';
import { MANAGER_FILTERS, answerTopic, parseTopic } from '../../protocol/control/topics.ts';
import type { CryptoSuite, SigningKey } from '../../protocol/crypto.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { TOKEN_NONCE_BYTES, makeManagerToken } from '../../protocol/identity/token.ts';
import type { ManagerId } from '../../protocol/ids.ts';
import { type Clock, WakeUp } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { type LinkOptions, type MqttLink, openLink } from '../../protocol/io/mqtt-link.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import type {
  Command,
  ManagerCounts,
  ManagerInput,
  ManagerOutput,
  Reply,
  SessionChange,
  Write,
} from '../manager-types.ts';
import { Manager } from '../manager.ts';
import { ENROL_PATH, type EnrolmentServer, faultError, openEnrolment } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';
import { loadManagerKey } from './manager-home.ts';
import { type Operations, makeOperations } from './operations.ts';
import { openLmdbStore } from './store-lmdb.ts';
import type { Store } from './store.ts';

const MS_PER_SECOND = 1_000;

/** Settings of a session manager. */
export interface ManagerShellOptions {
  /** Folder of its state: `identity.json`, `manager.pub`, `store/`. */
  readonly home: string;
  /**
   * `url`: the broker as terminals reach it, told at enrolment. `connect`: a stream to a broker in
   * this process, in place of a TCP connection to `url`.
   */
  readonly broker: { readonly url: string; readonly connect?: () => Duplex };
  /** A loopback address (default 127.0.0.1), and a port, 0 for any free one (default). */
  readonly httpListen?: string;
  readonly httpPort?: number;
  /** How terminals reach the HTTP port; default: the port itself. */
  readonly publicUrl?: string;
  readonly policy?: OperatorLimits;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: Clock;
  readonly log: Log;
  /** In place of LMDB in the home: a test's own. */
  readonly store?: Store;
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
  return (await loadManagerKey(home, suite, rng)).publicKey;
}

/**
 * Starts a session manager [claim 9, claim 20].
 * @throws NakodoError for whatever keeps it from starting: store locked or unwritable, port taken,
 *   a home that cannot be used, a bad URL. A broker that is away does not: it is tried again.
 */
export async function startManager(options: ManagerShellOptions): Promise<RunningManager> {
  const key = await loadManagerKey(options.home, options.suite, options.rng);
  const store = options.store ?? (await openLmdbStore({ folder: join(options.home, 'store') }));
  let enrolment: EnrolmentServer | undefined;
  try {
    enrolment = await openEnrolment(options.httpListen ?? '127.0.0.1', options.httpPort ?? 0);
    return new ManagerShell(options, { key, store, enrolment });
  } catch (error) {
    await enrolment?.close();
    await store.close();
    throw error;
  }
}

interface Opened {
  readonly key: SigningKey;
  readonly store: Store;
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
  #onReady = (): void => {};
  #lastReply = 0;
  #writing: Promise<void> = Promise.resolve();
  #draining = false;
  #closed = false;

  constructor(options: ManagerShellOptions, opened: Opened) {
    const { suite, clock, broker } = options;
    const { key, enrolment, store } = opened;
    this.#options = options;
    this.#opened = opened;
    this.httpPort = enrolment.port;
    this.publicKey = key.publicKey;
    this.#id = managerClientId(suite, key.publicKey);
    const enrolUrl = enrolUrlOf(options.publicUrl ?? enrolment.url);
    this.#core = new Manager({
      id: this.#id,
      key,
      suite,
      rng: options.rng,
      policy: options.policy ?? POLICY_DEFAULT,
      enrolUrl,
      brokerUrl: broker.url,
    });
    this.#wake = new WakeUp(clock, () => this.#onWake(), { unref: true });
    this.ready = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    this.#input({ kind: 'restore', wall: clock.wall(), stored: store.load() });
    this.operations = makeOperations({
      core: this.#core,
      store,
      suite,
      key,
      enrolUrl,
      command: (command) => this.#command(command),
      watchers: this.#watchers,
    });
    enrolment.serve((bytes) => this.#ask((to) => ({ ...this.#at('enrol'), to, bytes })));
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
    const { key } = this.#opened;
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
    });
  }

  #onLinkDown(...[trouble, wasUp]: Parameters<LinkOptions['onDown']>): void {
    if (this.#closed) return;
    const { code, message } = trouble;
    const next = code === 'not-let-in' ? 'give the broker this home’s manager.pub' : 'trying again';
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

  #at<K extends 'linkUp' | 'linkDown' | 'enrol'>(
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
    }
  }

  async #persist(batch: number, writes: readonly Write[]): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await this.#opened.store.write(writes);
    } catch (error) {
      const code = errorCode(error);
      log.error('store-write-failed', { code, message: errorMessage(error) });
      this.#input({ kind: 'persistFailed', wall: clock.wall(), batch, code });
      return;
    }
    this.#input({ kind: 'persisted', wall: clock.wall(), batch });
  }
}

/** The whole URL that stands in tickets. @throws NakodoError `bad-public-url`. */
function enrolUrlOf(publicUrl: string): string {
  const parsed = URL.canParse(publicUrl) ? new URL(publicUrl) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new NakodoError(
      'bad-public-url',
      `"${publicUrl}" is not a URL that terminals can reach`,
      'it looks like http://127.0.0.1:8183',
    );
  }
  return new URL(ENROL_PATH, parsed).href;
}
