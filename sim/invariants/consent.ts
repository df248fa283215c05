// The first invariant: a session exists only if its caller asked for it and the callee's own list,
// read for this very question, named the caller for this service. Judged from what users did
// (`called`), the table of permissions at the moment of each reading, and the owner's word; never
// by the code that judges lists. Also: terms never wider than wish, list and operator say; the list
// read again at the notice; both ends told the same; nobody introduced who is revoked.
// Over 400 lines: one story, from the wish to the talk.

import type { TerminalEvent } from '../../device/terminal-types.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { requestStatement, verdictStatement } from '../../protocol/consent/statements.ts';
import { decodeCbor } from '../../protocol/control/cbor.ts';
import type { Message, MessageOf, Terms } from '../../protocol/control/messages.ts';
import { decodeGrant } from '../../protocol/grant.ts';
import type { DeviceId, Name, RequestId, SessionId } from '../../protocol/ids.ts';
import { type Micros, seconds } from '../../protocol/time.ts';
import type { LogEntry } from '../../session-manager/log.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Permission } from '../permissions.ts';
import type { Watcher, World } from '../world.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

/** Wishes, questions and sessions that are remembered: the newest. */
const KEPT = 20_000;
/** A notice that was on its way when somebody was revoked arrives, or is lost, within this. */
const ON_ITS_WAY_MICROS = seconds(10);

/** What a user wants. */
interface Wish {
  readonly callee: string;
  readonly service: string;
  readonly want: Terms;
  readonly extend: boolean;
}

interface Call extends Wish {
  readonly machine: VirtualTerminal;
  readonly number: number;
}

interface Connect {
  readonly call: Wish;
  /** The boot of the manager that introduced by it: a new one has forgotten its answers. */
  usedIn: number | undefined;
}

/** A list as it was read for one question: what the table said about this caller. */
interface Reading {
  readonly permission: Permission | undefined;
}

interface Question {
  readonly callee: string;
  readonly caller: string;
  readonly service: string;
  reading: Reading | undefined;
  /** What the owner said. */
  approved: boolean | undefined;
  isYes: boolean;
}

interface Session {
  readonly caller: string;
  readonly callee: string;
  readonly service: string;
  /** Of a hostile callee nothing is known. */
  readonly question: Question | undefined;
  readonly extend: boolean;
  readonly told: Set<VirtualTerminal>;
  readonly granted: { readonly seconds: number; readonly bytes: number | undefined };
  current: { readonly seconds: number; readonly bytes: number | undefined };
  /** All totals that ever were in the log. */
  readonly totals: Set<string>;
  key: Uint8Array | undefined;
}

/** Why a list is being read. */
type Cause = Question | 'notice';

