// A stage for the invariants of the data plane: a world of real terminals that never start, in
// which a test says what happens, as the parties of a running world would. What the watchers then
// find is named by its invariant.

import type { TerminalEvent } from '../../device/terminal-types.ts';
import type { Path } from '../../protocol/core.ts';
import type { ConnectionEvent, Role, StreamId } from '../../protocol/data/connection-types.ts';
import { Connection } from '../../protocol/data/connection.ts';
import { HANDSHAKE_PACKET_BYTES, receiverIndex } from '../../protocol/data/packet.ts';
import { type Counts, NO_COUNTS } from '../../protocol/ends.ts';
import { type SessionId, randomSessionId } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { type Micros, after, micros, ms } from '../../protocol/time.ts';
import type { TraceEvent } from '../../protocol/trace/trace-event.ts';
import type { SessionRecord } from '../../session-manager/records.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import type { Happening } from '../happenings.ts';
import { dataPlane } from '../invariants/data-plane.ts';
import { CALM, type Options } from '../options.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { Violation } from '../violation.ts';
import { type Watcher, World } from '../world.ts';

type Ended = Extract<TerminalEvent, { kind: 'ended' }>;
type Parts<T> = T extends unknown ? Omit<T, 'at'> : never;

const INITIATION = 1;
const RESPONSE = 2;
const TRANSPORT = 4;

/** Two terminals, one talk, and whoever watches them. */
export class TalkStage {
  readonly world: World;
  readonly caller: VirtualTerminal;
  readonly callee: VirtualTerminal;
  readonly session: SessionId = randomSessionId(seededRng(7));
  readonly sockets: Record<Role, Path>;
  readonly watchers: readonly Watcher[];

  constructor(options: Partial<Options> = {}) {
    const all = { ...CALM, ...options };
    this.world = new World({ seed: 1, terminals: 3, options: all, suite: fastSuite });
    [this.caller, this.callee] = this.world.terminals;
    this.watchers = dataPlane(this.world);
    this.world.watchers.push(...this.watchers);
    this.sockets = { caller: this.caller.host.bind(), callee: this.callee.host.bind() };
  }

  /** Both ends are introduced, and open unless `isOpen` is false. */
  begin(
    terms: { readonly seconds?: number; readonly bytes?: number; readonly isOpen?: boolean } = {},
  ): this {
    const { seconds = 10, bytes, isOpen = true } = terms;
    this.granted('begun', seconds, bytes);
    for (const role of ['caller', 'callee'] as const) {
      const terminal = this[role];
      this.world.happen({ kind: 'socketOpened', terminal, path: this.sockets[role] });
      this.event(role, {
        kind: 'introduced',
        session: this.session,
        call: role === 'caller' ? 1 : undefined,
        peer: role === 'caller' ? this.callee.identity : this.caller.identity,
        service: 'pipe',
        terms: { seconds, bytes },
      });
    }
    if (!isOpen) return this;
    this.sends('caller', this.datagram('caller', INITIATION));
    this.hears('callee', this.datagram('caller', INITIATION));
    this.sends('callee', this.datagram('callee', RESPONSE));
    this.says('caller', { kind: 'established', path: this.sockets.callee });
    this.says('callee', { kind: 'established', path: this.sockets.caller });
    return this;
  }

  /** What the manager gave, as its log says. */
  granted(event: 'begun' | 'extended', seconds: number, bytes: number | undefined): void {
    const { session } = this;
    const record = { session, seconds, bytes } as SessionRecord;
    this.world.happen({ kind: 'change', change: { event, session: record } });
  }

  pass(milliseconds: number): void {
    this.world.now = after(this.world.now, ms(milliseconds));
  }

  event(role: Role, event: TerminalEvent): void {
    this.world.happen({ kind: 'event', terminal: this[role], event });
  }

  /** The talk of one end says something. */
  says(role: Role, event: Exclude<ConnectionEvent, { kind: 'ended' }>): void {
    this.event(role, { kind: 'talk', session: this.session, event });
  }

