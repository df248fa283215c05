// What a terminal has under way is on its disk (claim 5): before its owner hears of a talk there is
// a record of it, and the record stays until the talk has ended; else a machine that is killed
// would never report its end.

import type { SessionId } from '../../protocol/ids.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';

/** Watches what terminals want kept. */
export class TalkRecords implements Watcher {
  readonly #world: World;
  /** Talks of a machine that have a record and have not ended. */
  readonly #kept = new Map<VirtualTerminal, Set<SessionId>>();

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'killed') this.#kept.delete(happening.terminal);
    else if (happening.kind === 'stored') {
      const { terminal, session, record } = happening;
      const kept = this.#of(terminal);
      if (record === undefined && kept.has(session) && !this.#world.isRogue(terminal))
        this.#fail(`${terminal.name} forgets the record of session ${session} before its end`);
      if (record !== undefined && record.reason === undefined) kept.add(session);
    } else if (happening.kind === 'event') {
      const { terminal, event } = happening;
      if (this.#world.isRogue(terminal)) return;
      if (event.kind === 'introduced' && !this.#of(terminal).has(event.session))
        this.#fail(`${terminal.name} begins session ${event.session} without a record of it`);
      if (event.kind === 'ended') this.#of(terminal).delete(event.session);
    }
  }

  #of(terminal: VirtualTerminal): Set<SessionId> {
    let kept = this.#kept.get(terminal);
    if (kept === undefined) this.#kept.set(terminal, (kept = new Set()));
    return kept;
  }

  #fail(says: string): void {
    this.#world.violate('records', says);
  }
}
