// What only attackers make interesting: a talk opens between two who were both introduced to it,
// whoever else sends what they said; no terminal with a program of its own is let in by an owner
// whose list, as it stands at this moment, does not name it; and whoever attacks has stopped when
// the world is calm. That nothing is opened which nobody has sealed is heard by the world itself.

import type { TerminalEvent } from '../../device/terminal-types.ts';
import type { SessionId } from '../../protocol/ids.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import { KeptMap } from './kept-map.ts';

const KEPT = 20_000;

/** Watches whom attackers get to. */
export class Hostile implements Watcher {
  readonly #world: World;
  readonly #introduced = new KeptMap<SessionId, Set<string>>(KEPT);
  /** Deeds until the faults were over. */
  #deedsAtCalm: number | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'event') this.#onEvent(happening.terminal, happening.event);
    else if (happening.kind === 'calm') this.#deedsAtCalm = this.#deeds;
  }

  atEnd(): void {
    if (this.#deedsAtCalm !== undefined && this.#deeds !== this.#deedsAtCalm)
      this.#world.violate('hostile', 'somebody attacks in the calm');
  }

  #onEvent(terminal: VirtualTerminal, event: TerminalEvent): void {
    if (event.kind === 'introduced') this.#onIntroduced(terminal, event);
    else if (event.kind === 'talk' && event.event.kind === 'established')
      this.#onEstablished(terminal, event.session);
  }

  #onIntroduced(terminal: VirtualTerminal, event: TerminalEvent & { kind: 'introduced' }): void {
    const { session, call, peer, service } = event;
    const names = this.#introduced.get(session) ?? new Set<string>();
    this.#introduced.set(session, names.add(terminal.name));
    if (call !== undefined || this.#world.isRogue(terminal)) return;
    if (!this.#world.hostile.has(peer.name)) return;
    const { permissions } = this.#world;
    if (!permissions.permits(terminal.name, peer.name, service))
      this.#world.violate(
        'hostile',
        `${terminal.name} lets ${peer.name} in, whom it does not name`,
      );
    this.#world.mark('hostile: let in by a list');
  }

  #onEstablished(terminal: VirtualTerminal, session: SessionId): void {
    const names = this.#introduced.get(session);
    if (names === undefined || !names.has(terminal.name) || names.size !== 2)
      this.#world.violate('hostile', `${terminal.name} talks with whom nobody introduced`);
  }

  get #deeds(): number {
    let deeds = 0;
    for (const [name, times] of this.#world.faults) if (name.startsWith('hostile.')) deeds += times;
    return deeds;
  }
}
