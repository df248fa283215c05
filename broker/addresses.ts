// The address record (patent means 51 and 54, Fig. 9): which terminal can be reached where, told
// only to the session manager that asks, and only for the record that a verdict names. Records are
// young by design: gathered fresh for each talk (design §5), forgotten after two minutes. Where its
// NAT shows a terminal, it hears from STUN servers; what ours sees is added here, so that a record
// is complete a round trip earlier than the terminal could say it.

import { foldedAddress } from '../protocol/address.ts';
import type { Candidate, FoundAddress, MessageOf } from '../protocol/control/messages.ts';
import { answerTopic, topic } from '../protocol/control/topics.ts';
import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import type { DeviceId, RecordId, RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { sameBytes } from '../protocol/bytes.ts';
import { type Micros, after, earlier, ms, seconds } from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';
import type { Outbox } from './outbox.ts';
import {
  EarlySightings,
  type Sighting,
  isAllSeen,
  isVarying,
  parseSighting,
  withSeen,
  withSighting,
} from './sightings.ts';

interface AddressRecord {
  readonly device: DeviceId;
  readonly record: RecordId;
  /** What the terminal knows itself. */
  readonly candidates: readonly Candidate[];
  /** It still asks STUN servers. */
  readonly gathering: boolean;
  /** Where its MQTT connection came from when it said so. */
  readonly seenAt: Uint8Array | undefined;
  /** What our STUN server saw since the terminal last said that it asks. */
  seen: readonly Sighting[];
  /** From then on what it sees waits for the terminal to say so again. */
  readonly seenUntil: Micros;
  /** Requests for it that our STUN server may still answer while it is flooded. */
  favours: number;
  readonly recordedAt: Micros;
}

/** What a terminal says of itself, and where its connection comes from. */
interface Recorded {
  readonly device: DeviceId;
  readonly message: MessageOf<'address'>;
  readonly seenAt: Uint8Array | undefined;
}

interface Query extends Due {
  readonly key: string;
  readonly manager: string;
  readonly request: RequestId;
  readonly wanted: MessageOf<'addressQuery'>['wanted'];
}

/** How long a sighting may come before the word that it belongs to, or after it. */
const SIGHTED = seconds(BROKER_LIMITS.sightingSeconds);

const recordKey = (device: DeviceId, record: RecordId): string => `${device}/${record}`;

/** Whether each of a terminal's own candidates is an address that datagrams can be sent to. */
export const areCandidates = (candidates: readonly Candidate[]): boolean =>
  candidates.every(({ port }) => port > 0);

function folded(candidate: Candidate): Candidate {
  const address = foldedAddress(candidate.address) ?? candidate.address;
  return address === candidate.address ? candidate : { ...candidate, address };
}

const isSameAddress = (one: Uint8Array | undefined, other: Uint8Array | undefined): boolean =>
  one === undefined || other === undefined ? one === other : sameBytes(one, other);

/** What a manager is told of a record [S3004]. */
function foundOf({ device, record, candidates, seen, seenAt }: AddressRecord): FoundAddress {
  const isProven = seenAt !== undefined && seen.some((one) => sameBytes(one.address, seenAt));
  return {
    device,
    record,
    candidates: withSeen(candidates, seen),
    ...(seenAt !== undefined && { seenAt }),
    ...(isProven && { proven: true }),
    ...(isVarying(seen) && { varies: true }),
  };
}

/** Addresses by terminal and record, and the queries that wait for one [51, 54]. */
export class Addresses {
  readonly #outbox: Outbox;
  /** Oldest first: all live equally long. */
  readonly #records = new Map<string, AddressRecord>();
  /** Registered terminals, the one that registered longest ago first; each with its records. */
  readonly #devices = new Map<DeviceId, Set<RecordId>>();
  readonly #queries = new Map<string, Query>();
  readonly #waiting = new Map<string, Set<Query>>();
  readonly #deadlines = new DeadlineHeap<Query>();
  /** The record of an ID, which is all that a STUN request names: the first that came with it. */
  readonly #byRecord = new Map<RecordId, AddressRecord>();
  readonly #early = new EarlySightings();
  readonly #stunPorts: number;

  /** `stunPorts`: how many ports our STUN server has; 0 (default): there is none. */
  constructor(outbox: Outbox, stunPorts = 0) {
    this.#outbox = outbox;
    this.#stunPorts = stunPorts;
  }

  /** Terminals that have registered here and are not forgotten. */
  get devices(): number {
    return this.#devices.size;
  }

  get records(): number {
    return this.#records.size;
  }

  get waiting(): number {
    return this.#queries.size;
  }

  /** Records that our STUN server saw something of and that have not come. */
  get early(): number {
    return this.#early.size;
  }

  /**
   * Records device ID ↔ address [S3000, claim 17] and says so to the terminal. A record without
   * candidates registers the terminal's presence. Answers the queries that waited for this record,
   * unless the terminal is still `gathering` and our STUN server has not seen it everywhere. One
   * that is `gathering` again may be in another network: what was seen before counts no more, but
   * for the last BROKER_LIMITS.sightingSeconds, in which UDP may have overtaken MQTT.
   * `seenAt`: where its MQTT connection comes from.
   */
  record(now: Micros, device: DeviceId, message: MessageOf<'address'>, seenAt?: Uint8Array): void {
    const key = recordKey(device, message.record);
    const own = this.#devices.get(device) ?? new Set<RecordId>();
    this.#devices.delete(device);
    this.#devices.set(device, own);
    const { record, gathering = false } = message;
    const former = this.#records.get(key);
    const round = this.#round(now, { device, message, seenAt }, former);
    this.#forget(key);
    own.add(record);
    const held: AddressRecord = {
      device,
      record,
      candidates: message.candidates.map(folded),
      gathering,
      seenAt,
      ...round,
      favours: former?.favours ?? BROKER_LIMITS.stunKnownPerRecord,
      recordedAt: now,
    };
    this.#records.set(key, held);
    if (!this.#byRecord.has(record)) this.#byRecord.set(record, held);
    this.#trim(device, own);
    this.#outbox.push(topic('call', device), { kind: 'addressRecorded', record });
    this.#answerWaiting(key);
  }

  /**
   * Our STUN server saw a request that names a record [S1000, S3000]: a reflexive candidate of it
   * (RFC 8489), without a round trip to the terminal. Kept for a while if the record has not come,
   * or its terminal has not said that it asks anew.
   */
  sight(now: Micros, record: RecordId, told: Sighting): void {
    const sighting = parseSighting(told);
    if (sighting === undefined) return;
    const held = this.#byRecord.get(record);
    if (held === undefined || held.seenUntil <= now) {
      this.#early.add(now, record, sighting);
      return;
    }
    held.seen = withSighting(held.seen, sighting);
    this.#answerWaiting(recordKey(held.device, record));
  }

  /**
   * Whether our STUN server, flooded, is to answer a request for this record all the same: its
   * terminal has recorded it, and has not asked so more often than it has to.
   */
  favours(record: RecordId): boolean {
    const held = this.#byRecord.get(record);
    if (held === undefined || held.favours === 0) return false;
    held.favours -= 1;
    return true;
  }

  /**
   * Takes a manager's query [S3003]: answered at once if every record is here [S3004, S3005], else
   * when the last one arrives or the wait is over. Asked again while it waits, it goes on waiting.
   */
  query(now: Micros, manager: string, message: MessageOf<'addressQuery'>): void {
    const { request, wanted } = message;
    const key = `${manager}/${request}`;
    if (this.#queries.has(key)) return;
    const waitMs = Math.min(message.waitMs, LIMITS.recordWaitMs);
    const query = { key, manager, request, wanted, ...notArmed(after(now, ms(waitMs))) };
    const full = this.#queries.size >= BROKER_LIMITS.queriesMax;
    if (full || waitMs === 0 || this.#isComplete(query)) {
      this.#answer(query);
      return;
    }
    this.#queries.set(key, query);
    this.#deadlines.set(query, query.at);
    for (const { device, record } of wanted) {
      const waitKey = recordKey(device, record);
      const queries = this.#waiting.get(waitKey) ?? new Set();
      this.#waiting.set(waitKey, queries.add(query));
    }
  }

  /** Answers queries whose wait is over with what is there, and forgets old records. */
  handleTimeout(now: Micros): void {
    while (this.#outbox.hasRoom) {
      const query = this.#deadlines.popDue(now);
      if (query === undefined) break;
      this.#answer(query);
    }
    for (const [key, { recordedAt }] of this.#records) {
      if (this.#expiry(recordedAt) > now) break;
      this.#forget(key);
    }
    this.#early.handleTimeout(now);
  }

  nextTimeout(): Micros {
    let next = earlier(this.#deadlines.next(), this.#early.nextTimeout());
    for (const { recordedAt } of this.#records.values()) {
      next = earlier(next, this.#expiry(recordedAt));
      break;
    }
    return next;
  }

  #expiry(recordedAt: Micros): Micros {
    return after(recordedAt, seconds(LIMITS.recordSecondsMax));
  }

  /** What was seen that counts for a record that comes now, or again. */
  #round(
    now: Micros,
    { device, message: { record, gathering }, seenAt }: Recorded,
    former: AddressRecord | undefined,
  ): Pick<AddressRecord, 'seen' | 'seenUntil'> {
    if (former !== undefined && gathering !== true) {
      return { seen: former.seen, seenUntil: former.seenUntil };
    }
    const seenUntil = after(now, SIGHTED);
    if (former !== undefined && now < former.seenUntil) {
      if (isSameAddress(seenAt, former.seenAt)) {
        return { seen: former.seen, seenUntil: former.seenUntil };
      }
      // So soon what was seen may be of either network: who knows is its connection.
      return {
        seen: former.seen.filter(({ address }) => isSameAddress(address, seenAt)),
        seenUntil,
      };
    }
    const isFirst = (this.#byRecord.get(record)?.device ?? device) === device;
    return { seen: isFirst ? this.#early.take(record) : [], seenUntil };
  }

  #answerWaiting(key: string): void {
    for (const query of this.#waiting.get(key) ?? [])
      if (this.#isComplete(query)) this.#answer(query);
  }

  #isComplete(query: Query): boolean {
    return query.wanted.every(({ device, record }) => {
      const held = this.#records.get(recordKey(device, record));
      if (held === undefined) return false;
      return !held.gathering || isAllSeen(held.seen, this.#stunPorts, held.seenAt);
    });
  }

  /** Tells the asking manager, and nobody else, what was found [S3004, S3005]. */
  #answer(query: Query): void {
    if (this.#queries.delete(query.key)) this.#stopWaiting(query);
    const found = query.wanted.flatMap(({ device, record }) => {
      const held = this.#records.get(recordKey(device, record));
      return held === undefined ? [] : [foundOf(held)];
    });
    const { request } = query;
    this.#outbox.push(answerTopic(query.manager), { kind: 'addressAnswer', request, found });
  }

  #stopWaiting(query: Query): void {
    this.#deadlines.stop(query);
    for (const { device, record } of query.wanted) {
      const key = recordKey(device, record);
      const queries = this.#waiting.get(key);
      queries?.delete(query);
      if (queries?.size === 0) this.#waiting.delete(key);
    }
  }

  /** Keeps the three bounds: of this terminal, of all records, of all terminals. */
  #trim(device: DeviceId, own: ReadonlySet<RecordId>): void {
    if (own.size > LIMITS.recordsPerDeviceMax)
      for (const oldest of own) {
        this.#forget(recordKey(device, oldest));
        break;
      }
    if (this.#records.size > BROKER_LIMITS.recordsMax)
      for (const oldest of this.#records.keys()) {
        this.#forget(oldest);
        break;
      }
    if (this.#devices.size <= LIMITS.devicesMax) return;
    for (const [longestAgo, records] of this.#devices) {
      for (const record of records) this.#forget(recordKey(longestAgo, record));
      this.#devices.delete(longestAgo);
      break;
    }
  }

  #forget(key: string): void {
    const held = this.#records.get(key);
    if (held === undefined) return;
    this.#records.delete(key);
    this.#devices.get(held.device)?.delete(held.record);
    if (this.#byRecord.get(held.record) === held) this.#byRecord.delete(held.record);
  }
}
