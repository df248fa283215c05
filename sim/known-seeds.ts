// Seeds that failed, and were mended: each a world that shows a bug which was there, small, with
// every option that it takes (what is not named is off, so that new options change none of them).
// `make test` runs them all. Who mends a bug that a seed has shown adds it here, and the bug itself
// to sim/sabotage/.

import type { Options } from './options.ts';

/** A world in which something was wrong once. */
export interface KnownSeed {
  readonly seed: number;
  readonly terminals: number;
  readonly seconds: number;
  readonly suite: 'fast' | 'real';
  /** All that are on. */
  readonly set: Partial<Options>;
  /** Which invariant failed. */
  readonly invariant: string;
  /** What was wrong, and where, in one line. */
  readonly cause: string;
}

/** All of them, the newest last. */
export const KNOWN_SEEDS: readonly KnownSeed[] = [
  {
    seed: 111,
    terminals: 4,
    seconds: 40,
    suite: 'fast',
    set: {
      'udp.hole': 4.79,
      'mqtt.jitter': 1.08,
      'mqtt.drop': 0.2,
      'mqtt.reorder': 0.00162,
      'clock.drift': 266,
      'clock.late': 213,
      'operator.end': 20,
      'operator.revoke': 1.5,
      'terminal.polling': 0.169,
      'hostile.frames': 0.0608,
      'hostile.collusion': 11.2,
    },
    invariant: 'consent',
    cause: 'introductions.ts repeated a kept address notice although the callee was revoked',
  },
  {
    seed: 3,
    terminals: 4,
    seconds: 40,
    suite: 'fast',
    set: { 'udp.delay': 706, 'work.calls': 13.4, 'work.datagrams': 0.8 },
    invariant: 'recovery',
    cause:
      'packet-builder.ts put further messages into a packet that was let out for the first one',
  },
  {
    seed: 69,
    terminals: 5,
    seconds: 20,
    suite: 'fast',
    set: { 'work.extend': 1, 'work.quota': 0.8 },
    invariant: 'counts',
    cause:
      'extension.ts told its owner of terms that the talk no longer took: its quota had ended it',
  },
  {
    seed: 1942,
    terminals: 2,
    seconds: 28,
    suite: 'fast',
    set: { 'manager.crash': 5.78, 'clock.jump': 1.11, 'operator.revoke': 1.17 },
    invariant: 'logins',
    cause:
      'revocations.ts: revoked after a restart under a clock that was set back, a terminal was ' +
      'taken off the list as soon as the clock was right',
  },
  {
    seed: 820294,
    terminals: 3,
    seconds: 14,
    suite: 'fast',
    set: { 'clock.jump': 3.28, 'operator.revoke': 0.679, 'hostile.collusion': 1.52 },
    invariant: 'logins',
    cause: 'revocations.ts took the revoked off the list when the clock ran ahead',
  },
  {
    seed: 940014,
    terminals: 3,
    seconds: 28,
    suite: 'fast',
    set: {
      'mqtt.delay': 38.7,
      'manager.crash': 4,
      'clock.jump': 12,
      'operator.revoke': 2,
      'hostile.frames': 0.0112,
    },
    invariant: 'logins',
    cause: 'revocations.ts: restarted under a clock that ran ahead, it listed nobody',
  },
  {
    seed: 5014,
    terminals: 6,
    seconds: 7,
    suite: 'fast',
    set: {
      'udp.loss': 0.0534,
      'udp.burst': 0.696,
      'udp.delay': 498,
      'udp.jitter': 7.8,
      'mqtt.delay': 163,
      'hostile.broker': 316,
      'hostile.frames': 0.0274,
    },
    invariant: 'recovery',
    cause: 'the trace had no word of a round trip that probes had shown, of which a PTO is made',
  },
  {
    seed: 22498,
    terminals: 5,
    seconds: 28,
    suite: 'fast',
    set: {
      'manager.crash': 3.86,
      'manager.fail': 0.0329,
      'list.torn': 0.0707,
      'work.calls': 1.31,
      'hostile.collusion': 0.611,
    },
    invariant: 'liveness',
    cause: 'liveness.ts called while the manager still waited to write again what its disk refused',
  },
  {
    seed: 20233,
    terminals: 8,
    seconds: 28,
    suite: 'fast',
    set: {
      'udp.loss': 0.396,
      'list.edit': 39.6,
      'owner.ask': 0.144,
      'operator.end': 19.8,
      'terminal.clone': 0.627,
      'work.calls': 7.51,
      'hostile.frames': 0.0916,
      'relay.there': 1,
    },
    invariant: 'sessions',
    cause:
      'end-orders.ts asked a terminal again only in a new channel: an end that its clone was' +
      ' asked for, or that was handed to a connection which broke, never reached it',
  },
  {
    seed: 25057,
    terminals: 6,
    seconds: 14,
    suite: 'fast',
    set: {
      'udp.delay': 79.4,
      'udp.corrupt': 0.0117,
      'udp.rate': 14300,
      'mqtt.delay': 3.43,
      'mqtt.reorder': 0.0154,
      'mqtt.kick': 3.29,
      'manager.slow': 1100,
      'disk.full': 0.0322,
      'clock.drift': 3.63,
      'list.torn': 0.0157,
      'owner.ask': 0.0667,
      'operator.end': 4.71,
      'operator.revoke': 1.44,
      'hostile.terminal': 342,
      'hostile.network': 1520,
      'hostile.broker': 454,
      'work.calls': 26.9,
      'work.bytes': 56_000,
      'work.window': 8_192,
      'hostile.collusion': 0.502,
      'host.dual': 0.872,
      'relay.only': 0.413,
    },
    invariant: 'sessions',
    cause:
      'ledger.ts began a batch between what followed from one and the next fact of the batch ' +
      'before: a revocation was on disk without the end of a talk that was being written',
  },
  {
    seed: 21389,
    terminals: 4,
    seconds: 16,
    suite: 'fast',
    set: { 'udp.delay': 1060, 'nat.share': 0.884, 'work.calls': 22.6, 'relay.there': 1 },
    invariant: 'amplification',
    cause: 'amplification.ts forgot probes that were under way: a search has a thousand at a time',
  },
  {
    seed: 98,
    terminals: 4,
    seconds: 28,
    suite: 'fast',
    set: {
      'udp.rate': 6620,
      'mqtt.jitter': 29.9,
      'owner.ask': 0.28,
      'work.calls': 13.5,
      'hostile.collusion': 1.66,
    },
    invariant: 'recovery',
    cause: 'connection.ts probed after its end: the CLOSE was the first word after a silence',
  },
];
