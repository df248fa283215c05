// The policy file of a fleet: which terminals there are, and who allows whom. It is read whole and
// judged before anything starts; a text that cannot be meant is refused with the file, the entry
// and what to do. docs/fleet.md describes it.
//
//   [[terminal]]
//   name = "GATE1"
//   profile = "always-on"          # or polling, flaky, chatty, hostile
//   [[group]]
//   name = "sensors"
//   count = 100                    # makes sensors-1 … sensors-100
//   profile = "polling"
//   members = ["GATE1", "spares"]  # and these: terminals, or other groups
//   [[allow]]                      # or [[deny]]
//   callee = "sensors"             # whose list it is: a terminal, a group, a pattern; or several
//   caller = ["GATE1", "ops-*"]
//   services = ["readings"]
//   bytes = "2MB"
//   for = "10m"
//   until = "18:00"

import { TomlError, parse } from 'smol-toml';
import * as v from 'valibot';
import { isPattern } from '../../protocol/consent/allow-list.ts';
import { UsageError, errorMessage } from '../../protocol/errors.ts';
import { isName } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { isUntil, parseDuration, parseSize } from '../../protocol/units.ts';
import { FLEET_LIMITS } from './limits.ts';
import { entryPlace, policyError, shownText } from './policy-errors.ts';
import { PROFILE_NAMES, type ProfileName } from './profiles.ts';

/** A `[[terminal]]`. */
interface TerminalEntry {
  readonly name: string;
  readonly profile: ProfileName;
  readonly place: string;
}

/** A `[[group]]`; `count` of its own terminals, and members that stand elsewhere. */
export interface GroupEntry {
  readonly name: string;
  readonly profile: ProfileName;
  readonly count: number;
  readonly members: readonly string[];
  readonly place: string;
}

/** An `[[allow]]` or `[[deny]]`, its selectors as written. */
export interface RuleEntry {
  readonly action: 'allow' | 'deny';
  readonly callees: readonly string[];
  readonly callers: readonly string[];
  readonly services: readonly string[] | undefined;
  readonly seconds: number | undefined;
  readonly bytes: number | undefined;
  readonly until: string | undefined;
  readonly place: string;
}

/** A file's entries, each well-formed; what they refer to is not looked at yet. */
export interface PolicyEntries {
  readonly file: string;
  readonly terminals: readonly TerminalEntry[];
  readonly groups: readonly GroupEntry[];
  readonly rules: readonly RuleEntry[];
}

const SERVICE = /^[!-~]+$/;

const selector = v.pipe(
  v.string('wanted a name, a group or a pattern'),
  v.check(isPattern, 'wanted a name, a group or a pattern with *'),
);
const selectors = v.union(
  [
    selector,
    v.pipe(
      v.array(selector),
      v.minLength(1, 'wanted at least one'),
      v.maxLength(FLEET_LIMITS.selectorsMax, `wanted at most ${FLEET_LIMITS.selectorsMax}`),
    ),
  ],
  'wanted a name, a group, a pattern with *, or a list of them',
);
const name = v.pipe(
  v.string('wanted a name'),
  v.check(isName, 'wanted 1 to 64 letters, digits and . _ @ + -'),
);
const profile = v.optional(
  v.picklist(PROFILE_NAMES, `wanted one of ${PROFILE_NAMES.join(', ')}`),
  'always-on',
);
const services = v.optional(
  v.pipe(
    v.array(
      v.pipe(
        v.string(),
        v.check(
          (text) => text.length <= LIMITS.serviceNameMax && SERVICE.test(text),
          'wanted a service like file or port:22',
        ),
      ),
      'wanted a list of services',
    ),
    v.minLength(1, 'wanted at least one service, or no services at all'),
    v.maxLength(LIMITS.entryServicesMax, `wanted at most ${LIMITS.entryServicesMax} services`),
  ),
);
const pair = { callee: selectors, caller: selectors, services };
const TABLES = {
  terminal: v.strictObject({ name, profile }),
  group: v.strictObject({
    name,
    profile,
    count: v.optional(
      v.pipe(
        v.number('wanted a whole number from 1'),
        v.safeInteger('wanted a whole number from 1'),
        v.minValue(1, 'wanted a whole number from 1'),
      ),
    ),
    members: v.optional(
      v.pipe(
        v.array(name, 'wanted a list of names'),
        v.minLength(1, 'wanted at least one member, or no members at all'),
        v.maxLength(FLEET_LIMITS.selectorsMax, `wanted at most ${FLEET_LIMITS.selectorsMax}`),
      ),
    ),
  }),
  allow: v.strictObject({
    ...pair,
    bytes: v.optional(v.union([v.string(), v.number()], 'wanted a size like "2MB"')),
    for: v.optional(v.string('wanted a time like "10m"')),
    until: v.optional(v.string('wanted a time of day like "18:00"')),
  }),
  deny: v.strictObject(pair),
} as const;
type Kind = keyof typeof TABLES;
const KINDS = Object.keys(TABLES) as readonly Kind[];

/**
 * Reads the text of a policy file. `file`: how messages call it.
 * @throws NakodoError `policy` (exit 2) naming file and entry.
 */
