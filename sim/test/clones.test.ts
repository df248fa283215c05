// A terminal's home that is copied: started beside the original it raises an alarm, and one of the
// two is kept at most. A home that was copied before it ever enrolled is nobody yet, and its copies
// become two terminals. Real servers, real TLS, real files.

import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { Agent } from '../../device/agent.ts';
import { enrol } from '../../device/shell/enrol.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { answerWithHash } from '../fleet/fleet.ts';
import { type Town, allowing, openTown } from '../fleet/town.ts';

const HASH_BYTES = 32;
/** They throw one another out at first, and wait longer each time. */
const PATIENCE_MS = 60_000;

/** A town whose servers' and terminals' errors are heard, by their event. */
async function loudTown(t: Test): Promise<{ town: Town; errors: string[] }> {
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (event) => void errors.push(event) };
  const town = await openTown({ log });
  t.teardown(() => town.close());
  return { town, errors };
}

/** A copy of a home in which nobody is at work. */
async function copyOf(home: string, which: number): Promise<string> {
  const copy = `${home}-${which}`;
  await cp(home, copy, { recursive: true });
  return copy;
}

const isIn = (agent: Agent): boolean => agent.status().registered;
const isAway = (agent: Agent): boolean =>
  agent.status().link === 'down' && /another terminal/.test(agent.status().troubles.link ?? '');

async function answers(t: Test, caller: Agent, to: string): Promise<void> {
  const session = await caller.call({ to, service: 'echo-hash' });
  const stream = session.openStream();
  stream.end(Buffer.alloc(100));
  t.equal((await buffer(stream)).length, HASH_BYTES);
  session.finish('done');
  await session.ended;
}

for (const copies of IS_PROOF ? [1, 3] : [1]) {
  t.test(`S2000: ${copies} beside the original: an alarm, and the original stays`, async (t) => {
    const { town, errors } = await loudTown(t);
    const home = await town.enrol('TERM1', allowing('TERM3'));
    const disks: string[] = [];
    for (let copy = 1; copy <= copies; copy++) disks.push(await copyOf(home, copy));
    const caller = await town.start(await town.enrol('TERM3', ''));
    const original = await town.start(home);
    original.onIncoming(answerWithHash);
    t.strictSame(errors, []);
    const clones: Agent[] = [];
    for (const disk of disks) clones.push(await town.begin(disk));
    await until(() => clones.every(isAway), 'every copy to be sent away', PATIENCE_MS);
    await until(() => isIn(original), 'the original to be kept', PATIENCE_MS);
    t.notOk(clones.some(isIn));
    t.equal(town.broker.stats().connected, 2, 'the original and its caller: nobody else');
    t.match(original.status().troubles, { link: undefined });
    const devices = town.manager.operations.devices();
    t.type(devices.find(({ name }) => name === 'TERM1')?.cloned, 'string', '`devices` shows it');
    t.equal(devices.find(({ name }) => name === 'TERM3')?.cloned, null);
    const entries = await town.manager.operations.log({});
    t.match(
      entries.filter(({ kind }) => kind === 'cloned'),
      [{ name: 'TERM1', device: original.id }],
      'and the log, once',
    );
    t.equal(errors.filter((event) => event === 'cloned').length, copies + 1, 'both ends are loud');
    await answers(t, caller, 'TERM1');
  });
}

t.test('S2000: a copy that is started while the original is off; then both', async (t) => {
  const { town } = await loudTown(t);
  const home = await town.enrol('TERM1', '');
  const before = await town.start(home);
  await before.stop();
  const copy = await town.start(await copyOf(home, 1));
  t.equal(town.manager.operations.devices()[0].cloned, null, 'so far it is a restart');
  const original = await town.begin(home);
  await until(() => [copy, original].some(isAway), 'one of them to be sent away', PATIENCE_MS);
  await until(() => [copy, original].some(isIn), 'the other one to be kept', PATIENCE_MS);
  t.equal([copy, original].filter(isIn).length, 1);
  t.type(town.manager.operations.devices()[0].cloned, 'string', 'and the operator is told');
});

for (const tried of [false, true]) {
  const when = tried ? 'after an enrolment that failed' : 'before any enrolment';
  t.test(`S2000: an image copied ${when}: two machines, two terminals`, async (t) => {
    const { town, errors } = await loudTown(t);
    const image = join(town.folder, 'image');
    await mkdir(image);
    const parts = { suite: nodeSuite, rng: entropy };
    const ticketFor = async (name: string): Promise<string> =>
      (await town.manager.operations.ticket({ name, uses: 1, forSeconds: 60 })).ticket;
    if (tried) {
      const used = await ticketFor('OTHER');
      await enrol({ ...parts, home: join(town.folder, 'other'), ticket: used, name: undefined });
      const machine = 'a'.repeat(64);
      await t.rejects(enrol({ ...parts, home: image, ticket: used, name: undefined, machine }), {
        code: 'ticket-invalid',
      });
      t.ok((await readdir(image)).includes('identity.json'), 'there are keys in it');
    }
    const agents: Agent[] = [];
    for (const [name, mark] of [
      ['TERM1', 'b'],
      ['TERM2', 'c'],
    ] as const) {
      const home = join(town.folder, name);
      await cp(image, home, { recursive: true });
      const ticket = await ticketFor(name);
      const machine = mark.repeat(64);
      await enrol({ ...parts, home, ticket, name: name as Name, machine });
      agents.push(await town.start(home));
    }
    const [one, two] = agents;
    t.not(one.id, two.id, 'each made keys of its own');
    t.ok(isIn(one) && isIn(two), 'and both are there');
    const ids = town.manager.operations.devices().map(({ id }) => id);
    t.ok(ids.includes(one.id) && ids.includes(two.id));
    t.strictSame(errors, [], 'nobody is alarmed');
    await rm(image, { recursive: true });
  });
}
