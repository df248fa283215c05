// One whole table of permissions on real sockets: every terminal calls every one, many at once,
// while owners go on editing their lists. Who may talk to whom is worked out a second time, rule by
// rule (protocol/test/permission-tables.ts). A call whose callee's list changes meanwhile has to be
// as one of the lists says that were in force; it is made again until a cell is decided by one. The
// operator lets reasons out here, so that a no is told from an answer that came too late.

import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Agent } from '../../device/agent.ts';
import type { ListEntry } from '../../protocol/control/messages.ts';
import { NakodoError, errorMessage } from '../../protocol/errors.ts';
import type { Name } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import {
  Draw,
  RULES,
  SERVICES,
  edited,
  lettingIn,
  nameOf,
  randomList,
} from '../../protocol/test/permission-tables.ts';
import { type Town, openTown } from '../fleet/town.ts';

const SIZE = IS_PROOF ? 50 : 12;
const PARALLEL = 16;
/** A permitted call waits as long as a busy machine may take; a forbidden one is refused at T. */
const GENEROUS_MS = 60_000;
const T_MS = 400;
/** A cell is tried again if its list changed or its callee had no time to say no; T doubles. */
const TRIES_MAX = 20;
const DOUBLED_MAX = 5;
const CALLS_PER_EDIT = 4;
/** What the owner's command says yes to. */
const APPROVED: readonly string[] = ['file', 'chat'];
const ASK_COMMAND = '#!/bin/sh\n[ "$NAKODO_SERVICE" = file ] || [ "$NAKODO_SERVICE" = chat ]\n';

const NO = 'no';
/** What comes of a call; anything else says why it came to nothing. */
const INTRODUCED = 'introduced';
const DENIED = 'does not allow this call';

type List = readonly ListEntry[];

interface Party {
  readonly agent: Agent;
  readonly name: Name;
  readonly id: Agent['id'];
  readonly home: string;
  /** In force now: two while the file is being replaced. */
  lists: readonly [List, ...List[]];
  /** Under way to it. */
  readonly calls: Set<Call>;
  /** That are over. */
  readonly past: Call[];
}

interface Cell {
  readonly caller: Party;
  readonly callee: Party;
  readonly service: string;
}

interface Call extends Cell {
  /** What the lists say that were in force since it began: `verdictOf`. */
  readonly verdicts: Set<string>;
  readonly givesUp: AbortController;
}

/** The terminals, their lists, and what came of all calls. */
class Table {
  readonly sum = { permitted: 0, refused: 0, edits: 0, changedMeanwhile: 0, answeredLate: 0 };
  readonly wrongIntroductions: string[] = [];
  readonly wrongRefusals: string[] = [];
  readonly undecided: string[] = [];
  readonly rulesThatMattered = new Set<string>();
  readonly #town: Town;
  readonly #draw: Draw;
  readonly #command: string;
  #all: readonly Party[] = [];

  constructor(town: Town, seed: number) {
    this.#town = town;
    this.#draw = new Draw(seededRng(seed));
    this.#command = join(town.folder, 'ask');
  }

