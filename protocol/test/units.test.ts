// Sizes, times and moments as people write them: read exactly or refused with what was wanted, and
// written back for a person.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import { LIMITS } from '../limits.ts';
import { wallMs } from '../time.ts';
import {
  type LocalMoment,
  formatDuration,
  formatSize,
  isUntil,
  parseDuration,
  parseSize,
  parseUntil,
} from '../units.ts';

t.test('sizes are read in powers of ten and of two', async (t) => {
  const rows: readonly (readonly [string, number])[] = [
    ['12345', 12_345],
    ['0', 0],
    ['7B', 7],
    ['1kB', 1_000],
    ['1KB', 1_000],
    ['1KiB', 1_024],
    ['200MB', 200_000_000],
    ['200MiB', 209_715_200],
    ['1.5GB', 1_500_000_000],
    ['0.1MB', 100_000],
    ['2TiB', 2_199_023_255_552],
  ];
  for (const [text, bytes] of rows) t.equal(parseSize(text), bytes, text);
});

t.test('times are read in milliseconds', async (t) => {
  const rows: readonly (readonly [string, number])[] = [
    ['500ms', 500],
    ['90s', 90_000],
    ['15m', 900_000],
    ['1h', 3_600_000],
    ['1.5h', 5_400_000],
    ['2d', 172_800_000],
    ['366d', LIMITS.grantSecondsMax * 1_000],
  ];
  for (const [text, ms] of rows) t.equal(parseDuration(text), ms, text);
});

t.test('what is not clear is refused, showing what was got and wanted', async (t) => {
  for (const text of [
    '',
    'MB',
    '-1',
    '1 MB',
    '200mb',
    '1e9',
    '0x10',
    '1,5GB',
    '9007199254740993',
    '1.',
  ])
    t.throws(() => parseSize(text), { name: 'UsageError', code: 'bad-size' }, text);
  for (const text of ['', '200', 's', '-1s', '1 h', '1w', '367d', '1h30m', 'Infinity'])
    t.throws(() => parseDuration(text), { name: 'UsageError', code: 'bad-duration' }, text);
  t.throws(() => parseSize('12 apples'), { message: /got '12 apples', wanted one like 200MB/ });
  t.throws(() => parseDuration('\u001b[2J'), { message: /got '\?\[2J'/ }, 'no control characters');
  t.throws(() => parseSize('9'.repeat(1_000_000)), { message: /^.{1,120}$/ }, 'a short message');
});

// 2026-11-22T15:00:00Z, which is 16:00 at +01:00 and 00:00 of the 23rd in Tokyo.
const INSTANT = wallMs(1_795_359_600_000);
const utc: LocalMoment = { wallMs: INSTANT, offsetMinutes: 0 };
const paris: LocalMoment = { wallMs: INSTANT, offsetMinutes: 60 };
const tokyo: LocalMoment = { wallMs: INSTANT, offsetMinutes: 540 };

t.test('claim 14: until counts the seconds left on the local clock of today', async (t) => {
  t.equal(new Date(INSTANT).toISOString(), '2026-11-22T15:00:00.000Z');
  t.equal(parseUntil('18:00', utc), 3 * 3_600);
  t.equal(parseUntil('18:00', paris), 2 * 3_600);
  t.equal(parseUntil('18:00', tokyo), 18 * 3_600);
  t.equal(parseUntil('00:01', tokyo), 60);
  t.equal(parseUntil('15:00', utc), 0, 'now');
  t.equal(parseUntil('14:59', utc), 0, 'past: never tomorrow');
  t.equal(parseUntil('15:01', { ...utc, wallMs: wallMs(INSTANT + 1) }), 59, 'rounded down');
});

t.test('claim 14: until takes a date-time, with a zone or local', async (t) => {
  t.equal(parseUntil('2026-11-22T15:10:00Z', tokyo), 600);
  t.equal(parseUntil('2026-11-22T15:10Z', utc), 600);
  t.equal(parseUntil('2026-11-22T16:10:00+01:00', utc), 600);
  t.equal(parseUntil('2026-11-22T10:10:00.500-05:00', utc), 600);
  t.equal(parseUntil('2026-11-22T16:10:00', paris), 600, 'local');
  t.equal(parseUntil('2026-11-23T15:00:00Z', utc), 86_400);
  t.equal(parseUntil('2020-01-01T00:00:00Z', utc), 0);
  t.equal(parseUntil('9999-12-31T23:59:59Z', utc), LIMITS.grantSecondsMax);
});

t.test('dates agree with the calendar of the runtime', async (t) => {
  const at = { wallMs: wallMs(0), offsetMinutes: 0 };
  fc.assert(
    fc.property(fc.integer({ min: 1, max: LIMITS.grantSecondsMax }), (seconds) => {
      const iso = new Date(seconds * 1_000).toISOString();
      return parseUntil(iso, at) === seconds;
    }),
    { numRuns: dose(500) },
  );
  t.equal(isUntil('2028-02-29T00:00:00Z'), true);
});

t.test('a moment that does not exist is refused', async (t) => {
  for (const text of [
    '24:00',
    '18:60',
    '6pm',
    '18',
    '2026-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-11-22',
    '2026-11-22T18:00:00+24:00',
    'tomorrow',
    ' 18:00',
  ]) {
    t.equal(isUntil(text), false, text);
    t.throws(() => parseUntil(text, utc), { code: 'bad-until' }, text);
  }
});

t.test('sizes and times are written for a person', async (t) => {
  const sizes: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1 kB'],
    [999_999, '1 MB'],
    [32_000_000, '32 MB'],
    [1_234_567_890, '1.23 GB'],
    [Number.MAX_SAFE_INTEGER, '9.01 PB'],
  ];
  for (const [bytes, text] of sizes) t.equal(formatSize(bytes), text);
  const spans: readonly (readonly [number, string])[] = [
    [0, '0 ms'],
    [350, '350 ms'],
    [1_250, '1.25 s'],
    [59_960, '1 min'],
    [125_000, '2 min 5 s'],
    [3_600_000, '1 h'],
    [5_400_000, '1 h 30 min'],
    [273_600_000, '3 d 4 h'],
  ];
  for (const [ms, text] of spans) t.equal(formatDuration(ms), text);
});
