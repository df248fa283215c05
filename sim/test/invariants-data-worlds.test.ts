// The invariants of the data plane in whole worlds: in those of a few seeds they all hold, and when
// a part of the data plane is made to fail, one of them says so within a few seeds.

import t from 'tap';
import { Connection } from '../../protocol/data/connection.ts';
import { Expiry } from '../../protocol/data/expiry.ts';
import { Meter } from '../../protocol/data/quota.ts';
import { ReceiveStream } from '../../protocol/data/receive-stream.ts';
import { Recovery } from '../../protocol/data/recovery.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { NEVER, after, seconds } from '../../protocol/time.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { dataPlane } from '../invariants/data-plane.ts';
import { SeenFrom } from '../invariants/seen-from.ts';
import { Spoken, type WordHearer } from '../invariants/spoken.ts';
import { drawOptions } from '../options.ts';
import { beginStrikes } from '../strikes.ts';
import { Workload } from '../workload.ts';
import { World } from '../world.ts';
import { foundIn } from './talk-stage.ts';

const SEEDS = 6;
const SEEDS_MAX = 40;
const TERMINALS = 5;
const WORLD_SECONDS = 30;

/** A world of that seed, with the invariants of the data plane alone. */
function run(seed: number): World {
  const options = drawOptions(seededRng(seed));
  const hearsTraces = true;
  const world = new World({ seed, terminals: TERMINALS, options, suite: fastSuite, hearsTraces });
  const seen = new SeenFrom();
  const hearers: WordHearer[] = [seen];
  const talks = dataPlane(world, seen, hearers);
  world.watchers.push(seen, new Spoken(hearers), ...talks);
  const workload = new Workload(world);
  world.open();
  workload.begin();
  beginStrikes(world);
  world.run(after(world.now, seconds(WORLD_SECONDS)));
  return world;
}

t.test('S1006, S4006: in worlds with faults talks deliver, end and fall silent', async (t) => {
  const wanted = ['a talk ended by done', 'datagrams grew', 'a talk ended by time'];
  const marks = new Set<string>();
  // Otherwise nothing was shown: some more worlds, if the first ones had none of it.
  const isShown = (): boolean => wanted.every((mark) => marks.has(mark));
  for (let seed = 0; seed < SEEDS || (seed < SEEDS_MAX && !isShown()); seed++) {
    const says = foundIn(() => {
      for (const mark of run(seed).marks.keys()) marks.add(mark);
    });
    t.equal(says, undefined, `seed ${seed}`);
  }
  for (const mark of wanted) t.ok(marks.has(mark), mark);
});

/** What is found first while a method of a prototype is another one. */
function foundWith<T extends object, Key extends keyof T>(
  prototype: T,
  key: Key,
  change: (own: T[Key]) => PropertyDescriptor,
): string | undefined {
  const own = Object.getOwnPropertyDescriptor(prototype, key);
  if (own === undefined) throw new Error(`there is no ${String(key)}`);
  Object.defineProperty(prototype, key, { ...own, ...change(own.value as T[Key]) });
  try {
    for (let seed = 0; seed < SEEDS_MAX; seed++) {
      const says = foundIn(() => run(seed));
      if (says !== undefined) return says;
    }
  } finally {
    Object.defineProperty(prototype, key, own);
  }
  return undefined;
}

t.test('claim 7: a stream that alters a byte now and then is found', async (t) => {
  let reads = 0;
  const says = foundWith(ReceiveStream.prototype, 'read', (own) => ({
    value(this: ReceiveStream, into: Uint8Array) {
      const length = own.call(this, into);
      if (length > 0 && ++reads % 20 === 0) into[length - 1] ^= 4;
      return length;
    },
  }));
  t.match(says, /^streams: .* is altered/);
});

t.test('claim 14: a talk that never stops is found', async (t) => {
  const says = foundWith(Expiry.prototype, 'deadline', () => ({ get: () => NEVER }));
  t.match(says, /^expiry: /);
});

t.test('claim 15: a meter that takes what is left of the grant for its own is found', async (t) => {
  const says = foundWith(Meter.prototype, 'available', () => ({
    value(this: Meter) {
      return this.total === undefined ? Infinity : Math.max(0, this.total - this.spent);
    },
  }));
  t.match(says, /^quota: /);
});

t.test('S1006: recovery that probes nothing is found', async (t) => {
  const says = foundWith(Recovery.prototype, 'nextTimeout', () => ({ value: () => NEVER }));
  t.match(says, /^recovery: .* probes nothing/);
});

t.test('S1006: an end that answers whatever address asks is found', async (t) => {
  const says = foundWith(Connection.prototype, 'pollTransmit', (own) => {
    let polls = 0;
    return {
      value(this: Connection, ...[now, into]: Parameters<Connection['pollTransmit']>) {
        const transmit = own.call(this, now, into);
        if (transmit === undefined || into[0] !== 4 || ++polls % 50 !== 0) return transmit;
        return { ...transmit, path: { host: '203.0.0.1', port: 9 } };
      },
    };
  });
  t.match(says, /^amplification: .* which has sent 0/);
});

t.test('claim 7: a nonce that is used twice is found, over restarts and clones', async (t) => {
  const options = drawOptions(seededRng(1));
  const world = new World({ seed: 1, terminals: 2, options, suite: fastSuite });
  const nonce = new Uint8Array(12);
  const seal = (owner: string, key: Uint8Array) => (): void =>
    world
      .suiteOf(owner)
      .aead.importKey(key)
      .seal(nonce, new Uint8Array(0), new Uint8Array(64), 0, 32);
  const key = randomBytes(seededRng(2), 32);
  t.equal(foundIn(seal('terminal-0', key)), undefined);
  t.equal(foundIn(seal('terminal-0', randomBytes(seededRng(3), 32))), undefined);
  // Another process, and another machine, with the same name: the key is what counts.
  t.match(foundIn(seal('terminal-0', key)), /^nonces: terminal-0 used a nonce twice/);
});

t.test(
  'claim 7: two clones of a terminal draw other numbers than it, and than each other',
  async (t) => {
    const world = run(0);
    const original = world.terminals[0];
    const clones = [world.clone(original), world.clone(original)];
    for (const clone of clones) clone.start();
    const drawn = [original, ...clones].map((terminal) => String(terminal.password()));
    t.equal(new Set(drawn).size, 3);
  },
);
