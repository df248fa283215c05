// Two connections over a link in virtual time (link.ts): the data plane alone, for tests and plots.
// The same `drain` as in production moves everything; the same seed gives the same talk.

import type { Path, Port } from '../protocol/core.ts';
import { drain } from '../protocol/core.ts';
import { Connection } from '../protocol/data/connection.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
  StreamId,
  TalkLimits,
} from '../protocol/data/connection-types.ts';
import type { Counts, EndReason } from '../protocol/ends.ts';
import { randomSessionId } from '../protocol/ids.ts';
import { randomBytes, seededRng } from '../protocol/random.ts';
import { CLEAN, type Faults, Link } from './link.ts';
import { nodeSuite } from '../protocol/io/node-crypto.ts';
import type { Micros } from '../protocol/time.ts';
import { NEVER, after, micros, ms } from '../protocol/time.ts';
import type { Trace } from '../protocol/trace/trace-event.ts';

const DRAIN_STEPS = 10_000;
const SAME_INSTANT_MAX = 10_000;
const BUFFER_BYTES = 65_536;
/** Milliseconds from one knock of the caller's to the next: the first pause, doubling. */
const KNOCK_MS = 250;
const KNOCK_MS_MAX = 1_000;

/** What is special about a pair; the link is short and without faults unless said otherwise. */
export interface PairOptions {
  readonly seed?: number;
  readonly faults?: Partial<Faults>;
  readonly limits?: TalkLimits;
  readonly config?: Partial<ConnectionConfig>;
  readonly calleeConfig?: Partial<ConnectionConfig>;
  /** Another key at the callee: the handshake must fail. */
  readonly foreignKey?: boolean;
  /** Hears the caller's connection. */
  readonly trace?: Trace;
  /** False: what was sent is not kept; a long talk. */
  readonly keepsSent?: boolean;
}

const addressOf = ({ host, port }: Path): string => `${host}:${port}`;

/** One end as its owner sees it. */
export class End {
  readonly role: Role;
  readonly connection: Connection;
  /** Where its datagrams come from now. */
  path: Path;
  /** Where it hears, `host:port`. */
  readonly addresses = new Set<string>();
  readonly events: ConnectionEvent[] = [];
  onEvent: (event: ConnectionEvent) => void = () => {};

  constructor(role: Role, connection: Connection, path: Path) {
    this.role = role;
    this.connection = connection;
    this.path = path;
    this.addresses.add(addressOf(path));
  }

  /** A NAT or another network gives it `path`; the one before hears nothing any more. */
  move(path: Path, keepsOld = false): void {
    if (!keepsOld) this.addresses.clear();
    this.addresses.add(addressOf(path));
    this.path = path;
  }

  get ended(): (ConnectionEvent & { kind: 'ended' }) | undefined {
    return this.events.find((event) => event.kind === 'ended');
  }
  get reason(): EndReason | undefined {
    return this.ended?.reason;
  }
  get counts(): Counts | undefined {
    return this.ended?.counts;
  }
  has(kind: ConnectionEvent['kind']): boolean {
    return this.events.some((event) => event.kind === kind);
  }
}

/** Both ends, the link between them, and the clock that they share. */
export class Pair {
  now: Micros = micros(1_000_000);
  readonly caller: End;
  readonly callee: End;
  /** Every datagram sent, in order: for captures and replays. */
  readonly sent: { readonly from: Role; readonly bytes: Uint8Array }[] = [];
  /** True to drop a datagram; called before the random faults. */
  filter: (from: Role, bytes: Uint8Array) => boolean = () => true;
  /** Hears of datagrams to addresses where no end is. */
  onStray: (from: Role, to: Path, bytes: Uint8Array) => void = () => {};
  readonly #rng;
  readonly #link: Link<Role>;
  readonly #keepsSent: boolean;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #sameInstant = 0;
  /** In place of a meeting: the caller knocks at the callee until it is heard. */
  #knockAt: Micros = NEVER;
  #knockMs = KNOCK_MS;

