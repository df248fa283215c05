// A broker that was taken over (threat model, T5 and T10): real terminals and a real session
// manager meet only through it, while it drops, delays, repeats, alters, misdirects and invents
// whatever one seed says, over reboots of terminals and restarts of the manager. Nothing of it lets
// anybody in, ends a talk, or shows it a key; and when it is honest again everything is as before.

import t, { type Test } from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { MICROS_PER_SECOND } from '../../protocol/time.ts';
import { found, halves } from './ground-truth.ts';
import { FAULTS } from './hostile-forger.ts';
import { HostileTown } from './hostile-town.ts';

const ACTS = IS_PROOF ? 100_000 : 5_000;
const ADDED = IS_PROOF ? 20_000 : 1_000;
const SEED = 2_005;
/** Enough for a look. */
const FEW_ACTS = 400;

t.test(
  'T5, T10: whatever a broker does, it is believed in nothing that is not its own',
  async (t) => {
    const town = new HostileTown(SEED);
    const { broker, witness, truth } = town;
    town.suffer(ACTS);
    t.ok(broker.acts >= ACTS);
    t.strictSame(broker.believed, [], 'accepted forgeries');
    t.strictSame(witness.failures, [], 'what must not be');
    for (const fault of FAULTS) t.ok(hitsOf(town, fault) > 0, fault);
    t.equal(broker.invented.size, 29, 'every kind of message was made up');
    t.ok(town.reboots > 0 && town.house.restarts > 0 && town.strayed > 0);
    for (const kind of ['endRequest', 'newExpiry', 'refusal', 'registered', 'ended'] as const)
      t.ok(truth.opened.get(kind), `what the manager did say was heard: ${kind}`);
    t.ok(witness.established > 0 && town.delivered > 0, 'and some talked all the same');
    tell(t, town);

    t.strictSame(town.recover(), [], 'nothing is left of it');
    const revoked = town.stations.filter(({ isRevoked }) => isRevoked);
    t.strictSame(
      revoked.map(({ isLinked }) => isLinked),
      [false],
      'who was revoked meanwhile is shut out',
    );
    const before = { established: witness.established, outcomes: new Map(witness.outcomes) };
    const { permitted, forbidden } = town.callAround();
    const since = (outcome: 'introduced' | 'refused'): number =>
      (witness.outcomes.get(outcome) ?? 0) - (before.outcomes.get(outcome) ?? 0);
    t.equal(since('introduced'), permitted, 'every permitted call is accepted');
    t.equal(since('refused'), forbidden, 'every other is refused');
    t.equal(witness.established - before.established, 2 * permitted);
    t.equal(witness.openCalls, 0);
    t.strictSame(witness.failures, []);

    const verdict = town.house.verifyLog();
    t.match(verdict, { ok: true, statements: { unknown: 0 } });
    lookForKeys(t, town);
  },
);

t.test('T10: what a broker adds, new or old, costs nobody a call', async (t) => {
  const town = new HostileTown(SEED);
  town.suffer(ADDED, { onlyAdds: true });
  const { witness, broker } = town;
  t.strictSame([...witness.failures, ...broker.believed], []);
  const { permittedCalls } = witness;
  t.equal(witness.outcomes.get('introduced'), permittedCalls, 'every permitted call is accepted');
  t.strictSame([...witness.outcomes.keys()].toSorted(), ['introduced', 'refused']);
  t.comment(`${broker.acts} messages added, ${permittedCalls} permitted calls`);
});

t.test('the same seed does the same', async (t) => {
  const [one, two] = [1, 2].map(() => {
    const town = new HostileTown(7);
    town.suffer(FEW_ACTS);
    return Buffer.concat(town.broker.memory);
  });
  t.ok(one.length > 0 && one.equals(two));
});

t.test(
  'with a cipher that is none, forgeries are noticed, and names and keys are found',
  async (t) => {
    const town = new HostileTown(7, { isSealed: false });
    town.suffer(FEW_ACTS);
    t.ok(town.witness.failures.length > 0);
    const { memory } = town.broker;
    t.ok(found(memory, namesOf(town)) > 0);
    t.ok(found(memory, halves(town.truth.sessionKeys.values())) > 0);
  },
);

function hitsOf({ broker }: HostileTown, fault: (typeof FAULTS)[number]): number {
  return broker.tallies.get(fault)?.hit ?? 0;
}

function namesOf({ stations }: HostileTown): readonly Uint8Array[] {
  return stations.map(({ name }) => Buffer.from(name));
}

/** Private keys, secrets and derived keys, what was said, and names: nowhere in its memory. */
function lookForKeys(t: Test, town: HostileTown): void {
  const { truth, broker, contents, house } = town;
  const { memory } = broker;
  const names = namesOf(town);
  const said = [...contents.values()];
  const sessionKeys = halves(truth.sessionKeys.values());
  const keys = [...halves(truth.secrets.values()), ...sessionKeys];
  t.ok(sessionKeys.length > 0 && said.length > 0);
  const all = [...keys, ...said, ...names];
  t.equal(found(memory, all), 0, 'session keys, seal keys, all others, content, names');
  const planted = [sessionKeys[0], keys[0], said[0], names[0]].map((needle) =>
    Buffer.concat([memory[5], needle, memory[6]]),
  );
  t.equal(found([...memory, ...planted], all), 4, 'the same search finds what is there');
  t.equal(found(house.disk, keys), 0, 'nor is a key in the log');
  t.ok(found(house.disk, names) > 0, 'where the names are');
  const bytes = memory.reduce((sum, { length }) => sum + length, 0);
  t.comment(
    `looked for ${keys.length / 2} keys, by halves, in ${memory.length} messages, ${bytes} bytes`,
  );
}

/** The figures of docs/proof.md. */
function tell(t: Test, town: HostileTown): void {
  const { broker, witness, truth } = town;
  const faults = FAULTS.map((fault) => {
    const { tried, hit, refused } = broker.tallies.get(fault) ?? { tried: 0, hit: 0, refused: 0 };
    return `${fault} ${tried}/${hit}/${refused}`;
  });
  t.comment(`${broker.acts} hostile acts: done/met somebody/counted as a fault by whom they met`);
  t.comment(faults.join(', '));
  const seconds = Math.round(town.now / MICROS_PER_SECOND);
  t.comment(
    `${seconds} s, ${town.reboots} reboots, ${town.house.restarts} restarts, ${town.orders} orders`,
  );
  t.comment(`calls: ${[...witness.outcomes].map(([why, times]) => `${why} ${times}`).join(', ')}`);
  t.comment(`${witness.begun} sessions, ${witness.established} ends of talks established`);
  const late = (witness.longestBeyond / MICROS_PER_SECOND).toFixed(1);
  t.comment(`the latest end of a call: ${late} s after its wait`);
  t.comment(`opened: ${[...truth.opened].map(([kind, times]) => `${kind} ${times}`).join(', ')}`);
}
