// What people and programs do in a world: terminals call one another; each end of a talk says what
// its plan has (talk-plan.ts), reads fast or slowly, gives streams up, holds talks until something
// ends them. What is sent is a function of session, stream and side.

import type { TerminalEvent } from '../device/terminal-types.ts';
import type { ConnectionEvent, Role, StreamId } from '../protocol/data/connection-types.ts';
import type { EndReason } from '../protocol/ends.ts';
import type { Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Rng, randomBelow, randomFraction } from '../protocol/random.ts';
import { after, ms, seconds } from '../protocol/time.ts';
import type { Options } from './options.ts';
import type { Place } from './network/host.ts';
import type { Application, VirtualTerminal } from './parties/virtual-terminal.ts';
import { ANY_SERVICE } from './permissions.ts';
import { gap, pick } from './strikes.ts';
import { type FlowPlan, type TalkPlan, contentOf, messageBytes, planOf } from './talk-plan.ts';
import type { World } from './world.ts';

const CHUNK_BYTES = 16_384;
const TRICKLE_BYTES = 600;
const TRICKLE_MS = 400;
const SLOW_BYTES = 4_096;
const SLOW_MS = 250;
const GIVEN_UP = 1;
/** Seconds in which a calm network carries all that a talk has left. */
const CALM_SECONDS = 10;
const SHORT_SECONDS_MAX = 8;
const NOBODY = 'nobody-of-that-name' as Name;

/** One stream, seen from one end. */
interface Strand {
  readonly stream: StreamId;
  readonly writing: FlowPlan;
  readonly reading: FlowPlan;
  /** Nothing is written before everything is read. */
  isAnswer: boolean;
  written: number;
  read: number;
  hasWritten: boolean;
  hasRead: boolean;
  /** Something will read it by itself. */
  isPaced: boolean;
}

/** One end of a talk. */
interface Conversation {
  readonly terminal: VirtualTerminal;
  readonly session: SessionId;
  readonly role: Role;
  readonly peer: Name;
  readonly plan: TalkPlan;
  /** Where its machine stood when the talk began. */
  readonly place: Place;
  readonly strands: Map<StreamId, Strand>;
  /** Streams of the plan that are not there yet. */
  missing: number;
  isOpen: boolean;
  isEnded: boolean;
}

/** Calls and talks of all terminals. */
export class Workload implements Application {
  readonly #world: World;
  readonly #rng: Rng & { next(): number };
  readonly #options: Options;
  readonly #talks = new Map<VirtualTerminal, Map<SessionId, Conversation>>();
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  #isOver = false;
  #overAt = Infinity;

  constructor(world: World) {
    this.#world = world;
    this.#options = world.options;
    this.#rng = world.rng('work');
  }

  /** Every terminal calls at the rate of the options until `stop`. */
  begin(): void {
    for (const terminal of this.#world.terminals) {
      terminal.application = this;
      this.#callAgain(terminal);
    }
  }

  /** Nobody calls any more, held talks are ended, nobody reads slowly. */
  stop(): void {
    this.#isOver = true;
    this.#overAt = this.#world.now;
    for (const talks of this.#talks.values()) {
      for (const talk of talks.values()) if (talk.plan.isHeld) this.#end(talk, 'done');
    }
  }

