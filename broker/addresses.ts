// The address record (patent means 51 and 54, Fig. 9): which terminal can be reached where, told
// only to the session manager that asks, and only for the record that a verdict names. Records are
// young by design: gathered fresh for each talk (design §5), forgotten after two minutes.

import type { Candidate, MessageOf } from '../protocol/control/messages.ts';
import { answerTopic, topic } from '../protocol/control/topics.ts';
import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import type { DeviceId, RecordId, RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, earlier, ms, seconds } from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';
import type { Outbox } from './outbox.ts';

interface AddressRecord {
  readonly device: DeviceId;
  readonly record: RecordId;
  readonly candidates: readonly Candidate[];
  readonly recordedAt: Micros;
}

interface Query extends Due {
  readonly key: string;
  readonly manager: string;
  readonly request: RequestId;
  readonly wanted: MessageOf<'addressQuery'>['wanted'];
}

const recordKey = (device: DeviceId, record: RecordId): string => `${device}/${record}`;

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

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
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

  /**
   * Records device ID ↔ address [S3000, claim 17] and says so to the terminal. A record without
   * candidates registers the terminal's presence. Answers the queries that waited for this record.
   */
  record(now: Micros, device: DeviceId, message: MessageOf<'address'>): void {
    const key = recordKey(device, message.record);
    const own = this.#devices.get(device) ?? new Set<RecordId>();
    this.#devices.delete(device);
    this.#devices.set(device, own);
    this.#forget(key);
    const { record, candidates } = message;
    own.add(record);
    this.#records.set(key, { device, record, candidates, recordedAt: now });
    this.#trim(device, own);
    this.#outbox.push(topic('call', device), { kind: 'addressRecorded', record });
    for (const query of this.#waiting.get(key) ?? [])
      if (this.#isComplete(query)) this.#answer(query);
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
  }

  nextTimeout(): Micros {
    let next = this.#deadlines.next();
    for (const { recordedAt } of this.#records.values()) {
      next = earlier(next, this.#expiry(recordedAt));
      break;
    }
    return next;
  }

  #expiry(recordedAt: Micros): Micros {
    return after(recordedAt, seconds(LIMITS.recordSecondsMax));
  }

  #isComplete(query: Query): boolean {
    return query.wanted.every(({ device, record }) => this.#records.has(recordKey(device, record)));
  }

  /** Tells the asking manager, and nobody else, what was found [S3004, S3005]. */
  #answer(query: Query): void {
    if (this.#queries.delete(query.key)) this.#stopWaiting(query);
    const found = query.wanted.flatMap(({ device, record }) => {
      const held = this.#records.get(recordKey(device, record));
      return held === undefined ? [] : [{ device, record, candidates: held.candidates }];
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
  }
}
