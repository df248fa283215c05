// What should occur in some world or other ("sometimes" assertions): moments in which faults of the
// control plane meet. A night in which one of them never occurred has not tested it. Nothing is
// judged here.

import { type Micros, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { Word, WordHearer } from './spoken.ts';

const SOON_MICROS = seconds(1);

/** Notes what has occurred. */
export class Marks implements Watcher, WordHearer {
  readonly #world: World;
  /** Calls under way: by caller and callee. */
  readonly #calls = new Map<string, number>();
  readonly #callees = new Map<VirtualTerminal, Map<number, string>>();
  readonly #talks = new Map<VirtualTerminal, number>();
  readonly #killedAt = new Map<unknown, Micros>();
  #queries = 0;
  #written = 0;

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'called':
        return this.#onCalled(happening.terminal, happening.call, happening.callee);
      case 'event': {
        const { terminal, event } = happening;
        if (event.kind === 'callFailed' && event.why !== 'refused')
          this.#world.mark(`call failed: ${event.why}`);
        if (event.kind === 'callFailed' || event.kind === 'introduced')
          this.#onCallOver(terminal, event.call);
        if (event.kind === 'introduced') this.#talk(terminal, 1);
        if (event.kind === 'ended') this.#talk(terminal, -1);
        if (event.kind === 'turnedAway') this.#world.mark('turned away');
        if (event.kind === 'listUnreadable') this.#world.mark('list unreadable');
        return;
      }
      case 'listEdited': {
        const { terminal, caller } = happening;
        if (this.#calls.has(pairOf(caller.name, terminal.name)))
          this.#world.mark('list edited during a call');
        return;
      }
      case 'killed':
        if (this.#callees.get(happening.terminal)?.size) this.#world.mark('killed during a call');
        this.#forget(happening.terminal);
        return this.#onKilled('a terminal', happening.terminal);
      case 'suspended':
        if ((this.#talks.get(happening.terminal) ?? 0) > 0)
          this.#world.mark('suspended in mid-talk');
        return;
      case 'logged':
        if (happening.entry.kind !== 'introduced') return;
        this.#written += 1;
        this.#queries = Math.max(0, this.#queries - 1);
        return;
      case 'change':
        if (happening.change.event === 'begun') this.#written = Math.max(0, this.#written - 1);
        return;
      case 'managerKilled':
        if (this.#queries > 0) this.#world.mark('manager killed between yes and log');
        if (this.#written > 0) this.#world.mark('manager killed between log and notice');
        this.#queries = 0;
        this.#written = 0;
        return this.#onKilled('the manager', 'manager');
      case 'brokerKilled':
        if (this.#calls.size > 0) this.#world.mark('broker killed during a call');
        return this.#onKilled('the broker', 'broker');
      case 'operatorRevoke':
        if ((this.#talks.get(happening.terminal) ?? 0) > 0) this.#world.mark('revoked in mid-talk');
        if (this.#isCalling(happening.terminal)) this.#world.mark('revoked during a call');
        return;
      case 'alarm':
        this.#world.mark('clone noticed');
        return;
      case 'ownerAnswered':
        this.#world.mark(`owner said ${happening.approved ? 'yes' : 'no'}`);
        return;
      default:
        return;
    }
  }

  onWord({ how, message }: Word): void {
    if (how === 'published' && message.kind === 'addressQuery') this.#queries += 1;
  }

  #onCalled(terminal: VirtualTerminal, call: number, callee: string): void {
    const pair = pairOf(terminal.name, callee);
    this.#calls.set(pair, (this.#calls.get(pair) ?? 0) + 1);
    const own = this.#callees.get(terminal) ?? new Map<number, string>();
    this.#callees.set(terminal, own.set(call, callee));
  }

  #onCallOver(terminal: VirtualTerminal, call: number | undefined): void {
    const callee = call === undefined ? undefined : this.#callees.get(terminal)?.get(call);
    if (call === undefined || callee === undefined) return;
    this.#callees.get(terminal)?.delete(call);
    const pair = pairOf(terminal.name, callee);
    const left = (this.#calls.get(pair) ?? 1) - 1;
    if (left > 0) this.#calls.set(pair, left);
    else this.#calls.delete(pair);
  }

  #forget(terminal: VirtualTerminal): void {
    for (const call of this.#callees.get(terminal)?.keys() ?? []) this.#onCallOver(terminal, call);
    this.#talks.delete(terminal);
  }

  #talk(terminal: VirtualTerminal, by: 1 | -1): void {
    this.#talks.set(terminal, Math.max(0, (this.#talks.get(terminal) ?? 0) + by));
  }

  #isCalling(terminal: VirtualTerminal): boolean {
    for (const pair of this.#calls.keys())
      if (pair.startsWith(`${terminal.name}/`) || pair.endsWith(`/${terminal.name}`)) return true;
    return false;
  }

  #onKilled(who: string, party: unknown): void {
    const before = this.#killedAt.get(party);
    const { now } = this.#world;
    if (before !== undefined && now - before < SOON_MICROS)
      this.#world.mark(`${who} killed twice within a second`);
    this.#killedAt.set(party, now);
  }
}

const pairOf = (caller: string, callee: string): string => `${caller}/${callee}`;
