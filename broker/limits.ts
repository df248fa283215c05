// The bounds that only the trigger broker has; those that the parties share are in
// `protocol/limits.ts`. At each bound something is refused or the oldest goes; it says which.

import { assert } from '../protocol/assert.ts';
import { LIMITS } from '../protocol/limits.ts';

export const BROKER_LIMITS = {
  /** Address records in all; at the bound the oldest goes. Chosen by us: about 200 MB. */
  recordsMax: 200_000,
  /** Address queries that wait for a record; at the bound a query is answered at once. */
  queriesMax: 20_000,
  /**
   * What our STUN server saw of one record: two ports of ours, IPv4 and IPv6; a fifth stays out.
   */
  sightingsPerRecordMax: 4,
  /** Seconds that a sighting waits for its record: UDP overtakes MQTT by a lost packet or two. */
  sightingSeconds: 5,
  /** Records of which something was seen too early; at the bound the oldest goes. About 30 MB. */
  sightingsMax: 65_536,
  /**
   * STUN requests a second that are looked into, and how many at once; more are dropped. A fifth
   * of a core; a terminal sends two for a call, and repeats them.
   */
  stunRequestsPerSecond: 10_000,
  stunBurst: 2_000,
  /**
   * The same of one network, 24 bits of IPv4 or 64 of IPv6: a quarter, so that one that floods
   * leaves most to the others; a fleet behind one NAT makes a thousand calls a second. How many
   * networks are told apart: by a hash, those beyond share. About 250 KB.
   */
  stunNetworkPerSecond: 2_500,
  stunNetworkBurst: 500,
  stunNetworks: 4_096,
  /**
   * Requests beyond those that name a record which is held; and of one record, as many as a
   * terminal sends at most.
   */
  stunKnownPerSecond: 2_000,
  stunKnownBurst: 500,
  stunKnownPerRecord: 16,
  /** Bytes of a STUN request that is looked into: those of our terminals have 128. */
  stunRequestBytesMax: 1_024,
  /** Bytes of requests that the kernel is asked to keep for us: a burst, with its bookkeeping. */
  stunReceiveBufferBytes: 1024 * 1024,
  /** Times that a free port is looked for that both families can have. */
  stunPortTriesMax: 16,
  /** Payload bytes of the triggers that wait in all; at the bound a trigger expires at once. */
  triggerBytesMax: 32 * 1024 * 1024,
  /** Login tokens that are remembered until they run out, of one party and in all: each is taken
   * once. At a bound the oldest goes; one party alone pushes out its own only. About 40 MB. */
  noncesPerPartyMax: 64,
  noncesMax: 262_144,
  /** Milliseconds in which a terminal that showed a false membership may show no other. */
  renewalPauseMs: 1_000,
  /** Bytes of a login token: less than a CONNECT may have. */
  loginBytesMax: 1_900,
  /**
   * Bytes that are kept of a connection before its login is proven (design §4, Guard): a TLS
   * ClientHello until it is whole (the longest in use, with a post-quantum key, take 1.8 KiB),
   * then the CONNECT packet.
   */
  strangerBytesMax: 2 * 1024,
  /** Bytes of one MQTT packet afterwards: the longest message, its topic and some room. */
  packetBytesMax: 16 * 1024,
  /** Packets that Aedes keeps from a client whose CONNACK is not out yet. */
  earlyPacketsMax: 8,
  /** Milliseconds from the TCP connection to a proven login (design §4, Guard). */
  loginMs: 3_000,
  /** Connections without a proven login; at the bound the oldest goes, never the newcomer. */
  strangersMax: 1_024,
  /** The same, of one address; counted only above half of strangersMax: fleets share a NAT. */
  strangersPerAddressMax: 128,
  /**
   * Bytes a second that are read of one terminal, and how many at once before that counts: a
   * hundred times what a busy one says, a hundredth of what a session manager can read.
   */
  terminalBytesPerSecond: 1024 * 1024,
  terminalBurstBytes: 1024 * 1024,
  /**
   * Bytes that a packet counts for there beside its own: what the shortest cost is not their
   * bytes. So at most 2,048 packets a second.
   */
  terminalPacketBytes: 512,
  /** Bytes that wait for a client that reads slowly; at the bound its connection is ended,
   * or, a session manager's, messages to it are dropped: each is asked again, and it serves all. */
  unreadBytesMax: 1024 * 1024,
  /** The same with what Aedes itself answers; at the bound it reads no more of the client. */
  unansweredBytesMax: 2 * 1024 * 1024,
  /** Milliseconds for a client over that second bound to read on. */
  drainMs: 2_000,
  /** TCP connections that the kernel holds before we accept them. */
  backlogMax: 1_024,
} as const;

assert(
  BROKER_LIMITS.packetBytesMax >= LIMITS.messageBytesMax + 256,
  'a message fits into a packet with its topic',
);
assert(BROKER_LIMITS.loginBytesMax < BROKER_LIMITS.strangerBytesMax, 'a login fits');
assert(
  BROKER_LIMITS.unansweredBytesMax > BROKER_LIMITS.unreadBytesMax + BROKER_LIMITS.packetBytesMax,
  'no forwarded message ever waits for a slow reader, and so nobody behind it',
);
assert(BROKER_LIMITS.recordsMax >= LIMITS.devicesMax, 'every terminal can have an address');
assert(
  BROKER_LIMITS.sightingsMax >
    BROKER_LIMITS.stunRequestsPerSecond * BROKER_LIMITS.sightingSeconds + BROKER_LIMITS.stunBurst,
  'a flood of made-up records pushes out no sighting before its time',
);
