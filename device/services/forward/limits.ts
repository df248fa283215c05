// Every bound of port forwarding: value, unit, why. Chosen by us; those of a talk's streams and
// datagrams are in protocol/data/limits.ts.

export const FORWARD_LIMITS = {
  /** Connections that wait at a listening port for a stream of the talk; one more is reset. */
  waitingMax: 64,
  /** Bytes that wait in Node for a connection whose other end reads slowly, and a chunk more. */
  socketBytesMax: 128 * 1024,
  /** Milliseconds between two looks whether the talk takes another stream, while some wait. */
  streamRetryMs: 100,
  /** Milliseconds for a target to take a connection. */
  connectMs: 10_000,
  /** Milliseconds that a connection has to take what arrived, after its talk is done. */
  flushMs: 10_000,
  /** Milliseconds for the callee to say whether it listens. */
  listenAnswerMs: 10_000,
  /** Local senders of a UDP forward that are told apart; one more takes the longest idle one's. */
  flowsMax: 64,
  /** Milliseconds of silence after which a flow is forgotten: longer than keep-alives of others. */
  flowIdleMs: 120_000,
  /** Milliseconds between two looks for idle flows. */
  flowSweepMs: 30_000,
  /** Lowest local port that a forward listens on: those below belong to the system. */
  localPortMin: 1_024,
} as const;
