// Of a session that is over nobody is told: once its end is in the log no notice of it leaves the
// manager, whoever asks again. Its caller would begin a talk that nobody can end.

import { decodeGrant } from '../../protocol/grant.ts';
import type { SessionId } from '../../protocol/ids.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 20_000;

/** Holds notices against the ends in the log. */
export class Notices implements Watcher, WordHearer {
  readonly #world: World;
  readonly #ended = new KeptMap<SessionId, string>(KEPT);

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind !== 'logged') return;
    const { entry } = happening;
    if (entry.kind === 'ended') this.#ended.set(entry.session, entry.reason);
  }

  onWord({ how, party, message }: Word): void {
    if (how !== 'sealed' || party !== 'manager' || message.kind !== 'addressNotice') return;
    const session = decodeGrant(message.grant)?.session;
    const reason = session && this.#ended.get(session);
    if (reason !== undefined)
      this.#world.violate('notices', `session ${session} is told of after its end (${reason})`);
  }
}
