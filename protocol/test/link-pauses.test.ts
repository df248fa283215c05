// How long a link waits before it is tried again: jittered, doubling, bounded; and how often it is
// tried in a day without a broker.

import fc from 'fast-check';
import t from 'tap';
import { IO_LIMITS } from '../io/limits.ts';
import { LinkPauses } from '../io/link-pauses.ts';

const GONE = { heldMs: undefined, isUnavailable: false };
const DAY_MS = 86_400_000;

t.test('pauses double up to their bound, and are never shorter than half of it', async (t) => {
  const [longest, shortest] = [new LinkPauses(), new LinkPauses()];
  let most: number = IO_LIMITS.linkRetryFirstMs;
  for (let failure = 0; failure < 40; failure++) {
    const long = longest.next({ ...GONE, fraction: 1 - 2 ** -32 });
    const short = shortest.next({ ...GONE, fraction: 0 });
    t.ok(long <= most && long > 0.99 * most, `${failure}: ${long} ms of ${most}`);
    t.equal(short, most / 2);
    most = Math.min(2 * most, IO_LIMITS.linkRetryMaxMs);
  }
});

t.test('a broker that is away for a day is tried some thousand times, no more', async (t) => {
  const counts = [0, 0.5, 1 - 2 ** -32].map((fraction) => {
    const pauses = new LinkPauses();
    let count = 0;
    for (let at = 0; at < DAY_MS; at += pauses.next({ ...GONE, fraction })) count += 1;
    return count;
  });
  t.ok(counts[0] < 6_000 && counts[2] > 2_800, counts.join(', '));
});

t.test('any history: within the bounds, and soon again after a link that held', async (t) => {
  const gone = fc.record({
    heldMs: fc.option(fc.nat(10_000), { nil: undefined }),
    isUnavailable: fc.boolean(),
    fraction: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(gone, { maxLength: 60 }), (history) => {
      const pauses = new LinkPauses();
      for (const each of history) {
        const pauseMs = pauses.next(each);
        const { linkRetryFirstMs, linkRetryMaxMs, linkUnavailableMsMax } = IO_LIMITS;
        if (pauseMs < linkRetryFirstMs / 2 || pauseMs > linkRetryMaxMs) return false;
        if (each.isUnavailable && pauseMs > linkUnavailableMsMax) return false;
        const hasHeld = (each.heldMs ?? 0) > 2 * linkRetryFirstMs;
        if (hasHeld && pauseMs > linkRetryFirstMs) return false;
      }
      pauses.reset();
      return pauses.next({ ...GONE, fraction: 0.5 }) < IO_LIMITS.linkRetryFirstMs;
    }),
  );
  t.pass('always');
});