/** Holds every introduction against who asked for it and who agreed. */
export class Consent implements Watcher, WordHearer {
  readonly #world: World;
  readonly #calls = new Map<string, Call[]>();
  /** By caller and its own request. */
  readonly #connects = new KeptMap<string, Connect>(KEPT);
  readonly #questions = new KeptMap<RequestId, Question>(KEPT);
  readonly #sessions = new KeptMap<SessionId, Session>(KEPT);
  readonly #causes = new Map<VirtualTerminal, Cause>();
  /** What each machine's list was read for last, and when. */
  readonly #lastRead = new Map<VirtualTerminal, { readonly cause: Cause; readonly at: Micros }>();
  readonly #ownerAsks = new Map<VirtualTerminal, Map<number, Question>>();
  /** How often the manager has started. */
  #boots = 0;
  /** Ordered, and not yet in the log. */
  readonly #revoking = new Set<string>();
  readonly #revokedAt = new Map<string, Micros>();

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'called':
        return this.#onCalled(happening);
      case 'killed':
        return this.#onKilled(happening.terminal);
      case 'listRead':
        return this.#onListRead(happening.terminal, happening.isReadable);
      case 'ownerAsked':
        return this.#onOwnerAsked(happening.terminal, happening.question.ask);
      case 'ownerAnswered': {
        const { terminal, question, approved } = happening;
        const asked = this.#ownerAsks.get(terminal)?.get(question.ask);
        if (asked === undefined) return;
        asked.approved = approved;
        this.#causes.set(terminal, asked);
        return;
      }
      case 'logged':
        return this.#onLogged(happening.entry);
      case 'change': {
        const { event, session } = happening.change;
        if (event === 'begun') this.#sessionOf(session.session, 'the manager begins');
        return;
      }
      case 'event':
        return this.#onEvent(happening.terminal, happening.event);
      case 'operatorRevoke':
        this.#revoking.add(happening.terminal.name);
        return;
      case 'revoked':
        this.#revokedAt.set(happening.terminal.name, this.#world.now);
        return;
      case 'managerStarted':
        this.#boots += 1;
        return;
      case 'managerKilled':
        // What was not on its disk was never ordered.
        return this.#revoking.clear();
      default:
        return;
    }
  }

  onWord({ how, party, machine, message }: Word): void {
    if (how === 'sealed') {
      if (message.kind === 'connect') this.#onConnect(party, message);
      else if (message.kind === 'allowList') this.#onAnswer(party, message);
      else if (message.kind === 'extend') this.#onExtend(party, message);
      else if (message.kind === 'addressNotice') this.#onNoticeMade(message);
    } else if (how === 'opened' && machine !== undefined) this.#onHeard(machine, message);
  }

  // --- the caller --------------------------------------------------------------------------------

  #onCalled(happening: Extract<Happening, { kind: 'called' }>): void {
    const { terminal, call, callee, service, want, extend } = happening;
    const own = this.#calls.get(terminal.name) ?? [];
    this.#calls.set(terminal.name, own);
    own.push({ machine: terminal, number: call, callee, service, want, extend });
  }

  /** A terminal asks the manager: only what its user asked for, and only while the user waits. */
  #onConnect(caller: string, message: MessageOf<'connect'>): void {
    const key = `${caller}/${message.request}`;
    if (this.#connects.has(key) || !this.#isOurs(caller)) return;
    const { calleeName, service, want } = message;
    const call = this.#calls
      .get(caller)
      ?.findLast(
        (one) => one.callee === calleeName && one.service === service && isSame(one.want, want),
      );
    if (call === undefined || message.callerName !== caller)
      return this.#fail(`${caller} asks for ${calleeName} (${service}), which nobody wanted`);
    this.#connects.set(key, { call, usedIn: undefined });
  }

  #onExtend(asker: string, { session: id }: MessageOf<'extend'>): void {
    const session = this.#sessions.get(id);
    if (session === undefined || !this.#isOurs(asker)) return;
    if (asker !== session.caller || !session.extend)
      this.#fail(`${asker} asks for more of ${id}, which nobody wanted`);
  }

  #onKilled(machine: VirtualTerminal): void {
    const own = this.#calls.get(machine.name);
    if (own !== undefined)
      this.#calls.set(
        machine.name,
        own.filter((call) => call.machine !== machine),
      );
    this.#causes.delete(machine);
    this.#lastRead.delete(machine);
    this.#ownerAsks.delete(machine);
  }

  #takeCall(machine: VirtualTerminal, number: number): Call | undefined {
    const own = this.#calls.get(machine.name) ?? [];
    const at = own.findIndex((call) => call.machine === machine && call.number === number);
    return at < 0 ? undefined : own.splice(at, 1)[0];
  }

  // --- the callee --------------------------------------------------------------------------------

  #onHeard(machine: VirtualTerminal, message: Message): void {
    if (message.kind === 'addressNotice') this.#causes.set(machine, 'notice');
    if (message.kind !== 'ask' && message.kind !== 'askExtend') return;
    const { request, callerName: caller, service } = message;
    // The same question once more, in this boot or another one: only a new reading changes it.
    const question = this.#questions.get(request) ?? {
      callee: machine.name,
      caller,
      service,
      reading: undefined,
      approved: undefined,
      isYes: false,
    };
    this.#questions.set(request, question);
    this.#causes.set(machine, question);
  }

  #onListRead(machine: VirtualTerminal, isReadable: boolean): void {
    const cause = this.#causes.get(machine);
    this.#causes.delete(machine);
    if (cause === undefined) return;
    this.#lastRead.set(machine, { cause, at: this.#world.now });
    if (cause === 'notice') return;
    const permission = isReadable
      ? this.#world.permissions.of(machine.name, cause.caller as Name)
      : undefined;
    cause.reading = { permission };
  }

  #onOwnerAsked(machine: VirtualTerminal, ask: number): void {
    const cause = this.#lastRead.get(machine)?.cause;
    if (cause === undefined || cause === 'notice') return;
    const asks = this.#ownerAsks.get(machine) ?? new Map<number, Question>();
    this.#ownerAsks.set(machine, asks.set(ask, cause));
  }

  /** A callee answers; only a yes names a record of addresses. */
  #onAnswer(callee: string, message: MessageOf<'allowList'>): void {
    if (message.record === undefined || !this.#isOurs(callee)) return;
    const question = this.#questions.get(message.request);
    if (question?.reading === undefined)
      return this.#fail(`${callee} says yes without having read its list`);
    const { caller, service } = question;
    if (!isNamed(question))
      return this.#fail(`${callee} says yes to ${caller} (${service}), whom its list refuses`);
    question.isYes = true;
  }

  // --- the manager -------------------------------------------------------------------------------

  #onLogged(entry: LogEntry): void {
    if (entry.kind === 'introduced') this.#onIntroduction(entry);
    else if (entry.kind === 'extended') this.#onExtension(entry);
  }

  #onIntroduction(entry: Extract<LogEntry, { kind: 'introduced' }>): void {
    const { session, callerName, calleeName, service } = entry;
    const label = `${session}: ${callerName} → ${calleeName} (${service})`;
    if (!this.#isOf(callerName, entry.callerId) || !this.#isOf(calleeName, entry.calleeId))
      return this.#fail(`${label}: the IDs are others'`);
    if (this.#revokedAt.has(callerName) || this.#revokedAt.has(calleeName))
      return this.#fail(`${label}: introduced although one of them is revoked`);
    if (this.#sessions.has(session)) return this.#fail(`${label}: introduced twice`);
    const wish = this.#isOurs(callerName) ? this.#wishOf(label, entry) : undefined;
    const question = this.#questionOf(entry.verdict);
    if (this.#isOurs(calleeName)) this.#checkAnswer(label, entry, question);
    const permission = this.#isOurs(calleeName) ? question?.reading?.permission : undefined;
    const want = wish?.want ?? decodeCbor(requestStatement, entry.request)?.want ?? {};
    this.#checkTerms(label, entry, want, permission);
    const granted = { seconds: entry.seconds, bytes: entry.bytes };
    this.#sessions.set(session, {
      caller: callerName,
      callee: calleeName,
      service,
      question,
      extend: wish?.extend ?? true,
      told: new Set(),
      granted,
      current: granted,
      totals: new Set(),
      key: undefined,
    });
  }

  /** What the caller's user wants: asked for by itself, once for each boot of the manager. */
  #wishOf(
    label: string,
    { callerName, calleeName, service, request }: Extract<LogEntry, { kind: 'introduced' }>,
  ): Wish | undefined {
    const asked = decodeCbor(requestStatement, request);
    const connect = asked && this.#connects.get(`${callerName}/${asked.nonce}`);
    if (connect?.call.callee !== calleeName) {
      this.#fail(`${label}: the caller did not ask`);
      return undefined;
    }
    if (connect.call.service !== service) this.#fail(`${label}: another service was asked`);
    if (connect.usedIn === this.#boots) this.#fail(`${label}: introduced twice by one request`);
    connect.usedIn = this.#boots;
    return connect.call;
  }

  #checkAnswer(
    label: string,
    { callerName, calleeName, service }: Extract<LogEntry, { kind: 'introduced' }>,
    question: Question | undefined,
  ): void {
    if (question === undefined || question.callee !== calleeName || question.caller !== callerName)
      return this.#fail(`${label}: the callee was not asked`);
    if (!question.isYes || !isNamed(question) || question.service !== service)
      this.#fail(`${label}: the callee's list does not name the caller`);
  }

  #questionOf(verdict: Uint8Array): Question | undefined {
    const answered = decodeCbor(verdictStatement, verdict);
    return answered && this.#questions.get(answered.ask);
  }

  #checkTerms(label: string, entry: Limits, want: Terms, permission: Permission | undefined): void {
    const { policy } = this.#world;
    const { secondsMax, secondsDefault, bytesMax } = policy;
    const most = least(want.seconds ?? secondsDefault, secondsMax, permission?.seconds) ?? 0;
    if (entry.seconds > most) this.#fail(`${label}: ${entry.seconds} s of at most ${most}`);
    const bytes = least(want.bytes, bytesMax, permission?.bytes);
    if (bytes !== undefined && (entry.bytes ?? Infinity) > bytes)
      this.#fail(`${label}: ${entry.bytes ?? 'any'} bytes of at most ${bytes}`);
  }

  /** More than before only as far as the list says that a talk may grow. */
  #onExtension(entry: Extract<LogEntry, { kind: 'extended' }>): void {
    const session = this.#sessionOf(entry.session, 'the log extends');
    if (session === undefined) return;
    const { current, caller, callee } = session;
    session.current = { seconds: entry.seconds, bytes: entry.bytes };
    session.totals.add(totals(entry));
    this.#world.mark('extended');
    if (!this.#isOurs(callee)) return;
    const label = `${entry.session}: ${caller} → ${callee} extended`;
    const question = this.#questionOf(entry.verdict);
    if (question?.callee !== callee || question.caller !== caller || !isNamed(question))
      return this.#fail(`${label}: the callee's list does not name the caller`);
    const permission = question.reading?.permission;
    const { secondsMax, bytesMax } = this.#world.policy;
    const most = least(permission?.seconds, secondsMax) ?? Infinity;
    const bytesMost = least(permission?.bytes, bytesMax) ?? Infinity;
    const isLonger = entry.seconds > current.seconds;
    const isMore = (entry.bytes ?? Infinity) > (current.bytes ?? Infinity);
    if ((isLonger || isMore) && permission?.extend !== true)
      return this.#fail(`${label}, which its list does not allow`);
    if (isLonger && entry.seconds > most) return this.#fail(`${label} beyond ${most} s`);
    if (isMore && (entry.bytes ?? Infinity) > bytesMost)
      this.#fail(`${label} beyond ${bytesMost} bytes`);
  }

  /** The manager tells one end: what is in the log, the same to both, and of nobody revoked. */
  #onNoticeMade(message: MessageOf<'addressNotice'>): void {
    const grant = decodeGrant(message.grant);
    if (grant === undefined) return this.#fail('a notice holds no grant');
    const session = this.#sessionOf(grant.session, 'the manager tells of');
    if (session === undefined) return;
    for (const name of [session.caller, session.callee])
      if (this.#revoking.has(name) || this.#revokedAt.has(name))
        return this.#fail(`${grant.session}: told although ${name} is revoked`);
    if (session.key === undefined) session.key = message.key.slice();
    else if (!sameBytes(session.key, message.key))
      this.#fail(`${grant.session}: its ends are told different keys`);
  }

  // --- both ends ---------------------------------------------------------------------------------

  #onEvent(machine: VirtualTerminal, event: TerminalEvent): void {
    if (this.#world.isRogue(machine)) return;
    switch (event.kind) {
      case 'callFailed':
        this.#takeCall(machine, event.call);
        return;
      case 'introduced':
        return this.#onIntroduced(machine, event);
      case 'extended': {
        const session = this.#sessions.get(event.session);
        if (session !== undefined && !session.totals.has(totals(event)))
          this.#fail(`${machine.name} extended ${event.session} to what was never granted`);
        return;
      }
      default:
        return;
    }
  }

  #onIntroduced(machine: VirtualTerminal, event: Introduced): void {
    const { session: id, call, peer, service, terms } = event;
    const label = `${machine.name} is introduced to ${peer.name} (${service})`;
    const session = this.#sessionOf(id, `${label} by`);
    if (session === undefined) return;
    const [caller, callee] =
      call === undefined ? [peer.name, machine.name] : [machine.name, peer.name];
    if (session.caller !== caller || session.callee !== callee || session.service !== service)
      return this.#fail(`${label}, not as the log says`);
    if (!this.#isOf(peer.name, peer.id)) return this.#fail(`${label}: another ID`);
    if (terms.seconds !== session.granted.seconds || terms.bytes !== session.granted.bytes)
      return this.#fail(`${label} with other terms than granted`);
    if (session.told.has(machine)) return this.#fail(`${label} twice`);
    session.told.add(machine);
    const revokedAt = this.#revokedAt.get(peer.name);
    if (revokedAt !== undefined && this.#world.now > revokedAt + ON_ITS_WAY_MICROS)
      return this.#fail(`${label}, who is revoked`);
    if (call === undefined) this.#checkNotice(label, machine, session);
    else if (this.#takeCall(machine, call) === undefined)
      this.#fail(`${label} by a call that is over`);
  }

  /** The callee's list was read again, now, and still allows as much. */
  #checkNotice(label: string, machine: VirtualTerminal, session: Session): void {
    const { caller, callee, service, question, granted } = session;
    const read = this.#lastRead.get(machine);
    if (read?.cause !== 'notice' || read.at !== this.#world.now)
      return this.#fail(`${label} without reading its list again`);
    const permission = this.#world.permissions.of(callee as Name, caller as Name);
    const reading = { permission };
    if (!isNamed({ reading, service, approved: question?.approved }))
      return this.#fail(`${label}, whom its list refuses by now`);
    const { seconds: most = Infinity, bytes = Infinity } = permission ?? {};
    if (granted.seconds > most || (granted.bytes ?? Infinity) > bytes)
      this.#fail(`${label} for more than its list says by now`);
  }

  /** A hostile terminal may be none of the world's own. */
  #isOf(name: string, id: DeviceId): boolean {
    return this.#world.terminal(name)?.id === id || !this.#isOurs(name);
  }

  #sessionOf(id: SessionId, doing: string): Session | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined) this.#fail(`${doing} session ${id}, which is not in the log`);
    return session;
  }

  /** Hostile parties do as they like. */
  #isOurs(name: string): boolean {
    return !this.#world.hostile.has(name);
  }

  #fail(says: string): void {
    this.#world.violate('consent', says);
  }
}

type Introduced = Extract<TerminalEvent, { kind: 'introduced' }>;
interface Limits {
  readonly seconds: number;
  readonly bytes?: number | undefined;
}

/** What the table says: the caller is named for this service, and the owner agrees if asked. */
function isNamed({
  reading,
  service,
  approved,
}: {
  readonly reading: Reading | undefined;
  readonly service: string;
  readonly approved: boolean | undefined;
}): boolean {
  const permission = reading?.permission;
  if (permission === undefined) return false;
  const { services } = permission;
  if (services === undefined ? service.startsWith('port:') : !services.includes(service)) {
    return false;
  }
  return permission.asks === undefined || approved === true;
}

const isSame = (a: Terms, b: Terms): boolean => a.seconds === b.seconds && a.bytes === b.bytes;
const totals = ({ seconds: granted, bytes }: Limits): string => `${granted}/${bytes ?? 'any'}`;

function least(...values: readonly (number | undefined)[]): number | undefined {
  const stated = values.filter((value) => value !== undefined);
  return stated.length === 0 ? undefined : Math.min(...stated);
}
