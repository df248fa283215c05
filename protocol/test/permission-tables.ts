// Tables of permissions for tests: random allow-lists whose owners keep editing them, and who may
// talk to whom by them, worked out a second time, rule by rule, without the evaluator that the
// product uses. In virtual time: session-manager/test; on real sockets: sim/test.

import type { ListEntry } from '../control/messages.ts';
import type { DeviceId } from '../ids.ts';
import { type Rng, randomBelow } from '../random.ts';

/** Services that random calls are for, and random entries name. */
export const SERVICES = ['file', 'pipe', 'chat', 'port:22'];
/** What an entry can say that decides; each can be left out of `lettingIn`. */
export const RULES = ['deny', 'pattern', 'id', 'services', 'until', 'ask'] as const;

type List = readonly ListEntry[];

/** A terminal as lists know it. */
interface Party {
  readonly name: string;
  readonly id: DeviceId;
}

/** Random draws of what a table is made of. */
export class Draw {
  readonly #rng: Rng;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  chance(share: number): boolean {
    return randomBelow(this.#rng, 1_000) < share * 1_000;
  }

  below(end: number): number {
    return randomBelow(this.#rng, end);
  }

  pick<T>(of: readonly T[]): T {
    return of[randomBelow(this.#rng, of.length)];
  }

  shuffled<T>(of: readonly T[]): readonly T[] {
    return of
      .map((item) => ({ item, order: this.below(2 ** 31) }))
      .toSorted((a, b) => a.order - b.order)
      .map(({ item }) => item);
  }
}

/** A name for the n-th terminal of a table: of a group and a site, so that patterns catch some. */
export function nameOf(at: number): string {
  const group = ['lab', 'home', 'field'][at % 3];
  return `${group}.${String(at).padStart(2, '0')}@site${at % 4}.net`;
}

/** A list of up to 8 entries about some of these terminals. */
export function randomList(draw: Draw, all: readonly Party[]): List {
  return Array.from({ length: draw.below(9) }, () => randomEntry(draw, all));
}

/** The list after its owner has changed something: an entry more, one less, or all of it. */
export function edited(draw: Draw, all: readonly Party[], list: List): List {
  const at = draw.below(list.length + 1);
  const added = draw.chance(1 / 2) ? [randomEntry(draw, all)] : [];
  if (draw.chance(1 / 8)) return randomList(draw, all);
  return list.toSpliced(at, added.length > 0 ? 0 : 1, ...added);
}

function randomEntry(draw: Draw, all: readonly Party[]): ListEntry {
  const one = draw.pick(all);
  const [group, number] = one.name.split(/[.@]/);
  const action = draw.chance(1 / 6) ? 'deny' : 'allow';
  const broad = action === 'allow' ? ['*', `${group}.*`, '*.net', 'l*b.*@*'] : [];
  const pattern = draw.pick([
    ...broad,
    one.name,
    `${group}.*@site1.net`,
    `*${number[1]}@*`,
    `${group}.${number[0]}*`,
    '*.*.*.*',
    'nobody.*',
  ]);
  const services = [draw.pick(SERVICES), draw.pick(SERVICES), ...(draw.chance(1 / 9) ? ['*'] : [])];
  const isAllow = action === 'allow';
  return {
    action,
    pattern,
    id: draw.chance(1 / 8) ? draw.pick(all).id : undefined,
    services: draw.chance(1 / 3) ? services : undefined,
    seconds: draw.chance(1 / 4) ? 60 : undefined,
    bytes: draw.chance(1 / 4) ? 1_000 : undefined,
    untilSeconds: isAllow && draw.chance(1 / 4) ? draw.pick([0, 0, 90]) : undefined,
    ask: isAllow && draw.chance(1 / 5) ? true : undefined,
  };
}

/**
 * The entry that lets this caller in, by the rules as docs say them, one by one; undefined: none
 * does. `without`: as if this rule did not exist. A deny counts whatever else it says beside whom
 * it concerns; of the allows the first that is not past decides.
 */
export function lettingIn(
  list: List,
  asker: Party & { readonly service: string; readonly approved: boolean },
  without: (typeof RULES)[number] | 'all rules',
): ListEntry | undefined {
  const holds = (rule: (typeof RULES)[number], condition: boolean): boolean =>
    rule === without || condition;
  let deciding: ListEntry | undefined;
  for (const entry of list) {
    const { action, pattern, id, services, untilSeconds } = entry;
    const letters = pattern.replaceAll(/[.+]/g, String.raw`\$&`).replaceAll('*', '.*');
    const isNamed = new RegExp(`^${letters}$`).test(asker.name);
    if (!holds('pattern', isNamed)) continue;
    if (!holds('id', id === undefined || id === asker.id)) continue;
    const isNamedService = services?.some((one) => one === '*' || one === asker.service);
    const isServed = isNamedService ?? (action === 'deny' || asker.service !== 'port:22');
    if (!holds('services', isServed)) continue;
    if (action === 'deny') {
      if (without !== 'deny') return undefined;
      continue;
    }
    if (!holds('until', untilSeconds !== 0)) continue;
    deciding ??= entry;
  }
  return holds('ask', deciding?.ask !== true || asker.approved) ? deciding : undefined;
}
