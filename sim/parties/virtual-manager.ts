// The session manager in virtual time: its real core, its disk, its MQTT link. Its disk keeps whole
// batches, as LMDB does: what was answered is there after a crash, what was being written may be.

import { HEAD_KEY } from '../../session-manager/log-head.ts';
import { LogVerifier, type LogVerdict } from '../../session-manager/log-verify.ts';
import { type LogEntry, decodeLogEntry } from '../../session-manager/log.ts';
import { RATE_DEFAULTS } from '../../session-manager/limits.ts';
import {
  type Command,
  type ManagerInput,
  type ManagerOutput,
  type Reply,
  type Row,
  TABLES,
  type Table,
  type Write,
} from '../../session-manager/manager-types.ts';
import { Manager } from '../../session-manager/manager.ts';
import { parseTopic } from '../../protocol/control/topics.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../../protocol/crypto.ts';
import { type Due, notArmed } from '../../protocol/deadlines.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { makeManagerToken } from '../../protocol/identity/token.ts';
import type { ManagerId } from '../../protocol/ids.ts';
import { type Rng, randomBytes, randomFraction } from '../../protocol/random.ts';
import { MS_PER_SECOND, type Micros, after, micros, ms } from '../../protocol/time.ts';
import type { World } from '../world.ts';
import type { PartyClock } from './party-clock.ts';
import { type BusConnection, type BusUser, managerSubscriptions } from './virtual-broker.ts';
import { STUN_PORTS } from './virtual-stun.ts';

/** Where terminals enrol. */
export const ENROL_URL = 'http://127.0.0.1:8183/nakodo/1/enrol';
const BROKER_URL = 'mqtt://127.0.0.1:1883';
const DISK_MS = 0.1;
const RETRY_MS = 200;
const STEPS_MAX = 200_000;

type Unwalled<T> = T extends ManagerInput ? Omit<T, 'wall'> : never;
type Tables = Map<Table, Map<string, Uint8Array>>;

