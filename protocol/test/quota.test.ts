// The credit meter: the first shares, and each rule by itself. Two meters over a link that is not
// honest about order and number are in quota-link.test.ts.

import fc from 'fast-check';
import t from 'tap';

import { METER_LIMITS } from '../data/limits.ts';
import { Meter, type Quota, firstShare } from '../data/quota.ts';

const { calleeCreditBytes: CALLEE, reserveBytes: RESERVE, wantBytes: WANT } = METER_LIMITS;
const MAX = Number.MAX_SAFE_INTEGER;

const frameOf = (meter: Meter): Quota => {
  const frame = meter.pollQuota();
  if (frame === undefined) throw new Error('no frame is due');
  return frame;
};

/** Hands frames to and fro until neither has one; returns how many there were. */
function settle(a: Meter, b: Meter): number {
  for (let frames = 0; frames < 1000;) {
    const [fromA, fromB] = [a.pollQuota(), b.pollQuota()];
    if (fromA === undefined && fromB === undefined) return frames;
    if (fromA !== undefined && ++frames > 0) t.ok(b.onQuota(fromA));
    if (fromB !== undefined && ++frames > 0) t.ok(a.onQuota(fromB));
  }
  throw new Error('a storm of frames');
}

/** Sends what may be sent now, and delivers it. */
function sendAll(from: Meter, to: Meter): number {
  const bytes = from.available();
  from.spend(bytes);
  to.onReceived(bytes);
  return bytes;
}

t.test('claim 15: the first shares sum to the total and grow with it', async (t) => {
  const table: readonly (readonly [number, number])[] = [
    [0, 0],
    [1, 0],
    [3, 0],
    [4, 1],
    [1000, 250],
    [CALLEE * 4, CALLEE],
    [CALLEE * 4 + 4, CALLEE],
    [MAX, CALLEE],
  ];
  for (const [total, callee] of table) t.equal(firstShare('callee', total), callee, `of ${total}`);
  const total = fc.oneof(fc.nat(CALLEE * 8), fc.maxSafeNat());
  fc.assert(
    fc.property(total, total, (one, other) => {
      const [low, high] = [Math.min(one, other), Math.max(one, other)];
      return (
        firstShare('caller', low) + firstShare('callee', low) === low &&
        firstShare('caller', low) <= firstShare('caller', high) &&
        firstShare('callee', low) <= firstShare('callee', high)
      );
    }),
  );
});

t.test('claim 15: one end alone uses the grant up to the byte', async (t) => {
  for (const role of ['caller', 'callee'] as const) {
    for (const total of [1, 2, 3, 5, 1000, 300_000, 5_000_000]) {
      const sender = new Meter(role, total);
      const idle = new Meter(role === 'caller' ? 'callee' : 'caller', total);
      sender.want(MAX);
      let frames = 0;
      for (let round = 0; round < 20 && !sender.exhausted(); round++) {
        sendAll(sender, idle);
        frames += settle(sender, idle);
      }
      t.ok(sender.exhausted(), `${role} of ${total}`);
      t.equal(sender.spent, total);
      t.equal(sender.available(), 0);
      t.equal(idle.usedTotal(), total);
      t.notOk(idle.exhausted(), 'the idle one has nothing more to send');
      t.ok(frames <= 12, `${frames} frames`);
    }
  }
});

t.test('claim 15: what fits the credit asks nobody', async (t) => {
  const caller = new Meter('caller', 1000);
  caller.want(700);
  t.equal(caller.pollQuota(), undefined);
  caller.spend(700);
  t.equal(caller.available(), 50);
  t.equal(caller.pollQuota(), undefined);
  caller.want(51);
  t.same(frameOf(caller), { revision: 0, given: 0, wanted: WANT, spare: 50 });
  caller.want(5000);
  t.equal(caller.pollQuota(), undefined, 'asked once');
  t.throws(() => caller.spend(51), { code: 'assertion' });
  caller.onQuotaLost();
  t.same(frameOf(caller), { revision: 0, given: 0, wanted: WANT, spare: 50 }, 'lost: again');
});

t.test('claim 15: an idle end gives all, one with bytes waiting gives half', async (t) => {
  const ask = { revision: 0, given: 0, wanted: WANT, spare: 0 };
  const gift = (waiting: number, total: number): number => {
    const giver = new Meter('caller', total);
    giver.want(waiting);
    giver.onQuota(ask);
    const { given } = frameOf(giver);
    t.equal(giver.available(), firstShare('caller', total) - given, 'it is gone here');
    return given;
  };
  t.equal(gift(0, 1000), 750);
  t.equal(gift(1, 1000), 375);
  t.equal(gift(1, 1001), 376, 'rounded up');
  t.equal(gift(1, 1), 1, 'so that a last byte moves');
  t.equal(gift(0, 10_000_000), 10_000_000 - CALLEE - RESERVE, 'but for a reserve');
  t.equal(gift(0, MAX), WANT - 1, 'never so much that it could be taken for a want');
});

