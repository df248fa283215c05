// How the terminals of a fleet behave: five profiles, and how a fleet is divided among them. Pure:
// the same parts of the same number are the same terminals in every process.

import { UsageError } from '../../protocol/errors.ts';

/** What a profile does differently from a terminal that is simply there. */
interface Profile {
  /** How often it calls, compared with one that is always on; 0: it makes no honest calls. */
  readonly calls: number;
  /** Bytes that it sends at most, if that is less than what the fleet sends. */
  readonly bytesMax: number | undefined;
  /** It is there whenever somebody calls it: a permitted call to it has to succeed. */
  readonly isSteady: boolean;
  /** For people. */
  readonly words: string;
}

/** Bytes of a call of a chatty terminal: one reading of a sensor and its wrapping. */
const CHATTY_BYTES_MAX = 512;

/** The profiles by name. */
export const PROFILES = {
  'always-on': {
    calls: 1,
    bytesMax: undefined,
    isSteady: true,
    words: 'connected all the time',
  },
  polling: {
    calls: 0.2,
    bytesMax: undefined,
    isSteady: true,
    words: 'sleeps, and asks for calls every few seconds',
  },
  flaky: {
    calls: 1,
    bytesMax: undefined,
    isSteady: false,
    words: 'its line is cut, or it is switched off and on, every few seconds',
  },
  chatty: {
    calls: 10,
    bytesMax: CHATTY_BYTES_MAX,
    isSteady: true,
    words: 'ten times as many calls, small ones',
  },
  hostile: {
    calls: 0,
    bytesMax: undefined,
    isSteady: false,
    words: 'calls whom it likes, names that nobody has, and says what is no message',
  },
} as const satisfies Readonly<Record<string, Profile>>;

/** A profile's name. */
export type ProfileName = keyof typeof PROFILES;

/** The profiles' names, in the order in which a fleet is divided. */
export const PROFILE_NAMES = Object.keys(PROFILES) as readonly ProfileName[];

/** Parts of a fleet by profile; only their ratios count. */
export type Shares = Readonly<Record<ProfileName, number>>;

const SHARE_MAX = 1_000_000;

/** Whether this is a profile's name. */
const isProfileName = (text: string): text is ProfileName => Object.hasOwn(PROFILES, text);

/**
 * Reads `always-on=70,polling=10`; a profile that is not named has no part.
 * @throws UsageError `bad-profile`
 */
export function parseShares(text: string): Shares {
  const shares: Record<ProfileName, number> = {
    'always-on': 0,
    polling: 0,
    flaky: 0,
    chatty: 0,
    hostile: 0,
  };
  const seen = new Set<string>();
  for (const part of text.split(',')) {
    const [, name = '', share = ''] = /^\s*([a-z-]+)\s*=\s*(\d{1,7})\s*$/.exec(part) ?? [];
    if (!isProfileName(name) || Number(share) > SHARE_MAX) throw badShares(part);
    if (seen.has(name)) throw badProfile(`'${name}' is named twice`);
    seen.add(name);
    shares[name] = Number(share);
  }
  if (sum(shares) === 0) throw badProfile('at least one profile needs a part of more than 0');
  return shares;
}

/** Terminals of each profile: the parts of `count`, rounded so that they add up to it. */
export function countsOf(shares: Shares, count: number): Shares {
  const all = sum(shares);
  const exact = PROFILE_NAMES.map((name) => (count * shares[name]) / all);
  const whole = exact.map(Math.floor);
  const byRest = PROFILE_NAMES.map((_, at) => at).toSorted(
    (a, b) => exact[b] - whole[b] - (exact[a] - whole[a]),
  );
  const left = count - whole.reduce((total, part) => total + part, 0);
  for (const at of byRest.slice(0, left)) whole[at] += 1;
  return Object.fromEntries(PROFILE_NAMES.map((name, at) => [name, whole[at]])) as Shares;
}

/**
 * The profile of each of `count` terminals, spread evenly: whoever takes every n-th of them, or the
 * first n, has about the same mix.
 */
export function profilesOf(shares: Shares, count: number): readonly ProfileName[] {
  const counts = countsOf(shares, count);
  return PROFILE_NAMES.flatMap((profile) =>
    Array.from({ length: counts[profile] }, (_, at) => ({
      profile,
      place: (at + 0.5) / counts[profile],
    })),
  )
    .toSorted((a, b) => a.place - b.place)
    .map(({ profile }) => profile);
}

const sum = (shares: Shares): number =>
  PROFILE_NAMES.reduce((total, name) => total + shares[name], 0);

function badShares(part: string): UsageError {
  const shown = part.replace(/\p{C}/gu, '?').slice(0, 40);
  const names = PROFILE_NAMES.join(', ');
  return badProfile(`got '${shown}', wanted parts like polling=10 of ${names}`);
}

const badProfile = (what: string): UsageError => new UsageError('bad-profile', `profile: ${what}`);
