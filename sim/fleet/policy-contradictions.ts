// Entries of a policy that cannot both be meant: the same pair allowed and denied by entries that
// are equally narrow, an `allow` that a wider `deny` makes void (deny always wins), the same entry
// twice, an entry about nobody. They are refused, since no list could carry out both.

import { policyError } from './policy-errors.ts';
import type { Rule, Selection } from './policy-plan.ts';

/** @throws NakodoError `policy` for the first that is found. */
export function refuseContradictions(file: string, rules: readonly Rule[]): void {
  const seen = new Map<string, string>();
  for (const { entry, callees, callers } of rules) {
    const { place, ...rest } = entry;
    const same = JSON.stringify(rest);
    const first = seen.get(same);
    if (first !== undefined) {
      throw policyError(file, `${place}: the same as ${first}`, 'leave one of them out');
    }
    seen.set(same, place);
    if (callees.some((callee) => callers.some((caller) => hasPair(callee, caller)))) continue;
    const what = `${place}: its only caller is its callee, so that it is about nobody`;
    throw policyError(file, what, 'name somebody else, or leave it out');
  }
  const denies = rules.filter(({ entry }) => entry.action === 'deny');
  for (const allow of rules) {
    if (allow.entry.action !== 'allow') continue;
    for (const deny of denies) refuseBoth(file, allow, deny);
  }
}

const hasPair = (callee: Selection, caller: Selection): boolean =>
  callee.members.size > 1 ||
  caller.members.size > 1 ||
  [...callee.members].some((name) => !caller.members.has(name));

function refuseBoth(file: string, allow: Rule, deny: Rule): void {
  const shared = sharedServices(allow.entry.services, deny.entry.services);
  if (shared === 'none') return;
  for (const callee of allow.callees) {
    for (const caller of allow.callers) {
      for (const otherCallee of deny.callees) {
        for (const otherCaller of deny.callers) {
          refusePair(file, { allow, deny, shared }, [
            [callee, otherCallee],
            [caller, otherCaller],
          ]);
        }
      }
    }
  }
}

type Sides = readonly [
  callees: readonly [allowed: Selection, denied: Selection],
  callers: readonly [allowed: Selection, denied: Selection],
];

function refusePair(
  file: string,
  both: { readonly allow: Rule; readonly deny: Rule; readonly shared: 'some' | 'all' },
  sides: Sides,
): void {
  const { allow, deny, shared } = both;
  const [[callee], [caller]] = sides;
  const places = `${allow.entry.place} and ${deny.entry.place}`;
  const isSameRank = sides.every(([allowed, denied]) => allowed.rank === denied.rank);
  const common = isSameRank ? sides.map(([allowed, denied]) => inBoth(allowed, denied)) : [];
  if (common.length > 0 && common.every((name) => name !== undefined)) {
    const what = `${places} contradict each other: '${common[0]}' both allows and denies`;
    const next = 'leave one of them out, or make one narrower: a name, a group, a pattern';
    throw policyError(file, `${what} '${common[1]}'`, next);
  }
  const isVoid = shared === 'all' && sides.every(([allowed, denied]) => isWithin(allowed, denied));
  if (!isVoid) return;
  const what = `${places}: what '${callee.text}' allows '${caller.text}' is denied by the other`;
  const next = 'deny always wins: make the deny narrower, or leave the allow out';
  throw policyError(file, `${what}, which is wider`, next);
}

/** Which of the services that are allowed are also denied. */
function sharedServices(
  allowed: readonly string[] | undefined,
  denied: readonly string[] | undefined,
): 'none' | 'some' | 'all' {
  if (denied === undefined || denied.includes('*')) return 'all';
  if (allowed === undefined || allowed.includes('*')) return 'some';
  const count = allowed.filter((service) => denied.includes(service)).length;
  return count === 0 ? 'none' : count === allowed.length ? 'all' : 'some';
}

function inBoth(a: Selection, b: Selection): string | undefined {
  const [fewer, more] = a.members.size <= b.members.size ? [a, b] : [b, a];
  for (const name of fewer.members) if (more.members.has(name)) return name;
  return undefined;
}

function isWithin(inner: Selection, outer: Selection): boolean {
  if (inner.members.size > outer.members.size) return false;
  for (const name of inner.members) if (!outer.members.has(name)) return false;
  return true;
}
