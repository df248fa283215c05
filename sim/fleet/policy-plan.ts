// A fleet as a policy file describes it: names and groups are looked up, what contradicts itself is
// refused, and what is left becomes allow-lists and the table that outcomes are held against. The
// table goes by who is a member of what; the lists go by patterns, as an owner would write them.

import { type AllowEntry, matchesPattern } from '../../protocol/consent/allow-list.ts';
import { type LocalMoment, parseUntil } from '../../protocol/units.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { FleetPlan, PlannedCall, PlannedTerminal, Verdict } from './plan.ts';
import { SERVICE } from './plan.ts';
import { refuseContradictions } from './policy-contradictions.ts';
import { policyError, shownText } from './policy-errors.ts';
import type { GroupEntry, PolicyEntries, RuleEntry } from './policy-file.ts';

/** Whom a selector means. */
export interface Selection {
  /** As written. */
  readonly text: string;
  /** How narrow it is: contradictions are looked for among entries that are equally narrow. */
  readonly rank: 'name' | 'group' | 'pattern';
  readonly members: ReadonlySet<string>;
  /** The same people as patterns of an allow-list. */
  readonly patterns: readonly string[];
}

/** A rule whose selectors are looked up. */
export interface Rule {
  readonly entry: RuleEntry;
  readonly callees: readonly Selection[];
  readonly callers: readonly Selection[];
}

interface Place {
  readonly rule: Rule;
  readonly callerNames: ReadonlySet<string>;
}

/** Seconds before and after the end of an `until` in which either outcome is right. */
const UNTIL_SLACK_SECONDS = 10;
const DISTANCE_MAX = 3;

/**
 * Makes a plan of a file's entries.
 * @throws NakodoError `policy`: unknown names, duplicates, cycles, contradictions, nobody to call.
 */
export function policyPlan(entries: PolicyEntries): FleetPlan {
  const people = new People(entries);
  const rules = entries.rules.map((entry): Rule => ({
    entry,
    callees: entry.callees.map((text) => people.selection(text, entry.place)),
    callers: entry.callers.map((text) => people.selection(text, entry.place)),
  }));
  refuseContradictions(entries.file, rules);
  const places = new Map<string, Place[]>();
  for (const rule of rules) {
    const callerNames = union(rule.callers);
    for (const callee of union(rule.callees)) {
      const own = places.get(callee) ?? [];
      own.push({ rule, callerNames });
      places.set(callee, own);
    }
  }
  const { terminals } = people;
  const indices = new Map(terminals.map(({ name }, at) => [name, at]));
  const rulesOf = (terminal: number): readonly Place[] =>
    places.get(terminals[terminal].name) ?? [];
  const plan: FleetPlan = {
    terminals,
    services: servicesOf(entries.rules),
    indexOf: (name) => indices.get(name),
    verdict: (call, at) => judged(rulesOf(call.callee), terminals[call.caller].name, call, at),
    listOf: (terminal) => ({
      mode: 'verdict',
      entries: rulesOf(terminal).flatMap(({ rule }) => listEntries(rule)),
    }),
  };
  refuseLongLists(entries.file, plan);
  return plan;
}

/** Deny wins; of several that allow, any will do, as only the first one's limits count. */
function judged(
  places: readonly Place[],
  caller: string,
  { service }: PlannedCall,
  at: LocalMoment,
): Verdict {
  let best: Verdict = 'forbidden';
  for (const { rule, callerNames } of places) {
    const { action, until } = rule.entry;
    if (!callerNames.has(caller) || !isFor(rule.entry, service)) continue;
    if (action === 'deny') return 'forbidden';
    const verdict = until === undefined ? 'permitted' : untilVerdict(until, at);
    if (verdict === 'permitted' || best === 'forbidden') best = verdict;
  }
  return best;
}

function untilVerdict(until: string, at: LocalMoment): Verdict {
  const left = parseUntil(until, at);
  if (left > UNTIL_SLACK_SECONDS) return 'permitted';
  const wallMs = (at.wallMs - UNTIL_SLACK_SECONDS * 1_000) as LocalMoment['wallMs'];
  return left === 0 && parseUntil(until, { ...at, wallMs }) === 0 ? 'forbidden' : 'either';
}

