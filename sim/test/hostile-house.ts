// The session manager of the hostile world: the real core, and around it what its shell would be: a
// disk that survives it, the link to the broker, the operator.

import { type ParsedTopic, parseTopic } from '../../protocol/control/topics.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { makeManagerToken } from '../../protocol/identity/token.ts';
import type { ManagerId, SessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { MS_PER_SECOND, type Micros, type WallMs, after, ms } from '../../protocol/time.ts';
import { RATE_DEFAULTS } from '../../session-manager/limits.ts';
import { HEAD_KEY } from '../../session-manager/log-head.ts';
import { type LogVerdict, LogVerifier } from '../../session-manager/log-verify.ts';
import { decodeLogEntry } from '../../session-manager/log.ts';
import {
  type Command,
  type ManagerCounts,
  type ManagerInput,
  type ManagerOutput,
  type Reply,
  type Row,
  TABLES,
  type Table,
  type Write,
} from '../../session-manager/manager-types.ts';
import { Manager } from '../../session-manager/manager.ts';
import type { GroundTruth } from './ground-truth.ts';
import type { Witness } from './hostile-witness.ts';

/** Where terminals enrol. */
export const ENROL_URL = 'http://127.0.0.1:8183/nakodo/1/enrol';
const DISK = ms(0.1);
const OFF = ms(300);

type Unwalled<T> = T extends ManagerInput ? Omit<T, 'wall'> : never;

/** What the house needs of the world. */
export interface HouseWorld {
  readonly now: Micros;
  readonly wall: WallMs;
  readonly witness: Witness;
  schedule(at: Micros, run: () => void): void;
  /** The manager publishes something. */
  say(topic: ParsedTopic, bytes: Uint8Array): void;
  /** The manager logs in with this. */
  showLogin(password: Uint8Array): void;
}

/** One session manager, with its disk; started again whenever it is killed. */
export class House {
  readonly id: ManagerId;
  readonly keys;
  restarts = 0;
  isLinked = false;
  readonly #world: HouseWorld;
  readonly #rng: Rng;
  readonly #tables = new Map<Table, Map<string, Uint8Array>>(
    TABLES.map((table) => [table, new Map()]),
  );
  readonly #replies = new Map<number, Reply>();
  #manager: Manager;
  #to = 0;

  constructor(world: HouseWorld, truth: GroundTruth, rng: Rng) {
    this.#world = world;
    this.#rng = rng;
    const suite = truth.suiteOf('manager');
    this.keys = {
      suite,
      signing: suite.signingKey(randomBytes(rng, 32)),
      agreement: suite.dhKey(randomBytes(rng, 32)),
    };
    this.id = managerClientId(nodeSuite, this.keys.signing.publicKey);
    this.#manager = this.#make();
  }

  /** As it is now: another one after a restart. */
  get manager(): Manager {
    return this.#manager;
  }

  /** Everything on its disk. */
  get disk(): readonly Uint8Array[] {
    return [...this.#tables.values()].flatMap((table) => [...table.values()]);
  }

  /** Sum of what its core has counted as somebody's fault. */
  get faults(): number {
    const { malformed, unexpected, unopened, overBound, badSignature, unknownSession } =
      this.#manager.counts satisfies Readonly<ManagerCounts>;
    return malformed + unexpected + unopened + overBound + badSignature + unknownSession;
  }

  tell(input: Unwalled<ManagerInput>): void {
    const { now, wall } = this.#world;
    this.#manager.handle(now, { ...input, wall } as ManagerInput);
  }

  /** Puts a command, or the body of an enrolment; its number, for `reply`. */
  order(what: Command | Uint8Array): number {
    const to = ++this.#to;
    if (what instanceof Uint8Array) this.tell({ kind: 'enrol', to, bytes: what });
    else this.tell({ kind: 'command', to, command: what });
    return to;
  }

  reply(to: number): Reply | undefined {
    return this.#replies.get(to);
  }

  /** Carries out everything that the core wants; false if there was nothing. */
  drain(): boolean {
    for (let count = 0; ; count++) {
      const output = this.#manager.poll();
      if (output === undefined) return count > 0;
      this.#onOutput(output);
    }
  }

  link(): void {
    if (this.isLinked) return;
    this.isLinked = true;
    const issuedAt = Math.floor(this.#world.wall / MS_PER_SECOND);
    const nonce = randomBytes(this.#rng, 16);
    this.#world.showLogin(
      makeManagerToken(this.keys.signing, { client: this.id, issuedAt, nonce }),
    );
    this.tell({ kind: 'linkUp' });
  }

  unlink(): void {
    this.isLinked = false;
    this.tell({ kind: 'linkDown' });
  }

  /** Killed, and started again on its disk. */
  restart(): void {
    this.restarts += 1;
    this.isLinked = false;
    this.#world.witness.onRestart();
    this.#manager = this.#make();
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
    this.#world.schedule(after(this.#world.now, OFF), () => this.link());
  }

  /** Sessions that nobody has ended yet. */
  openSessions(): readonly SessionId[] {
    const open = this.#manager.sessions('open').filter(({ reason }) => reason === undefined);
    return open.map(({ session }) => session);
  }

  verifyLog(): LogVerdict {
    const managerKey = this.keys.signing.publicKey;
    const verifier = new LogVerifier({ suite: nodeSuite, managerKey });
    verifier.begin(this.#table('meta').get(HEAD_KEY) ?? new Uint8Array(0), 'head');
    for (const { value } of this.#rows('log')) verifier.add(value);
    return verifier.finish();
  }

  #make(): Manager {
    const { suite, signing, agreement } = this.keys;
    return new Manager({
      id: this.id,
      key: signing,
      agreementKey: agreement,
      pins: [],
      suite,
      rng: this.#rng,
      policy: { secondsDefault: 60, secondsMax: 3_600, bytesMax: 10_000_000 },
      explain: false,
      rates: RATE_DEFAULTS,
      enrolUrl: ENROL_URL,
      brokerUrl: 'mqtt://127.0.0.1:1883',
    });
  }

  #onOutput(output: ManagerOutput): void {
    const { witness } = this.#world;
    switch (output.kind) {
      case 'publish': {
        const topic = parseTopic(output.topic);
        if (topic === undefined) throw new Error(`no such topic: ${output.topic}`);
        if (this.isLinked) this.#world.say(topic, output.bytes);
        return;
      }
      case 'persist':
        return this.#persist(output.batch, output.writes);
      case 'reply':
        this.#replies.set(output.to, output.reply);
        return;
      case 'event':
        return witness.onChange(output.change);
      case 'alarm':
        return witness.fail(`alarm: ${output.name} is a clone`);
      default:
        output satisfies never;
    }
  }

  /** On disk at once; the manager hears of it a moment later, if it still lives. */
  #persist(batch: number, writes: readonly Write[]): void {
    const { witness, now } = this.#world;
    for (const { table, key, value } of writes) {
      if (value === undefined) this.#table(table).delete(key);
      else this.#table(table).set(key, value);
      if (table !== 'log' || value === undefined) continue;
      const entry = decodeLogEntry(value);
      if (entry === undefined) witness.fail('an entry of the log cannot be read');
      else witness.onLogged(entry);
    }
    const manager = this.#manager;
    this.#world.schedule(after(now, DISK), () => {
      if (this.#manager === manager) this.tell({ kind: 'persisted', batch });
    });
  }

  #table(name: Table): Map<string, Uint8Array> {
    return this.#tables.get(name) ?? new Map();
  }

  #rows(name: Table): readonly Row[] {
    return [...this.#table(name)]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => ({ key, value }));
  }
}
