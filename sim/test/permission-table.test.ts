// The ground truth and the lists that are written from it: whatever way an owner says it in, a list
// means what the table says. Judged here by the code that judges lists in a terminal.

import fc from 'fast-check';
import t from 'tap';
import { judge, toTravelling } from '../../protocol/consent/allow-list.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { ANY_SERVICE, Permissions } from '../permissions.ts';
import { pick } from '../strikes.ts';

const NOON = { wallMs: 1_800_000_000_000, offsetMinutes: 540 };

function peopled(seed: number, count: number, askShare: number): readonly [Permissions, Person[]] {
  const rng = seededRng(seed);
  const permissions = new Permissions(rng, { askShare });
  const people = Array.from({ length: count }, (_, at): Person => {
    const ed25519 = randomBytes(rng, 32);
    const id = deviceIdOf(fastSuite, { ed25519, x25519: randomBytes(rng, 32) });
    return { name: `terminal-${at}` as Name, id };
  });
  for (const person of people) permissions.add(person);
  permissions.fill(0.5);
  return [permissions, people];
}

interface Person {
  readonly name: Name;
  readonly id: DeviceId;
}

/** Callers whom a callee's list treats otherwise than the table says. */
function disputed(permissions: Permissions, callee: Person, people: readonly Person[]): string[] {
  const list = permissions.listOf(callee.name);
  if (list === undefined) return ['no list'];
  const entries = toTravelling(list, NOON as LocalMoment);
  return people.flatMap(({ name, id }) =>
    ANY_SERVICE.filter((service) => {
      const approved = permissions.ownerSays(callee.name, name);
      const ask = { callerName: name, callerId: id, service, want: {}, approved } as const;
      const { allowed } = judge(entries, { ...ask, kind: 'connect' });
      return name !== callee.name && allowed !== permissions.permits(callee.name, name, service);
    }).map((service) => `${callee.name} ← ${name} (${service})`),
  );
}

t.test('S2004, claim 8: what the lists say is what the table says, after edits too', async (t) => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 2, max: 30 }), (seed, count) => {
      const [permissions, people] = peopled(seed, count, 0.3);
      const wrong = (): string[] => people.flatMap((each) => disputed(permissions, each, people));
      t.strictSame(wrong(), [], `seed ${seed}, ${count} terminals`);
      const rng = seededRng(seed + 1);
      for (let edit = 0; edit < 20; edit++) {
        const [callee, caller] = [pick(rng, people), pick(rng, people)];
        permissions.edit(callee.name, caller.name, edit % 2 === 0);
        if (callee !== caller)
          t.equal(permissions.of(callee.name, caller.name) !== undefined, edit % 2 === 0);
      }
      t.strictSame(wrong(), [], `seed ${seed}, edited`);
    }),
    { numRuns: 15 },
  );
});

t.test(
  'both answers are common, in a crowd each knows a few, and lists differ in kind',
  async (t) => {
    const [permissions, people] = peopled(1, 200, 0.2);
    const rows = people.flatMap(({ name }) =>
      permissions.acquaintances(name).map((b) => [name, b]),
    );
    t.ok(rows.length < 200 * 10);
    const allowed = rows.filter(([callee, caller]) => permissions.of(callee, caller) !== undefined);
    t.ok(allowed.length > 0.35 * rows.length && allowed.length < 0.65 * rows.length);
    const entries = people.flatMap(({ name }) => permissions.listOf(name)?.entries ?? []);
    for (const is of [
      entries.some(({ action }) => action === 'deny'),
      entries.some(({ id }) => id !== undefined),
      entries.some(({ ask }) => ask === true),
      entries.some(({ services }) => services?.length === 1),
      entries.some(({ bytes }) => bytes !== undefined),
    ])
      t.ok(is);
  },
);
