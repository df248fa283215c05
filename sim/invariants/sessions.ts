// Invariants of a session's life: one begin and one end in the log, with a reason that somebody
// gave; what terminals reported is what they told their owners; no end counts more than was sent;
// ends that the operator ordered are in the log with the order, and happen soon while everybody is
// linked. Judged from the log's entries, the terminals' events, and what applications wrote.
// Over 400 lines: one life, from its entry in the log to its last report.

import type { TerminalEvent } from '../../device/terminal-types.ts';
import { type Counts, type EndReason, NO_COUNTS } from '../../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { type Micros, seconds } from '../../protocol/time.ts';
import type { LogEntry } from '../../session-manager/log.ts';
import type { SessionChange } from '../../session-manager/manager-types.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import { isBusHonest } from './bus.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 20_000;
/** The promise is 30 s; talks here are too short for that, and nothing takes so long. */
const ORDER_MICROS = seconds(5);
const OBEYS_MICROS = seconds(1);
/** Orders are looked at this often. */
const LOOK_MICROS = seconds(1);

type Side = 'caller' | 'callee';
type Report = Extract<LogEntry, { kind: 'report' }>;

/** What one end did, as far as its machine could tell. */
interface End {
  readonly name: Name;
  readonly id: DeviceId;
  /** Put into the talk by its application, and taken out of it. */
  putBytes: number;
  takenBytes: number;
  /** What it told its owner; several, if it was restarted. */
  readonly told: { readonly reason: EndReason; readonly counts: Counts }[];
  readonly live: Set<VirtualTerminal>;
  report: Report | undefined;
}

interface Session {
  readonly ends: Readonly<Record<Side, End>>;
  begun: boolean;
  /** Reports that the manager had when it told of the end; −1 before. */
  closedWith: number;
  reason: EndReason | undefined;
  /** The operator wants its end since then, or since the last trouble. */
  orderedAt: Micros | undefined;
  /** Machines that the order may never have reached. */
  readonly excused: Set<VirtualTerminal>;
}

/** Follows every session from its entry in the log to its last report. */
export class Sessions implements Watcher, WordHearer {
  readonly #world: World;
  /** The broker may lose an order, and nobody says it again. */
  readonly #isLossy: boolean;
  readonly #sessions = new KeptMap<SessionId, Session>(KEPT);
  readonly #open = new Map<SessionId, Session>();
  readonly #ordered = new Set<SessionId>();
  readonly #revoked = new Set<string>();
  readonly #pending = new Set<Session>();
  /** The talk of which each machine last wanted a record kept, lest a restart forgets it. */
  readonly #kept = new Map<VirtualTerminal, SessionId>();
  /** Ends that were asked of machines that have not obeyed yet. */
  readonly #asked = new Map<
    VirtualTerminal,
    { readonly session: SessionId; readonly own: End; readonly at: Micros }
  >();
  /** Sessions that the batch being written has to end. */
  readonly #mustEnd: { readonly id: SessionId; readonly session: Session }[] = [];
  #nextLook = 0;

