// One talk in virtual time: two real connections over a modelled link (sim/link.ts), moved by the
// same `drain` as in production; the caller sends without end, the callee reads at once. The same
// seed gives the same talk on every machine.

import { type Path, type Port, drain } from '../protocol/core.ts';
import { Connection } from '../protocol/data/connection.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
  StreamId,
} from '../protocol/data/connection-types.ts';
import { DATA_LIMITS } from '../protocol/data/limits.ts';
import { randomSessionId } from '../protocol/ids.ts';
import { nodeSuite } from '../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../protocol/random.ts';
import { type Micros, NEVER, micros } from '../protocol/time.ts';
import type { Trace } from '../protocol/trace/trace-event.ts';
import { CLEAN, type Faults, Link } from '../sim/link.ts';

const DRAIN_STEPS = 10_000;
const CHUNK = new Uint8Array(64 * 1024);
const KEY_BYTES = 32;

interface VirtualTalkOptions {
  readonly seed: number;
  readonly faults: Partial<Faults>;
  readonly config: Partial<ConnectionConfig>;
  /** Hears the caller's connection. */
  readonly trace?: Trace | undefined;
}

interface End {
  readonly role: Role;
  readonly path: Path;
  readonly connection: Connection;
}

/** A talk of one bulk stream from the caller to the callee. */
export class VirtualTalk {
  now: Micros = micros(1_000_000);
  readonly #link: Link<Role>;
  readonly #caller: End;
  readonly #callee: End;
  readonly #buffer = new Uint8Array(DATA_LIMITS.datagramBytesMax);
  readonly #readBuffer = new Uint8Array(CHUNK.length);
  #stream: StreamId | undefined;

  constructor({ seed, faults, config, trace }: VirtualTalkOptions) {
    const rng = seededRng(seed);
    this.#link = new Link(() => rng.next() / 2 ** 32, { ...CLEAN, ...faults });
    const ends = {
      caller: { path: { host: '192.0.2.1', port: 1 }, key: nodeSuite.dhKey(key()) },
      callee: { path: { host: '192.0.2.2', port: 2 }, key: nodeSuite.dhKey(key()) },
    };
    const common = {
      session: randomSessionId(rng),
      grantBytes: new Uint8Array(),
      limits: { seconds: 3600, bytes: undefined },
      sessionKey: key(),
      suite: nodeSuite,
      rng,
      config,
    };
    function key(): Uint8Array {
      return randomBytes(rng, KEY_BYTES);
    }
    function end(role: Role, peer: Role): End {
      const connection = new Connection({
        ...common,
        role,
        localKey: ends[role].key,
        remotePublicKey: ends[peer].key.publicKey,
        paths: [ends[peer].path],
        trace: role === 'caller' ? trace : undefined,
      });
      return { role, path: ends[role].path, connection };
    }
    this.#caller = end('caller', 'callee');
    this.#callee = end('callee', 'caller');
    this.#callee.connection.start(this.now);
    this.#caller.connection.start(this.now);
    this.#drain();
  }

  /** Bytes of the stream that the callee has received. */
  get receivedBytes(): number {
    return this.#callee.connection.counts(this.now).receivedBytes;
  }

  /** Moves on to `until`. */
  run(until: Micros): void {
    for (let next = this.#next(); next <= until; next = this.#next()) this.#step(next);
    this.now = until;
  }

  #next(): Micros {
    const timeouts = [this.#caller, this.#callee].map((end) => end.connection.nextTimeout());
    return micros(Math.min(this.#link.nextArrival, ...timeouts, NEVER));
  }

  #step(at: Micros): void {
    this.now = at > this.now ? at : this.now;
    for (;;) {
      const datagram = this.#link.take(this.now);
      if (datagram === undefined) break;
      const { connection } = datagram.to === 'caller' ? this.#caller : this.#callee;
      connection.handleDatagram(this.now, datagram.from, datagram.bytes);
    }
    for (const { connection } of [this.#caller, this.#callee]) {
      if (connection.nextTimeout() <= this.now) connection.handleTimeout(this.now);
    }
    this.#drain();
  }

  #drain(): void {
    this.#drainEnd(this.#caller, 'callee', (event) => {
      if (event.kind === 'established') this.#stream = this.#caller.connection.openStream();
      if (event.kind === 'established' || event.kind === 'writable') this.#write();
    });
    this.#drainEnd(this.#callee, 'caller', (event) => {
      if (event.kind !== 'readable') return;
      while (this.#callee.connection.read(event.stream, this.#readBuffer) > 0);
    });
  }

  #drainEnd(end: End, to: Role, event: Port<ConnectionEvent>['event']): void {
    const port: Port<ConnectionEvent> = {
      borrow: () => this.#buffer,
      release: () => {},
      send: ({ size }, buffer) => this.#link.send(this.now, to, end.path, buffer.subarray(0, size)),
      event,
    };
    drain(end.connection, this.now, port, DRAIN_STEPS);
  }

  #write(): void {
    if (this.#stream === undefined) return;
    const { connection } = this.#caller;
    while (connection.write(this.#stream, CHUNK) === CHUNK.length);
  }
}
