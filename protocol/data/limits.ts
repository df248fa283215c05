// Every bound of the data plane: value, unit, why (house style §17). What happens at a bound is
// said here; relations between bounds are asserted when the module loads.

import { assert } from '../assert.ts';
import type { ConnectionConfig } from './connection-types.ts';

/** Bounds of the connection core. Chosen by us where no RFC is named. */
export const DATA_LIMITS = {
  /** Bytes of a UDP payload: QUIC's least (RFC 9000 §14) and IPv4's most. */
  datagramBytesMin: 1200,
  datagramBytesMax: 65_507,
  /**
   * Tries of one datagram size (RFC 8899 §5.1.2) and milliseconds between them: a probe may leave
   * beyond the window, so this is also all that probing adds to it.
   */
  sizeProbeTriesMax: 3,
  /**
   * Milliseconds until larger datagrams are tried in a talk that fills none: on loopback the first
   * try costs as much as half a handshake, and many a talk is over by then.
   */
  sizeProbeWaitMs: 1_000,
  sizeProbePauseMs: 500,
  /** Round trips in a row that lose every large datagram and mean a black hole (RFC 8899 §4.3). */
  blackHoleLosses: 3,
  /** Milliseconds until larger datagrams are tried after one; times that it may happen. */
  blackHolePauseMs: 60_000,
  blackHolesMax: 3,
  /** Bytes sent to an address that has proven nothing, for each byte from it (RFC 9000 §8.1). */
  amplification: 3,
  /** Addresses asked at once, whoever they belong to; more are not heard of meanwhile. */
  pathCandidatesMax: 3,
  /** Challenges to one address; the pause between them begins with a PTO and doubles. */
  pathChallengesMax: 5,
  /** Responses waiting to be sent: more challenges than that go unanswered. */
  pathResponsesMax: 4,
  /** An address has three PTO to answer, and these at least: the first PTO (RFC 9000 §8.2.4). */
  pathValidationPtos: 3,
  pathValidationMsLeast: 999,
  /** Milliseconds between two times that addresses are asked: one migration a second at most. */
  migrationPauseMs: 1_000,
  /** Milliseconds for which an address that was left stays the one to return to; between checks. */
  homePathMs: 60_000,
  homeCheckMs: 5_000,
  /** Milliseconds of silence after received bytes until a PING asks; doubles to the keep-alive. */
  silencePauseMs: 2_000,
  /** The same after bytes that came steadily: so many of their pauses, and that long at least. */
  silenceGaps: 8,
  silencePauseMsLeast: 150,
  /**
   * Probe timeouts without a word of the peer's, and milliseconds at least, since something left
   * that it acknowledges: then another path is looked for, and again after twice that time, which
   * doubles so often.
   */
  silencePtos: 2,
  silenceMsLeast: 200,
  /** The same where bytes that came steadily are missing, and the PING for them waits. */
  silencePtosMissed: 1,
  silenceMsLeastMissed: 100,
  silenceDoublingsMax: 6,
  /** Milliseconds by which a timer is late when the process stood still, or its machine slept. */
  stoodStillMs: 1_000,
  /** Probe timeouts of waiting in vain after which one is due although packets keep leaving. */
  steadyPtos: 2,
  /** Probe timeouts in a row after which packets are small: the size itself may be what is lost. */
  smallProbeAfter: 2,
  /** Plaintext is padded to a multiple of this, so that exact lengths stay private. */
  paddingBytes: 16,
  /**
   * Datagrams of the first window and of the least one. RFC 9002 §7.2 has 10; 16 of ours are 19 kB,
   * paced over the round trip that the handshake has measured: 15 ms of a 10 Mbit/s link.
   */
  initialWindowDatagrams: 16,
  minimumWindowDatagrams: 2,
  /** Bytes the congestion window never exceeds: what a 1 Gbit/s path of 500 ms holds. */
  congestionWindowMax: 64 * 1024 * 1024,
  /** Packets in flight; at the bound nothing new is sent until something is acknowledged. */
  sentPacketsMax: 65_536,
  /**
   * Records that nobody waits for, kept behind one packet that is not acknowledged: those of our
   * own acknowledgements. At the bound that packet counts as lost. On a long fast path
   * (1 Gbit/s, 500 ms) about 3 000 leave in one round trip.
   */
  settledPacketsMax: 8_192,
  /** Packets declared lost that are remembered, to notice a late acknowledgement. */
  lostPacketsKept: 128,
  /** Ranges of received packet numbers that are kept and sent; the oldest are forgotten. */
  ackRangesSent: 32,
  /** Ranges accepted in one ACK; more break the protocol. */
  ackRangesParsed: 64,
  /**
   * ACK bytes for each byte that came since the last ACK (RFC 9000 §8.1 has the figure): ranges
   * that would exceed it are not repeated, so that small packets draw no large answers.
   */
  ackAmplificationMax: 3,
  /** Received datagrams that force an acknowledgement; RFC 9000 §13.2.2 has 2 and permits more. */
  ackEvery: 16,
  /** Bytes that force one: 16 of loopback's datagrams would be a whole window. */
  ackEveryBytes: 128 * 1024,
  /** Milliseconds until an acknowledgement leaves by itself. */
  ackDelayMs: 2,
  /** What the peer's delay may come to with a late timer; part of the PTO. */
  peerAckDelayMs: 5,
  /** Packets between two skipped packet numbers, least and most (RFC 9000 §21.4). */
  skipEveryMin: 64,
  skipEveryMax: 2048,
  /** RFC 9002 §6.1.1, §6.1.2 (as eighths), §6.1.2 granularity, §6.2.2 first rtt. */
  packetThreshold: 3,
  timeThresholdEighths: 9,
  /** What reordering may raise them to (RFC 9002 §6.1.1 and §6.1.2 allow it). */
  packetThresholdMax: 64,
  timeThresholdEighthsMax: 12,
  granularityMs: 1,
  initialRttMs: 333,
  /** RFC 9002 §7.6.1: PTOs without any acknowledgement that mean persistent congestion. */
  persistentPtos: 3,
  /** Milliseconds between two probes at most, so that a black hole is left soon after it ends. */
  ptoMsMax: 3_000,
  /** Probes that one PTO sends (RFC 9002 §6.2.4). */
  probesPerPto: 2,
  /** Congestion windows that messages may fill, while bulk stops at one. */
  messageWindowShare: 1.25,
  /** Datagrams that the pacer lets go at once (RFC 9002 §7.7), or 2 ms of its rate if more. */
  paceBurstDatagrams: 16,
  paceBurstMs: 2,
  /** Milliseconds of lateness of the timer that the pacer makes up for. */
  paceLateMsMax: 20,
  /** Streams of either side that are open at once. */
  streamsMax: 64,
  /** Bytes of a packet's end that a STREAM frame is not begun in: head and some content. */
  streamRoomLeast: 24,
  /** Shares of a stream, beside others of one share: whole packets in a row. */
  streamWeightMax: 64,
  /** Streams of either side in the life of one talk. */
  streamsEver: 2 ** 30,
  /**
   * What either end may send before it hears of the other's windows: there are no transport
   * parameters, so these are wire constants. More than the first congestion window.
   */
  initialMaxData: 256 * 1024,
  initialMaxStreamData: 64 * 1024,
  /** Round trips within which a window must be used up to grow, on a path at least so long. */
  windowGrowthRtts: 2,
  windowGrowthRttMsLeast: 5,
  /** Of the connection's window, what one stream's may grow to: unread, it stops only itself. */
  streamWindowShare: 0.75,
  /** Congestion windows that a stream's send buffer holds, above its least. */
  sendBufferWindows: 1.5,
  /** Bytes of a page of stream memory. */
  pageBytes: 16 * 1024,
  /** Pages kept for reuse by one connection. */
  pagesKept: 64,
  /** Ranges of one stream that arrived ahead of a gap; a packet that needs more is not taken. */
  gapsMax: 1024,
  /** Datagrams waiting to be sent: sendDatagram() says no. */
  datagramsSendMax: 64,
  /** Datagrams waiting to be read: the oldest goes, as live media wants. */
  datagramsReceiveMax: 64,
  /** Responses waiting to be sent, one for each address that knocked. */
  responsesMax: 8,
  /** Places that one handshake's message went to, which are remembered to time the answer. */
  knockedMax: 64,
  /** Milliseconds for what is in flight when the quota is used up (FINISH_TIME_MAX). */
  finishMsMax: 10_000,
  /**
   * Silence after which a used-up quota no longer waits for the peer's last bytes, in PTOs and at
   * least this many milliseconds: the peer's probes may have backed off five times.
   */
  quietPtos: 8,
  quietMsLeast: 1_000,
  /** Milliseconds without any progress after which a `done` gives up. */
  lingerMsMax: 10_000,
  /** Milliseconds that an ended connection still answers, at most (RFC 9000 §10.2: 3 PTO). */
  closingMsMax: 3_000,
  /** Times that a CLOSE is repeated by itself, and in answer to packets. */
  closeRepeatsMax: 6,
  closeAnswersMax: 8,
  /** Bytes of a signed expiry inside an EXPIRY frame. */
  expiryBytesMax: 512,
  /** EXPIRYs that are passed to the owner without one of them being adopted; others are ignored. */
  expiriesHeardMax: 64,
} as const;