  constructor(options: PairOptions = {}) {
    const rng = seededRng(options.seed ?? 1);
    this.#rng = rng;
    this.#keepsSent = options.keepsSent ?? true;
    this.#link = new Link(() => rng.next() / 2 ** 32, { ...CLEAN, ...options.faults });
    const paths: Record<Role, Path> = {
      caller: { host: '192.0.2.1', port: 1000 },
      callee: { host: '192.0.2.2', port: 2000 },
    };
    const keys = {
      caller: nodeSuite.dhKey(randomBytes(rng, 32)),
      callee: nodeSuite.dhKey(randomBytes(rng, 32)),
    };
    const common = {
      session: randomSessionId(rng),
      grantBytes: randomBytes(rng, 100),
      limits: options.limits ?? { seconds: 3600, bytes: undefined },
      suite: nodeSuite,
      rng,
    };
    const sessionKey = randomBytes(rng, 32);
    const end = (role: Role, peer: Role, key: Uint8Array, config = options.config): End =>
      new End(
        role,
        new Connection({
          ...common,
          role,
          sessionKey: key,
          localKey: keys[role],
          remotePublicKey: keys[peer].publicKey,
          config: config ?? {},
          trace: role === 'caller' ? options.trace : undefined,
        }),
        paths[role],
      );
    const calleeKey = options.foreignKey === true ? randomBytes(rng, 32) : sessionKey;
    this.caller = end('caller', 'callee', sessionKey);
    this.callee = end('callee', 'caller', calleeKey, options.calleeConfig ?? options.config);
  }

  /** What the link does from now on. */
  get faults(): Faults {
    return this.#link.faults;
  }
  set faults(faults: Faults) {
    this.#link.faults = faults;
  }

  start(): void {
    this.callee.connection.start(this.now);
    this.caller.connection.start(this.now);
    this.#knock();
    this.drain();
  }

  /** Starts and runs until both ends are open. */
  open(): this {
    this.start();
    const isOpen = (): boolean => this.caller.has('established') && this.callee.has('established');
    if (!this.run(isOpen)) throw new Error('the handshake did not finish');
    return this;
  }

  end(role: Role): End {
    return role === 'caller' ? this.caller : this.callee;
  }

  /** Empties both cores into the link. */
  drain(): void {
    this.#drain(this.caller, 'callee');
    this.#drain(this.callee, 'caller');
  }

  /** Hands a datagram to an end as if it came from anywhere. */
  inject(to: Role, from: Path, bytes: Uint8Array): void {
    this.end(to).connection.handleDatagram(this.now, from, bytes.slice());
    this.drain();
  }

