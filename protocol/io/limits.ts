// Every bound of protocol/io: what the shells hold while the kernel, a disk, a network or a person
// is slow. Bounds of the control plane are in `protocol/limits.ts`, of the data plane in
// `data/limits.ts`.

import { assert } from '../assert.ts';

export const IO_LIMITS = {
  /** Bytes asked of the kernel for a UDP receive buffer; what it gives is read back. */
  udpReceiveBufferBytes: 4 * 1024 * 1024,
  /** Path objects that one socket keeps; the least recently seen goes first. */
  udpPathsMax: 256,
  /** Addresses of this machine that one socket tells, of however many it has. */
  hostAddressesMax: 8,
  /** STUN servers that an owner may name, and paths to them: two families each. */
  ownStunMax: 4,
  ownStunPathsMax: 8,
  /** Seconds for which the addresses of a STUN server's name are used before it is asked again. */
  stunNameSeconds: 300,
  /** Send buffers that wait in Node for the kernel, a socket; beyond it datagrams are dropped. */
  udpQueuedMax: 64,
  /**
   * Bytes that wait in Node for a connection to a relay: beyond it datagrams are dropped, as it is
   * UDP inside, and a queue would only make them late.
   */
  relayQueueBytesMax: 128 * 1024,
  /** Bytes that are handed to such a connection at a time. */
  relayBatchBytes: 32 * 1024,
  /** Milliseconds for the connection to a relay. */
  relayConnectMs: 5_000,
  /** Milliseconds in which the last frames of a connection to a relay are sent. */
  relayFlushMs: 1_000,
  /** Bytes that one local-socket frame carries. */
  frameBytesMax: 64 * 1024,
  /** Bytes of data that one end of a local socket may send before the other has used them. */
  localWindowBytes: 256 * 1024,
  /** Bytes of events that wait for a command which does not read; beyond it events are dropped. */
  localEventBytesMax: 1024 * 1024,
  /** Commands that one agent or server serves at the same time. */
  localConnectionsMax: 128,
  /** Milliseconds for a command to say what it wants. */
  localRequestMs: 5_000,
  /** Bytes of a Unix socket's path: Linux takes 107, macOS 103; one bound for both. */
  socketPathBytesMax: 100,
  /** Bytes of one MQTT link that the kernel has not taken; beyond it messages are dropped. */
  linkQueueBytesMax: 1024 * 1024,
  /** Bytes that a link takes of one MQTT packet: ours have 16 KiB, and come in chunks of 64 KiB. */
  linkUnparsedBytesMax: 256 * 1024,
  /** Milliseconds until the first reconnect of an MQTT link; doubles, with jitter. */
  linkRetryFirstMs: 200,
  linkRetryMaxMs: 30_000,
  /** The longest pause before a broker without a revocation list (CONNACK 3) is tried again. */
  linkUnavailableMsMax: 4_000,
  /**
   * Milliseconds for TCP and TLS, and again for MQTT on top of them. Chosen by us: a broker that a
   * whole fleet comes back to at once has a queue of so long; who leaves it too soon queues again.
   */
  linkConnectMs: 10_000,
  /** Milliseconds for a broker to answer a ping after this machine's network changed. */
  linkCheckMs: 3_000,
  /**
   * The same when a talk has fallen silent: most often the peer is what is gone, and a link on
   * which much is lost takes its time. And when this machine is seen at another address: it was
   * asked a round trip ago, and a router that does not know the connection says nothing at all.
   */
  linkCheckSilentMs: 10_000,
  linkCheckMovedMs: 150,
  /** Bytes of the HTTP headers of an answer. */
  httpHeaderBytesMax: 8 * 1024,
  /**
   * Seconds between MQTT pings of a quiet link; and the least and most that a terminal's owner may
   * choose. The most is also what brokers take: a peer without power is noticed after one and a
   * half (MQTT 3.1.1 §3.1.2.10).
   */
  linkKeepAliveSeconds: 60,
  linkKeepAliveSecondsMin: 10,
  linkKeepAliveSecondsMax: 1_200,
  /** Bytes of /etc/group and /etc/passwd: a machine with more accounts has a directory service. */
  accountsBytesMax: 1024 * 1024,
  /** Bytes of a small file (keys, enrolment, JSON) that is read whole. */
  smallFileBytesMax: 64 * 1024,
  /**
   * Milliseconds that the record of a talk, or of its end, waits before it is written: longer than
   * a set-up, or an end's acknowledgement, takes even on a busy machine, and shorter than anybody
   * talks. A process that crashes within them reports an end as `restarted`, or leaves it to the
   * other end.
   */
  endRecordWaitMs: 250,
  /** Traces open at once; a file outlives its talk by some seconds. Beyond it talks have none. */
  traceFilesMax: 128,
  /** Bytes of one talk's trace, about 500 MB of talk; after it the file says that it was cut. */
  traceFileBytesMax: 64 * 1024 * 1024,
  /** Bytes of a trace that wait for the disk; beyond it events are dropped and counted. */
  traceWaitingBytesMax: 4 * 1024 * 1024,
  /** A trace is written in pieces of so many bytes, or after so many milliseconds. */
  traceFlushBytes: 64 * 1024,
  traceFlushMs: 1_000,
  /** Microseconds that the event loop goes round for instead of waiting for a timer of 1 ms. */
  spinMicrosMax: 500,
  /** Milliseconds that setTimeout can express (2^31 − 1). */
  timerMsMax: 2_147_483_647,
} as const;

assert(IO_LIMITS.localWindowBytes >= 2 * IO_LIMITS.frameBytesMax, 'a window keeps frames flowing');
assert(
  IO_LIMITS.linkKeepAliveSecondsMin <= IO_LIMITS.linkKeepAliveSeconds &&
    IO_LIMITS.linkKeepAliveSeconds <= IO_LIMITS.linkKeepAliveSecondsMax,
  'the usual keepalive is one that may be chosen',
);
assert(IO_LIMITS.ownStunPathsMax === 2 * IO_LIMITS.ownStunMax, 'each server has both families');
assert(IO_LIMITS.linkRetryFirstMs < IO_LIMITS.linkRetryMaxMs, 'reconnects slow down');
assert(IO_LIMITS.linkUnavailableMsMax < IO_LIMITS.linkRetryMaxMs, 'a broker that waits is near');