/** Bounds of handshake, packet protection and replay window. */
export const CRYPTO_LIMITS = {
  /** Packet numbers have 48 bits; none is ever used twice, so a talk ends at the last one. */
  packetNumberMax: 2 ** 48 - 1,
  /** Packets that one end seals under one key before it asks for the next (design §5). */
  keyPhasePacketsMax: 2 ** 20,
  /** Milliseconds under one key (design §5), and until the next try if an update is not through. */
  keyPhaseMs: 15 * 60 * 1_000,
  keyUpdateRetryMs: 1_000,
  /** Packets that failed to open, over all keys, before the talk ends (RFC 9001 §6.6). */
  failedOpensMax: 2 ** 36,
  /** Bits of the replay window (RFC 6479); one 32-bit word of them is always being cleared. */
  replayWindowBits: 8192,
} as const;

/** Bounds of the credit meter (design §5 "Meter"). Chosen by us. */
export const METER_LIMITS = {
  /** Bytes of credit that the callee starts with, or a quarter of the grant if that is less. */
  calleeCreditBytes: 64 * 1024,
  /** Bytes that an idle end keeps back, so that its next small answer needs no round trip. */
  reserveBytes: 16 * 1024,
  /**
   * How far above what it holds `wanted` lies when an end wants credit. More than one gift can be,
   * so that `wanted` also says how much of what we gave has arrived; see quota.ts.
   */
  wantBytes: 2 ** 48,
} as const;

