// Tables of permissions in virtual time: fifty terminals, each with a list of its own that its
// owner keeps editing, and every one calls every one. Who may talk to whom is worked out here a
// second time, rule by rule, without the evaluator that the product uses.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { ListEntry } from '../../protocol/control/messages.ts';
import { type DeviceId, type RequestId, randomRecordId } from '../../protocol/ids.ts';
import { randomBelow, seededRng } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import { RATE_DEFAULTS } from '../limits.ts';
import { type Terminal, World, down } from './virtual-manager.ts';

const SIZE = 50;
const TABLES = dose(1);
const WAIT_MS = 1_000;
const SERVICES = ['file', 'pipe', 'chat', 'port:22'];
const RULES = ['deny', 'pattern', 'id', 'services', 'until', 'ask'] as const;

/** What happened in one cell of a table, and what should have. */
interface Cell {
  readonly caller: Terminal;
  readonly callee: Terminal;
  readonly request: RequestId;
  readonly permitted: boolean;
}

/** One table: terminals, their lists, and whoever edits them. */
class Table {
  readonly world = new World({ rates: RATE_DEFAULTS });
  readonly rulesThatMattered = new Set<string>();
  edits = 0;
  readonly #rng;
  readonly #all: readonly Terminal[];
  readonly #lists = new Map<DeviceId, readonly ListEntry[]>();