  async begin(): Promise<void> {
    await writeFile(this.#command, ASK_COMMAND);
    await chmod(this.#command, 0o700);
    const all: Party[] = [];
    for (let at = 0; at < SIZE; at++) {
      const home = await this.#town.enrol(nameOf(at), '');
      const agent = await this.#town.start(home);
      const { name, id } = agent;
      const party: Party = { agent, name, id, home, lists: [[]], calls: new Set(), past: [] };
      agent.onIncoming(({ info }) => this.#onIncoming(party, info.peer.name, info.service));
      all.push(party);
    }
    this.#all = all;
    for (const party of all) await this.#replace(party, randomList(this.#draw, all));
  }

  /** Every cell, in random order; the diagonal too: nobody is introduced to itself. */
  async run(): Promise<void> {
    const cells = this.#all.flatMap((caller) =>
      this.#all.map((callee) => ({ caller, callee, service: this.#draw.pick(SERVICES) })),
    );
    const order = this.#draw.shuffled(cells).values();
    let calls = 0;
    const worker = async (): Promise<void> => {
      for (const cell of order) {
        let isDecided = false;
        for (let tries = 0; tries < TRIES_MAX && !isDecided; tries++) {
          const waitMs = T_MS * 2 ** Math.min(tries, DOUBLED_MAX);
          isDecided = await this.#decide(cell, waitMs);
        }
        if (!isDecided) this.undecided.push(`${cell.caller.name} → ${cell.callee.name}`);
        if (++calls % CALLS_PER_EDIT === 0) await this.#edit();
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  }

  /** One call; false if it has to be made again to decide its cell. */
  async #decide(cell: Cell, waitMs: number): Promise<boolean> {
    const { caller, callee, service } = cell;
    const verdicts = new Set(callee.lists.map((list) => verdictOf(cell, list)));
    const call: Call = { ...cell, verdicts, givesUp: new AbortController() };
    const isForbidden = verdicts.has(NO);
    callee.calls.add(call);
    const outcome = await this.#outcome(call, isForbidden ? waitMs : GENEROUS_MS);
    callee.calls.delete(call);
    callee.past.push(call);
    const label = `${caller.name} → ${callee.name}, ${service}: ${outcome}`;
    const isDecided = verdicts.size === 1;
    if (outcome === INTRODUCED && !mayBeIn(call)) this.wrongIntroductions.push(label);
    if (outcome !== INTRODUCED && isDecided && !isForbidden) this.wrongRefusals.push(label);
    const isLate = outcome !== INTRODUCED && outcome !== DENIED;
    if (!isDecided) this.sum.changedMeanwhile += 1;
    else if (isLate) this.sum.answeredLate += 1;
    else this.#count(call, outcome);
    return isDecided && !isLate;
  }

  async #outcome({ caller, callee, service, givesUp }: Call, waitMs: number): Promise<string> {
    try {
      const wish = { to: callee.name, service, waitMs, signal: givesUp.signal };
      const session = await caller.agent.call(wish);
      session.finish('done');
      await session.ended;
      return INTRODUCED;
    } catch (error) {
      // Not that nobody could ask it in time.
      const isDenial = error instanceof NakodoError && error.message.endsWith(DENIED);
      return isDenial ? DENIED : errorMessage(error);
    }
  }

  #count(call: Call, outcome: string): void {
    this.sum[outcome === INTRODUCED ? 'permitted' : 'refused'] += 1;
    const [list] = call.callee.lists;
    for (const rule of RULES) {
      const isOther = (verdictOf(call, list, rule) === NO) !== (verdictOf(call, list) === NO);
      if (isOther) this.rulesThatMattered.add(rule);
    }
  }

  /** A callee looks once more when it is told of a caller: only permitted ones come so far. */
  #onIncoming(callee: Party, caller: string, service: string): void {
    const isMeant = [...callee.calls, ...callee.past].some(
      (call) => call.caller.name === caller && call.service === service && mayBeIn(call),
    );
    if (!isMeant) this.wrongIntroductions.push(`${callee.name} took ${caller}, ${service}`);
  }