  constructor(world: World) {
    this.#world = world;
    this.#isLossy = world.options['mqtt.drop'] > 0 || !isBusHonest(world.options);
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'logged':
        return this.#onLogged(happening.entry);
      case 'change': {
        const { event, session } = happening.change;
        return this.#onChange(event, session);
      }
      case 'event':
        return this.#onEvent(happening.terminal, happening.event);
      case 'wrote':
      case 'messageSent':
        return this.#count(happening, 'putBytes');
      case 'read':
      case 'messageRead':
        return this.#count(happening, 'takenBytes');
      case 'stored':
        if (happening.record !== undefined && happening.record.reason === undefined)
          this.#kept.set(happening.terminal, happening.session);
        return;
      case 'operatorEnd':
        return this.#onOperatorEnd(happening.session);
      case 'operatorRevoke':
        return this.#onOperatorRevoke(happening.terminal);
      case 'killed':
        return this.#onKilled(happening.terminal);
      case 'managerKilled':
      case 'brokerKilled':
      case 'calm':
        return this.#onTrouble();
      case 'linkGone':
        if (happening.party === 'manager') this.#onTrouble();
        return;
      case 'suspended':
        return this.#excuse(happening.terminal);
      default:
        return;
    }
  }

  onWord({ how, machine, message }: Word): void {
    if (how !== 'opened' || machine === undefined || message.kind !== 'endRequest') return;
    const session = this.#sessions.get(message.session);
    const own = session && this.#endOf(session, machine);
    if (own?.live.has(machine) === true && !this.#world.isRogue(machine))
      this.#asked.set(machine, { session: message.session, own, at: this.#world.now });
  }

  afterEvent(): void {
    if (this.#mustEnd.length > 0) this.#checkLogged();
    if (this.#asked.size > 0) this.#checkObeyed();
    if (this.#pending.size === 0 || this.#world.now < this.#nextLook) return;
    this.#nextLook = this.#world.now + LOOK_MICROS;
    for (const session of this.#pending) this.#look(session);
  }

  /** The world has come to rest: nothing is open, and the log says so. */
  atEnd(): void {
    for (const [id, { ends, reason }] of this.#open) {
      if (reason === undefined) this.#fail(`the log has no end of session ${id}`);
      for (const { name, live } of [ends.caller, ends.callee])
        for (const machine of live)
          if (machine.core !== undefined) this.#fail(`${name} never ended session ${id}`);
    }
  }

  // --- the log and the manager -------------------------------------------------------------------

  #onLogged(entry: LogEntry): void {
    switch (entry.kind) {
      case 'introduced':
        return this.#onIntroduction(entry);
      case 'report':
        return this.#onReport(entry);
      case 'ended':
        return this.#onEnd(entry);
      case 'operatorEnd': {
        const session = this.#of(entry.session, 'is ordered to end');
        if (session !== undefined) this.#mustEnd.push({ id: entry.session, session });
        return;
      }
      case 'revoked':
        for (const [id, session] of this.#open) {
          const isOf = ({ id: device }: End): boolean => device === entry.device;
          const { caller, callee } = session.ends;
          if (session.begun && (isOf(caller) || isOf(callee))) this.#mustEnd.push({ id, session });
        }
        return;
      default:
        return;
    }
  }

  #onIntroduction(entry: Extract<LogEntry, { kind: 'introduced' }>): void {
    const { session: id } = entry;
    if (this.#sessions.has(id)) this.#fail(`session ${id} begins twice in the log`);
    const session: Session = {
      ends: {
        caller: newEnd(entry.callerName, entry.callerId),
        callee: newEnd(entry.calleeName, entry.calleeId),
      },
      begun: false,
      closedWith: -1,
      reason: undefined,
      orderedAt: undefined,
      excused: new Set(),
    };
    this.#sessions.set(id, session);
    this.#open.set(id, session);
  }

  #onEnd({ session: id, reason, by }: Extract<LogEntry, { kind: 'ended' }>): void {
    const session = this.#of(id, 'ends in the log');
    if (session === undefined) return;
    if (session.reason !== undefined) this.#fail(`session ${id} ends twice in the log`);
    session.reason = reason;
    this.#world.mark(`ended: ${reason}`);
    // Who runs a program of its own reports what it likes of its talks.
    if ((by === 'caller' || by === 'callee') && this.#world.hostile.has(session.ends[by].name))
      return;
    this.#checkOrdered(id, session, reason);
    if (by === 'caller' || by === 'callee') {
      const { report, name } = session.ends[by];
      if (report?.said !== reason)
        this.#fail(`${id} ended by ${name}, which did not say ${reason}`);
    } else if ((reason === 'unreported') !== (by === 'manager'))
      this.#fail(`${id} ended as ${reason} by the ${by}`);
  }

  /** An end by order is one that the operator ordered. */
  #checkOrdered(id: SessionId, { ends }: Session, reason: EndReason): void {
    // Whoever plays by no rules says what it likes, to its peer too.
    if ([ends.caller, ends.callee].some(({ name }) => this.#world.hostile.has(name))) return;
    const isOfRevoked = this.#revoked.has(ends.caller.name) || this.#revoked.has(ends.callee.name);
    if (reason === 'operator' && !this.#ordered.has(id))
      this.#fail(`session ${id} ends by an order that nobody gave`);
    if (reason === 'revoked' && !isOfRevoked)
      this.#fail(`session ${id} ends by a revocation that nobody ordered`);
  }

  /** What the manager kept of an end is what its terminal told its owner, not more than was. */
  #onReport(entry: Report): void {
    const { session: id, by, said } = entry;
    const session = this.#of(id, 'is reported');
    if (session === undefined) return;
    if (by !== 'caller' && by !== 'callee') return this.#fail(`${id} is reported by the ${by}`);
    const [own, peer] =
      by === 'caller'
        ? [session.ends.caller, session.ends.callee]
        : [session.ends.callee, session.ends.caller];
    if (own.report !== undefined) this.#fail(`${own.name} reports session ${id} twice`);
    own.report = entry;
    if (this.#world.hostile.has(own.name)) return;
    // Of a notice that it did not accept a terminal says so, without a talk, or an event of it.
    const isVoid = own.told.length === 0 && isSame(entry, NO_COUNTS);
    const isTold = own.told.some(({ reason, counts }) => reason === said && isSame(entry, counts));
    if (!isTold && !(isVoid && (said === 'local' || said === 'protocol-error')))
      this.#fail(`${own.name} reports ${id} as ${said}, which is not what it told its owner`);
    this.#checkCounts(id, own, peer, entry);
  }

  #checkCounts(id: SessionId, own: End, peer: End, entry: Report): void {
    if (entry.sentBytes > own.putBytes)
      this.#fail(`${own.name} counts ${entry.sentBytes} bytes of ${own.putBytes} in ${id}`);
    if (this.#world.hostile.has(peer.name)) return;
    if (entry.receivedBytes > peer.putBytes)
      this.#fail(`${own.name} counts ${entry.receivedBytes} of ${peer.putBytes} in ${id}`);
    if (entry.said !== 'restarted' && entry.receivedBytes < own.takenBytes)
      this.#fail(`${own.name} read ${own.takenBytes} and counts ${entry.receivedBytes} in ${id}`);
    const other = peer.report;
    if (other === undefined) return;
    const lost = entry.lostBytes + other.lostBytes;
    const there = Math.abs(entry.sentBytes - other.receivedBytes - entry.lostBytes);
    const back = Math.abs(other.sentBytes - entry.receivedBytes - other.lostBytes);
    if (entry.differenceBytes !== there + back)
      this.#fail(`${id} differs by ${there + back}, and the log says ${entry.differenceBytes}`);
    // Both delivered everything: what is missing is what was declared lost, and nothing else.
    if (entry.said !== 'done' || other.said !== 'done') return;
    this.#world.mark(lost > 0 ? 'both done, with datagrams lost' : 'both done');
    if (entry.receivedBytes > other.sentBytes || other.receivedBytes > entry.sentBytes)
      this.#fail(`${id}: one end counts more than the other sent`);
  }

  #onChange(event: SessionChange['event'], row: SessionChange['session']): void {
    const { session: id } = row;
    const session = this.#of(id, `is ${event}`);
    if (session === undefined) return;
    if (event === 'begun') {
      if (session.begun) this.#fail(`session ${id} begins twice`);
      session.begun = true;
    } else if (event === 'ended') {
      // A report that comes after its session was closed is told, with the same end, once.
      const reports =
        Number(row.callerReport !== undefined) + Number(row.calleeReport !== undefined);
      if (reports <= session.closedWith) this.#fail(`session ${id} is closed twice`);
      if (session.reason === undefined) this.#fail(`session ${id} is closed and not in the log`);
      if (row.reason !== session.reason) this.#fail(`session ${id} has two reasons`);
      session.closedWith = reports;
    }
    if (event === 'extended' && session.reason !== undefined)
      this.#fail(`session ${id} is extended after its end`);
  }

  // --- terminals ---------------------------------------------------------------------------------

  #onEvent(machine: VirtualTerminal, event: TerminalEvent): void {
    if (event.kind !== 'introduced' && event.kind !== 'ended') return;
    if (this.#world.isRogue(machine)) return;
    const session = this.#of(event.session, `of ${machine.name} ${event.kind}`);
    const own = session && this.#endOf(session, machine);
    if (session === undefined || own === undefined) return;
    if (event.kind === 'introduced') {
      own.live.add(machine);
      if (this.#kept.get(machine) !== event.session)
        this.#fail(`${machine.name} begins session ${event.session} and keeps no record of it`);
      if (session.orderedAt === undefined) return;
      // The order overtook the notice.
      session.excused.add(machine);
      this.#world.mark('introduced after its end was ordered');
      return;
    }
    const { reason, counts } = event;
    const isAfterRestart = reason === 'restarted' && !own.live.has(machine);
    if (!isAfterRestart && !own.live.delete(machine))
      this.#fail(`${machine.name} ends session ${event.session} twice`);
    own.told.push({ reason, counts });
    this.#checkOrdered(event.session, session, reason);
    if (own.live.size === 0 && session.reason !== undefined) this.#forget(event.session, session);
  }

  /** Both ends are over: the rest is a late report. */
  #forget(id: SessionId, session: Session): void {
    const { caller, callee } = session.ends;
    if (caller.live.size + callee.live.size > 0) return;
    this.#open.delete(id);
    this.#pending.delete(session);
  }

  #onKilled(machine: VirtualTerminal): void {
    for (const session of this.#open.values()) {
      const own = this.#endOf(session, machine);
      if (own?.live.delete(machine) === true) this.#world.mark('killed in mid-talk');
    }
    this.#onTrouble();
  }

  #count(
    happening: Extract<Happening, { kind: 'wrote' | 'read' | 'messageSent' | 'messageRead' }>,
    what: 'putBytes' | 'takenBytes',
  ): void {
    const session = this.#sessions.get(happening.session);
    const own = session && this.#endOf(session, happening.terminal);
    if (own !== undefined) own[what] += happening.bytes.length;
  }

  // --- orders ------------------------------------------------------------------------------------

  #onOperatorEnd(id: SessionId): void {
    this.#ordered.add(id);
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#order(session);
  }

  #onOperatorRevoke(terminal: VirtualTerminal): void {
    this.#revoked.add(terminal.name);
    for (const session of this.#open.values())
      if (this.#endOf(session, terminal) !== undefined) this.#order(session);
  }

  #order(session: Session): void {
    const { caller, callee } = session.ends;
    if (caller.live.size + callee.live.size > 0) this.#world.mark('end ordered in mid-talk');
    session.orderedAt ??= this.#world.now;
    this.#pending.add(session);
  }

  /** Whoever was away has its time from when it is back. */
  #onTrouble(): void {
    for (const session of this.#pending) session.orderedAt = this.#world.now;
  }

  /** What was handed to a connection that broke is lost, and not said again in the same channel. */
  #excuse(machine: VirtualTerminal): void {
    for (const session of this.#pending) {
      if (this.#endOf(session, machine)?.live.has(machine) === true) session.excused.add(machine);
    }
  }

  /**
   * An end that is out of reach, or behind a broker that loses messages, ends by its own expiry:
   * then nothing is asked here. A manager or a broker that was away says it again.
   */
  #look(session: Session): void {
    const { now, manager } = this.#world;
    const live = [...session.ends.caller.live, ...session.ends.callee.live];
    if (live.length === 0 || this.#isLossy) this.#pending.delete(session);
    let isHealthy = manager.isLinked && !this.#isManagerCut();
    for (const machine of live) {
      const { isLinked, isSuspended, connection } = machine;
      if (isSuspended || connection?.isDead === true) session.excused.add(machine);
      isHealthy &&= isLinked;
    }
    if (!isHealthy) session.orderedAt = now;
    if (this.#isLossy || now <= (session.orderedAt ?? now) + ORDER_MICROS) return;
    const late = live.find((one) => !this.#revoked.has(one.name) && !session.excused.has(one));
    if (late !== undefined) this.#fail(`${late.name} goes on although its end was ordered`);
  }

  #isManagerCut(): boolean {
    return !this.#world.broker.connections.some(
      ({ user, isDead }) => user.party === 'manager' && !isDead,
    );
  }

  /** Whoever is asked to end a talk does so at once. */
  #checkObeyed(): void {
    for (const [machine, { session, own, at }] of this.#asked) {
      if (own.live.has(machine) && !machine.isSuspended && this.#world.now <= at + OBEYS_MICROS)
        continue;
      this.#asked.delete(machine);
      if (own.live.has(machine) && !machine.isSuspended)
        this.#fail(`${machine.name} is asked to end session ${session} and goes on`);
    }
  }

  /** An order is in the log together with the ends that it makes. */
  #checkLogged(): void {
    for (const { id, session } of this.#mustEnd.splice(0))
      if (session.reason === undefined)
        this.#fail(`session ${id} goes on in the log after an order`);
  }

  // --- ------------------------------------------------------------------------------------------

  #endOf({ ends }: Session, machine: VirtualTerminal): End | undefined {
    if (ends.caller.id === machine.id) return ends.caller;
    return ends.callee.id === machine.id ? ends.callee : undefined;
  }

  #of(id: SessionId, what: string): Session | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined) this.#fail(`session ${id} ${what} and never began in the log`);
    return session;
  }

  #fail(says: string): void {
    this.#world.violate('sessions', says);
  }
}

const newEnd = (name: Name, id: DeviceId): End => ({
  name,
  id,
  putBytes: 0,
  takenBytes: 0,
  told: [],
  live: new Set(),
  report: undefined,
});

/** Reports hold whole numbers. */
function isSame(report: Counts, counts: Counts): boolean {
  return (
    report.sentBytes === Math.floor(counts.sentBytes) &&
    report.receivedBytes === Math.floor(counts.receivedBytes) &&
    report.lostBytes === Math.floor(counts.lostBytes) &&
    report.wireBytes === Math.floor(counts.wireBytes) &&
    report.durationMs === Math.floor(counts.durationMs)
  );
}