t.test('claim 15: frames are harmless when repeated, late or out of order', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  b.want(MAX);
  const ask = frameOf(b);
  a.onQuota(ask);
  const gift = frameOf(a);
  for (let i = 0; i < 3; i++) {
    a.onQuota(ask);
    t.equal(a.pollQuota(), undefined, 'one ask, one gift');
  }
  b.onQuota(gift);
  b.onQuota(gift);
  t.equal(b.available(), 1000);
  b.onQuota({ ...gift, given: 0 });
  t.equal(b.available(), 1000, 'an older one takes nothing back');
  b.spend(1000);
  a.onQuota(frameOf(b));
  a.onQuota(ask);
  a.want(1);
  t.ok(a.exhausted(), 'what has arrived stays arrived');
});

t.test('claim 15: an idle end without credit says so when asked, once', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  b.spend(250);
  t.equal(b.pollQuota(), undefined, 'nobody asked');
  a.want(MAX);
  a.spend(750);
  const ask = frameOf(a);
  t.notOk(a.exhausted(), 'the 250 bytes, datagrams, got lost: who knows');
  b.onQuota(ask);
  a.onQuota(frameOf(b));
  t.ok(a.exhausted());
  b.onQuota(ask);
  t.equal(b.pollQuota(), undefined);
});

t.test('claim 15: two busy ends share evenly, and again when one runs dry', async (t) => {
  const [a, b] = [new Meter('caller', 1001), new Meter('callee', 1001)];
  for (const meter of [a, b]) meter.want(MAX);
  settle(a, b);
  t.same([a.available(), b.available()], [500, 501]);
  a.spend(500);
  settle(a, b);
  t.same([a.available(), b.available()], [250, 251]);
  b.spend(251);
  settle(a, b);
  t.same([a.available(), b.available()], [125, 125]);
});

t.test('claim 15: an end that runs dry asks again of a busy one that wants nothing', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  b.want(10);
  a.want(MAX);
  settle(a, b);
  t.same([a.available(), b.available()], [750, 250], 'the other has less');
  a.spend(750);
  settle(a, b);
  t.same([a.available(), b.available()], [125, 125]);
});

t.test('claim 15: a question that overtakes an older frame is not forgotten', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  a.want(MAX);
  t.ok(a.onQuota({ revision: 0, given: 0, wanted: WANT, spare: 250 }));
  t.equal(frameOf(a).given, 250);
  a.onQuotaLost();
  const idle = { revision: 0, given: 0, wanted: 0, spare: 250 };
  t.ok(b.onQuota({ ...idle, wanted: WANT, spare: 0 }));
  t.ok(b.onQuota({ ...idle, spare: 0 }), 'sent before, came after');
  t.ok(b.onQuota(idle), 'sent before that');
  t.equal(frameOf(b).given, 250);
  const used = new Meter('callee', 1000);
  used.spend(250);
  t.ok(used.onQuota({ ...idle, revision: 1, wanted: WANT, spare: 0 }));
  t.ok(used.onQuota({ ...idle, revision: 1, spare: 0 }));
  used.extend(1, 2000);
  t.equal(frameOf(used).given, 250, 'and is answered when there is something to give');
});

t.test('claim 15: exhausted is said only when no credit is under way', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  b.want(250);
  sendAll(b, a);
  b.want(100);
  const ask = frameOf(b);
  a.want(750);
  a.onQuota(ask);
  const gift = frameOf(a);
  t.equal(gift.given, 375);
  sendAll(a, b);
  a.want(10);
  t.notOk(a.exhausted(), 'the gift may come back');
  b.onQuota(gift);
  t.notOk(b.exhausted());
  sendAll(b, a);
  t.ok(a.exhausted(), 'every byte of the grant went through here');
  settle(a, b);
  b.want(1);
  t.ok(b.exhausted());
  t.equal(a.spent + b.spent, 1000);
});

t.test('claim 15: DATAGRAM payload that got lost is used up all the same', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  a.want(MAX);
  b.want(MAX);
  for (let round = 0; round < 40; round++) {
    for (const meter of [a, b]) meter.spend(meter.available());
    settle(a, b);
  }
  t.same([a.usedTotal() + b.usedTotal(), a.exhausted(), b.exhausted()], [1000, true, true]);
});

