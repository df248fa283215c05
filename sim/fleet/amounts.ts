// Amounts as they are typed behind the options of a fleet: rates, shares, whole numbers. Nothing is
// guessed: what is in no known form is refused with one that is.

import { UsageError } from '../../protocol/errors.ts';

const PER_CENT = 100;
const SECONDS_PER_MINUTE = 60;
const SHOWN_MAX = 40;

/** Reads a rate a second: `50`, `50/s`, `30/m`. @throws UsageError `bad-rate` */
export function parseRate(text: string): number {
  const [, amount, unit] = /^(\d{1,6}(?:\.\d{1,6})?)(\/s|\/m)?$/.exec(text) ?? [];
  const rate = Number(amount) / (unit === '/m' ? SECONDS_PER_MINUTE : 1);
  if (rate > 0) return rate;
  throw new UsageError('bad-rate', `rate: got '${shown(text)}', wanted one like 50/s or 30/m`);
}

/** Reads `50%` or `50`, from 0 to 100. @throws UsageError `bad-percent` */
export function parsePercent(text: string): number {
  const [, amount] = /^(\d{1,3}(?:\.\d{1,2})?)%?$/.exec(text) ?? [];
  const percent = Number(amount);
  if (percent <= PER_CENT) return percent;
  throw new UsageError('bad-percent', `percent: got '${shown(text)}', wanted 0% to 100%`);
}

/** Reads a whole number from 0. @throws UsageError `bad-number` */
export function parseWhole(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError('bad-number', `number: got '${shown(text)}', wanted a whole one from 0`);
}

function shown(text: string): string {
  return text.replace(/\p{C}/gu, '?').slice(0, SHOWN_MAX);
}
