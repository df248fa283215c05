// What one terminal of an introduction is told of the other's addresses [S2008, S2009], after the
// verdict was yes. What a terminal lists is its own word: addresses that nobody can have are left
// out, and what only a site knows (RFC 1918, RFC 4193, RFC 6598) is told only where both seem to be
// of one site. A peer that lies about its public address gets that far too, and no further: it is
// one that was let in, and what it lists gets a few small probes. To believe nothing but the broker
// would keep neighbours apart who came together in mid-session (ADR 0022). The many-socket search
// believes nobody but broker and STUN server. Who is where is known while the session lasts, in
// memory only.

import {
  type AddressScope,
  type RelayPolicy,
  addressScope,
  foldedAddress,
} from '../protocol/address.ts';
import { sameBytes } from '../protocol/bytes.ts';
import type { Candidate, FoundAddress, MessageOf } from '../protocol/control/messages.ts';
import { LIMITS } from '../protocol/limits.ts';

const IPV4_BYTES = 4;
/** Bytes of an IPv6 address that are its link's. */
const LINK_BYTES = 8;

/** Where one terminal is, as far as anybody but itself can tell; holds no host address. */
export interface Place {
  readonly relay: RelayPolicy;
  /** Its public networks as the broker and STUN servers see them (`networkKey`). */
  readonly sightings: readonly string[];
  /**
   * It is seen at an address that is not of the public Internet. The server and this terminal then
   * are on one side of every NAT between them and the Internet; so are two such terminals.
   */
  readonly isInside: boolean;
  /** On the server's own machine, or a broker of former days did not say where. */
  readonly isOnLoopback: boolean;
  /** Folded; seen by the broker and by our own STUN server: no terminal can make it up. */
  readonly proven: Uint8Array | undefined;
  /** Its NAT shows each destination another port (RFC 4787 §4.1). */
  readonly varies: boolean;
}

/** Of a terminal of which nothing is known: the manager was started anew meanwhile. */
export const UNKNOWN_PLACE: Place = {
  relay: 'if-needed',
  sightings: [],
  isInside: false,
  isOnLoopback: false,
  proven: undefined,
  varies: false,
};

/** Where a terminal is by its address record [S3004]; `relay`: its own word, absent = if needed. */
export function placeOf(found: FoundAddress, relay: RelayPolicy = 'if-needed'): Place {
  const seenAt = found.seenAt && foldedAddress(found.seenAt);
  const scope = seenAt && addressScope(seenAt);
  const seen = seenAt === undefined ? [] : [seenAt];
  const sightings = publicOf([...seen, ...reflexive(found.candidates)]);
  const isLocal = scope === undefined || scope === 'loopback';
  return {
    relay,
    sightings,
    isInside: scope !== undefined && isNear(scope),
    // Whoever has a public address as well comes through a proxy or tunnel on the server's machine.
    isOnLoopback: isLocal && sightings.length === 0,
    proven: found.proven === true ? seenAt : undefined,
    varies: found.varies === true,
  };
}

/**
 * Where it is by what it says in mid-session. Where none of its reflexive addresses was known it is
 * in another network; where it has moved and no STUN server shows it, in one that nobody knows.
 * What was proven before, and is not where it is seen now, is proven no more.
 */
export function placeAfter(
  before: Place,
  said: Pick<MessageOf<'candidates'>, 'candidates'> &
    Partial<Pick<MessageOf<'candidates'>, 'varies' | 'moved'>>,
): Place {
  const seen = reflexive(said.candidates);
  const varies = said.varies === true;
  if (seen.length === 0) {
    if (said.moved !== true) return before;
    const isOnLoopback = before.isOnLoopback && said.candidates.every(isLoopback);
    return { ...UNKNOWN_PLACE, relay: before.relay, isOnLoopback, varies };
  }
  const sightings = publicOf(seen);
  const isInside = sightings.length === 0;
  const isKnown = isInside
    ? before.isInside
    : sightings.some((one) => before.sightings.includes(one));
  const { proven } = before;
  const isProven = isInside || seen.some((one) => proven !== undefined && sameBytes(one, proven));
  if (isKnown) return { ...before, varies, proven: isProven ? proven : undefined };
  return {
    relay: before.relay,
    sightings,
    isInside,
    isOnLoopback: seen.every((address) => addressScope(address) === 'loopback'),
    proven: undefined,
    varies,
  };
}

