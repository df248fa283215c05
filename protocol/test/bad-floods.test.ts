// A proven peer that floods (issue 4, the last section): whatever it repeats, this end holds little
// memory, does little work for each datagram, answers with less than it gets, and the talk goes on
// or ends as it must. 1 000 datagrams of each kind here, a million in `make prove`.

import t from 'tap';
import { dose } from './dose.ts';
import type { Flood } from './bad-peer-floods.ts';
import { FLOODS } from './bad-peer-floods.ts';
import { heldBytes } from './memory.ts';
import { MisbehavingPeer } from './misbehaving-peer.ts';
import { after, ms } from '../time.ts';

const DATAGRAMS = dose(1_000, 1_000);
const EVERY_MS = 0.02;
/** Steps of the core for each datagram: what arrived, what leaves, an event, two polls. */
const STEPS = 5;
/** What a talk may come to hold at the hands of its peer, beside its windows. */
const MEMORY_BYTES = 12 * 1024 * 1024;
/** Answers that do not come of the flood: repeated probes, CLOSEs, what was under way. */
const SPARE_ANSWERS = 60;
const SPARE_BYTES = 64 * 1024;

interface Outcome {
  readonly heldBytes: number;
  /** Wall time of the core alone, for each datagram. */
  readonly micros: number;
}

const base = heldBytes();

function run(peer: MisbehavingPeer, flood: Flood, datagrams: number): Outcome {
  flood.prepare?.(peer);
  peer.work = { datagramsIn: 0, bytesIn: 0, datagramsOut: 0, bytesOut: 0, steps: 0, events: 0 };
  const every = ms(flood.everyMs ?? EVERY_MS);
  let spent = 0n;
  for (let i = 0; i < datagrams; i++) {
    const packet = flood.next(peer, i);
    peer.now = after(peer.now, every);
    const began = process.hrtime.bigint();
    peer.deliver(packet);
    if (peer.victim.nextTimeout() <= peer.now) {
      peer.victim.handleTimeout(peer.now);
      peer.hear();
    }
    spent += process.hrtime.bigint() - began;
    if (flood.acknowledges === true) peer.acknowledge();
  }
  let held = heldBytes() - base;
  // Buffers are freed behind the collection: it may take another one.
  if (held > MEMORY_BYTES) held = heldBytes() - base;
  return { heldBytes: held, micros: Number(spent) / 1000 / datagrams };
}

for (const [name, flood] of Object.entries(FLOODS)) {
  t.test(`flood: ${name} (${flood.rule})`, async (t) => {
    const peer = new MisbehavingPeer(flood.options);
    const outcome = run(peer, flood, Math.max(DATAGRAMS, flood.least ?? 0));
    const { work } = peer;
    const held = Math.round(outcome.heldBytes / 1024);
    const each = (count: number, of: number): string => (count / of).toFixed(2);
    t.comment(`${name}: ${outcome.micros.toFixed(1)} µs for each, ${held} KiB held`);
    t.comment(
      `for each: ${each(work.datagramsOut, work.datagramsIn)} left, ` +
        `${each(work.bytesOut, work.bytesIn)} bytes, ${each(work.steps, work.datagramsIn)} steps`,
    );
    t.equal(peer.reason, flood.ends);
    t.equal(flood.check?.(peer), undefined);
    t.ok(peer.endedTimes <= 1);
    t.ok(outcome.heldBytes < MEMORY_BYTES, `holds ${held} KiB`);
    t.ok(work.steps <= STEPS * work.datagramsIn + 10 * SPARE_ANSWERS, 'work');
    t.ok(work.datagramsOut <= (flood.answers ?? 1) * work.datagramsIn + SPARE_ANSWERS, 'answers');
    t.ok(work.bytesOut <= (flood.amplification ?? 3) * work.bytesIn + SPARE_BYTES, 'bytes');
    if (flood.ends !== undefined) return;
    peer.nextNumber = Math.max(peer.nextNumber, peer.largestSaid) + 1;
    peer.isDeaf = false;
    t.ok(peer.victimReceives(500), 'it still receives');
    if (flood.takesCredit !== true) t.ok(peer.victimSends(20_000), 'it still sends');
    t.equal(peer.reason, undefined);
  });
}