  /** Some owner changes its list, whoever is calling. */
  async #edit(): Promise<void> {
    const party = this.#draw.pick(this.#all);
    if (party.lists.length > 1) return;
    this.sum.edits += 1;
    await this.#replace(party, edited(this.#draw, this.#all, party.lists[0]));
  }

  async #replace(party: Party, list: List): Promise<void> {
    party.lists = [party.lists[0], list];
    for (const call of party.calls) {
      call.verdicts.add(verdictOf(call, list));
      // It would wait for long, perhaps for a terminal that dropped the notice.
      if (call.verdicts.size > 1) call.givesUp.abort();
    }
    await this.#town.allow(party.home, this.#textOf(list));
    party.lists = [list];
  }

  #textOf(list: List): string {
    const mode = this.#draw.pick(['list', 'verdict']);
    return [`mode = "${mode}"`, ...list.map((entry) => tableOf(entry, this.#command))].join('\n\n');
  }
}

/** Whether one of the lists that were in force lets it in. */
const mayBeIn = ({ verdicts }: Call): boolean => verdicts.size > 1 || !verdicts.has(NO);

/**
 * What a list says of a call: a no, or on which terms. An owner who asks for a question, or gives
 * less, between yes and notice has changed its mind: the callee drops that notice.
 */
function verdictOf(
  { caller, callee, service }: Cell,
  list: List,
  without: Parameters<typeof lettingIn>[2] = 'all rules',
): string {
  if (caller === callee) return NO;
  // Whose name is listed with an ID is nobody else, whatever wider entries say: the callee's rule.
  const stated = list.flatMap(({ action, pattern, id }) =>
    action === 'allow' && pattern === caller.name && id !== undefined ? [id] : [],
  );
  if (without !== 'id' && stated.length > 0 && !stated.includes(caller.id)) return NO;
  const { name, id } = caller;
  const asker = { name, id, service, approved: APPROVED.includes(service) };
  const entry = lettingIn(list, asker, without);
  return entry === undefined ? NO : JSON.stringify([entry.seconds, entry.bytes, entry.ask]);
}

/** An entry as its owner types it. */
function tableOf(entry: ListEntry, command: string): string {
  const { action, pattern, id, services, seconds, bytes, untilSeconds, ask } = entry;
  const lines = [`[[${action}]]`, `name = "${pattern}"`];
  if (id !== undefined) lines.push(`id = "${id}"`);
  if (services !== undefined) lines.push(`services = ${JSON.stringify(services)}`);
  if (action === 'deny') return lines.join('\n');
  if (seconds !== undefined) lines.push(`for = "${seconds}s"`);
  if (bytes !== undefined) lines.push(`bytes = ${bytes}`);
  if (untilSeconds === 0) lines.push('until = "2001-01-01T00:00:00Z"');
  else if (untilSeconds !== undefined) lines.push('until = "9000-01-01T00:00:00Z"');
  if (ask === true) lines.push(`ask = "${command}"`);
  return lines.join('\n');
}

t.test('S2004, S4003, claim 8: a table of permissions while its owners edit it', async (t) => {
  const town = await openTown({ explain: true });
  t.teardown(() => town.close());
  const table = new Table(town, 11);
  await table.begin();
  const begun = performance.now();
  await table.run();
  const seconds = Math.round((performance.now() - begun) / 1_000);
  t.comment(`${SIZE} × ${SIZE} in ${seconds} s: ${JSON.stringify(table.sum)}`);
  t.strictSame(table.wrongIntroductions, [], 'introductions without permission');
  t.strictSame(table.wrongRefusals, [], 'permitted calls refused');
  t.strictSame(table.undecided, []);
  const { permitted, refused, edits } = table.sum;
  t.equal(permitted + refused, SIZE * SIZE, 'every cell is decided');
  t.ok(permitted > SIZE && refused > SIZE, 'both, often');
  t.ok(edits >= (SIZE * SIZE) / CALLS_PER_EDIT / 2, 'while lists were edited');
  const { limited, badSignature, introduced } = town.manager.counts();
  t.strictSame({ limited, badSignature }, { limited: 0, badSignature: 0 });
  const extra = introduced - permitted;
  t.ok(extra >= 0 && extra <= table.sum.changedMeanwhile, 'the manager counts the same');
  if (!IS_PROOF) return;
  t.strictSame(table.rulesThatMattered, new Set(RULES), 'each rule decided some of it');
  t.ok((await town.manager.operations.verify()).ok, 'the log verifies');
});
