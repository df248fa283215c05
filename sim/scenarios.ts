// Worlds by name, for `nakodo sim --scenario`: which options they have, how many terminals, how
// long. `swarm` is the one whose options the seed draws; the others are the same at every seed, and
// only what happens by chance differs.

import { CALM, type Options } from './options.ts';

/** A world that can be asked for. */
interface Scenario {
  readonly says: string;
  /** Undefined: drawn from the seed. */
  readonly options: Options | undefined;
  /** Undefined: 3 to 8, by the seed. */
  readonly terminals: number | undefined;
  /** Seconds of the first phase. */
  readonly seconds: number;
}

/** An ordinary link to an ordinary office. */
const OFFICE: Options = {
  ...CALM,
  'udp.delay': 10,
  'udp.jitter': 2,
  'udp.loss': 0.002,
  'mqtt.delay': 10,
  'work.calls': 1,
};

/** All of them. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  swarm: {
    says: 'every fault on or off by chance: what finds bugs',
    options: undefined,
    terminals: undefined,
    seconds: 28,
  },
  calm: {
    says: 'no fault at all',
    options: { ...CALM, 'udp.delay': 10 },
    terminals: 5,
    seconds: 60,
  },
  office: {
    says: 'twenty terminals on good links, a call a minute each, for ten minutes',
    options: OFFICE,
    terminals: 20,
    seconds: 600,
  },
  mobile: {
    says: 'behind NATs that rebind, on lossy links that stop for seconds',
    options: {
      ...OFFICE,
      'udp.delay': 60,
      'udp.jitter': 40,
      'udp.loss': 0.02,
      'udp.burst': 0.4,
      'udp.hole': 4,
      'nat.share': 0.7,
      'nat.timeout': 30,
      'nat.rebind': 8,
      'mqtt.kick': 4,
      'work.calls': 6,
    },
    terminals: 8,
    seconds: 120,
  },
  outage: {
    says: 'the broker and the session manager are killed again and again',
    options: {
      ...OFFICE,
      'broker.restart': 6,
      'manager.crash': 6,
      'manager.slow': 200,
      'terminal.crash': 6,
      'disk.lost': 0.3,
      'work.calls': 10,
    },
    terminals: 8,
    seconds: 120,
  },
  crowd: {
    says: 'ten thousand terminals in one process, a call every ten minutes each',
    options: { ...OFFICE, 'udp.loss': 0, 'udp.jitter': 0, 'work.calls': 0.1 },
    terminals: 10_000,
    seconds: 60,
  },
};
