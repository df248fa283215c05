// The operator revokes terminals that are in the middle of talks, streams flowing: their peers hear
// of it, both servers' doors are shut, nobody else is disturbed; and a talk that nobody can be told
// to end is named, and ends by its own expiry. Real servers on TLS. What must hold always is
// asserted always; how soon decides in a proof.

import t, { type Test } from 'tap';
import { RecordingProxy } from '../../cli/demo/recording-proxy.ts';
import type { Agent } from '../../device/agent.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { type Town, allowing, openTown } from '../fleet/town.ts';
import {
  type Flow,
  type SeenEnd,
  echoing,
  flow,
  keysIn,
  knock,
  renew,
  seenEnd,
} from './streaming.ts';

/** Pairs that talk, and how many of them lose one end. */
const PAIRS = IS_PROOF ? 60 : 4;
const REVOKED = IS_PROOF ? 30 : 2;
/** What the product promises; asserted in a proof. */
const SERVERS_MS_MAX = 5_000;
const SESSIONS_MS_MAX = 30_000;
const PATIENCE_MS = 60_000;
/** Of the talk that nobody can be told to end. */
const OWN_SECONDS = 6;
const NOT_LET_IN = 'refused 5';

interface Pair {
  /** The one that may be revoked, in turns caller and callee. */
  readonly suspect: { readonly name: string; readonly home: string; readonly agent: Agent };
  readonly flow: Flow;
  /** The other end's. */
  readonly end: Promise<SeenEnd>;
  /** When the broker threw the suspect out, by performance.now(). */
  readonly out: { at: number | undefined };
}

/** Hears when a link goes. */
function hearing(out: Pair['out']): Log {
  const warn: Log['warn'] = (event) => {
    if (event === 'link-down') out.at ??= performance.now();
  };
  return { ...silentLog, warn };
}

/** Starts the two of a pair; when it is called, they talk. */
async function pair(town: Town, which: number): Promise<() => Promise<Pair>> {
  const names = { suspect: `S${which}`, honest: `H${which}` };
  const home = await town.enrol(names.suspect, allowing(names.honest));
  const out: Pair['out'] = { at: undefined };
  const suspect = await town.start(home, { log: hearing(out) });
  const honest = await town.start(await town.enrol(names.honest, allowing(names.suspect)));
  const isCaller = which % 2 === 0;
  const [caller, callee] = isCaller ? [suspect, honest] : [honest, suspect];
  const ends = echoing(callee);
  return async () => {
    const flowing = await flow(caller, callee.name);
    const calleeEnd = ends.get(flowing.session.info.session);
    if (calleeEnd === undefined) throw new Error('the callee knows of no talk');
    const end = isCaller ? calleeEnd : seenEnd(flowing.session);
    return { suspect: { name: names.suspect, home, agent: suspect }, flow: flowing, end, out };
  };
}

/** Milliseconds from `revoke` until each effect, of one terminal. */
interface Effects {
  readonly manager: number;
  readonly broker: number;
  readonly session: number;
  readonly command: number;
}

async function revoked(
  t: Test,
  town: Town,
  { suspect, flow: its, end, out }: Pair,
): Promise<Effects> {
  const { name, home, agent } = suspect;
  const keys = await keysIn(home);
  const begun = performance.now();
  const command = town.manager.operations.revoke(name).then((outcome) => {
    t.strictSame(outcome.ended, [its.session.info.session], `${name}: its talk is confirmed ended`);
    t.strictSame(outcome.running, []);
    return performance.now();
  });
  const refusal = until(async () => (await renew(keys)) === 'revoked', 'a refusal', PATIENCE_MS);
  const manager = refusal.then(() => performance.now());
  await until(() => out.at !== undefined, `${name} to be thrown out`, PATIENCE_MS);
  t.equal(await knock(keys), NOT_LET_IN, `${name}: its token and membership open nothing`);
  const { reason, at } = await end;
  t.equal(reason, 'revoked', `${name}: its peer knows why`);
  const said = (): boolean => /revoked/.test(agent.status().troubles.link ?? '');
  await until(said, `${name} to know`, PATIENCE_MS);
  t.notOk(agent.status().registered);
  return {
    manager: (await manager) - begun,
    broker: (out.at ?? Infinity) - begun,
    session: at - begun,
    command: (await command) - begun,
  };
}