export function parsePolicyFile(text: string, file: string): PolicyEntries {
  const bytes = Buffer.byteLength(text);
  if (bytes > FLEET_LIMITS.policyBytesMax) {
    const most = `at most ${FLEET_LIMITS.policyBytesMax} are read`;
    throw policyError(file, `it has ${bytes} bytes, ${most}`, 'describe terminals as groups');
  }
  const raw = rawTables(text, file);
  const entries = { file, text };
  return {
    file,
    terminals: read(raw, 'terminal', entries, (table, place) => ({ ...table, place })),
    groups: read(raw, 'group', entries, (table, place) => {
      const { count = 0, members = [] } = table;
      if (count === 0 && members.length === 0) {
        throw new UsageError('empty', 'it has neither count nor members, so it is empty');
      }
      return { name: table.name, profile: table.profile, count, members, place };
    }),
    rules: [
      ...read(raw, 'allow', entries, (table, place) => ruleOf('allow', table, place)),
      ...read(raw, 'deny', entries, (table, place) => ruleOf('deny', table, place)),
    ],
  };
}

type Raw = Readonly<Record<string, unknown>>;

function rawTables(text: string, file: string): Raw {
  let raw: Raw;
  try {
    raw = parse(text);
  } catch (error) {
    const line = error instanceof TomlError ? `line ${error.line}: ` : '';
    const why = errorMessage(error).split('\n')[0];
    throw policyError(file, `${line}${why}`, 'write it as TOML: docs/fleet.md has a whole one');
  }
  const unknown = Object.keys(raw).find((key) => !Object.hasOwn(TABLES, key));
  if (unknown === undefined) return raw;
  const known = KINDS.map((kind) => `[[${kind}]]`).join(', ');
  throw policyError(file, `unknown key '${shownText(unknown)}'`, `there are ${known}`);
}

/** All tables of one kind, checked and made into what they mean. */
function read<K extends Kind, T>(
  raw: Raw,
  kind: K,
  { file, text }: { readonly file: string; readonly text: string },
  make: (table: v.InferOutput<(typeof TABLES)[K]>, place: string) => T,
): readonly T[] {
  const tables = raw[kind] ?? [];
  if (!Array.isArray(tables)) {
    throw policyError(file, `${kind} is no list of tables`, `write [[${kind}]] in double brackets`);
  }
  if (tables.length > FLEET_LIMITS.policyEntriesMax) {
    const most = `at most ${FLEET_LIMITS.policyEntriesMax} are read`;
    const next = 'put terminals that are alike into groups';
    throw policyError(file, `${tables.length} [[${kind}]] entries, ${most}`, next);
  }
  return tables.map((table, at) => {
    const place = entryPlace(kind, at, text);
    const checked = v.safeParse(TABLES[kind], table);
    if (!checked.success) throw fault(file, place, checked.issues[0]);
    try {
      return make(checked.output as v.InferOutput<(typeof TABLES)[K]>, place);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw policyError(file, `${place}: ${error.message}`, 'correct this entry');
    }
  });
}

function ruleOf(
  action: RuleEntry['action'],
  table: v.InferOutput<typeof TABLES.deny> & Partial<v.InferOutput<typeof TABLES.allow>>,
  place: string,
): RuleEntry {
  const { callee, caller, bytes, until } = table;
  const repeated = [callee, caller].find(
    (each) => Array.isArray(each) && new Set(each).size < each.length,
  );
  if (repeated !== undefined) throw new UsageError('twice', 'it names somebody twice');
  const size = bytes === undefined ? undefined : parseSize(String(bytes));
  if (size === 0) throw new UsageError('bad-size', "bytes: got '0', wanted at least 1");
  const span = table.for;
  const seconds = span === undefined ? undefined : Math.floor(parseDuration(span) / MS_PER_SECOND);
  if (seconds === 0) throw new UsageError('bad-duration', 'for: wanted at least 1s');
  if (until !== undefined && !isUntil(until)) {
    const wanted = 'wanted a time of day like 18:00 or 2030-01-31T18:00:00Z';
    throw new UsageError('bad-until', `until: got '${shownText(until)}', ${wanted}`);
  }
  return {
    action,
    callees: typeof callee === 'string' ? [callee] : callee,
    callers: typeof caller === 'string' ? [caller] : caller,
    services: table.services,
    seconds,
    bytes: size,
    until,
    place,
  };
}

function fault(file: string, place: string, issue: v.BaseIssue<unknown>): Error {
  const key = shownText((issue.path ?? []).map((step) => String(step.key)).join('.'));
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const next = `see docs/fleet.md for what ${place.split(' ')[0]} takes`;
    return policyError(file, `${place}: unknown key '${key}'`, next);
  }
  if (issue.received === 'undefined') {
    return policyError(file, `${place}: key '${key}' is missing`, `add ${key} = "…"`);
  }
  const wanted = issue.message.startsWith('wanted') ? issue.message : `wanted ${issue.expected}`;
  // What smol-toml makes of a table has no prototype, which valibot takes for null.
  const got = issue.received === 'null' ? 'a table' : shownText(issue.received);
  return policyError(file, `${place}: ${key}: got ${got}, ${wanted}`, 'correct this entry');
}