  ends(role: Role, reason: Ended['reason'], counts: Partial<Counts> = {}): void {
    const { session } = this;
    this.trace(role, { kind: 'ended', reason });
    const all = { ...NO_COUNTS, ...counts };
    this.event(role, { kind: 'ended', session, reason, counts: all, path: undefined });
  }

  /** What the connection of an end would say of itself. */
  counts(role: Role, counts: Partial<Counts>): void {
    const connection = Object.create(Connection.prototype) as Connection;
    connection.counts = () => ({ ...NO_COUNTS, ...counts });
    this[role].talk = () => connection;
  }

  trace(role: Role, event: Parts<TraceEvent>): void {
    const terminal = this[role];
    const at: Micros = terminal.clock.local(this.world.now);
    const { session } = this;
    this.world.happen({ kind: 'trace', terminal, session, event: { ...event, at } as TraceEvent });
  }

  /** An ack-eliciting packet leaves, and perhaps arrives. */
  packet(role: Role, packetNumber: number, arrives = true, bytes = 1_000): void {
    this.trace(role, { kind: 'packetSent', packetNumber, bytes, eliciting: true });
    const to = role === 'caller' ? 'callee' : 'caller';
    if (arrives) this.trace(to, { kind: 'packetReceived', packetNumber, bytes });
  }

  metrics(role: Role, parts: Partial<Extract<TraceEvent, { kind: 'metrics' }>> = {}): void {
    this.trace(role, {
      kind: 'metrics',
      congestionWindow: 20_000,
      bytesInFlight: 0,
      pacingRate: 1,
      deliveryRate: 1,
      smoothedRtt: 1_000,
      latestRtt: 1_000,
      minimumRtt: 1_000,
      ...parts,
    });
  }

  stream(
    role: Role,
    kind: 'finished' | 'readEnd' | 'resetSent' | 'stopSent',
    stream = 0 as StreamId,
  ): void {
    this.world.happen({ kind, terminal: this[role], session: this.session, stream });
  }

  bytes(role: Role, kind: 'wrote' | 'read', text: string, session = this.session): void {
    const stream = 0 as StreamId;
    const bytes = new TextEncoder().encode(text);
    this.world.happen({ kind, terminal: this[role], session, stream, bytes });
  }

  message(role: Role, kind: 'messageSent' | 'messageRead', text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.world.happen({ kind, terminal: this[role], session: this.session, bytes });
  }

  /** A datagram of that end's, of a kind and a size. */
  datagram(from: Role, type: number = TRANSPORT, size = HANDSHAKE_PACKET_BYTES): Uint8Array {
    const bytes = new Uint8Array(size);
    bytes[0] = type;
    const hearer = from === 'caller' ? 'callee' : 'caller';
    new DataView(bytes.buffer).setUint32(1, receiverIndex(fastSuite, this.session, hearer));
    return bytes;
  }

  sends(role: Role, bytes: Uint8Array, peer?: Path): void {
    this.#datagram('datagramSent', role, bytes, peer);
  }

  hears(role: Role, bytes: Uint8Array, peer?: Path): void {
    this.#datagram('datagramReceived', role, bytes, peer);
  }

  #datagram(
    kind: 'datagramSent' | 'datagramReceived',
    role: Role,
    bytes: Uint8Array,
    peer = this.sockets[role === 'caller' ? 'callee' : 'caller'],
  ): void {
    const happening: Happening = {
      kind,
      terminal: this[role],
      socket: this.sockets[role],
      peer,
      bytes,
    };
    this.world.happen(happening);
  }

  path(port: number): Path {
    return this.world.internet.paths.of('198.51.100.1', port);
  }
}

/** The invariant that does not hold when this happens, and what it says; undefined: all hold. */
export function foundIn(run: () => void): string | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof Violation) return `${error.invariant}: ${error.says}`;
    throw error;
  }
  return undefined;
}

/** A stage in the middle of a talk. */
export const talking = (
  terms?: Parameters<TalkStage['begin']>[0],
  options?: Partial<Options>,
): TalkStage => new TalkStage(options).begin(terms);

/** A moment, in microseconds. */
export const at = micros;