/**
 * What `to` is told of the candidates that `of` has listed: usable ones, each once, folded, at most
 * LIMITS.candidatesMax, in their own order. Of a terminal that is reached through a relay only,
 * nothing but relayed ones; no relayed ones where either of both wants none.
 */
export function toldCandidates(
  candidates: readonly Candidate[],
  ends: { readonly of: Place; readonly to: Place },
): readonly Candidate[] {
  const { of, to } = ends;
  const told = new Map<string, Candidate>();
  for (const { address, port, type } of candidates) {
    if (told.size === LIMITS.candidatesMax) break;
    const folded = foldedAddress(address);
    if (folded === undefined || port === 0 || !isUsable(folded, ends)) continue;
    if (type === 'relayed' ? !isRelayAllowed(of, to) : of.relay === 'only') continue;
    const key = `${addressKey(folded)}/${port}`;
    if (!told.has(key)) told.set(key, { address: folded, port, type });
  }
  return [...told.values()];
}

/**
 * Where `to` may run the many-socket search against `of`: exactly one of both shows each
 * destination another port, both may be reached directly, and the address is proven. Undefined:
 * nowhere.
 */
export function searchAddress(ends: {
  readonly of: Place;
  readonly to: Place;
}): Uint8Array | undefined {
  const { of, to } = ends;
  if (of.varies === to.varies || of.relay === 'only' || to.relay === 'only') return undefined;
  return of.proven !== undefined && isUsable(of.proven, ends) ? of.proven : undefined;
}

/** Whether datagrams between these two may pass through a relay: both have to let them. */
export const isRelayAllowed = (one: Place, other: Place): boolean =>
  one.relay !== 'never' && other.relay !== 'never';

/** Whether an address of `of`, folded, means anything good to `to`. */
function isUsable(
  address: Uint8Array,
  { of, to }: { readonly of: Place; readonly to: Place },
): boolean {
  switch (addressScope(address)) {
    case 'global':
      return true;
    case 'private':
    case 'shared':
      return isSameSite(of, to);
    case 'loopback':
      return of.isOnLoopback && to.isOnLoopback;
    default:
      return false;
  }
}

/**
 * Whether both are behind one public address or of one IPv6 network, or both on the server's side
 * of it. Private prefixes are not compared: a site has several networks, which reach one another or
 * do not answer. Both may seem to be on the server's side because their MQTT comes through one
 * proxy: UDP then shows each where it is.
 */
function isSameSite(one: Place, other: Place): boolean {
  if (one.sightings.some((sighting) => other.sightings.includes(sighting))) return true;
  const isSeenApart = one.sightings.length > 0 && other.sightings.length > 0;
  return one.isInside && other.isInside && !isSeenApart;
}

const isLoopback = ({ address }: Candidate): boolean => addressScope(address) === 'loopback';

/** Of no public network. */
const isNear = (scope: AddressScope): boolean =>
  scope === 'private' || scope === 'shared' || scope === 'loopback' || scope === 'link-local';

/** What STUN servers have shown a terminal, by its own word; folded, usable scopes alone. */
function reflexive(candidates: readonly Candidate[]): readonly Uint8Array[] {
  return candidates.flatMap(({ address, type }) => {
    const folded = foldedAddress(address);
    const scope = addressScope(address);
    if (type !== 'reflexive' || folded === undefined || scope === undefined) return [];
    return scope === 'global' || isNear(scope) ? [folded] : [];
  });
}

/** The public ones among folded addresses, as keys, each once. */
const publicOf = (addresses: readonly Uint8Array[]): readonly string[] => [
  ...new Set(addresses.filter((address) => addressScope(address) === 'global').map(networkKey)),
];

/**
 * What neighbours have in common: of IPv4 the whole address, as one stands for a home; of IPv6 the
 * link (RFC 4291 §2.5.4: 64 bits), as each machine has addresses of its own.
 */
function networkKey(address: Uint8Array): string {
  return addressKey(address.length === IPV4_BYTES ? address : address.subarray(0, LINK_BYTES));
}

/** Folded bytes as a key. */
function addressKey(address: Uint8Array): string {
  return address.join('.');
}
