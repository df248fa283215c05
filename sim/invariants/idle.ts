// Who has nothing to say says nothing (design §5, Silence): a terminal asks where it is only for a
// call of its own, for a question that its owner's list has said yes to, or for a talk; it asks
// STUN servers and nobody else, and a relay only for a talk.

import type { Name } from '../../protocol/ids.ts';
import { type Micros, after, ms, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import { RELAY_ADDRESSES, RELAY_PORT } from '../parties/virtual-relay.ts';
import { STUN_PORTS } from '../parties/virtual-stun.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { Word, WordHearer } from './spoken.ts';
import type { TalkBook } from './talk-book.ts';

/** What an answer may still wait for after the caller's patience; a relay that is given back. */
const ANSWER_SECONDS = 20;
const AFTERWARDS_SECONDS = 20;
const QUESTIONS_MAX = 64;
const PORTS: ReadonlySet<number> = new Set(Object.values(STUN_PORTS));

interface Question {
  readonly caller: Name;
  readonly service: string;
  readonly until: Micros;
}

interface Doings {
  readonly calls: Set<number>;
  readonly questions: Question[];
  /**
   * Until when it may be found, since its list has said yes; and when its last talk ended. On its
   * own clock, as all here: one that slept goes on where it was.
   */
  mayUntil: Micros | undefined;
  endedAt: Micros | undefined;
}

/** Watches what terminals say to servers of STUN. */
export class IdleIsSilent implements Watcher, WordHearer {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #late: number;
  readonly #servers: ReadonlySet<string>;
  readonly #doings = new Map<VirtualTerminal, Doings>();

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
    this.#late = ms(world.options['clock.late']);
    this.#servers = new Set(world.broker.stun.host.places.map(({ address }) => address));
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'called':
        this.#of(happening.terminal).calls.add(happening.call);
        return;
      case 'killed':
        this.#doings.delete(happening.terminal);
        return;
      case 'listRead':
        if (happening.isReadable) this.#onList(happening.terminal);
        return;
      case 'ownerAnswered':
        if (happening.approved)
          this.#may(happening.terminal, this.#in(happening.terminal, ANSWER_SECONDS));
        return;
      case 'event': {
        const { terminal, event } = happening;
        const doings = this.#of(terminal);
        if (event.kind === 'callFailed') doings.calls.delete(event.call);
        else if (event.kind === 'introduced' && event.call !== undefined)
          doings.calls.delete(event.call);
        else if (event.kind === 'ended') doings.endedAt = this.#nowOf(terminal);
        return;
      }
      case 'stunSent':
        return this.#onSent(happening);
      default:
        return;
    }
  }

  onWord({ how, machine, message }: Word): void {
    if (how !== 'opened' || message.kind !== 'ask' || machine === undefined) return;
    const { callerName: caller, service, waitMs } = message;
    const { questions } = this.#of(machine);
    questions.push({ caller, service, until: after(this.#nowOf(machine), ms(waitMs)) });
    if (questions.length > QUESTIONS_MAX) questions.shift();
  }

  /** At this very moment its list says yes to whom the table says so. */
  #onList(terminal: VirtualTerminal): void {
    const { permissions } = this.#world;
    const now = this.#nowOf(terminal);
    for (const { caller, service, until } of this.#of(terminal).questions)
      if (now <= until && permissions.permits(terminal.name, caller, service))
        this.#may(terminal, after(until, seconds(ANSWER_SECONDS)));
  }

  #onSent({ terminal, peer }: Extract<Happening, { readonly kind: 'stunSent' | 'stunReceived' }>) {
    if (this.#world.isRogue(terminal)) return;
    const isRelay = RELAY_ADDRESSES.includes(peer.host) && peer.port === RELAY_PORT;
    const isStun = this.#servers.has(peer.host) && PORTS.has(peer.port);
    if (!isRelay && !isStun)
      this.#fail(`${terminal.name} asks ${peer.host}:${peer.port}, which is no server`);
    const now = this.#nowOf(terminal);
    const { calls, mayUntil, endedAt } = this.#of(terminal);
    const leftUntil = endedAt && after(endedAt, seconds(AFTERWARDS_SECONDS));
    if (this.#book.hasTalks(terminal) || this.#isBefore(now, leftUntil)) return;
    if (isRelay) this.#fail(`${terminal.name} asks the relay, and has no talk`);
    if (calls.size > 0 || this.#isBefore(now, mayUntil)) return;
    this.#fail(`${terminal.name} asks where it is, and nobody wants to know`);
  }

  #isBefore(now: Micros, until: Micros | undefined): boolean {
    return until !== undefined && now <= until + this.#late;
  }

  #in(terminal: VirtualTerminal, lasts: number): Micros {
    return after(this.#nowOf(terminal), seconds(lasts));
  }

  #nowOf({ clock }: VirtualTerminal): Micros {
    return clock.local(this.#world.now);
  }

  #may(terminal: VirtualTerminal, until: Micros): void {
    const doings = this.#of(terminal);
    if (doings.mayUntil === undefined || doings.mayUntil < until) doings.mayUntil = until;
  }

  #of(terminal: VirtualTerminal): Doings {
    let doings = this.#doings.get(terminal);
    if (doings === undefined) {
      doings = { calls: new Set(), questions: [], mayUntil: undefined, endedAt: undefined };
      this.#doings.set(terminal, doings);
    }
    return doings;
  }

  #fail(says: string): void {
    this.#world.violate('idle', says);
  }
}