  /** One call, as the options say; of what it asks for, the random part is drawn here. */
  call(terminal: VirtualTerminal, callee: Name, service: string): number | undefined {
    const options = this.#options;
    const isSmall = randomFraction(this.#rng) < options['work.quota'];
    const isShort = randomFraction(this.#rng) < options['work.hold'];
    const bytes = 1 + randomBelow(this.#rng, Math.max(1, Math.floor(options['work.bytes'])));
    const seconds = 1 + randomBelow(this.#rng, SHORT_SECONDS_MAX);
    return terminal.call({
      callee,
      service,
      want: { ...(isSmall && { bytes }), ...(isShort && { seconds }) },
      waitMs: LIMITS.waitMsDefault,
      extend: randomFraction(this.#rng) < options['work.extend'],
    });
  }

  onEvent(terminal: VirtualTerminal, event: TerminalEvent): void {
    if (event.kind === 'introduced') this.#onIntroduced(terminal, event);
    else if (event.kind === 'talk') this.#onTalk(terminal, event.session, event.event);
    else if (event.kind === 'ended') this.#onEnded(terminal, event.session, event.reason);
  }

  #callAgain(terminal: VirtualTerminal): void {
    const world = this.#world;
    world.schedule(after(world.now, gap(this.#rng, this.#options['work.calls'])), () => {
      if (this.#isOver) return;
      const callee = pick(this.#rng, world.terminals);
      const isNobody = randomBelow(this.#rng, 16) === 0;
      if (callee.name !== terminal.name)
        this.call(terminal, isNobody ? NOBODY : callee.name, pick(this.#rng, ANY_SERVICE));
      this.#callAgain(terminal);
    });
  }

  #onIntroduced(terminal: VirtualTerminal, event: TerminalEvent & { kind: 'introduced' }): void {
    const { session, call } = event;
    const plan = planOf(session, this.#options);
    let talks = this.#talks.get(terminal);
    if (talks === undefined) this.#talks.set(terminal, (talks = new Map()));
    talks.set(session, {
      terminal,
      session,
      role: call === undefined ? 'callee' : 'caller',
      peer: event.peer.name,
      plan: this.#isOver ? { ...plan, isHeld: false } : plan,
      place: terminal.host.place,
      strands: new Map(),
      missing: plan.streams.length,
      isOpen: false,
      isEnded: false,
    });
  }

  #onTalk(terminal: VirtualTerminal, session: SessionId, event: ConnectionEvent): void {
    const talk = this.#talks.get(terminal)?.get(session);
    if (talk === undefined) return;
    switch (event.kind) {
      case 'established':
        return this.#onOpen(talk);
      case 'stream':
        return this.#onStream(talk, event.stream);
      case 'readable':
        return this.#onReadable(talk, event.stream);
      case 'writable':
        return this.#write(talk, talk.strands.get(event.stream));
      case 'reset':
      case 'stopped':
        return this.#onGivenUp(talk, event.stream, event.kind);
      case 'datagram':
        while (terminal.readMessage(session) !== undefined);
        return;
      default:
        return;
    }
  }

  /** What arrived before the end can still be read, now. */
  #onEnded(terminal: VirtualTerminal, session: SessionId, reason: EndReason): void {
    const talk = this.#talks.get(terminal)?.get(session);
    if (talk === undefined) return;
    if (reason === 'time' && this.#world.now > this.#overAt + seconds(CALM_SECONDS))
      this.#hasStalled(talk);
    talk.isEnded = true;
    this.#talks.get(terminal)?.delete(session);
    while (terminal.readMessage(session) !== undefined);
    for (const strand of talk.strands.values()) {
      while (!strand.hasRead && this.#readOnce(talk, strand, CHUNK_BYTES) > 0);
    }
  }

  /** Nothing kept it from saying all that it had to say, and it has not. */
  #hasStalled({ terminal, session, plan, peer, isOpen, place }: Conversation): void {
    const other = this.#world.terminal(peer);
    const theirs = other && this.#talks.get(other)?.get(session);
    if (other === undefined || theirs === undefined || plan.isHeld || !isOpen) return;
    if (!theirs.isOpen || other.talk(session) === undefined) return;
    if (terminal.host.nats.length + other.host.nats.length > 0) return;
    // Whoever moved is found when it speaks next, which may be a keep-alive later.
    if (terminal.host.place !== place || other.host.place !== theirs.place) return;
    this.#world.violate('liveness', `${session} waits for nothing until its time is up`);
  }

  #onOpen(talk: Conversation): void {
    const { terminal, session, role, plan } = talk;
    talk.isOpen = true;
    for (const { opener, weight } of plan.streams) {
      const stream = opener === role ? terminal.openStream(session) : undefined;
      if (stream === undefined) continue;
      terminal.setWeight(session, stream, weight);
      this.#addStrand(talk, stream);
    }
    if (plan.isHeld && plan.trickles && role === 'caller') this.#trickle(talk);
    this.#sayMore(talk, 0);
  }

  #onStream(talk: Conversation, stream: StreamId): void {
    // A clone, or somebody's own program, may open what is in no plan.
    if (!talk.strands.has(stream)) this.#addStrand(talk, stream);
  }

  /** The plan's streams have the numbers in which their opener opens them. */
  #addStrand(talk: Conversation, stream: StreamId): void {
    const { plan, role } = talk;
    const opener: Role = stream % 2 === 0 ? 'caller' : 'callee';
    const planned = plan.streams.filter((each) => each.opener === opener)[stream >>> 1];
    const isOurs = opener === role;
    const strand: Strand = {
      stream,
      writing: (isOurs ? planned?.there : planned?.back) ?? NOTHING,
      reading: (isOurs ? planned?.back : planned?.there) ?? NOTHING,
      isAnswer: !isOurs && planned?.isAnsweredAtOnce === false,
      written: 0,
      read: 0,
      hasWritten: false,
      hasRead: false,
      isPaced: false,
    };
    talk.strands.set(stream, strand);
    if (planned !== undefined) talk.missing -= 1;
    this.#write(talk, strand);
  }

  #write(talk: Conversation, strand: Strand | undefined): void {
    if (strand === undefined || strand.hasWritten || (strand.isAnswer && !strand.hasRead)) return;
    const { terminal, session, role } = talk;
    const { stream, writing } = strand;
    const most = writing.resetAt ?? writing.bytes;
    if (strand.isAnswer && strand.written === 0 && most > 0)
      this.#world.mark('a half-closed stream was answered');
    while (strand.written < most) {
      const length = Math.min(most - strand.written, CHUNK_BYTES);
      const bytes = this.#buffer.subarray(0, length);
      contentOf(session, stream, role, strand.written, bytes);
      const taken = terminal.write(session, stream, bytes);
      strand.written += taken;
      if (taken < length) return this.#world.mark('a writer had to wait');
    }
    strand.hasWritten = true;
    if (writing.resetAt === undefined) terminal.finish(session, stream);
    else terminal.reset(session, stream, GIVEN_UP);
    this.#endIfAllSaid(talk);
  }

  #onReadable(talk: Conversation, stream: StreamId): void {
    const strand = talk.strands.get(stream);
    if (strand === undefined || strand.isPaced) return;
    if (strand.reading.isSlow && !this.#isOver) this.#readSlowly(talk, strand);
    else while (!strand.hasRead && this.#readOnce(talk, strand, CHUNK_BYTES) > 0);
  }

  #readSlowly(talk: Conversation, strand: Strand): void {
    this.#world.mark('a reader took its time');
    strand.isPaced = true;
    this.#later(talk, SLOW_MS, () => {
      strand.isPaced = false;
      const length = this.#isOver ? CHUNK_BYTES : SLOW_BYTES;
      if (!strand.hasRead && this.#readOnce(talk, strand, length) > 0)
        this.#readSlowly(talk, strand);
    });
  }

  /** Bytes read; 0: none now. */
  #readOnce(talk: Conversation, strand: Strand, most: number): number {
    const { terminal, session } = talk;
    const { stream, reading } = strand;
    const stopAt = reading.stopAt ?? Infinity;
    const length = Math.min(most, Math.max(1, stopAt - strand.read));
    const count = terminal.read(session, stream, this.#buffer.subarray(0, length));
    strand.read += Math.max(0, count);
    if (count < 0) this.#onRead(talk, strand);
    else if (count > 0 && strand.read >= stopAt) {
      terminal.stop(session, stream, GIVEN_UP);
      this.#onRead(talk, strand);
    }
    return count;
  }

  #onRead(talk: Conversation, strand: Strand): void {
    if (strand.hasRead) return;
    strand.hasRead = true;
    this.#write(talk, strand);
    this.#endIfAllSaid(talk);
  }

  /** The other end gave a direction up. */
  #onGivenUp(talk: Conversation, stream: StreamId, kind: 'reset' | 'stopped'): void {
    const strand = talk.strands.get(stream);
    if (strand === undefined) return;
    this.#world.mark(kind === 'reset' ? 'a stream was reset' : 'a stream was stopped');
    if (kind === 'reset') this.#onRead(talk, strand);
    else strand.hasWritten = true;
    this.#endIfAllSaid(talk);
  }

  #endIfAllSaid(talk: Conversation): void {
    const { plan, role, strands, missing, isOpen } = talk;
    if (plan.isHeld || plan.ender !== role || missing > 0 || !isOpen) return;
    for (const { hasRead, hasWritten } of strands.values()) if (!hasRead || !hasWritten) return;
    this.#end(talk, plan.reason);
  }

  #end(talk: Conversation, reason: 'done' | 'local'): void {
    if (talk.isEnded) return;
    talk.isEnded = true;
    talk.terminal.end(talk.session, reason);
  }

