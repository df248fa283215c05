// Tables of permissions in virtual time: fifty terminals, each with a list of its own that its
// owner keeps editing, and every one calls every one. Who may talk to whom is worked out here a
// second time, rule by rule, without the evaluator that the product uses.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { ListEntry } from '../../protocol/control/messages.ts';
import { type DeviceId, type RequestId, randomRecordId } from '../../protocol/ids.ts';
import { type Rng, seededRng } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import {
  Draw,
  RULES,
  SERVICES,
  edited,
  lettingIn,
  nameOf,
  randomList,
} from '../../protocol/test/permission-tables.ts';
import { RATE_DEFAULTS } from '../limits.ts';
import { type Terminal, World, down } from './virtual-manager.ts';

const SIZE = 50;
const TABLES = dose(1);
const WAIT_MS = 1_000;

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
  readonly #rng: Rng;
  readonly #draw: Draw;
  readonly #all: readonly Terminal[];
  readonly #lists = new Map<DeviceId, readonly ListEntry[]>();

  constructor(seed: number) {
    this.#rng = seededRng(seed);
    this.#draw = new Draw(this.#rng);
    this.#all = Array.from({ length: SIZE }, (_, at) => this.world.terminal(nameOf(at)));
    for (const { id } of this.#all) this.#lists.set(id, randomList(this.#draw, this.#all));
  }

  /**
   * All call at once, each another one; the lists are edited while they wait, and the answers come
   * in another order than the questions.
   */
  round(shift: number): readonly Cell[] {
    this.world.sent.length = 0;
    const calls = this.#all.map((caller, at) => {
      const callee = this.#all[(at + shift) % SIZE];
      const service = this.#draw.pick(SERVICES);
      const { request } = this.world.connect(caller, callee.name, { service, waitMs: WAIT_MS });
      const approved = this.#draw.chance(1 / 2);
      return { caller, callee, request, service, approved };
    });
    for (const { id } of this.#all) {
      if (!this.#draw.chance(1 / 5)) continue;
      this.#lists.set(id, edited(this.#draw, this.#all, this.#lists.get(id) ?? []));
      this.edits += 1;
    }
    const cells = this.#draw.shuffled(calls).map((call) => this.#answer(call));
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
    const permitted = caller !== callee && lettingIn(list, asker, 'all rules') !== undefined;
    if (caller !== callee) {
      for (const rule of RULES) {
        const isPermitted = lettingIn(list, asker, rule) !== undefined;
        if (isPermitted !== permitted) this.rulesThatMattered.add(rule);
      }
      const { request: ask } = this.world.asked(callee, 'ask');
      const answer = this.world.signedAnswer(callee, {
        request: ask,
        entries: list,
        mode: this.#draw.pick(['list', 'verdict']),
        record: randomRecordId(this.#rng),
        approved,
      });
      this.world.raw(callee, this.world.seal(callee, encodeMessage(answer)), 'allow-list');
      const isQueried = this.world.of('addressQuery').at(-1)?.message.request === ask;
      if (isQueried) this.world.answerBoth(caller, callee);
    }
    return { caller, callee, request, permitted };
  }
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
