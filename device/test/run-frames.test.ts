// The frames of a run: whatever a hook says comes out as it went in, in pieces of any size, and any
// bytes at all are read or refused.

import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  type RunOutcome,
  RunFrameReader,
  encodeOutcome,
  encodeOutput,
} from '../services/run-frames.ts';

const outcome = fc.oneof(
  fc.record({ kind: fc.constant('exited' as const), code: fc.nat({ max: 255 }) }),
  fc.record({ kind: fc.constant('killed' as const), signal: fc.integer({ min: 1, max: 64 }) }),
  fc.record({
    kind: fc.constant('notRun' as const),
    why: fc.constantFrom('no-hook' as const, 'hook-busy' as const, 'hook-not-started' as const),
  }),
);
const said = fc.array(
  fc.record({
    kind: fc.constantFrom('stdout' as const, 'stderr' as const),
    bytes: fc.uint8Array({ maxLength: 300 }),
  }),
  { maxLength: 20 },
);

/** Reads a stream of frames in pieces of one size. */
function readIn(
  pieces: number,
  stream: Uint8Array,
): { readonly stdout: Buffer; readonly stderr: Buffer; readonly outcomes: RunOutcome[] } | 'bad' {
  const reader = new RunFrameReader();
  const out: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] };
  const outcomes: RunOutcome[] = [];
  for (let at = 0; at < stream.length; at += pieces) {
    const frames = reader.read(stream.subarray(at, at + pieces));
    if (frames === 'bad') return 'bad';
    for (const frame of frames) {
      if (frame.kind === 'outcome') outcomes.push(frame.outcome);
      else out[frame.kind].push(Buffer.from(frame.bytes));
    }
  }
  return { stdout: Buffer.concat(out.stdout), stderr: Buffer.concat(out.stderr), outcomes };
}

t.test('what was said and how it ended come out as they went in', async (t) => {
  fc.assert(
    fc.property(said, outcome, fc.integer({ min: 1, max: 90 }), (parts, end, pieces) => {
      const frames = parts.map(({ kind, bytes }) => encodeOutput(kind, bytes));
      const read = readIn(pieces, Buffer.concat([...frames, encodeOutcome(end)]));
      if (read === 'bad') return false;
      const wanted = (kind: 'stdout' | 'stderr'): Buffer =>
        Buffer.concat(parts.filter((part) => part.kind === kind).map(({ bytes }) => bytes));
      const [told] = read.outcomes;
      return (
        read.stdout.equals(wanted('stdout')) &&
        read.stderr.equals(wanted('stderr')) &&
        read.outcomes.length === 1 &&
        isDeepStrictEqual(told, { ...end })
      );
    }),
    { numRuns: 300 },
  );
  const long = Buffer.alloc(200_000, 7);
  const read = readIn(64_000, encodeOutput('stdout', long));
  t.ok(read !== 'bad' && read.stdout.equals(long), 'more than one frame holds');
});

t.test('any bytes are read or refused', async (t) => {
  // Small values too, so that lengths are often such as end within.
  const anyBytes = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.uint8Array({ max: 6, maxLength: 400 }),
  );
  let refused = 0;
  fc.assert(
    fc.property(anyBytes, fc.integer({ min: 1, max: 50 }), (bytes, at) => {
      if (readIn(at, bytes) === 'bad') refused += 1;
    }),
    { numRuns: 1_000 },
  );
  t.ok(refused > 0 && refused < 1_000, `${refused} of 1000 were refused`);
});
