// One meeting in virtual time: everything around it is the test's. What it sends is kept with its
// time; the peer is whoever has the other end's probes, and speaks only when the test lets it.

import type { PathClass } from '../../protocol/address.ts';
import type { Candidate } from '../../protocol/control/messages.ts';
import { type Path, samePath } from '../../protocol/core.ts';
import type { Role } from '../../protocol/data/connection-types.ts';
import { type Probe, Probes, isProbe } from '../../protocol/data/probe.ts';
import { randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { type Micros, NEVER, after, micros, ms } from '../../protocol/time.ts';
import type { PeerPath } from '../candidates.ts';
import type { Gathered } from '../meeting/gathering.ts';
import type { MeetingHost, MeetingOptions, OwnPlace } from '../meeting/meeting-types.ts';
import { Meeting } from '../meeting/meeting.ts';
import type { SocketId } from '../terminal-types.ts';

/** Turns of one drain, and of one look at the clock, that no sound core needs. */
const TURNS_MAX = 20_000;
const KINDS: readonly Probe['kind'][] = ['probe', 'answer', 'choice'];
export const FIRST_SOCKET: SocketId = 1;

/** A candidate of the peer's that may be sent to. */
export const peerPath = (host: string, port: number, of: PathClass = 'direct'): PeerPath => ({
  path: { host, port },
  class: of,
});

export const reflexive = (last: number, port: number): Candidate => ({
  address: Uint8Array.of(198, 51, 100, last),
  port,
  type: 'reflexive',
});

/** Something that left. */
interface Left {
  readonly atMs: number;
  readonly path: Path;
  /** `knock`: the connection was told to say its handshake's first message there. */
  readonly kind: Probe['kind'] | 'knock';
  readonly size: number;
  readonly bytes: Uint8Array;
}

/** One meeting and what became of it; the time counts from its notice. */
export class MeetingBench {
  now: Micros = micros(1_000_000_000);
  readonly meeting: Meeting;
  readonly left: Left[] = [];
  readonly opened: Path[] = [];
  /** Times that the link was to be doubted. */
  elsewhere = 0;
  readonly preferred: { readonly path: Path; readonly isBetter: boolean }[] = [];
  readonly told: (OwnPlace & { readonly atMs: number })[] = [];
  readonly ways: { readonly path: Path; readonly class: PathClass }[] = [];
  readonly searches: string[] = [];
  readonly gathers: { readonly atMs: number; readonly socket: SocketId }[] = [];
  readonly endpoints: {
    readonly atMs: number;
    readonly socket: SocketId;
    readonly to: string | undefined;
    readonly tcp: Path | undefined;
  }[] = [];
  readonly closed: SocketId[] = [];
  /** Microseconds without a word of the peer's, as the connection would say. */
  quiet = 0;
  /** Whether endpoints open as soon as they are asked for. */
  opensEndpoints = true;
  /** Endpoints that may be open at once. */
  endpointsMax = 1_000;
  wakeUps = 0;
  /** Messages to relays. */
  toRelay = 0;
  /** What a relay answers to a message, at once; undefined: nothing. */
  relayAnswer: (to: Path, bytes: Uint8Array) => Uint8Array | undefined = () => undefined;
  /** What was said of relays that are no more. */
  readonly lostRelays: string[] = [];
  readonly peer: Probes;
  readonly #own: Probes;
  readonly #begun: Micros;
  #lastSocket = FIRST_SOCKET;

  constructor(options: Partial<MeetingOptions> = {}) {
    const rng = seededRng(9);
    const { role = 'callee' } = options;
    const common = {
      suite: nodeSuite,
      session: randomSessionId(rng),
      sessionKey: randomBytes(rng, 32),
      secrets: undefined,
      rng,
    };
    const other: Role = role === 'caller' ? 'callee' : 'caller';
    this.peer = new Probes({ ...common, role: other });
    this.#own = new Probes({ ...common, role });
    this.#begun = this.now;
    const host: MeetingHost = {
      knock: (path) => this.#leave(path, 'knock', 53, new Uint8Array(53)),
      open: (_, path) => void this.opened.push(path),
      onRoundTrip: () => {},
      prefer: (_, path, { isBetter }) => void this.preferred.push({ path, isBetter }),
      quietMicros: () => this.quiet,
      openEndpoint: (to, tcp) => this.#open(to, tcp),
      closeEndpoint: (socket) => void this.closed.push(socket),
      gather: (socket) => void this.gathers.push({ atMs: this.ms, socket }),
      tell: (_, place) => void this.told.push({ ...place, atMs: this.ms }),
      onWay: (path, of) => void this.ways.push({ path, class: of }),
      onSearch: (address) => void this.searches.push(address),
      onElsewhere: () => {
        this.elsewhere += 1;
      },
      onRelayLost: (says) => void this.lostRelays.push(says),
    };
    this.meeting = new Meeting(
      this.now,
      {
        role,
        probes: this.#own,
        isKeyed: true,
        rng,
        socket: FIRST_SOCKET,
        paths: [],
        startMs: 0,
        peerVaries: false,
        searchAt: undefined,
        relay: undefined,
        isRelayOnly: false,
        isRelayOff: false,
        gathered: undefined,
        ...options,
      },
      host,
    );
    this.drain();
  }

  /** Milliseconds since the notice. */
  get ms(): number {
    return (this.now - this.#begun) / 1_000;
  }

  /** Endpoints that were opened and not closed. */
  get open(): readonly SocketId[] {
    return this.endpoints.map(({ socket }) => socket).filter((one) => !this.closed.includes(one));
  }

  sentTo(path: Path): readonly Left[] {
    return this.left.filter((one) => samePath(one.path, path));
  }

  /** Whatever was sent to a host, from and to any port. */
  sentToHost(host: string): readonly Left[] {
    return this.left.filter(({ path }) => path.host === host);
  }

  drain(): void {
    const into = new Uint8Array(1_500);
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      // As talks.ts does: those with nothing to say are not asked.
      const isDue = this.meeting.nextTimeout() <= this.now;
      const transmit = isDue ? this.meeting.pollTransmit(this.now, into) : undefined;
      if (transmit === undefined) {
        const said = this.meeting.relay?.pollTransmit(this.now, into);
        if (said === undefined) return;
        this.toRelay += 1;
        const bytes = this.relayAnswer(said.path, into.slice(0, said.size));
        if (bytes === undefined) continue;
        this.meeting.fromRelay(this.now, said.socket, { from: said.path, bytes });
        continue;
      }
      const bytes = into.slice(0, transmit.size);
      if (!isProbe(bytes)) throw new Error('a meeting sends probes');
      const kind = KINDS[bytes[0] - 0x08];
      this.#leave(transmit.path, kind, transmit.size, bytes);
    }
    throw new Error('it never stops sending');
  }

  /** Lets time pass, with a timer that is late by so much. */
  pass(milliseconds: number, lateMs = 0): this {
    const until = after(this.now, ms(milliseconds));
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      const next = this.meeting.nextTimeout();
      if (next === NEVER || next > until) {
        this.now = until;
        return this;
      }
      const at = after(micros(Math.max(next, this.now)), ms(lateMs));
      this.now = at > until ? until : at;
      this.wakeUps += 1;
      this.meeting.handleTimeout(this.now);
      this.drain();
      if (this.opensEndpoints) this.openAll();
    }
    throw new Error('time does not pass');
  }

  /** A probe of the peer's from there, or its answer. */
  hear(
    path: Path,
    kind: Probe['kind'] = 'probe',
    token = randomBytes(seededRng(this.now), 8),
  ): this {
    const into = new Uint8Array(100);
    const size = this.peer.write(into, { kind, token });
    return this.hearBytes(path, into.slice(0, size));
  }

  hearBytes(path: Path, bytes: Uint8Array): this {
    this.meeting.onProbe(this.now, path, bytes.slice());
    this.drain();
    return this;
  }

  /** The peer answers the newest probe that went there; from there, or from elsewhere. */
  answer(path: Path, from = path): this {
    const newest = this.sentTo(path).findLast(({ kind }) => kind !== 'answer' && kind !== 'knock');
    const probe = newest && this.peer.read(newest.bytes.slice());
    if (probe === undefined) throw new Error('nothing to answer');
    return this.hear(from, 'answer', probe.token);
  }

  /** The talk goes that way now. */
  way(path: Path): this {
    this.meeting.onWay(this.now, path);
    this.drain();
    return this;
  }

  lost(isSure = false): this {
    this.meeting.onLost(this.now, isSure);
    this.drain();
    return this;
  }

  /** The peer tells where it is; every time a new generation. */
  tells(paths: readonly PeerPath[], varies = false): boolean {
    this.#generation += 1;
    const isNews = this.meeting.onPeerCandidates(this.now, this.#generation, paths, varies);
    this.drain();
    return isNews;
  }
  #generation = 0;

  gathered(socket: SocketId, gathered: Partial<Gathered> = {}): this {
    const all = { candidates: [reflexive(1, 1_000 + socket)], varies: false, isMapped: true };
    this.meeting.onGathered(this.now, socket, { ...all, ...gathered });
    this.drain();
    return this;
  }

  #open(to: string | undefined, tcp: Path | undefined): SocketId | undefined {
    if (this.open.length >= this.endpointsMax) return undefined;
    this.#lastSocket += 1;
    const socket = this.#lastSocket;
    this.endpoints.push({ atMs: this.ms, socket, to, tcp });
    this.#opening.push(socket);
    return socket;
  }
  readonly #opening: SocketId[] = [];

  /** The shell opens what was asked for. */
  openAll(): this {
    for (const socket of this.#opening.splice(0)) this.meeting.onEndpointOpen(this.now, socket);
    this.drain();
    return this;
  }

  #leave(path: Path, kind: Left['kind'], size: number, bytes: Uint8Array): void {
    this.left.push({ atMs: this.ms, path, kind, size, bytes });
  }
}