t.test('claim 13, S6004: terminals are revoked in the middle of their talks', async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const begins: (() => Promise<Pair>)[] = [];
  for (let which = 0; which < PAIRS; which++) begins.push(await pair(town, which));
  const spare = await keysIn(await town.enrol('SPARE', ''));
  t.equal(await knock(spare), 'in', 'who is not revoked is let in by this very hand');
  t.equal(await renew(spare), 'renewed');
  const pairs: Pair[] = [];
  for (const begin of begins) pairs.push(await begin());
  const [gone, kept] = [pairs.slice(0, REVOKED), pairs.slice(REVOKED)];
  await until(
    () => pairs.every((one) => one.flow.echoed() > 0),
    'every stream to flow',
    PATIENCE_MS,
  );

  const effects = await Promise.all(gone.map((one) => revoked(t, town, one)));
  const slowest = (effect: keyof Effects): number =>
    Math.max(...effects.map((of) => Math.round(of[effect])));
  t.comment(
    `${REVOKED} of ${2 * PAIRS} terminals revoked at once, ${PAIRS} streams flowing; slowest: ` +
      `manager ${slowest('manager')} ms, broker ${slowest('broker')} ms, ` +
      `end at the peer ${slowest('session')} ms, command ${slowest('command')} ms`,
  );
  if (IS_PROOF) {
    t.ok(slowest('manager') <= SERVERS_MS_MAX && slowest('broker') <= SERVERS_MS_MAX);
    t.ok(slowest('session') <= SESSIONS_MS_MAX);
  }
  const before = kept.map((one) => one.flow.echoed());
  const goesOn = (): boolean => kept.every((one, at) => one.flow.echoed() > before[at]);
  await until(goesOn, 'the others’ streams to flow on', PATIENCE_MS);
  t.ok(kept.every((one) => one.suspect.agent.status().registered && one.out.at === undefined));
  const names: readonly string[] = town.manager.operations.devices().map(({ name }) => name);
  t.notOk(
    gone.some(({ suspect }) => names.includes(suspect.name)),
    'their names are free',
  );
  for (const { suspect } of gone) t.equal(await knock(await keysIn(suspect.home)), NOT_LET_IN);
  t.equal(await knock(spare), 'in');
  const sessions = await town.manager.operations.sessions({ all: true });
  t.equal(sessions.filter(({ reason }) => reason === 'revoked').length, REVOKED);
  t.ok((await town.manager.operations.verify()).ok, 'the log verifies');
});

t.test(
  'claim 13: a talk that nobody can be told to end is named, and ends by itself',
  async (t) => {
    const town = await openTown();
    t.teardown(() => town.close());
    const proxy = await RecordingProxy.listen(town.tls);
    t.teardown(() => proxy.close());
    proxy.leadTo('127.0.0.1', town.broker.port);
    const suspect = await town.start(await town.enrol('SUSPECT', ''));
    const home = await town.enrol('CUTOFF', allowing('SUSPECT'));
    const cutOff = await town.start(home, { brokerUrl: proxy.url });
    const near = await town.start(await town.enrol('NEAR', allowing('SUSPECT')));
    const [cutOffEnds, nearEnds] = [echoing(cutOff), echoing(near)];
    const far = await flow(suspect, 'CUTOFF', { seconds: OWN_SECONDS });
    const begun = performance.now();
    const other = await flow(suspect, 'NEAR');
    await proxy.close();
    await until(() => !cutOff.status().registered, 'its link to be cut');
    const [cut, open] = [far.session.info.session, other.session.info.session];

    const command = town.manager.operations.revoke('SUSPECT');
    t.equal((await nearEnds.get(open))?.reason, 'revoked', 'who can be reached is told');
    const echoedBefore = far.echoed();
    await until(() => far.echoed() > echoedBefore, 'the other talk to go on: nobody can stop it');
    const outcome = await command;
    t.strictSame(outcome.ended, [open], 'the one has confirmed');
    t.match(outcome.running, [{ session: cut }], 'the other one is named');
    const [named] = outcome.running;
    const unconfirmed: readonly string[] = named.unconfirmed;
    t.ok(unconfirmed.includes('CUTOFF'), 'with who could not be told');
    t.ok(Date.parse(named.until) > Date.now(), 'and until when it may run');

    const end = await cutOffEnds.get(cut);
    t.equal(end?.reason, 'time', 'its own expiry does');
    const lasted = ((end?.at ?? Infinity) - begun) / 1_000;
    t.ok(lasted < OWN_SECONDS + 2, `after ${lasted.toFixed(1)} s`);
    t.ok(Date.now() <= Date.parse(named.until), 'not later than the operator was told');
    t.comment(
      `granted ${OWN_SECONDS} s; lasted ${lasted.toFixed(1)} s; named until ${named.until}`,
    );
    t.equal((await far.session.ended).reason, 'time', 'for the revoked one as well');
  },
);
