// Every bound of the meeting: value, unit, why. The pauses come of the matrix of NATs as it was
// measured (docs/nat.md); what an attacker could want to raise says so.

import { assert } from '../../protocol/assert.ts';
import { CONNECTION_DEFAULTS } from '../../protocol/data/limits.ts';
import { LIMITS } from '../../protocol/limits.ts';

/** Bounds of finding a path to the peer. Chosen by us where nothing is named. */
export const MEETING_LIMITS = {
  /** Milliseconds between two packets to one pair: the first pause, doubling up to the second. */
  pauseMsFirst: 50,
  pauseMsMax: 400,
  /** Packets to one pair that the peer lists and from which nothing has come. */
  unprovenPacketsMax: 10,
  /**
   * The same to one address and port of the peer, over all sockets and rounds of a talk; and
   * milliseconds after which it may be one more: a direct way is tried for as long as a talk is
   * relayed, and both ends' tries have to meet.
   */
  remotePacketsMax: 40,
  remotePacketPauseMs: 15_000,
  /**
   * What every address may get again when our own machine is elsewhere, and milliseconds in which
   * that counts once: only this machine, or its relay, says so, never the peer.
   */
  movedPackets: 10,
  movedPauseMs: 60_000,
  /** Bytes to a pair for each byte that came from it, beyond those packets (RFC 9000 §8.1). */
  amplification: 3,
  /** Pairs of a socket of ours and an address of the peer; the oldest unproven one goes. */
  pairsMax: 96,
  /**
   * Addresses of the peer that get packets unasked and are counted for `remotePacketsMax`; and
   * milliseconds after which it may be one more: a long talk's peer has many in time. So who lists
   * others' addresses has at most 64 × 40 packets of 41 bytes sent, in the long run 5 a second, and
   * to one of them 40 and 4 a minute; with 10 a minute more for each while we move.
   */
  remotesMax: 64,
  remotePauseMs: 10_000,
  /** Tokens of one pair that may still be answered. */
  tokensMax: 16,
  /** Answers that wait to be sent; more probes than that go unanswered. */
  answersMax: 32,
  /** Milliseconds without a path after which a relay is asked: a direct path takes about 100. */
  relayAfterMs: 300,
  /** Milliseconds of silence after which the next server, or TCP, is tried beside the former. */
  relayStepMs: 1_000,
  /** Milliseconds in which it is decided whether there is a relay, within a set-up. */
  relayDecideMs: 6_500,
  /** Endpoints to relays that one talk has at once: each server over UDP and over TCP. */
  relayEndpointsMax: 2 * LIMITS.meetingServersMax,
  /**
   * Bytes of UDP payload to a relay, with its header: what every Ethernet link carries whole (1,500
   * less the headers of IPv6, RFC 8200, and UDP, RFC 768).
   */
  relayPayloadBytesMax: 1_452,
  /** Endpoints, present and former, by which a relay of this talk is known; the oldest one goes. */
  relaySocketsMax: 64,
  /**
   * Milliseconds without a path after which both ends try from a new socket: a packet that came
   * early can have taken the port that the first one's mapping wanted.
   */
  secondRoundMs: 1_000,
  /** Milliseconds until the many-socket search, which lasts at most that long. */
  searchAfterMs: 1_150,
  searchMs: 5_000,
  /** Sockets of the end whose NAT maps by destination. */
  searchSockets: 256,
  /** Packets of one of those sockets: the second one for those that were lost. */
  searchTries: 2,
  /** Sockets that are being opened at once: the process has other things to do as well. */
  searchOpeningMax: 32,
  /** Ports that the other end tries. */
  searchPorts: 2_048,
  /** Packets a second of either: all ports in `searchMs`; and what a late timer makes up for. */
  searchPerSecond: 500,
  searchBurst: 25,
  /** Milliseconds for which its sockets still hear answers. */
  searchLingerMs: 1_000,
  /** Milliseconds between two looks at how many packets of the search are due. */
  searchStepMs: 10,
  /** Ports below are the router's own. */
  searchPortMin: 1_024,
  /** Milliseconds between two tries of a better path than the one in use. */
  retryMs: 30_000,
  /** Milliseconds between two searches for the way of a talk that has fallen silent; doubles. */
  restartMsFirst: 1_000,
  restartMsMax: 15_000,
  /** Milliseconds without a word after which the present path is no better than any other. */
  quietMsLeast: 250,
  /** Milliseconds for which a relay is kept when nobody needs it any more. */
  relayLingerMs: 5_000,
  /** Milliseconds for which one that is given back may still answer. */
  relayLeaveMs: 2_000,
  /**
   * Endpoints beside the first ones of all talks of a terminal. Each is one socket, but two in a
   * second round (IPv4, IPv6), as the first ones are.
   */
  furtherEndpointsMax: 640,
  /** Open files that a process usually may have, and those that are for other things. */
  openFilesUsual: 1_024,
  openFilesOther: 128,
  /** Milliseconds between two looks at a NAT's mapping while the peer's owner thinks: < 30 s. */
  mappingMs: 15_000,
  /** Milliseconds after which a STUN server that is still silent is not waited for. */
  gatherMs: 700,
  /** Milliseconds between two messages that tell the peer where we are. */
  tellPauseMs: 100,
} as const;

assert(
  MEETING_LIMITS.furtherEndpointsMax + LIMITS.callsMax * (2 + 1) <=
    MEETING_LIMITS.openFilesUsual - MEETING_LIMITS.openFilesOther,
  'a terminal with the usual bound of open files can open all of its sockets',
);
assert(
  MEETING_LIMITS.searchSockets + (1 + 2) * LIMITS.callsMax < MEETING_LIMITS.furtherEndpointsMax,
  'a search has its sockets while each talk has a second round and two ways to a relay',
);
assert(
  MEETING_LIMITS.unprovenPacketsMax < MEETING_LIMITS.remotePacketsMax,
  'a second round has packets left',
);
assert(
  (LIMITS.meetingServersMax + 1) * MEETING_LIMITS.relayStepMs < MEETING_LIMITS.relayDecideMs &&
    LIMITS.startMsMax + MEETING_LIMITS.relayAfterMs + MEETING_LIMITS.relayDecideMs <
      CONNECTION_DEFAULTS.handshakeTimeoutMs,
  'the last server has time to answer, and all is decided before the set-up is given up',
);
