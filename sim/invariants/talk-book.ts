// Who talks with whom, as far as it can be seen from outside: each end of each talk, when its clock
// began and how far it may run, which socket it has, which addresses have proven to be the peer.
// The invariants of the data plane look things up here; it hears everything before they do.

import type { Path } from '../../protocol/core.ts';
import type { Role } from '../../protocol/data/connection-types.ts';
import { indexOf, packetKind, receiverIndex } from '../../protocol/data/packet.ts';
import { isProbe } from '../../protocol/data/probe.ts';
import type { Counts, EndReason } from '../../protocol/ends.ts';
import type { DeviceId, SessionId } from '../../protocol/ids.ts';
import type { Micros } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';

/** Sessions that are remembered after both ends are over: as long as anything may still fly. */
const OVER_MAX = 16_384;
const INITIATION = 1;
const RESPONSE = 2;

/** How an end of a talk was left. */
interface Ended {
  readonly reason: EndReason;
  readonly counts: Counts;
  /** On its own clock, and in the world. */
  readonly at: Micros;
  readonly worldAt: Micros;
}

/** One end of a talk; a process that was killed leaves it dead. */
export interface TalkEnd {
  readonly session: SessionId;
  readonly role: Role;
  readonly terminal: VirtualTerminal;
  /** Which start of the terminal's process. */
  readonly boot: number;
  /** On its own clock. */
  readonly introducedAt: Micros;
  /** When the expiry's clock began, on its own clock. */
  startedAt: Micros | undefined;
  /** Of a caller: its handshake's first message, as text; what it sends again is the same. */
  initiation: string | undefined;
  establishedAt: Micros | undefined;
  /** What its expiry grants now, and the most that it ever did; Infinity: not limited. */
  seconds: number;
  bytes: number;
  bytesMost: number;
  /** Those that it has sent from and not closed. */
  readonly sockets: Set<Path>;
  /** Where everything goes, and every address that has proven to be the peer's. */
  path: Path | undefined;
  readonly proven: Set<Path>;
  ended: Ended | undefined;
  isDead: boolean;
  /** Somebody at this end has asked for its end. */
  isAsked: boolean;
  /** Its machine slept since the talk began: its clocks say less. */
  hasSlept: boolean;
  readonly peerId: DeviceId;
  /** Its peer runs a program of its own: what that one does is not known here. */
  readonly isWithRogue: boolean;
  /** The other end, if it is one that can be judged. */
  peer: TalkEnd | undefined;
}

/** Both ends of a talk, as far as they are there. */
interface Talkers {
  readonly session: SessionId;
  caller: TalkEnd | undefined;
  callee: TalkEnd | undefined;
}

/** The talks of one world. */
export class TalkBook implements Watcher {
  /** The end that the present happening is about, if there is one. */
  end: TalkEnd | undefined;
  readonly #world: World;
  readonly #sessions = new Map<SessionId, Talkers>();
  /** By the receiver index that stands in its datagrams: whoever sends it is the other end. */
  readonly #senders = new Map<number, { readonly session: Talkers; readonly sender: Role }>();
  readonly #ofTerminal = new Map<VirtualTerminal, Set<TalkEnd>>();
  readonly #over: SessionId[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** What an end does that runs a program of its own is nobody's to judge. */
  onHappening(happening: Happening): void {
    this.end = undefined;
    this.#hear(happening);
    if (this.#isOfRogue()) this.end = undefined;
  }

  #isOfRogue(): boolean {
    return this.end !== undefined && this.#world.isRogue(this.end.terminal);
  }

