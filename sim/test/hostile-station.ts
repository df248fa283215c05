// One terminal of the hostile world: the real core, and around it what its shell would be: sockets,
// the disk that survives a reboot, the owner and the owner's list.

import type { OwnerQuestion, StoredEnd, TerminalEvent } from '../../device/terminal-types.ts';
import { Terminal } from '../../device/terminal.ts';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { PublicKeys } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../../protocol/crypto.ts';
import type { StreamId } from '../../protocol/data/connection-types.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import type { Micros } from '../../protocol/time.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import type { GroundTruth } from './ground-truth.ts';

const DATAGRAM_BYTES_MAX = 65_536;
const OUTPUTS_MAX = 10_000;

/** What a station needs of the world. */
export interface StationWorld {
  readonly now: Micros;
  readonly moment: LocalMoment;
  publish(station: Station, of: 'address' | 'up' | 'allow-list', bytes: Uint8Array): void;
  send(from: Path, to: Path, bytes: Uint8Array): void;
  wantLink(station: Station, isWanted: boolean): void;
  ask(station: Station, question: OwnerQuestion): void;
  onEvent(station: Station, event: TerminalEvent): void;
  nextPort(): number;
}

/** One terminal, on or off. */
export class Station {
  readonly name: Name;
  readonly id: DeviceId;
  readonly keys: PublicKeys;
  readonly signingKey: SigningKey;
  readonly localKey: DhKey;
  readonly suite: CryptoSuite;
  readonly host: string;
  readonly pollSeconds: number | undefined;
  /** Undefined while it is off. */
  terminal: Terminal | undefined;
  boots = 0;
  isLinked = false;
  wantsLink = true;
  isRevoked = false;
  /** A polling one: has given up its link since the broker is honest. */
  hasSlept = false;
  membership: Uint8Array = new Uint8Array(0);
  entries: readonly AllowEntry[] = [];
  registered = 0;
  /** What came in talks, by session. */
  readonly heard = new Map<SessionId, Buffer>();
  readonly #world: StationWorld;
  readonly #rng: Rng;
  readonly #sockets = new Map<number, Path>();
  readonly #stored = new Map<SessionId, StoredEnd>();
  readonly #pins = new Map<Name, DeviceId>();
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES_MAX);

  constructor(options: {
    readonly world: StationWorld;
    readonly truth: GroundTruth;
    readonly name: Name;
    readonly index: number;
    readonly rng: Rng;
    readonly pollSeconds: number | undefined;
  }) {
    const { world, truth, name, index, rng, pollSeconds } = options;
    const seed = randomBytes(rng, 32);
    const secret = randomBytes(rng, 32);
    // Its ID is not known before its keys are made.
    const naming = truth.suiteOf(name);
    const keys = {
      ed25519: naming.signingKey(seed).publicKey,
      x25519: naming.dhKey(secret).publicKey,
    };
    this.#world = world;
    this.#rng = rng;
    this.name = name;
    this.keys = keys;
    this.id = deviceIdOf(naming, keys);
    this.suite = truth.suiteOf(this.id);
    this.signingKey = this.suite.signingKey(seed);
    this.localKey = this.suite.dhKey(secret);
    this.host = `203.0.113.${index + 1}`;
    this.pollSeconds = pollSeconds;
  }

  /** Sum of what its core has counted as somebody's fault. */
  get faults(): number {
    const counters = this.terminal?.status(this.#world.now).counters;
    if (counters === undefined) return 0;
    const { malformed, misplaced, unexpected, badNotice, unopened, badRequest } = counters;
    return malformed + misplaced + unexpected + badNotice + unopened + badRequest;
  }

  get sockets(): readonly Path[] {
    return [...this.#sockets.values()];
  }

  start(manager: { readonly key: Uint8Array; readonly agreementKey: Uint8Array }): void {
    this.boots += 1;
    this.wantsLink = this.pollSeconds === undefined;
    this.terminal = new Terminal({
      id: this.id,
      name: this.name,
      managerKey: manager.key,
      managerAgreementKey: manager.agreementKey,
      signingKey: this.signingKey,
      localKey: this.localKey,
      suite: this.suite,
      rng: this.#rng,
      pollSeconds: this.pollSeconds,
    });
    const records = [...this.#stored.values()];
    const pins = [...this.#pins].map(([name, id]) => ({ name, id }));
    this.terminal.handle(this.#world.now, { kind: 'restore', records, pins });
  }

  /** Its process is killed. */
  stop(): void {
    this.terminal = undefined;
    this.#sockets.clear();
    this.heard.clear();
  }

  /** A datagram came; false if none of its sockets is there. */
  take(to: Path, from: Path, bytes: Uint8Array): boolean {
    for (const [socket, path] of this.#sockets) {
      if (path.port !== to.port || path.host !== to.host) continue;
      this.terminal?.handleDatagram(this.#world.now, socket, from, bytes);
      return true;
    }
    return false;
  }

  /** Carries out everything that the core wants; false if there was nothing. */
  drain(): boolean {
    for (let outputs = 0; outputs < OUTPUTS_MAX; outputs++) {
      const { terminal } = this;
      if (terminal === undefined || (!this.#pollOutput(terminal) && !this.#pollDatagram(terminal)))
        return outputs > 0;
    }
    throw new Error(`${this.name} does not come to rest`);
  }

  write(session: SessionId, bytes: Uint8Array): void {
    const talk = this.terminal?.talk(session);
    const stream = talk?.openStream();
    if (talk === undefined || stream === undefined) return;
    talk.write(stream, bytes);
    talk.finish(stream);
  }

  read(session: SessionId, stream: StreamId): void {
    const into = new Uint8Array(1_024);
    const count = this.terminal?.talk(session)?.read(stream, into) ?? 0;
    if (count <= 0) return;
    const before = this.heard.get(session) ?? Buffer.alloc(0);
    this.heard.set(session, Buffer.concat([before, into.subarray(0, count)]));
  }

  #pollDatagram(terminal: Terminal): boolean {
    const transmit = terminal.pollTransmit(this.#world.now, this.#buffer);
    if (transmit === undefined) return false;
    const from = this.#sockets.get(transmit.socket);
    if (from !== undefined) {
      this.#world.send(from, transmit.path, this.#buffer.slice(0, transmit.size));
    }
    return true;
  }

  #pollOutput(terminal: Terminal): boolean {
    const world = this.#world;
    const { now } = world;
    const output = terminal.poll();
    switch (output?.kind) {
      case undefined:
        return false;
      case 'publish':
        world.publish(this, output.topic, output.bytes);
        return true;
      case 'link':
        world.wantLink(this, output.want === 'up');
        return true;
      case 'openSocket': {
        const { socket } = output;
        const path = { host: this.host, port: world.nextPort() };
        this.#sockets.set(socket, path);
        const address = Uint8Array.from(path.host.split('.').map(Number));
        const candidates = [{ address, port: path.port, type: 'host' as const }];
        terminal.handle(now, { kind: 'socketOpen', socket, candidates });
        return true;
      }
      case 'closeSocket':
        this.#sockets.delete(output.socket);
        return true;
      case 'readList': {
        const list = { version: 'v1', mode: 'verdict', entries: this.entries } as const;
        terminal.handle(now, { kind: 'list', ask: output.ask, list, at: world.moment });
        return true;
      }
      case 'store':
        if (output.record === undefined) this.#stored.delete(output.session);
        else this.#stored.set(output.session, output.record);
        return true;
      case 'pin':
        if (output.id === undefined) this.#pins.delete(output.name);
        else this.#pins.set(output.name, output.id);
        return true;
      case 'askOwner':
        world.ask(this, output.question);
        return true;
      case 'membership':
        this.membership = output.bytes;
        return true;
      case 'event':
        if (output.event.kind === 'registered') this.registered += 1;
        world.onEvent(this, output.event);
        return true;
      default:
        return true;
    }
  }
}