  /** Jumps to whatever happens next; false when nothing ever will. */
  step(): boolean {
    const next = this.#next();
    if (next === NEVER) return false;
    this.#sameInstant = next > this.now ? 0 : this.#sameInstant + 1;
    if (this.#sameInstant > SAME_INSTANT_MAX) throw new Error('a core spins');
    this.now = micros(Math.max(next, this.now));
    for (;;) {
      const datagram = this.#link.take(this.now);
      if (datagram === undefined) break;
      const { connection } = this.end(datagram.to);
      connection.handleDatagram(this.now, datagram.from, datagram.bytes);
    }
    if (this.#knockAt <= this.now) this.#knock();
    for (const { connection } of [this.caller, this.callee]) {
      if (connection.nextTimeout() <= this.now) connection.handleTimeout(this.now);
    }
    this.drain();
    return true;
  }

  /** Steps until `done`; false when `limitMs` of virtual time or all events ran out first. */
  run(done: () => boolean, limitMs = 600_000): boolean {
    const limit = after(this.now, ms(limitMs));
    while (!done()) if (this.now > limit || !this.step()) return done();
    return true;
  }

  /** Lets `milliseconds` pass. */
  pass(milliseconds: number): void {
    const until = after(this.now, ms(milliseconds));
    this.run(() => this.#next() > until, milliseconds + 1);
    this.now = until;
  }

  /** Until both ends have ended and fallen silent. */
  runToEnd(limitMs = 600_000): boolean {
    return this.run(
      () => this.caller.ended !== undefined && this.callee.ended !== undefined,
      limitMs,
    );
  }

  #knock(): void {
    const { caller, callee } = this;
    const isHeard = caller.has('established') || caller.ended !== undefined;
    this.#knockAt = isHeard ? NEVER : after(this.now, ms(this.#knockMs));
    this.#knockMs = Math.min(this.#knockMs * 2, KNOCK_MS_MAX);
    if (!isHeard) caller.connection.knock(callee.path);
  }

  #next(): number {
    return Math.min(
      this.#link.nextArrival,
      this.#knockAt,
      this.caller.connection.nextTimeout(),
      this.callee.connection.nextTimeout(),
    );
  }

  #drain(end: End, to: Role): void {
    const port: Port<ConnectionEvent> = {
      borrow: () => this.#buffer,
      release: () => {},
      send: (transmit, buffer) =>
        this.#send(end, to, buffer.slice(0, transmit.size), transmit.path),
      event: (event) => {
        end.events.push(event);
        end.onEvent(event);
      },
    };
    drain(end.connection, this.now, port, DRAIN_STEPS);
  }

  #send(from: End, to: Role, bytes: Uint8Array, path: Path): void {
    if (this.#keepsSent) this.sent.push({ from: from.role, bytes });
    if (!this.end(to).addresses.has(addressOf(path))) {
      this.onStray(from.role, path, bytes);
      return;
    }
    if (this.filter(from.role, bytes)) this.#link.send(this.now, to, from.path, bytes);
  }

  /** A datagram that arrives in `micros` microseconds, from wherever somebody says. */
  fly(to: Role, from: Path, bytes: Uint8Array, delayMicros: number): void {
    this.#link.arrive(after(this.now, delayMicros), to, from, bytes);
  }

  get rng(): ReturnType<typeof seededRng> {
    return this.#rng;
  }
}

/** Writes `bytes` to a new stream of `end`, as fast as it is taken, then finishes it. */
export function send(pair: Pair, end: End, bytes: Uint8Array, finish = true): StreamId {
  const { connection } = end;
  const stream = connection.openStream();
  if (stream === undefined) throw new Error('no stream');
  let at = 0;
  const pump = (): void => {
    at += connection.write(stream, bytes.subarray(at));
    if (at === bytes.length && finish) connection.finish(stream);
  };
  const before = end.onEvent;
  end.onEvent = (event) => {
    before(event);
    if (event.kind === 'writable' && event.stream === stream) pump();
  };
  pump();
  pair.drain();
  return stream;
}

/** What an end has read from each stream; reads as soon as it can. */
export class Sink {
  readonly chunks = new Map<StreamId, Uint8Array[]>();
  readonly finished = new Set<StreamId>();

  constructor(end: End) {
    const before = end.onEvent;
    const buffer = new Uint8Array(BUFFER_BYTES);
    end.onEvent = (event) => {
      before(event);
      if (event.kind !== 'readable') return;
      const { stream } = event;
      const chunks = this.chunks.get(stream) ?? [];
      this.chunks.set(stream, chunks);
      for (;;) {
        const length = end.connection.read(stream, buffer);
        if (length < 0) this.finished.add(stream);
        if (length <= 0) return;
        chunks.push(buffer.slice(0, length));
      }
    };
  }

  bytes(stream: StreamId): Uint8Array {
    return Buffer.concat(this.chunks.get(stream) ?? []);
  }
  get total(): number {
    let sum = 0;
    for (const chunks of this.chunks.values()) for (const chunk of chunks) sum += chunk.length;
    return sum;
  }
}