/** One session manager; started again whenever it is killed. */
export class VirtualManager implements BusUser {
  readonly party = 'manager';
  readonly username = 'manager';
  readonly clientId: ManagerId;
  readonly subscriptions: readonly string[];
  readonly keys: {
    readonly suite: CryptoSuite;
    readonly signing: SigningKey;
    readonly agreement: DhKey;
  };
  readonly clock: PartyClock;
  readonly due: Due & { run(): void } = { ...notArmed(), run: () => this.#onTime() };
  restarts = 0;
  /** When its disk last refused a batch. */
  failedAt: Micros | undefined;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #disk: Rng;
  readonly #tables: Tables = new Map(TABLES.map((table) => [table, new Map()]));
  readonly #replies = new Map<number, (reply: Reply) => void>();
  #core: Manager | undefined;
  #connection: BusConnection | undefined;
  #isLinked = false;
  #writing: readonly Write[] | undefined;
  #to = 0;

  constructor(world: World, clock: PartyClock) {
    this.#world = world;
    this.clock = clock;
    this.#rng = world.rng('manager');
    this.#disk = world.rng('manager-disk');
    const suite = world.suiteOf('manager');
    this.keys = {
      suite,
      signing: suite.signingKey(randomBytes(this.#rng, 32)),
      agreement: suite.dhKey(randomBytes(this.#rng, 32)),
    };
    this.clientId = managerClientId(suite, this.keys.signing.publicKey);
    this.subscriptions = managerSubscriptions(this.clientId);
  }

  /** Undefined while it is off. */
  get core(): Manager | undefined {
    return this.#core;
  }
  get isLinked(): boolean {
    return this.#isLinked;
  }
  get connection(): BusConnection | undefined {
    return this.#connection;
  }
  /** Everything on its disk, by table. */
  get tables(): ReadonlyMap<Table, ReadonlyMap<string, Uint8Array>> {
    return this.#tables;
  }

  start(): void {
    if (this.#core !== undefined) return;
    const { suite, signing, agreement } = this.keys;
    this.#core = new Manager({
      id: this.clientId,
      key: signing,
      agreementKey: agreement,
      pins: [],
      suite,
      rng: this.#rng,
      policy: this.#world.policy,
      explain: false,
      rates: RATE_DEFAULTS,
      enrolUrl: ENROL_URL,
      brokerUrl: BROKER_URL,
      // Where the broker is, for terminals know only its address.
      stun: [{ port: STUN_PORTS.first, otherPort: STUN_PORTS.other }],
      relay: this.#world.relay?.service,
    });
    this.#world.happen({ kind: 'managerStarted' });
    this.tell({
      kind: 'restore',
      stored: {
        devices: this.#rows('devices'),
        names: this.#rows('names'),
        tickets: this.#rows('tickets'),
        sessions: this.#rows('sessions'),
        meta: this.#rows('meta'),
        revoked: this.#rows('revoked'),
      },
    });
    this.#connect();
  }

  /** Killed in the middle of whatever it did; a batch under way is on disk or not. */
  kill(): void {
    if (this.#core === undefined) return;
    this.restarts += 1;
    const half = this.#writing;
    this.#writing = undefined;
    if (half !== undefined && randomFraction(this.#disk) < 0.5) this.#apply(half);
    this.#core = undefined;
    this.#isLinked = false;
    for (const reply of this.#replies.values()) reply({ kind: 'failed', code: 'busy' });
    this.#replies.clear();
    if (this.#connection !== undefined) this.#world.broker.close(this.#connection);
    this.#connection = undefined;
    this.#world.arm(this.due, micros(Infinity));
    this.#world.happen({ kind: 'managerKilled' });
  }

  tell(input: Unwalled<ManagerInput>): void {
    const { now } = this.#world;
    const wall = this.clock.wall(now);
    this.#core?.handle(this.clock.local(now), { ...input, wall } as ManagerInput);
    this.#world.touch(this);
  }

  /** What the operator orders; answered at once as `busy` while it is off. */
  order(command: Command, answered: (reply: Reply) => void = () => {}): void {
    this.#ask(answered, (to) => this.tell({ kind: 'command', to, command }));
  }

  /** A request to its HTTP door: an enrolment, or a membership to be renewed. */
  post(bytes: Uint8Array, answered: (reply: Reply) => void): void {
    this.#ask(answered, (to) => this.tell({ kind: 'enrol', to, bytes }));
  }

  verifyLog(): LogVerdict {
    const managerKey = this.keys.signing.publicKey;
    const verifier = new LogVerifier({ suite: this.keys.suite, managerKey });
    verifier.begin(this.#table('meta').get(HEAD_KEY) ?? new Uint8Array(0), 'head');
    for (const { value } of this.#rows('log')) verifier.add(value);
    return verifier.finish();
  }

  settle(): void {
    const core = this.#core;
    if (core === undefined) return;
    for (let step = 0; step < STEPS_MAX; step++) {
      const output = core.poll();
      if (output === undefined) {
        this.#world.arm(this.due, this.clock.world(core.nextTimeout()));
        return;
      }
      this.#onOutput(output);
    }
    throw new Error('the manager does not come to rest');
  }

  // --- its MQTT link -----------------------------------------------------------------------------

  password(): Uint8Array {
    return makeManagerToken(this.keys.signing, {
      client: this.clientId,
      issuedAt: Math.floor(this.clock.wall(this.#world.now) / MS_PER_SECOND),
      nonce: randomBytes(this.#rng, 16),
    });
  }

  onUp(): void {
    this.#isLinked = true;
    this.tell({ kind: 'linkUp' });
  }

  onDown(): void {
    const wasUp = this.#isLinked;
    this.#isLinked = false;
    this.#connection = undefined;
    if (wasUp) this.tell({ kind: 'linkDown' });
    const core = this.#core;
    this.#world.schedule(after(this.#world.now, ms(RETRY_MS)), () => {
      if (core !== undefined && this.#core === core) this.#connect();
    });
  }

  onMessage(name: string, bytes: Uint8Array): void {
    const place = parseTopic(name);
    if (place?.of === 'up' || place?.of === 'allow-list')
      this.tell({ kind: 'message', from: place.device, via: place.of, bytes });
    else if (place?.of === 'trigger-state') this.tell({ kind: 'triggerState', bytes });
    else if (place?.of === 'answer') this.tell({ kind: 'addressAnswer', bytes });
  }

  #connect(): void {
    if (this.#connection === undefined) this.#connection = this.#world.broker.open(this);
  }

  #ask(answered: (reply: Reply) => void, ask: (to: number) => void): void {
    if (this.#core === undefined) {
      answered({ kind: 'failed', code: 'busy' });
      return;
    }
    const to = ++this.#to;
    this.#replies.set(to, answered);
    ask(to);
  }

  #onTime(): void {
    this.#core?.handleTimeout(this.clock.local(this.#world.now));
    this.#world.touch(this);
  }

  #onOutput(output: ManagerOutput): void {
    const world = this.#world;
    switch (output.kind) {
      case 'publish':
        if (this.#connection !== undefined && this.#isLinked)
          world.broker.publish(this.#connection, output.topic, output.bytes);
        return;
      case 'persist':
        return this.#persist(output.batch, output.writes);
      case 'reply': {
        const answered = this.#replies.get(output.to);
        this.#replies.delete(output.to);
        answered?.(output.reply);
        return;
      }
      case 'event':
        return world.happen({ kind: 'change', change: output.change });
      case 'alarm':
        return world.happen({ kind: 'alarm', name: output.name });
      default:
        output satisfies never;
    }
  }

  #persist(batch: number, writes: readonly Write[]): void {
    const { options, now } = this.#world;
    const core = this.#core;
    const fails = randomFraction(this.#disk) < options['manager.fail'];
    const takes = ms(DISK_MS + options['manager.slow'] * randomFraction(this.#disk));
    this.#writing = fails ? undefined : writes;
    this.#world.schedule(after(now, takes), () => {
      if (this.#core !== core) return;
      this.#writing = undefined;
      if (fails) {
        this.#world.fired('manager.fail');
        this.failedAt = this.#world.now;
        this.tell({ kind: 'persistFailed', batch, code: 'ENOSPC' });
        return;
      }
      this.#apply(writes);
      this.tell({ kind: 'persisted', batch });
    });
  }

  #apply(writes: readonly Write[]): void {
    for (const { table, key, value } of writes) {
      if (value === undefined) this.#table(table).delete(key);
      else this.#table(table).set(key, value);
      if (table !== 'log' || value === undefined) continue;
      const entry = decodeLogEntry(value);
      if (entry === undefined) this.#world.violate('log', 'an entry cannot be read');
      else this.#onLogged(entry);
    }
  }

  /** Whoever is revoked in the log is, whatever the operator was told. */
  #onLogged(entry: LogEntry): void {
    this.#world.happen({ kind: 'logged', entry });
    if (entry.kind !== 'revoked') return;
    for (const terminal of this.#world.terminals) {
      if (terminal.id !== entry.device) continue;
      terminal.isRevoked = true;
      this.#world.happen({ kind: 'revoked', terminal });
    }
  }

  #table(name: Table): Map<string, Uint8Array> {
    const table = this.#tables.get(name);
    if (table === undefined) throw new Error(`no table ${name}`);
    return table;
  }

  #rows(name: Table): readonly Row[] {
    return [...this.#table(name)]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => ({ key, value }));
  }
}