/** Ports and commands (`port:22`) are allowed by name only, and denied with all the rest. */
function isFor(entry: Pick<Rule['entry'], 'action' | 'services'>, service: string): boolean {
  const { action, services } = entry;
  if (services === undefined) return action === 'deny' || !/^[a-z]+:/.test(service);
  return services.includes('*') || services.includes(service);
}

function listEntries({ entry, callers }: Rule): readonly AllowEntry[] {
  const { action, services, seconds, bytes, until } = entry;
  const limits = action === 'allow' ? { seconds, bytes, until } : {};
  const patterns = new Set(callers.flatMap((selection) => selection.patterns));
  return [...patterns].map((pattern) => ({ action, pattern, services, ...limits }));
}

function union(selections: readonly Selection[]): ReadonlySet<string> {
  if (selections.length === 1) return selections[0].members;
  return new Set(selections.flatMap(({ members }) => [...members]));
}

/** What calls are for: all that the policy names; what it does not name where it names nothing. */
function servicesOf(rules: readonly RuleEntry[]): readonly string[] {
  const named = new Set(rules.flatMap(({ services = [] }) => services));
  const isAny = rules.some((rule) => rule.action === 'allow' && isFor(rule, '*'));
  named.delete('*');
  return isAny || named.size === 0 ? [...named, SERVICE] : [...named];
}

function refuseLongLists(file: string, plan: FleetPlan): void {
  for (const [at, { name }] of plan.terminals.entries()) {
    const { length } = plan.listOf(at).entries;
    if (length <= FLEET_LIMITS.listEntriesMax) continue;
    const what = `the list of '${name}' comes to ${length} entries`;
    const most = `at most ${FLEET_LIMITS.listEntriesMax} fit`;
    const next = `${most}: name groups with a count, or patterns`;
    throw policyError(file, what, next);
  }
}

/** A group's people, and the same as patterns of an allow-list. */
interface Flattened {
  readonly names: readonly string[];
  readonly patterns: readonly string[];
}

/** The terminals and groups of a file, and what selectors mean among them. */
class People {
  readonly terminals: readonly PlannedTerminal[];
  readonly #file: string;
  readonly #names: ReadonlySet<string>;
  readonly #groups: ReadonlyMap<string, GroupEntry>;
  readonly #selections = new Map<string, Selection>();
  /** Groups that are done: one that many others hold is not gone through for each. */
  readonly #people = new Map<string, Flattened>();

  constructor({ file, terminals, groups }: PolicyEntries) {
    this.#file = file;
    this.#groups = new Map(groups.map((group) => [group.name, group]));
    refuseDuplicates(file, [...terminals, ...groups]);
    this.#refuseTooMany(terminals.length + groups.reduce((all, { count }) => all + count, 0));
    this.terminals = [
      ...terminals.map(({ name, profile }) => ({ name, profile })),
      ...groups.flatMap(({ name, profile, count }) =>
        Array.from({ length: count }, (_, at) => ({ name: `${name}-${at + 1}`, profile })),
      ),
    ];
    this.#names = new Set(this.terminals.map(({ name }) => name));
    this.#refuseMixedNames(groups);
    for (const group of groups) this.#flattened(group, [group.name]);
  }

  /** @throws NakodoError `policy` for one that means nobody. */
  selection(text: string, place: string): Selection {
    const known = this.#selections.get(text);
    if (known !== undefined) return known;
    const found = this.#select(text, place);
    this.#selections.set(text, found);
    return found;
  }