/**
 * Defaults tuned for 100 Mbit/s at 50 ms with loss: what follows a lost packet waits for it here,
 * for two round trips beside the one under way. The shell has other windows on loopback.
 */
export const CONNECTION_DEFAULTS: ConnectionConfig = {
  datagramBytes: DATA_LIMITS.datagramBytesMin,
  datagramBytesProbes: [],
  congestionControl: 'bbr',
  windowBytes: 4 * 1024 * 1024,
  windowBytesMax: 8 * 1024 * 1024,
  streamWindowBytes: 3 * 1024 * 1024,
  sendBufferBytes: 256 * 1024,
  sendBufferBytesMax: 8 * 1024 * 1024,
  idleTimeoutMs: 45_000,
  keepAliveMs: 20_000,
  handshakeTimeoutMs: 7_500,
};

assert(
  DATA_LIMITS.expiryBytesMax < DATA_LIMITS.datagramBytesMin / 2,
  'an EXPIRY frame always fits',
);
assert(DATA_LIMITS.ackRangesSent <= DATA_LIMITS.ackRangesParsed, 'a peer parses what we send');
assert(
  CONNECTION_DEFAULTS.keepAliveMs * 2 < CONNECTION_DEFAULTS.idleTimeoutMs,
  'two keep-alives fit into the idle time',
);
assert(CRYPTO_LIMITS.replayWindowBits % 32 === 0, 'the replay window is made of 32-bit words');