t.test('S5006: a new expiry counts once, in total, and the higher revision holds', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  for (const meter of [a, b]) meter.want(MAX);
  for (let round = 0; round < 40; round++) {
    sendAll(a, b);
    sendAll(b, a);
    settle(a, b);
  }
  t.ok(a.exhausted() && b.exhausted());
  a.extend(2, 3000);
  t.notOk(a.exhausted());
  a.extend(1, 2000);
  a.extend(2, 9000);
  t.equal(a.total, 3000);
  for (let round = 0; round < 40; round++) {
    sendAll(a, b);
    settle(a, b);
  }
  t.notOk(a.exhausted(), 'the peer has not told yet what it makes of it');
  b.extend(2, 3000);
  for (let round = 0; round < 40; round++) {
    sendAll(a, b);
    sendAll(b, a);
    settle(a, b);
  }
  t.ok(a.exhausted() && b.exhausted());
  t.equal(a.spent + b.spent, 3000);
});

t.test('S5006: a total below what is spent takes nothing back', async (t) => {
  const a = new Meter('caller', 1000);
  a.want(MAX);
  a.spend(700);
  const unspent = new Meter('caller', 1000);
  unspent.extend(1, 500);
  t.equal(unspent.available(), 375, 'a lower total holds at once');
  a.extend(1, 500);
  t.equal(a.spent, 700);
  t.equal(a.available(), 0);
});

t.test('S5006: what an expiry adds is used when both ends have it', async (t) => {
  for (const total of [3000, undefined]) {
    const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
    a.extend(1, total);
    t.equal(a.available(), 750);
    settle(a, b);
    t.equal(a.available(), 750, 'announced, not answered');
    b.extend(1, total);
    t.equal(b.available(), total === undefined ? Infinity : 750, 'the peer has it already');
    settle(a, b);
    t.equal(a.available(), total === undefined ? Infinity : 2250);
    t.equal(settle(a, b), 0);
    a.want(2000);
    a.spend(2000);
    b.onReceived(2000);
    t.notOk(a.exhausted() || b.isOverdrawn());
  }
});

t.test('S5006: revisions that an end missed do not matter', async (t) => {
  const [a, b] = [new Meter('caller', 1000), new Meter('callee', 1000)];
  a.extend(1, 2000);
  b.extend(2, 4000);
  settle(a, b);
  t.same([a.available(), b.available()], [1500, 250], 'each by what the other has, too');
  a.extend(2, 4000);
  settle(a, b);
  t.same([a.available(), b.available()], [3000, 1000]);
});

t.test('claim 15: a meter without a limit neither asks nor gives', async (t) => {
  const meter = new Meter('caller', undefined);
  meter.want(MAX);
  meter.spend(1_000_000_000);
  t.equal(meter.available(), Infinity);
  t.ok(meter.onQuota({ revision: 0, given: 0, wanted: WANT, spare: 0 }));
  t.equal(meter.pollQuota(), undefined);
  t.notOk(meter.exhausted() || meter.isOverdrawn());
});

t.test('claim 15: a lying peer gets no byte beyond the grant out of an honest end', async (t) => {
  const honest = new Meter('callee', 1000);
  honest.want(MAX);
  t.notOk(honest.onQuota({ revision: 0, given: 751, wanted: 0, spare: 0 }), 'it began with 750');
  t.ok(honest.onQuota({ revision: 0, given: 750, wanted: 0, spare: 250 }), 'what it has spent');
  t.equal(honest.available(), 1000);
  honest.onReceived(400);
  t.equal(honest.available(), 600);
  honest.spend(600);
  t.equal(honest.available(), 0);
  t.ok(honest.exhausted());
  t.notOk(honest.isOverdrawn());
  honest.onReceived(1);
  t.ok(honest.isOverdrawn(), 'and is found out when it overdraws');
});

t.test('claim 15: frames that no honest peer sends are refused', async (t) => {
  const meter = new Meter('caller', 1000);
  const good = { revision: 0, given: 0, wanted: 0, spare: 0 };
  t.ok(meter.onQuota(good));
  for (const wanted of [1, WANT - 1, WANT + 1, MAX, -1, Number.NaN])
    t.notOk(meter.onQuota({ ...good, wanted }), `wanted ${wanted}`);
  t.notOk(meter.onQuota({ ...good, spare: -1 }));
  t.equal(meter.pollQuota(), undefined);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat(), fc.maxSafeNat())), (frames) => {
      const victim = new Meter('caller', 1000);
      for (const [given, wanted, spare] of frames)
        victim.onQuota({ revision: 0, given, wanted, spare });
      return victim.available() <= 1000 && victim.available() >= 0;
    }),
  );
});