  #select(text: string, place: string): Selection {
    const group = this.#groups.get(text);
    if (group !== undefined) {
      const { names, patterns } = this.#flattened(group, [text]);
      return { text, rank: 'group', members: new Set(names), patterns };
    }
    if (!text.includes('*')) {
      if (!this.#names.has(text)) throw this.#unknown(text, place);
      return { text, rank: 'name', members: new Set([text]), patterns: [text] };
    }
    const names = [...this.#names].filter((name) => matchesPattern(text, name));
    if (names.length === 0) {
      const what = `${place}: no terminal has a name like '${text}'`;
      throw policyError(this.#file, what, 'correct the pattern, or add terminals that it means');
    }
    return { text, rank: 'pattern', members: new Set(names), patterns: [text] };
  }

  /** A group's people, members of members included. `trail`: how we came here. */
  #flattened(group: GroupEntry, trail: readonly string[]): Flattened {
    const known = this.#people.get(group.name);
    if (known !== undefined) return known;
    const own = Array.from({ length: group.count }, (_, at) => `${group.name}-${at + 1}`);
    const names = new Set(own);
    const patterns = new Set(group.count > 0 ? [`${group.name}-*`] : []);
    for (const member of group.members) {
      const inner = this.#groups.get(member);
      if (inner === undefined) {
        if (!this.#names.has(member)) throw this.#unknown(member, group.place);
        names.add(member);
        patterns.add(member);
        continue;
      }
      if (trail.includes(member)) {
        const circle = [...trail.slice(trail.indexOf(member)), member].join(' → ');
        const what = `${group.place}: groups go round in a circle: ${circle}`;
        throw policyError(this.#file, what, 'take one of them out of the members');
      }
      if (trail.length >= FLEET_LIMITS.groupDepthMax) {
        const what = `${group.place}: groups within groups, more than ${trail.length} deep`;
        throw policyError(this.#file, what, 'name the inner ones themselves');
      }
      const deeper = this.#flattened(inner, [...trail, member]);
      for (const each of deeper.names) names.add(each);
      for (const each of deeper.patterns) patterns.add(each);
    }
    const flattened = { names: [...names], patterns: [...patterns] };
    this.#people.set(group.name, flattened);
    return flattened;
  }

  #refuseTooMany(count: number): void {
    const most = FLEET_LIMITS.terminalsMax;
    if (count > most) {
      throw policyError(this.#file, `it has ${count} terminals`, `a fleet has at most ${most}`);
    }
    if (count >= 2) return;
    const what = `it has ${count === 0 ? 'no terminal' : 'one terminal, who has nobody to call'}`;
    throw policyError(this.#file, what, 'add [[terminal]] entries, or a [[group]] with a count');
  }

  /** A group goes into lists as `group-*`: nobody else's name may look like that. */
  #refuseMixedNames(groups: readonly GroupEntry[]): void {
    for (const { name: group, count, place } of groups) {
      if (count === 0) continue;
      let alike = 0;
      for (const name of this.#names) {
        if (!name.startsWith(`${group}-`)) continue;
        alike += 1;
        const number = name.slice(group.length + 1);
        if (/^[1-9]\d*$/.test(number) && Number(number) <= count) continue;
        const what = `${place}: '${shownText(name)}' would be taken for one of '${group}'`;
        throw policyError(this.#file, what, `give it a name that does not begin with '${group}-'`);
      }
      if (alike !== count || this.terminals.length !== this.#names.size) {
        const what = `${place}: a terminal has a name that this group makes`;
        throw policyError(this.#file, what, `rename it: '${group}-…' are the group's own`);
      }
    }
  }

  #unknown(text: string, place: string): Error {
    const names = [...this.#groups.keys(), ...this.#names];
    const near = names.find((name) => distance(name, text) <= DISTANCE_MAX);
    const hint = near === undefined ? '' : ` (did you mean '${near}'?)`;
    const what = `${place}: there is no terminal and no group '${shownText(text)}'${hint}`;
    return policyError(this.#file, what, 'correct the name, or add a [[terminal]] or [[group]]');
  }
}

interface Named {
  readonly name: string;
  readonly place: string;
}

function refuseDuplicates(file: string, entries: readonly Named[]): void {
  const seen = new Map<string, string>();
  for (const { name, place } of entries) {
    const first = seen.get(name);
    if (first !== undefined) {
      const what = `${place}: the name '${name}' is taken by ${first}`;
      throw policyError(file, what, 'give one of them another name');
    }
    seen.set(name, place);
  }
}

/** Letters to change, add or leave out (Levenshtein), as far as names of this length go. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > DISTANCE_MAX) return DISTANCE_MAX + 1;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