  constructor(seed: number) {
    this.#rng = seededRng(seed);
    this.#all = Array.from({ length: SIZE }, (_, at) => {
      const group = ['lab', 'home', 'field'][at % 3];
      return this.world.terminal(`${group}.${String(at).padStart(2, '0')}@site${at % 4}.net`);
    });
    for (const { id } of this.#all) this.#lists.set(id, this.#randomList());
  }

  /**
   * All call at once, each another one; the lists are edited while they wait, and the answers come
   * in another order than the questions.
   */
  round(shift: number): readonly Cell[] {
    this.world.sent.length = 0;
    const calls = this.#all.map((caller, at) => {
      const callee = this.#all[(at + shift) % SIZE];
      const service = this.#pick(SERVICES);
      const { request } = this.world.connect(caller, callee.name, { service, waitMs: WAIT_MS });
      const approved = this.#chance(1 / 2);
      return { caller, callee, request, service, approved };
    });
    for (const { id } of this.#all) if (this.#chance(1 / 5)) this.#edit(id);
    const cells = this.#shuffled(calls).map((call) => this.#answer(call));
    this.world.advance(WAIT_MS);
    return cells;
  }

  /** What a caller was told in this round about one of its requests. */
  told(caller: Terminal, request: RequestId): { kind: string; tookMs: number }[] {
    return this.world.sent.flatMap(({ topic, message, at }) =>
      topic === down(caller) && 'request' in message && message.request === request
        ? [{ kind: message.kind, tookMs: at - (this.world.nowMs - WAIT_MS) }]
        : [],
    );
  }

  /** Whether this callee was told in this round where that caller is. */
  introducedAt(callee: Terminal, caller: Terminal): boolean {
    return this.world.sent.some(
      ({ topic, message }) =>
        topic === down(callee) &&
        message.kind === 'addressNotice' &&
        message.verdict === undefined &&
        Buffer.from(message.peerKeys.ed25519).equals(caller.keys.ed25519),
    );
  }

  #answer(call: Omit<Cell, 'permitted'> & { service: string; approved: boolean }): Cell {
    const { caller, callee, request, service, approved } = call;
    const list = this.#lists.get(callee.id) ?? [];
    const asker = { name: caller.name, id: caller.id, service, approved };
    // Nobody is asked whether it may talk to itself.
    const permitted = caller !== callee && mayTalk(list, asker, 'all rules');
    if (caller !== callee) {
      for (const rule of RULES) {
        if (mayTalk(list, asker, rule) !== permitted) this.rulesThatMattered.add(rule);
      }
      const { request: ask } = this.world.asked(callee, 'ask');
      const answer = this.world.signedAnswer(callee, {
        request: ask,
        entries: list,
        mode: this.#pick(['list', 'verdict']),
        record: randomRecordId(this.#rng),
        approved,
      });
      this.world.raw(callee, this.world.seal(callee, encodeMessage(answer)), 'allow-list');
      const isQueried = this.world.of('addressQuery').at(-1)?.message.request === ask;
      if (isQueried) this.world.answerBoth(caller, callee);
    }
    return { caller, callee, request, permitted };
  }

  #edit(id: DeviceId): void {
    this.edits += 1;
    const list = this.#lists.get(id) ?? [];
    const at = randomBelow(this.#rng, list.length + 1);
    const added = this.#chance(1 / 2) ? [this.#randomEntry()] : [];
    this.#lists.set(
      id,
      this.#chance(1 / 8) ? this.#randomList() : list.toSpliced(at, added.length ? 0 : 1, ...added),
    );
  }

  #randomList(): readonly ListEntry[] {
    return Array.from({ length: randomBelow(this.#rng, 9) }, () => this.#randomEntry());
  }

  #randomEntry(): ListEntry {
    const one = this.#pick(this.#all);
    const [group, number] = one.name.split(/[.@]/);
    const action = this.#chance(1 / 6) ? 'deny' : 'allow';
    const broad = action === 'allow' ? ['*', `${group}.*`, '*.net', 'l*b.*@*'] : [];
    const pattern = this.#pick([
      ...broad,
      one.name,
      `${group}.*@site1.net`,
      `*${number[1]}@*`,
      `${group}.${number[0]}*`,
      '*.*.*.*',
      'nobody.*',
    ]);
    const services = [
      this.#pick(SERVICES),
      this.#pick(SERVICES),
      ...(this.#chance(1 / 9) ? ['*'] : []),
    ];
    return {
      action,
      pattern,
      id: this.#chance(1 / 8) ? this.#pick(this.#all).id : undefined,
      services: this.#chance(1 / 3) ? services : undefined,
      seconds: this.#chance(1 / 4) ? 60 : undefined,
      bytes: this.#chance(1 / 4) ? 1_000 : undefined,
      untilSeconds: action === 'allow' && this.#chance(1 / 4) ? this.#pick([0, 0, 90]) : undefined,
      ask: action === 'allow' && this.#chance(1 / 5) ? true : undefined,
    };
  }

  #chance(share: number): boolean {
    return randomBelow(this.#rng, 1_000) < share * 1_000;
  }

  #pick<T>(of: readonly T[]): T {
    return of[randomBelow(this.#rng, of.length)];
  }

  #shuffled<T>(of: readonly T[]): readonly T[] {
    return of
      .map((item) => ({ item, order: this.#rng.next() }))
      .toSorted((a, b) => a.order - b.order)
      .map(({ item }) => item);
  }
}

/**
 * The rules as docs say them, one by one; `without`: as if this one did not exist. A deny counts
 * whatever else it says beside whom it concerns; of the allows the first that is not past decides.
 */
function mayTalk(
  list: readonly ListEntry[],
  asker: { name: string; id: DeviceId; service: string; approved: boolean },
  without: (typeof RULES)[number] | 'all rules',
): boolean {
  const holds = (rule: (typeof RULES)[number], condition: boolean): boolean =>
    rule === without || condition;
  let verdict: boolean | undefined;
  for (const { action, pattern, id, services, untilSeconds, ask } of list) {
    const letters = pattern.replaceAll(/[.+]/g, String.raw`\$&`).replaceAll('*', '.*');
    const isNamed = new RegExp(`^${letters}$`).test(asker.name);
    if (!holds('pattern', isNamed)) continue;
    if (!holds('id', id === undefined || id === asker.id)) continue;
    const isServed = services?.some((one) => one === '*' || one === asker.service) ?? true;
    if (!holds('services', isServed)) continue;
    if (action === 'deny') {
      if (without !== 'deny') return false;
      continue;
    }
    if (!holds('until', untilSeconds !== 0)) continue;
    verdict ??= holds('ask', ask !== true || asker.approved);
  }
  return verdict ?? false;
}

t.test('S2004, S2005, claim 8: every cell of tables 50 × 50 is as the lists say', async (t) => {
  const sum = { permitted: 0, refused: 0, wrongIntroductions: 0, wrongRefusals: 0, edits: 0 };
  const rulesThatMattered = new Set<string>();
  for (let seed = 1; seed <= TABLES; seed++) {
    const table = new Table(seed);
    for (let shift = 0; shift < SIZE; shift++) {
      for (const { caller, callee, request, permitted } of table.round(shift)) {
        const told = table.told(caller, request);
        const isIntroduced = told[0]?.kind === 'addressNotice';
        sum[permitted ? 'permitted' : 'refused'] += 1;
        if (isIntroduced && !permitted) sum.wrongIntroductions += 1;
        if (!isIntroduced && permitted) sum.wrongRefusals += 1;
        const isAsItShouldBe =
          told.length === 1 &&
          (isIntroduced || (told[0].kind === 'refusal' && told[0].tookMs === WAIT_MS)) &&
          table.introducedAt(callee, caller) === isIntroduced;
        if (!isAsItShouldBe) t.fail(`${caller.name} → ${callee.name}: ${JSON.stringify(told)}`);
      }
    }
    for (const rule of table.rulesThatMattered) rulesThatMattered.add(rule);
    sum.edits += table.edits;
    t.equal(table.world.manager.counts.limited, 0, 'nobody asked too often');
    t.equal(table.world.manager.counts.badSignature, 0);
    t.equal(
      table.world.logged('introduced').length,
      table.world.manager.sessions('open').length,
      'the log knows every introduction',
    );
  }
  t.comment(`${TABLES} tables: ${JSON.stringify(sum)}`);
  t.equal(sum.permitted + sum.refused, TABLES * SIZE * SIZE);
  t.equal(sum.wrongIntroductions, 0);
  t.equal(sum.wrongRefusals, 0);
  t.ok(sum.permitted > TABLES * 400 && sum.refused > TABLES * 400, 'both happened often');
  t.ok(sum.edits > TABLES * 300);
  t.strictSame(
    [...rulesThatMattered].toSorted(),
    ['ask', 'deny', 'id', 'pattern', 'services', 'until'],
    'and every kind of rule decided some of it: without it the table would be another',
  );
});
