// Invariant of identities (design §3): one that lives twice is noticed, and the machine that came
// later is shut out. Judged by the boots that the manager hears of: one that registers again after
// another took over lives beside it. What a manager knew is gone with its process.

import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import type { RequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 1_000;

/** The processes of one name since the manager started, in the order in which they came. */
interface Lives {
  readonly boots: RequestId[];
  current: RequestId;
  readonly banned: Set<RequestId>;
}

/** Follows who registers under each name. */
export class Clones implements Watcher, WordHearer {
  readonly #world: World;
  #lives = new Map<string, Lives>();
  #noticed = new Set<string>();
  readonly #unnoticed = new Set<string>();
  /** Registrations of machines that are shut out. */
  #refusable = new KeptMap<RequestId, string>(KEPT);
  /** What those register who run a program of their own: any name, any boot. */
  readonly #claims = new KeptMap<RequestId, string>(KEPT);

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'alarm') {
      this.#noticed.add(happening.name);
      this.#unnoticed.delete(happening.name);
    } else if (happening.kind === 'managerStarted') {
      this.#lives = new Map();
      this.#noticed = new Set();
      this.#refusable = new KeptMap(KEPT);
    }
  }

  onWord({ how, party, message }: Word): void {
    if (how === 'sealed' && message.kind === 'register' && this.#world.hostile.has(party))
      this.#claims.set(message.request, party);
    if (party !== 'manager') return;
    if (how === 'opened' && message.kind === 'register') this.#onRegister(message);
    if (how === 'sealed') this.#onAnswer(message);
  }

  afterEvent(): void {
    for (const name of this.#unnoticed) this.#fail(`${name} lives twice, and nobody is told`);
  }

  #onRegister({ name, boot, request }: MessageOf<'register'>): void {
    if (this.#claims.has(request) || this.#world.terminal(name) === undefined) return;
    const lives = this.#lives.get(name) ?? { boots: [boot], current: boot, banned: new Set() };
    this.#lives.set(name, lives);
    if (lives.banned.has(boot)) {
      this.#refusable.set(request, name);
      return;
    }
    if (lives.current === boot) return;
    const at = lives.boots.indexOf(boot);
    lives.current = boot;
    if (at < 0) {
      lives.boots.push(boot);
      // As many as a manager remembers.
      if (lives.boots.length > LIMITS.bootsPerDeviceMax) lives.boots.shift();
      return;
    }
    for (const later of lives.boots.slice(at + 1)) lives.banned.add(later);
    if (!this.#noticed.has(name)) this.#unnoticed.add(name);
    this.#world.mark('an identity lived twice');
  }

  #onAnswer(message: Message): void {
    if (message.kind !== 'registered') return;
    const name = this.#refusable.get(message.request);
    if (name !== undefined) this.#fail(`the later of two machines of ${name} is let in`);
  }

  #fail(says: string): void {
    this.#world.violate('clones', says);
  }
}
