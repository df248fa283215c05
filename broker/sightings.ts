// What our own STUN server saw of a terminal: from which address, and through which port of it, a
// request with the ID of an address record came (design §5). UDP is often faster than MQTT, so
// sightings may come before the record that they are for: they are kept for a few seconds. Anybody
// can send such a request; only who knows a record's ID, 128 random bits, adds to that record.

import { addressScope, foldedAddress } from '../protocol/address.ts';
import { assert } from '../protocol/assert.ts';
import { sameBytes } from '../protocol/bytes.ts';
import type { Candidate } from '../protocol/control/messages.ts';
import type { RecordId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, NEVER, after, seconds } from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';

/** One source of requests, as one port of our STUN server saw it. */
export interface Sighting {
  /** 4 or 16 bytes, IPv4-mapped ones folded. */
  readonly address: Uint8Array;
  /** 1 to 65,535. */
  readonly port: number;
  /** The port of ours that it came to. */
  readonly serverPort: number;
}

/** The sighting as it is kept; undefined for an address or a port that nobody can be reached at. */
export function parseSighting({ address, port, serverPort }: Sighting): Sighting | undefined {
  const folded = foldedAddress(address);
  if (folded === undefined || port < 1 || port > LIMITS.portMax) return undefined;
  const scope = addressScope(folded);
  if (scope === 'unspecified' || scope === 'multicast' || scope === 'none') return undefined;
  return { address: Uint8Array.from(folded), port, serverPort };
}

/**
 * The sightings with another one, each once: requests are repeated. At the bound of a record the
 * newcomer stays out, so that nobody pushes out what was seen first.
 */
export function withSighting(seen: readonly Sighting[], one: Sighting): readonly Sighting[] {
  const isFull = seen.length >= BROKER_LIMITS.sightingsPerRecordMax;
  const isKnown = seen.some((each) => each.serverPort === one.serverPort && isAt(each, one));
  return isFull || isKnown ? seen : [...seen, one];
}

/**
 * Whether our STUN server has seen all that it will see soon: every family that came has come to
 * each of our `stunPorts` ports, and the family of the terminal's MQTT connection, by whose address
 * it finds the STUN server, is among them.
 */
export function isAllSeen(
  seen: readonly Sighting[],
  stunPorts: number,
  seenAt: Uint8Array | undefined,
): boolean {
  if (stunPorts === 0 || seen.length === 0) return false;
  const families = new Map<number, Set<number>>();
  if (seenAt !== undefined) families.set(seenAt.length, new Set());
  for (const { address, serverPort } of seen) {
    const ports = families.get(address.length) ?? new Set();
    families.set(address.length, ports.add(serverPort));
  }
  return [...families.values()].every((ports) => ports.size >= stunPorts);
}

/** Whether two of our ports saw one family at different ports or addresses (RFC 4787 §4.1). */
export function isVarying(seen: readonly Sighting[]): boolean {
  return seen.some((one, at) =>
    seen
      .slice(at + 1)
      .some(
        (other) =>
          other.address.length === one.address.length &&
          other.serverPort !== one.serverPort &&
          !isAt(one, other),
      ),
  );
}

/**
 * A terminal's own candidates, and behind them what was seen and is not among them [S1000]. When
 * they are too many, the last of its own that were not seen go: what was seen is what works.
 */
export function withSeen(
  own: readonly Candidate[],
  seen: readonly Sighting[],
): readonly Candidate[] {
  const reflexive: Candidate[] = [];
  for (const one of seen) {
    if (own.some((each) => isAt(each, one)) || reflexive.some((each) => isAt(each, one))) continue;
    reflexive.push({ address: one.address, port: one.port, type: 'reflexive' });
  }
  let excess = own.length + reflexive.length - LIMITS.candidatesMax;
  const kept = own.toReversed().filter((each) => {
    if (excess <= 0 || seen.some((one) => isAt(each, one))) return true;
    excess -= 1;
    return false;
  });
  return [...kept.toReversed(), ...reflexive];
}

interface Endpoint {
  readonly address: Uint8Array;
  readonly port: number;
}

const isAt = (a: Endpoint, b: Endpoint): boolean =>
  a.port === b.port && sameBytes(a.address, b.address);

interface Early {
  readonly seen: readonly Sighting[];
  readonly until: Micros;
}

/** Sightings whose record has not come yet. */
export class EarlySightings {
  /** The first that was seen first; all live equally long. */
  readonly #byRecord = new Map<RecordId, Early>();

  /** Records that something was seen of. */
  get size(): number {
    return this.#byRecord.size;
  }

  /** Keeps a sighting for BROKER_LIMITS.sightingSeconds from the first of its record. */
  add(now: Micros, record: RecordId, sighting: Sighting): void {
    const early = this.#byRecord.get(record);
    const seen = withSighting(early?.seen ?? [], sighting);
    const until = early?.until ?? after(now, seconds(BROKER_LIMITS.sightingSeconds));
    this.#byRecord.set(record, { seen, until });
    if (this.#byRecord.size <= BROKER_LIMITS.sightingsMax) return;
    for (const oldest of this.#byRecord.keys()) {
      this.#byRecord.delete(oldest);
      break;
    }
  }

  /** The record is here: hands its sightings over. */
  take(record: RecordId): readonly Sighting[] {
    const seen = this.#byRecord.get(record)?.seen ?? [];
    this.#byRecord.delete(record);
    return seen;
  }

  handleTimeout(now: Micros): void {
    for (const [record, { until }] of this.#byRecord) {
      if (until > now) return;
      this.#byRecord.delete(record);
    }
  }

  nextTimeout(): Micros {
    for (const { until } of this.#byRecord.values()) return until;
    return NEVER;
  }
}

assert(
  BROKER_LIMITS.sightingsPerRecordMax < LIMITS.candidatesMax,
  'what was seen leaves room for what a terminal knows itself',
);