  #hear(happening: Happening): void {
    switch (happening.kind) {
      case 'event': {
        const { event, terminal } = happening;
        if (event.kind === 'introduced') this.#introduce(terminal, event);
        else if ('session' in event) this.#onEvent(this.endOf(terminal, event.session), event);
        return;
      }
      case 'datagramSent':
        this.end = this.#senderOf(happening.terminal, happening.bytes);
        if (this.end !== undefined) this.#onSent(this.end, happening.socket, happening.bytes);
        return;
      case 'datagramReceived':
        return this.#onReceived(happening.terminal, happening.bytes);
      case 'socketClosed':
        for (const end of this.endsOf(happening.terminal)) end.sockets.delete(happening.path);
        return;
      case 'killed':
        for (const end of this.endsOf(happening.terminal)) this.#leave(end, true);
        return;
      case 'suspended':
        for (const end of this.endsOf(happening.terminal)) end.hasSlept = true;
        return;
      case 'endAsked':
      case 'trace':
        this.end = this.endOf(happening.terminal, happening.session);
        if (happening.kind === 'endAsked' && this.end !== undefined) this.end.isAsked = true;
        return;
      case 'wrote':
      case 'read':
      case 'finished':
      case 'readEnd':
      case 'resetSent':
      case 'stopSent':
      case 'messageSent':
      case 'messageRead':
        this.end = this.endOf(happening.terminal, happening.session);
        if (this.end !== undefined) return this.#isAlive(this.end);
        return this.#world.violate('talks', `${happening.terminal.name} talks without a notice`);
      default:
        return;
    }
  }

  /** The end of a session at a terminal; of the boot that was introduced. */
  endOf(terminal: VirtualTerminal, session: SessionId): TalkEnd | undefined {
    const known = this.#sessions.get(session);
    if (known?.caller?.terminal === terminal) return known.caller;
    return known?.callee?.terminal === terminal ? known.callee : undefined;
  }

  /** The ends at a terminal that are neither over nor dead. */
  endsOf(terminal: VirtualTerminal): readonly TalkEnd[] {
    const ends = this.#ofTerminal.get(terminal);
    return ends === undefined ? [] : [...ends];
  }

  hasTalks(terminal: VirtualTerminal): boolean {
    const ends = this.#ofTerminal.get(terminal);
    return ends !== undefined && ends.size > 0;
  }

  #introduce(
    terminal: VirtualTerminal,
    event: Extract<Happening, { kind: 'event' }>['event'] & { kind: 'introduced' },
  ): void {
    const { session, call, terms } = event;
    const isWithRogue = this.#world.hostile.has(event.peer.name);
    const role: Role = call === undefined ? 'callee' : 'caller';
    const known = this.#sessions.get(session) ?? this.#open(session);
    const before = known[role];
    if (before !== undefined) {
      const who = `${terminal.name} and ${before.terminal.name}`;
      this.#world.violate('talks', `${who} both are the ${role} of ${session}`);
    }
    const peer = role === 'caller' ? known.callee : known.caller;
    const bytes = terms.bytes ?? Infinity;
    const end: TalkEnd = {
      session,
      role,
      terminal,
      boot: terminal.boots,
      introducedAt: this.#localOf(terminal),
      startedAt: undefined,
      initiation: undefined,
      establishedAt: undefined,
      seconds: terms.seconds,
      bytes,
      bytesMost: bytes,
      sockets: new Set(),
      path: undefined,
      proven: new Set(),
      ended: undefined,
      isDead: false,
      isAsked: false,
      hasSlept: terminal.isSuspended,
      peerId: event.peer.id,
      isWithRogue,
      peer: isWithRogue ? undefined : peer,
    };
    known[role] = end;
    if (peer !== undefined && !peer.isWithRogue) peer.peer = end;
    const ends = this.#ofTerminal.get(terminal);
    if (ends === undefined) this.#ofTerminal.set(terminal, new Set([end]));
    else ends.add(end);
    this.end = end;
  }

  /** Both directions get their receiver index (docs/wire.md §9). */
  #open(session: SessionId): Talkers {
    const known: Talkers = { session, caller: undefined, callee: undefined };
    this.#sessions.set(session, known);
    const suite = this.#world.suiteOf('watcher');
    for (const sender of ['caller', 'callee'] as const) {
      const hearer = sender === 'caller' ? 'callee' : 'caller';
      this.#senders.set(receiverIndex(suite, session, hearer), { session: known, sender });
    }
    return known;
  }

  #onEvent(end: TalkEnd | undefined, event: Extract<Happening, { kind: 'event' }>['event']): void {
    // A record on the disk of a process that was killed, maybe an old one: the next reports it.
    const isReport = event.kind === 'ended' && end !== undefined && end.boot < end.terminal.boots;
    if (end === undefined || isReport) return;
    this.#isAlive(end);
    this.end = end;
    if (event.kind === 'talk') {
      const { event: inner } = event;
      if (inner.kind === 'established') {
        end.establishedAt = this.#localOf(end.terminal);
        end.startedAt ??= end.establishedAt;
        this.#follow(end, inner.path);
      } else if (inner.kind === 'path') this.#follow(end, inner.path);
    } else if (event.kind === 'extended') {
      end.seconds = event.seconds;
      end.bytes = event.bytes ?? Infinity;
      end.bytesMost = Math.max(end.bytesMost, end.bytes);
    } else if (event.kind === 'ended') {
      const { reason, counts } = event;
      const at = this.#localOf(end.terminal);
      end.ended = { reason, counts, at, worldAt: this.#world.now };
      this.#leave(end, false);
    }
  }

  #follow(end: TalkEnd, path: Path): void {
    // Whoever made the object, and over which socket.
    end.path = this.#world.internet.paths.intern(path);
    end.proven.add(end.path);
  }

  /** The callee's clock begins with the first message of the handshake (docs/wire.md §9). */
  #onReceived(terminal: VirtualTerminal, bytes: Uint8Array): void {
    if (bytes[0] !== INITIATION) return;
    const { caller, callee } = this.talkOf(bytes) ?? {};
    if (callee?.terminal !== terminal || callee.startedAt !== undefined) return;
    if (caller?.initiation === String(bytes)) callee.startedAt = this.#localOf(terminal);
  }

  #onSent(end: TalkEnd, socket: Path, bytes: Uint8Array): void {
    end.sockets.add(socket);
    if (bytes[0] === INITIATION) end.initiation ??= String(bytes);
    // Of whose making it was is not known if the caller runs a program of its own.
    if (bytes[0] === RESPONSE) end.startedAt ??= this.#localOf(end.terminal);
  }

  /** The talk to which a datagram says that it belongs. */
  talkOf(bytes: Uint8Array): Talkers | undefined {
    return isOfTalk(bytes) ? this.#senders.get(indexOf(bytes))?.session : undefined;
  }

  #senderOf(terminal: VirtualTerminal, bytes: Uint8Array): TalkEnd | undefined {
    if (!isOfTalk(bytes)) return undefined;
    const known = this.#senders.get(indexOf(bytes));
    const end = known?.session[known.sender];
    if (end?.terminal !== terminal) return undefined;
    this.#isAlive(end);
    return end;
  }

  /** A talk lives in one process (docs/wire.md §7, "Ends"): the next one goes on with none. */
  #isAlive({ isDead, role, session, terminal }: TalkEnd): void {
    if (!isDead) return;
    this.#world.violate(
      'talks',
      `${terminal.name} goes on as ${role} of ${session} after a restart`,
    );
  }

  #leave(end: TalkEnd, isDead: boolean): void {
    if (isDead) end.isDead = true;
    this.#ofTerminal.get(end.terminal)?.delete(end);
    const isOver = end.peer === undefined || end.peer.isDead || end.peer.ended !== undefined;
    if (!isOver) return;
    this.#over.push(end.session);
    if (this.#over.length > OVER_MAX) this.#forget(this.#over.shift());
  }

  #forget(session: SessionId | undefined): void {
    if (session === undefined || !this.#sessions.delete(session)) return;
    const suite = this.#world.suiteOf('watcher');
    for (const hearer of ['caller', 'callee'] as const)
      this.#senders.delete(receiverIndex(suite, session, hearer));
  }

  #localOf(terminal: VirtualTerminal): Micros {
    return terminal.clock.local(this.#world.now);
  }
}

/** A packet or a probe: both name their receiver. */
const isOfTalk = (bytes: Uint8Array): boolean => packetKind(bytes) !== undefined || isProbe(bytes);
