// The statement about the server's TLS keys, over
// starts with the same and with other keys.

import t from 'tap';
import { openEnrolResponse } from '../../protocol/identity/enrolment.ts';
import { openServerKeys } from '../../protocol/identity/server-keys.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { World } from './virtual-manager.ts';

const pin = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

/** A manager that starts: the first one, with its keys still to be told. */
function started(...pins: readonly Uint8Array[]): World {
  const world = new World({ pins });
  world.restart(1_000);
  return world;
}

const statement = (world: World) => {
  const { serverKeys } = world.manager;
  return serverKeys && openServerKeys(nodeSuite, world.key.publicKey, serverKeys);
};

t.test(
  'the keys that terminals meet are signed, on disk, and told wherever they ask',
  async (t) => {
    const world = started(pin(1), pin(2));
    t.match(statement(world), { pins: [pin(1), pin(2)] });
    t.strictSame(world.table('meta').get('server-keys'), world.manager.serverKeys);
    const terminal = world.stranger('TERM1');
    const { bytes } = world.reply(world.enrol(terminal, world.ticket()), 'enrolled');
    const check = { managerKey: world.key.publicKey, ed25519: terminal.keys.ed25519 };
    const response = openEnrolResponse(nodeSuite, bytes, check);
    t.strictSame(response?.serverKeys, world.manager.serverKeys);
    t.strictSame(response?.agreementKey, world.agreementKey.publicKey);
    world.up(terminal, world.registerMessage(terminal));
    t.strictSame(world.last('registered').serverKeys, world.manager.serverKeys);
  },
);

t.test('a start with the same keys says the same', async (t) => {
  const world = started(pin(1), pin(2));
  const { serverKeys } = world.manager;
  world.restart(1_000);
  t.strictSame(world.manager.serverKeys, serverKeys);
  t.ok(serverKeys);
});

t.test(
  'another key is a new statement with a higher sequence, the last ones behind it',
  async (t) => {
    const world = started(pin(1), pin(2));
    const seen = [statement(world)?.sequence ?? 0];
    const change = (pins: readonly Uint8Array[], expected: readonly Uint8Array[]): void => {
      world.settings = { pins };
      world.restart(1_000);
      t.strictSame(statement(world)?.pins, expected);
      seen.push(statement(world)?.sequence ?? 0);
    };
    change([pin(3), pin(2)], [pin(3), pin(2), pin(1)]);
    change([pin(4), pin(2)], [pin(4), pin(2), pin(3), pin(1)]);
    world.wallShiftMs = -365 * 86_400_000;
    change([pin(5), pin(2)], [pin(5), pin(2), pin(4), pin(3)].slice(0, LIMITS.serverKeysMax));
    world.wallShiftMs = 0;
    change([pin(3), pin(2)], [pin(3), pin(2), pin(5), pin(4)]);
    t.strictSame(
      seen,
      [...new Set(seen)].sort((a, b) => a - b),
      'whatever the clock does',
    );
  },
);

t.test('after a theft former keys are forgotten: no statement names them any more', async (t) => {
  const world = started(pin(1));
  const seen = [statement(world)?.sequence ?? 0];
  const start = (forgetKeys: boolean, inUse: Uint8Array, expected: readonly Uint8Array[]): void => {
    world.settings = { pins: [inUse], forgetKeys };
    world.restart(1_000);
    t.strictSame(statement(world)?.pins, expected);
    seen.push(statement(world)?.sequence ?? 0);
  };
  start(true, pin(2), [pin(2)]);
  start(false, pin(3), [pin(3), pin(2)]);
  start(true, pin(3), [pin(3)]);
  t.strictSame(
    seen,
    [...new Set(seen)].sort((a, b) => a - b),
    'each is a newer statement',
  );
  start(true, pin(3), [pin(3)]);
  t.equal(seen.at(-1), seen.at(-2), 'and nothing new to say is no new statement');
  world.input({ kind: 'pins', pins: [pin(4)] });
  t.strictSame(statement(world)?.pins, [pin(4)], 'nor is one kept that changes while it runs');
});

t.test('a key that changes while the manager runs is told from then on', async (t) => {
  const world = started(pin(1), pin(2));
  const before = statement(world)?.sequence ?? 0;
  world.disk = 'hold';
  world.input({ kind: 'pins', pins: [pin(1), pin(7)] });
  t.match(statement(world), { sequence: before, pins: [pin(1), pin(2)] });
  world.flush();
  t.match(statement(world)?.pins, [pin(1), pin(7), pin(2)]);
  t.ok((statement(world)?.sequence ?? 0) > before);
  world.input({ kind: 'pins', pins: [pin(1), pin(7)] });
  t.equal(world.batches.length, 0, 'said once');
});

t.test('nobody hears of a statement that is not on disk', async (t) => {
  const world = new World({ pins: [pin(1)] });
  world.disk = 'full';
  world.restart(1_000);
  t.equal(statement(world), undefined);
  world.disk = 'works';
  world.advance(2_000);
  t.match(statement(world)?.pins, [pin(1)]);
});

t.test('without TLS there is no statement', async (t) => {
  const world = started();
  world.terminal('TERM1');
  t.equal(world.manager.serverKeys, undefined);
  t.notOk(world.table('meta').has('server-keys'));
});

t.test(
  'a stored statement that was tampered with is counted, and replaced by a newer one',
  async (t) => {
    const world = started(pin(1));
    const before = statement(world)?.sequence ?? 0;
    const row = Uint8Array.from(world.table('meta').get('server-keys') ?? []);
    row[20] ^= 1;
    world.table('meta').set('server-keys', row);
    world.restart(5_000);
    t.equal(world.manager.counts.malformed, 1);
    t.match(statement(world)?.pins, [pin(1)]);
    t.ok((statement(world)?.sequence ?? 0) > before);
  },
);