  /** A stream of its own in a talk that is held, until it ends. */
  #trickle(talk: Conversation): void {
    const { terminal, session, role } = talk;
    const stream = terminal.openStream(session);
    if (stream === undefined) return;
    let written = 0;
    const more = (): void => {
      const bytes = this.#buffer.subarray(0, TRICKLE_BYTES);
      contentOf(session, stream, role, written, bytes);
      written += terminal.write(session, stream, bytes);
      this.#later(talk, TRICKLE_MS, more);
    };
    more();
  }

  #sayMore(talk: Conversation, number: number): void {
    const { terminal, session, role, plan } = talk;
    if (number >= plan.messages[role]) return;
    const bytes = this.#buffer.subarray(0, messageBytes(session, number));
    contentOf(session, number, role, 0, bytes);
    new DataView(bytes.buffer).setUint32(0, number);
    terminal.sendMessage(session, bytes);
    this.#later(talk, plan.messageEveryMs, () => this.#sayMore(talk, number + 1));
  }

  /** Does something in a while, unless the talk is over by then. */
  #later(talk: Conversation, milliseconds: number, run: () => void): void {
    this.#world.schedule(after(this.#world.now, ms(milliseconds)), () => {
      const { terminal, session } = talk;
      const talks = this.#talks.get(terminal);
      if (talks?.get(session) !== talk) return;
      // A process that was killed has said nothing of its talks' end.
      if (terminal.talk(session) === undefined) talks.delete(session);
      else if (terminal.isSuspended) this.#later(talk, milliseconds, run);
      else run();
    });
  }
}

const NOTHING: FlowPlan = { bytes: 0, resetAt: undefined, stopAt: undefined, isSlow: false };
