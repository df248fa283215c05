// Tickets that several terminals redeem at the same moment, over HTTPS as they would: so many join
// as the ticket has uses, the others are told, and the store says the same afterwards.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Agent } from '../../device/agent.ts';
import { enrol } from '../../device/shell/enrol.ts';
import { loadEnrolment, openHome } from '../../device/shell/home.ts';
import { errorCode } from '../../protocol/errors.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { openLmdbStore } from '../../session-manager/shell/store-lmdb.ts';
import { type Town, openTown } from '../fleet/town.ts';

interface Racer {
  readonly home: string;
  /** What it asks to be called; undefined: the ticket says. */
  readonly name: Name | undefined;
}

interface Finish extends Racer {
  /** Undefined: it lost. */
  readonly id: string | undefined;
  /** Why it lost. */
  readonly code: string | undefined;
}

async function redeem(ticket: string, racer: Racer): Promise<Finish> {
  try {
    const { id } = await enrol({ ...racer, ticket, suite: nodeSuite, rng: entropy });
    return { ...racer, id, code: undefined };
  } catch (error) {
    return { ...racer, id: undefined, code: errorCode(error) };
  }
}

async function race(
  town: Town,
  racers: readonly Racer[],
  ticketFor: { readonly name?: string; readonly uses: number },
): Promise<{ readonly winners: readonly Finish[]; readonly losers: readonly Finish[] }> {
  const { ticket } = await town.manager.operations.ticket({ ...ticketFor, forSeconds: 600 });
  const finishes = await Promise.all(racers.map((racer) => redeem(ticket, racer)));
  return {
    winners: finishes.filter(({ id }) => id !== undefined),
    losers: finishes.filter(({ id }) => id === undefined),
  };
}

interface OnDisk {
  readonly devices: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
  readonly tickets: number;
}

/** What is on disk, read when the manager has closed it. */
async function onDisk(town: Town): Promise<OnDisk> {
  await town.manager.close();
  const store = await openLmdbStore({ folder: join(town.folder, 'server', 'store') });
  const { devices, names, tickets } = store.load();
  await store.close();
  const keys = (rows: readonly { readonly key: string }[]): Set<string> =>
    new Set(rows.map(({ key }) => key));
  return { devices: keys(devices), names: keys(names), tickets: tickets.length };
}

async function town(t: Test): Promise<Town> {
  const opened = await openTown();
  t.teardown(() => opened.close());
  return opened;
}

const at = (where: Town, folder: string): string => join(where.folder, folder);

t.test(
  'S1001: of two that race for a one-use ticket exactly one joins, and the store knows',
  async (t) => {
    const where = await town(t);
    const races = IS_PROOF ? 100 : 10;
    const joined: Finish[] = [];
    let secondWon = 0;
    for (let run = 0; run < races; run++) {
      // Every second ticket leaves the name to the terminal; then the two want different ones.
      const isFixed = run % 2 === 0;
      const fixed = `T${run}`;
      const nameOf = (which: string): Name | undefined =>
        isFixed ? undefined : (`T${run}${which}` as Name);
      const racers = ['a', 'b'].map((which) => ({
        home: at(where, `${run}${which}`),
        name: nameOf(which),
      }));
      const { winners, losers } = await race(where, racers, {
        uses: 1,
        ...(isFixed && { name: fixed }),
      });
      t.equal(winners.length, 1, `race ${run}: one winner`);
      t.match(losers, [{ code: 'ticket-invalid' }], `race ${run}: the other is told why`);
      const [loser] = losers;
      t.equal(await loadEnrolment(await openHome(loser.home)), undefined, 'and keeps no enrolment');
      await t.rejects(Agent.start({ home: loser.home, log: silentLog }), { code: 'not-enrolled' });
      if (winners[0].home === racers[1].home) secondWon += 1;
      joined.push({ ...winners[0], name: winners[0].name ?? (fixed as Name) });
    }
    t.comment(`${races} races, ${joined.length} single winners; ${secondWon} × who asked second`);
    const listed = where.manager.operations.devices();
    t.equal(listed.length, races, 'the operator sees one terminal for each ticket');
    t.ok((await where.manager.operations.verify()).ok, 'the log verifies');
    const enrolled = (await where.manager.operations.log({})).filter(
      ({ kind }) => kind === 'enrolled',
    );
    t.equal(enrolled.length, races, 'and so does the log');
    t.strictSame(
      await onDisk(where),
      {
        devices: new Set(joined.map(({ id }) => id)),
        names: new Set(joined.map(({ name }) => name)),
        tickets: 0,
      },
      'the winners are on disk, the losers and the used tickets are not',
    );
  },
);

t.test('S1001: a ticket of three uses raced by eight lets in three', async (t) => {
  const where = await town(t);
  const racers = Array.from({ length: 8 }, (_, which) => ({
    home: at(where, `t${which}`),
    name: `T${which}` as Name,
  }));
  const { winners, losers } = await race(where, racers, { uses: 3 });
  t.equal(winners.length, 3);
  t.strictSame(new Set(losers.map(({ code }) => code)), new Set(['ticket-invalid']));
  const { names, tickets } = await onDisk(where);
  t.strictSame(names, new Set(winners.map(({ name }) => name)));
  t.equal(tickets, 0);
});

t.test(
  'S1001: who lost the answer asks again with the same ticket and is the same terminal',
  async (t) => {
    const where = await town(t);
    const { ticket } = await where.manager.operations.ticket({ uses: 1, forSeconds: 600 });
    const racer: Racer = { home: at(where, 'again'), name: 'TERM1' as Name };
    const first = await redeem(ticket, racer);
    // As if the power went before the answer was on disk.
    await rm((await openHome(racer.home)).enrolment);
    const again = await redeem(ticket, racer);
    t.strictSame(again, first);
    t.equal(again.code, undefined);
    const late = await redeem(ticket, { home: at(where, 'other'), name: 'TERM2' as Name });
    t.equal(late.code, 'ticket-invalid', 'to anybody else the ticket is used up');
    t.equal(where.manager.operations.devices().length, 1);
  },
);

t.test('S1001: one home enrolled three times at once is one terminal, and whole', async (t) => {
  const where = await town(t);
  const runs = IS_PROOF ? 30 : 5;
  for (let run = 0; run < runs; run++) {
    const { ticket } = await where.manager.operations.ticket({ uses: 1, forSeconds: 600 });
    const racer: Racer = { home: at(where, `r${run}`), name: `T${run}` as Name };
    const finishes = await Promise.all([1, 2, 3].map(() => redeem(ticket, racer)));
    t.ok(
      finishes.every(({ code }) => code === undefined),
      'each is told that it is in',
    );
    const agent = await where.start(racer.home);
    t.ok(
      finishes.every(({ id }) => id === agent.id),
      'as the same one',
    );
  }
  t.equal(where.manager.operations.devices().length, runs);
});
