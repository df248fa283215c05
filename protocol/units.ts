// Sizes, times and moments as people write them (design §7), and back. Pure: the wall clock and the
// offset of local time come in as an argument. Nothing is guessed: `200` has no unit for a time,
// and `200mb` could be bits, so both are refused with what was wanted.

import { UsageError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { MS_PER_SECOND, type WallMs } from './time.ts';

/** A moment as the callee's clock on the wall shows it. */
export interface LocalMoment {
  readonly wallMs: WallMs;
  /** Minutes that local time is ahead of UTC now (Tokyo: 540). */
  readonly offsetMinutes: number;
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const SECONDS_PER_MINUTE = 60;
const SECONDS_PER_HOUR = 3_600;
const SECONDS_PER_DAY = 86_400;
const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: MS_PER_SECOND,
  m: SECONDS_PER_MINUTE * MS_PER_SECOND,
  h: SECONDS_PER_HOUR * MS_PER_SECOND,
  d: SECONDS_PER_DAY * MS_PER_SECOND,
};
// From here on a size is written in the next unit, or a time in minutes: it would round up to it.
const NEXT_SIZE_FROM = 999.5;
const MINUTES_FROM_MS = 59_950;
// From 0001-01-01 to 1970-01-01.
const EPOCH_DAYS = 719_162;
// Longest text that is looked at: chosen by us, an ISO date-time takes 29.
const TEXT_MAX = 40;
const AMOUNT = /^([0-9]{1,16}(?:\.[0-9]{1,9})?)([A-Za-z]{0,3})$/;
const CLOCK = /^([0-9]{2}):([0-9]{2})$/;
const ISO = new RegExp(
  '^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.][0-9]{1,3})?)?' +
    '(Z|[+-][0-9]{2}:[0-9]{2})?$',
);

/**
 * Reads a size in bytes: `200MB` (10^6), `200MiB` (2^20), `1.5GB`, `12345`.
 * @throws UsageError `bad-size`
 */
export function parseSize(text: string): number {
  const bytes = amount(text, SIZE_UNITS);
  if (bytes !== undefined && bytes <= LIMITS.grantBytesMax) return bytes;
  throw new UsageError('bad-size', `size: got '${shown(text)}', wanted one like 200MB or 200MiB`);
}

/**
 * Reads a time span in milliseconds: `500ms`, `90s`, `15m`, `1h`, `2d`.
 * @throws UsageError `bad-duration`
 */
export function parseDuration(text: string): number {
  const ms = amount(text, DURATION_UNITS);
  if (ms !== undefined && ms <= LIMITS.grantSecondsMax * MS_PER_SECOND) return ms;
  throw new UsageError(
    'bad-duration',
    `time: got '${shown(text)}', wanted one like 90s, 15m, 1h or 2d (at most 366d)`,
  );
}

/**
 * Reads a moment and answers how many whole seconds are left until then, 0 if it is past.
 * `18:00` is today, local time: past 18:00 nothing is left until midnight, it never means tomorrow.
 * An ISO 8601 date-time without a zone is local, by the offset that holds now.
 * The answer is at most LIMITS.grantSecondsMax.
 * @throws UsageError `bad-until`
 */
export function parseUntil(text: string, at: LocalMoment): number {
  const nowLocal = Math.ceil(at.wallMs / MS_PER_SECOND) + at.offsetMinutes * SECONDS_PER_MINUTE;
  const untilLocal = localSeconds(text, nowLocal, at.offsetMinutes);
  if (untilLocal === undefined) {
    throw new UsageError(
      'bad-until',
      `until: got '${shown(text)}', wanted a time of day like 18:00 or 2030-01-31T18:00:00Z`,
    );
  }
  return Math.min(Math.max(untilLocal - nowLocal, 0), LIMITS.grantSecondsMax);
}

/** Whether `parseUntil` accepts this text at any moment. */
export function isUntil(text: string): boolean {
  return localSeconds(text, 0, 0) !== undefined;
}

/** Whether it is a time of day, which comes again tomorrow: `18:00`. */
export function isTimeOfDay(text: string): boolean {
  return CLOCK.test(text) && isUntil(text);
}

/** Writes bytes for a person: `32 MB`, `1.5 GB`, `999 B`; three significant digits. */
export function formatSize(bytes: number): string {
  const steps = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let step = 0;
  let value = bytes;
  while (value >= NEXT_SIZE_FROM && step < steps.length - 1) {
    value /= SIZE_UNITS.kB;
    step += 1;
  }
  return `${Number(value.toPrecision(3))} ${steps[step]}`;
}

/** Writes milliseconds for a person: `350 ms`, `1.25 s`, `2 min 5 s`, `1 h`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  if (ms < MS_PER_SECOND) return `${Math.round(ms)} ms`;
  if (ms < MINUTES_FROM_MS) return `${Number((ms / MS_PER_SECOND).toPrecision(3))} s`;
  const seconds = Math.round(ms / MS_PER_SECOND);
  if (seconds < SECONDS_PER_HOUR) return pair(seconds, SECONDS_PER_MINUTE, 'min', 's');
  if (seconds < SECONDS_PER_DAY) return pair(Math.floor(seconds / 60), 60, 'h', 'min');
  return pair(Math.floor(seconds / SECONDS_PER_HOUR), 24, 'd', 'h');
}

function pair(total: number, base: number, upper: string, lower: string): string {
  const rest = total % base;
  return `${Math.floor(total / base)} ${upper}${rest > 0 ? ` ${rest} ${lower}` : ''}`;
}

function amount(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = text.length <= TEXT_MAX ? AMOUNT.exec(text) : null;
  if (match === null || !Object.hasOwn(units, match[2])) return undefined;
  const value = Math.round(Number(match[1]) * units[match[2]]);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Seconds since 1970-01-01T00:00 as a local clock counts them. */
function localSeconds(text: string, nowLocal: number, offsetMinutes: number): number | undefined {
  if (text.length > TEXT_MAX) return undefined;
  const clock = CLOCK.exec(text);
  if (clock !== null) {
    const ofDay = secondsOfDay(clock[1], clock[2], '00');
    return ofDay === undefined
      ? undefined
      : Math.floor(nowLocal / SECONDS_PER_DAY) * SECONDS_PER_DAY + ofDay;
  }
  const iso = ISO.exec(text);
  if (iso === null) return undefined;
  const days = daysSinceEpoch(Number(iso[1]), Number(iso[2]), Number(iso[3]));
  const ofDay = secondsOfDay(iso[4], iso[5], iso[6] ?? '00');
  const zoneMinutes = iso[7] === undefined ? offsetMinutes : minutesOfZone(iso[7]);
  if (days === undefined || ofDay === undefined || zoneMinutes === undefined) return undefined;
  return days * SECONDS_PER_DAY + ofDay + (offsetMinutes - zoneMinutes) * 60;
}

function secondsOfDay(hours: string, minutes: string, seconds: string): number | undefined {
  const [h, m, s] = [Number(hours), Number(minutes), Number(seconds)];
  return h < 24 && m < 60 && s < 60 ? h * SECONDS_PER_HOUR + m * SECONDS_PER_MINUTE + s : undefined;
}

function minutesOfZone(zone: string): number | undefined {
  if (zone === 'Z') return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4))];
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

/** Days from 1970-01-01 in the proleptic Gregorian calendar; undefined for 30 February. */
function daysSinceEpoch(year: number, month: number, day: number): number | undefined {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const lengths = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  if (month < 1 || month > 12 || day < 1 || day > lengths[month - 1]) return undefined;
  const before = year - 1;
  const leaps = Math.floor(before / 4) - Math.floor(before / 100) + Math.floor(before / 400);
  let days = before * 365 + leaps - EPOCH_DAYS;
  for (let m = 0; m < month - 1; m++) days += lengths[m];
  return days + day - 1;
}

/** What was typed, short and without control characters, for an error message. */
function shown(text: string): string {
  const plain = text.replace(/\p{C}/gu, '?');
  return plain.length > TEXT_MAX ? `${plain.slice(0, TEXT_MAX)}…` : plain;
}
