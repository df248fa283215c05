// Who may call whom: the ground truth that everything is held against, and the allow-lists that are
// written from it. Judged by looking into a table, never by the code that judges lists. What is
// permitted is written in every way in which owners write it: exact names, stated IDs, patterns
// with exceptions, limits, entries that ask.

import type { AllowEntry, AllowList } from '../protocol/consent/allow-list.ts';
import type { DeviceId, Name } from '../protocol/ids.ts';
import { type Rng, randomBelow, randomFraction } from '../protocol/random.ts';

/** What a callee's owner permits one caller. */
export interface Permission {
  readonly services: readonly string[] | undefined;
  readonly seconds: number | undefined;
  readonly bytes: number | undefined;
  readonly extend: boolean;
  /** The owner is asked each time, and says this. */
  readonly asks: 'yes' | 'no' | undefined;
}

interface Person {
  readonly name: Name;
  readonly id: DeviceId;
}

/** Seconds of the longest talk that a list permits: worlds come to rest in minutes. */
const LIST_SECONDS_MAX = 20;
/** Beyond it nobody knows everybody. */
const CROWD = 64;
const KNOWN_IN_A_CROWD = 8;
const SERVICES = ['pipe', 'file', 'port:22'];

/** The services that terminals of a world offer. */
export const ANY_SERVICE: readonly string[] = SERVICES;

/** As much as a list can give. */
const EVERYTHING: Permission = {
  services: undefined,
  seconds: undefined,
  bytes: undefined,
  extend: true,
  asks: undefined,
};

/** The table, and the lists as they are in the files now. */
export class Permissions {
  readonly #rng: Rng;
  readonly #askShare: number;
  readonly #people: Person[] = [];
  readonly #names: Name[] = [];
  readonly #idOf = new Map<Name, DeviceId>();
  readonly #known = new Map<Name, readonly Name[]>();
  readonly #knownBy = new Map<Name, readonly Name[]>();
  readonly #table = new Map<Name, Map<Name, Permission>>();
  readonly #lists = new Map<Name, AllowList>();
  #versions = 0;

  constructor(rng: Rng, options: { readonly askShare: number }) {
    this.#rng = rng;
    this.#askShare = options.askShare;
  }

  /** A terminal that lists can name; all are there before the first list is written. */
  add(person: Person): void {
    this.#people.push(person);
    this.#names.push(person.name);
    this.#idOf.set(person.name, person.id);
  }

  /**
   * Fills the table, `share` of it with permissions, and writes every list. In a crowd each knows
   * a few.
   */
  fill(share: number): void {
    const people = this.#people;
    for (const { name: callee } of people) {
      const row = new Map<Name, Permission>();
      this.#table.set(callee, row);
      for (const { name: caller } of this.#acquaintances(callee)) {
        const isPermitted = randomFraction(this.#rng) < share;
        if (caller !== callee && isPermitted) row.set(caller, this.#draw());
      }
      this.#write(callee);
    }
  }

  /** Those who know this caller, as far as anybody does: whom calling makes sense. */
  calleesOf(caller: Name): readonly Name[] {
    return this.#people.length > CROWD ? (this.#knownBy.get(caller) ?? []) : this.#names;
  }

  /** Somebody who came later: half of all owners let it call, and its own list names everybody. */
  admit(person: Person, rng: Rng): void {
    this.add(person);
    for (const { name: callee } of this.#people) {
      const row = this.#table.get(callee);
      if (row !== undefined && randomBelow(rng, 2) === 0) row.set(person.name, this.#draw(rng));
    }
    const row = new Map(this.#names.map((name) => [name, EVERYTHING]));
    row.delete(person.name);
    this.#table.set(person.name, row);
    for (const { name } of this.#people) this.#write(name, rng);
  }

  /** Whom an owner has ever heard of. */
  acquaintances(callee: Name): readonly Name[] {
    return this.#known.get(callee) ?? [];
  }

  #acquaintances(callee: Name): readonly Person[] {
    const people = this.#people;
    const isCrowd = people.length > CROWD;
    const known = isCrowd
      ? Array.from(
          { length: KNOWN_IN_A_CROWD },
          () => people[randomBelow(this.#rng, people.length)],
        )
      : people;
    if (isCrowd)
      this.#known.set(
        callee,
        known.map(({ name }) => name),
      );
    else this.#known.set(callee, this.#names);
    return known;
  }

  /** From now on everybody may call everybody, for everything. */
  open(): void {
    for (const [callee, row] of this.#table) {
      for (const name of this.#names) if (name !== callee) row.set(name, EVERYTHING);
      this.#write(callee);
    }
  }

  /** What the table says now. */
  of(callee: Name, caller: Name): Permission | undefined {
    return this.#table.get(callee)?.get(caller);
  }

  /** Whether the callee's owner lets this caller have this service, at the end. */
  permits(callee: Name, caller: Name, service: string): boolean {
    const permission = this.of(callee, caller);
    if (permission === undefined || permission.asks === 'no') return false;
    if (permission.services === undefined) return !service.startsWith('port:');
    return permission.services.includes(service);
  }

  /** What the owner answers when asked about a caller. */
  ownerSays(callee: Name, caller: Name): boolean {
    return this.of(callee, caller)?.asks !== 'no';
  }

  /** The file as it is now. */
  listOf(callee: Name): AllowList | undefined {
    return this.#lists.get(callee);
  }

  /** The owner changes the mind about one caller. */
  edit(callee: Name, caller: Name, isPermitted: boolean): void {
    const row = this.#table.get(callee);
    if (row === undefined || callee === caller) return;
    if (isPermitted) row.set(caller, this.#draw());
    else row.delete(caller);
    this.#write(callee);
  }

  #draw(rng = this.#rng): Permission {
    const isNarrow = randomBelow(rng, 4) === 0;
    const hasQuota = randomBelow(rng, 3) === 0;
    const isAsked = randomFraction(rng) < this.#askShare;
    return {
      services: isNarrow ? [SERVICES[randomBelow(rng, SERVICES.length)]] : undefined,
      seconds: 2 + randomBelow(rng, LIST_SECONDS_MAX - 1),
      bytes: hasQuota ? 200 + randomBelow(rng, 100_000) : undefined,
      extend: randomBelow(rng, 2) === 0,
      asks: isAsked ? (randomBelow(rng, 2) === 0 ? 'yes' : 'no') : undefined,
    };
  }

  /** One of the ways in which an owner can say what the table says. */
  #write(callee: Name, rng = this.#rng): void {
    const row = this.#table.get(callee) ?? new Map<Name, Permission>();
    const isByException = randomBelow(rng, 3) === 0;
    const entries: AllowEntry[] = [];
    for (const name of new Set([...this.acquaintances(callee), ...row.keys()])) {
      const permission = row.get(name);
      if (permission !== undefined) {
        const { asks, ...terms } = permission;
        const stated = randomBelow(rng, 4) === 0 ? { id: this.#idOf.get(name) } : {};
        const asked = asks === undefined ? {} : { ask: true };
        entries.push({ action: 'allow', pattern: name, ...terms, ...stated, ...asked });
      } else if (isByException && name !== callee) {
        entries.push({ action: 'deny', pattern: name });
      } else if (randomBelow(rng, 8) === 0) {
        // A `deny` beside a wider `allow`: it wins. (`name*` would let in others: terminal-10.)
        entries.push({ action: 'allow', pattern: `*${name}`, services: ['*'] });
        entries.push({ action: 'deny', pattern: name });
      }
    }
    this.#versions += 1;
    this.#lists.set(callee, { version: `v${this.#versions}`, mode: 'verdict', entries });
  }
}
