// Every bound of STUN and TURN: value, unit, why. An attacker of these parts is anybody who can
// send us a datagram, a server that went mad, or a peer behind a relay. Relations are asserted at
// load.

import { assert } from '../assert.ts';

export const STUN_LIMITS = {
  /** Attributes of one message: RFC 8656's longest has about 12; more is not read at all. */
  attributesMax: 32,
  /** Bytes of a realm or nonce (RFC 8489 §14.9, §14.10: under 128 characters, 763 bytes). */
  textBytesMax: 763,
  /** Servers that one endpoint asks for its address. */
  serversMax: 8,
  /**
   * Milliseconds between Binding requests to one server that is silent; the last one stays. Faster
   * than RFC 8489 §6.2.1 (500 ms): a talk waits for it, and it ends after 8 small packets.
   */
  bindingPausesMs: [75, 100, 200],
  /** Binding requests to one server in all, and milliseconds after the last until we give up. */
  bindingPacketsMax: 8,
  bindingPatienceMs: 400,
  /**
   * Bytes to which a Binding request is padded: our longest answer has 64, those of others (with
   * SOFTWARE, OTHER-ADDRESS and so on) stay below.
   */
  bindingRequestBytes: 128,
  /**
   * Milliseconds between the tries of one TURN request, and after the last until it failed. Faster
   * than RFC 8489 §6.2.1 (39.5 s), since somebody waits: Allocate takes two requests, and both
   * together give up in under 10 s. Eight tries get through 51 % loss in 199 of 200 cases.
   */
  turnPausesMs: [100, 200, 400, 800, 800, 800, 800, 800],
  /**
   * Milliseconds for the answer to a request over TCP, which is sent once: about as long as over
   * UDP, so that a silent relay is lost within 5 s of its silence (RFC 8489 §6.2.2 has 39.5 s).
   */
  turnStreamMs: 4_000,
  /** Times that one TURN request is made again for a new nonce or for credentials. */
  challengesMax: 3,
  /**
   * Milliseconds for a word on the last Refresh, the only one that a server has to say a second
   * time: that our nonce is stale. As long as the farthest relay takes.
   */
  closeMs: 1_000,
  /** Hosts that may send through one allocation, and peers that have a channel. */
  permissionsMax: 32,
  channelsMax: 32,
  /** Peers without a channel that are heard: a permission is for a host, with all its ports. */
  strangersMax: 64,
  /** Seconds between two askings for a permission (it lives 300 s: RFC 8656 §9). */
  permissionSeconds: 240,
  /** Seconds that a permission and a channel live after they were granted (RFC 8656 §9, §12). */
  permissionLifeSeconds: 300,
  channelLifeSeconds: 600,
  /** Seconds between two bindings of a channel. */
  channelSeconds: 480,
  /**
   * Tries and the seconds between them after the server had an error of its own, before what it
   * gave is not asked for again: within the minute for which the oldest permission still lives.
   */
  serverErrorsMax: 8,
  serverErrorSeconds: 5,
  /** Seconds of an allocation that we believe: whoever says less or more means one of these. */
  lifetimeSecondsMin: 20,
  lifetimeSecondsMax: 3_600,
  /** Bytes of the longest TURN message over TCP; padded ChannelData has 65,540 at most. */
  frameBytesMax: 65_552,
} as const;

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

assert(2 * sum(STUN_LIMITS.turnPausesMs) < 10_000, 'a relay that is silent is given up in 10 s');
assert(
  STUN_LIMITS.turnStreamMs <= sum(STUN_LIMITS.turnPausesMs) &&
    sum(STUN_LIMITS.turnPausesMs) < 5_000,
  'a relay that is gone is noticed within 5 s',
);
assert(
  STUN_LIMITS.permissionSeconds + sum(STUN_LIMITS.turnPausesMs) / 1_000 <
    STUN_LIMITS.permissionLifeSeconds,
  'a permission is renewed while it lives',
);
assert(
  STUN_LIMITS.channelSeconds + sum(STUN_LIMITS.turnPausesMs) / 1_000 <
    STUN_LIMITS.channelLifeSeconds,
  'a channel is renewed while it lives',
);
assert(
  STUN_LIMITS.permissionSeconds + STUN_LIMITS.serverErrorsMax * STUN_LIMITS.serverErrorSeconds <
    STUN_LIMITS.permissionLifeSeconds,
  'a permission lives while the errors of a server pass',
);
