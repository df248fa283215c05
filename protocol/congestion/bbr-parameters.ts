// The constants of draft-ietf-ccwg-bbr under its own names, in words. Times are microseconds, gains
// factors, shares fractions of 1. Where a value or a rule is ours the comment says so; the reasons
// stand together in docs/congestion.md.

import { ms, seconds } from '../time.ts';

/** What the sender does; the draft's BBR.state. */
export type BbrPhase =
  | 'Startup'
  | 'Drain'
  | 'ProbeBW_DOWN'
  | 'ProbeBW_CRUISE'
  | 'ProbeBW_REFILL'
  | 'ProbeBW_UP'
  | 'ProbeRTT';

/**
 * Pacing gain and window gain of each phase. Source: draft-ietf-ccwg-bbr §5.6.1, but for the window
 * of DOWN and CRUISE, there 2: with 1.5 the queue that several flows keep is half as long, and a
 * flow that comes later wins its share in seconds.
 */
export const BBR_GAINS: Readonly<
  Record<BbrPhase, { readonly pacing: number; readonly window: number }>
> = {
  Startup: { pacing: 2.77, window: 2 },
  Drain: { pacing: 0.5, window: 2 },
  ProbeBW_DOWN: { pacing: 0.9, window: 1.5 },
  ProbeBW_CRUISE: { pacing: 1, window: 1.5 },
  ProbeBW_REFILL: { pacing: 1, window: 2 },
  ProbeBW_UP: { pacing: 1.25, window: 2.25 },
  ProbeRTT: { pacing: 1, window: 0.5 },
};

/** 64 KiB: one segment offload. Source: draft-ietf-ccwg-bbr §5.6.3. */
const QUANTUM_BYTES_MAX = 64 * 1024;

/** Source: draft-ietf-ccwg-bbr §2, unless a comment says otherwise. */
export const BBR = {
  /** Of the bandwidth, kept free by the pacing rate. */
  pacingMargin: 0.01,
  /** Loss in one round trip that means congestion, where packets have waited in a queue. */
  lossThreshold: 0.02,
  /**
   * Ours: the same where none has waited, so that it may be the weather of a radio link. A path
   * without a queue loses a fifth of what is sent a quarter too fast.
   */
  lossThresholdUnqueued: 0.1,
  /** What is left of a bound after a round trip with loss. */
  beta: 0.7,
  /** Of the long-term bound, left to others while cruising. */
  headroom: 0.15,
  /** Datagrams that a window always holds, beside what the peer may leave unacknowledged. */
  minimumWindowDatagrams: 4,
  /** A round trip grew if it delivered this much faster; so many without growth: full. */
  fullBandwidthGrowth: 1.25,
  fullBandwidthRounds: 3,
  /** Loss events in a round trip before Startup takes loss for a full path. */
  startupLossEvents: 6,
  /** Round trips that Drain lasts at most. */
  drainRoundsMax: 3,
  /** Round trips over which acknowledged excess is remembered; 1 in Startup. */
  extraAckedRounds: 10,
  minimumRttWindow: seconds(10),
  probeRttInterval: seconds(5),
  probeRttDuration: ms(200),
  /** Between two probes for bandwidth: this, and at random up to as much again as the spread. */
  probeWait: seconds(2),
  probeWaitSpread: seconds(1),
  /** Round trips between two probes at most, so that Reno beside us keeps its share. */
  probeWaitRoundsMax: 63,
  /** The long-term bound grows by 1, 2, 4 … datagrams a round trip, doubled at most so often. */
  probeUpDoublingsMax: 30,
  /** Round-trip time before one is known, for the first pacing rate. */
  nominalRtt: ms(1),
  /** Time worth of pacing rate in one quantum, and its bounds: bytes and datagrams. */
  quantumTime: ms(1),
  quantumBytesMax: QUANTUM_BYTES_MAX,
  quantumDatagrams: 2,
  /** Below 1.2 Mbit/s (bytes per microsecond) one datagram at a time. Source: BBRv1, Linux. */
  slowRate: 0.15,
  /**
   * Acknowledgements' worth of data beyond the first that must fit a window: one being collected by
   * the peer, one on its way, one being answered (the draft's three offload quanta, §5.5.8).
   */
  aggregatesInFlight: 3,
  /** Ours: what is left of the delivered rate after a loss with a queue behind it. */
  queueYield: 0.85,
  /** A queue stands if round trips are longer by this factor and the peer's delay. */
  queuedRtt: 1.2,
  /** Ours: the queue of more than us, by the same measure. */
  sharedRtt: 1.4,
  /** Ours: on a shorter path what looks like a queue is how long two processes are late. */
  drainRttLeast: ms(5),
  /** Ours: a first probe that raised the bandwidth by this factor is followed by a full one. */
  probeSuccess: 1.15,
} as const;
