// Who is let in no more (design §3): terminals that the operator has revoked, and the signed list
// of them that every broker gets while the link is up. Memberships run out by themselves, so only
// those revoked within a membership's time are listed; where they are too many for one list, all
// memberships made until then are void (`notBefore`), and whoever is still welcome renews.

import { decodeCbor, encodeCbor } from '../protocol/control/cbor.ts';
import { exactly, field, record, uint } from '../protocol/control/schema.ts';
import { REVOKED_TOPIC } from '../protocol/control/topics.ts';
import { makeRevocationList } from '../protocol/identity/revocation.ts';
import { type DeviceId, type Name, isDeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MS_PER_SECOND, type Micros, after, seconds } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import type { Stored, Write } from './manager-types.ts';
import { RECORD, type RevokedRecord, encodeRevoked, revokedRecord } from './records.ts';

/** Row of the table `meta` that holds what the lists go on from. */
const LIST_KEY = 'revocation-list';
/** How far the sequence may run before the next row is written: ten minutes, in milliseconds. */
const SEQUENCE_STEP = 600_000;
/**
 * The same where it is ahead of the wall time: half an hour of lists. Less, since each start goes
 * on from the ceiling: a server that is started a thousand times a day must not be days ahead.
 */
const AHEAD_STEP = 1_000;
/** Clocks differ, and what the ceiling tells of the time may be older by a step. */
const KEPT_SECONDS = 2 * LIMITS.clockSkewSeconds + SEQUENCE_STEP / MS_PER_SECOND;
const HELD_SECONDS = LIMITS.membershipSeconds + KEPT_SECONDS;

/** `ceiling`: no list has a higher sequence; `notBefore`: Unix seconds. */
const listRecord = record({
  version: field(0, exactly(1)),
  ceiling: field(1, uint(Number.MAX_SAFE_INTEGER)),
  notBefore: field(2, uint(LIMITS.unixSecondsMax)),
});

/** A revoked terminal that may hold a membership. */
interface Listed {
  readonly row: RevokedRecord;
  /** Listed until then whatever the wall clock says: a membership's time, and the skew. */
  readonly heldUntil: Micros;
}

/** The revoked terminals of one manager. */
export class Revocations {
  readonly #context: Context;
  readonly #next: Deadline;
  /** Oldest first. A terminal beyond LIMITS.devicesMax could enrol again, with a ticket. */
  readonly #rows = new Map<DeviceId, RevokedRecord>();
  /** Those that may hold a membership; at most LIMITS.revokedMax. */
  readonly #listed = new Map<DeviceId, Listed>();
  #notBefore = 0;
  #sequence = 0;
  /** On disk: a start goes on from here. */
  #ceiling = 0;
  /** Being written. */
  #raisingTo: number | undefined;
  #isLinked = false;

  constructor(context: Context) {
    this.#context = context;
    this.#next = context.deadlines.make((now) => this.publish(now));
  }

  /** Takes the rows read at start. */
  restore(now: Micros, stored: Stored): void {
    const { counts } = this.#context;
    const row = stored.meta.find(({ key }) => key === LIST_KEY);
    const list = row && decodeCbor(listRecord, row.value);
    if (row !== undefined && list === undefined) counts.malformed += 1;
    this.#sequence = list?.ceiling ?? 0;
    this.#ceiling = this.#sequence;
    this.#notBefore = list?.notBefore ?? 0;
    const rows = stored.revoked.flatMap(({ key, value }) => {
      const revoked = decodeCbor(revokedRecord, value);
      if (revoked === undefined || !isDeviceId(key)) counts.malformed += 1;
      if (!isDeviceId(key)) return [];
      // Shut out all the same: that there is a row says enough.
      return [{ id: key, revoked: revoked ?? this.#row(now, key as string as Name, 0) }];
    });
    rows.sort((a, b) => a.revoked.revoked - b.revoked.revoked);
    for (const { id, revoked } of rows) {
      this.#rows.set(id, revoked);
      if (!this.#isOver(now, revoked)) this.#list(now, id, revoked);
    }
    // A clock that is ahead calls too many of them over: the newest are listed for a while as well.
    for (const { id, revoked } of rows.toReversed()) {
      if (this.#listed.size >= LIMITS.revokedMax) return;
      if (!this.#listed.has(id)) this.#list(now, id, revoked);
    }
  }

  /** Whether the operator has revoked this terminal. */
  has(id: DeviceId): boolean {
    return this.#rows.has(id);
  }

  /** The terminal that was revoked last under a name. */
  byName(name: Name): DeviceId | undefined {
    let found: DeviceId | undefined;
    for (const [id, row] of this.#rows) if (row.name === name) found = id;
    return found;
  }

  /**
   * Revokes a terminal, effective at once; what to write of it. `issuedAt`: Unix seconds of the
   * last membership that it got, which a clock that was set back since can put into the future.
   */
  add(
    now: Micros,
    device: { readonly id: DeviceId; readonly name: Name },
    issuedAt: number,
  ): () => readonly Write[] {
    const { id, name } = device;
    const row = this.#row(now, name, issuedAt);
    const writes: Write[] = [];
    if (this.#rows.size >= LIMITS.devicesMax) {
      const [oldest] = this.#rows.keys();
      this.#rows.delete(oldest);
      writes.push({ table: 'revoked', key: oldest, value: undefined });
    }
    this.#rows.set(id, row);
    this.#list(now, id, row);
    writes.push({ table: 'revoked', key: id, value: encodeRevoked(row) });
    return () => [...writes, this.#listRow()];
  }

  /** The link is up: a broker that was started anew lets nobody in before it has a list. */
  onLinkUp(now: Micros): void {
    this.#isLinked = true;
    this.publish(now);
  }

  onLinkDown(): void {
    this.#isLinked = false;
    this.#context.deadlines.stop(this.#next);
  }

  /**
   * Publishes the list as it stands, and again every LIMITS.revocationEverySeconds. Where its
   * number needs a higher ceiling it goes when that is on disk, or the disk is known to be full.
   */
  publish(now: Micros): void {
    if (!this.#isLinked) return;
    this.#context.deadlines.set(this.#next, after(now, seconds(LIMITS.revocationEverySeconds)));
    const wanted = Math.max(this.#context.wall.at(now), this.#sequence + 1);
    // A disk that does not answer at all holds up one list only.
    if (wanted > this.#ceiling && this.#raisingTo === undefined) this.#raise(now, wanted);
    else this.#send(now);
  }

  #send(now: Micros): void {
    if (!this.#isLinked) return;
    const recent = [...this.#listed].filter(([, one]) => this.#isRecent(now, one));
    const list = makeRevocationList(this.#context.options.key, {
      sequence: this.#nextSequence(now),
      issuedAt: this.#seconds(now),
      notBefore: this.#notBefore,
      devices: recent.map(([id]) => id),
    });
    this.#context.publish(REVOKED_TOPIC, list);
  }

  #row(now: Micros, name: Name, issuedAt: number): RevokedRecord {
    const revoked = Math.max(0, this.#context.wall.at(now));
    // A clock that was set back knows of no membership that was made before the start. But the
    // ceiling follows the wall time: less its step it is a time that has been, at most a step
    // (which KEPT_SECONDS allows for) before the latest, or seconds later where numbers ran ahead.
    const latest = Math.floor((this.#ceiling - SEQUENCE_STEP) / MS_PER_SECOND);
    const from = Math.min(LIMITS.unixSecondsMax, Math.max(issuedAt, this.#seconds(now), latest));
    return { ...RECORD, name, revoked, membershipsUntil: from + LIMITS.membershipSeconds };
  }

  #list(now: Micros, id: DeviceId, row: RevokedRecord): void {
    if (this.#listed.size >= LIMITS.revokedMax) {
      for (const [one, each] of this.#listed) {
        if (this.#isOver(now, each.row)) this.#listed.delete(one);
      }
    }
    if (this.#listed.size >= LIMITS.revokedMax) {
      const times = [...this.#listed.values()].map((each) => lastIssue(each.row));
      // Every membership of theirs was made before; whoever renews is let in again.
      this.#notBefore = Math.max(this.#notBefore, ...times) + 1;
      this.#listed.clear();
    }
    this.#listed.set(id, { row, heldUntil: after(now, seconds(HELD_SECONDS)) });
  }

  /** Whether a membership of it may still be believed somewhere, and is not void anyway. */
  #isRecent(now: Micros, { row, heldUntil }: Listed): boolean {
    return lastIssue(row) >= this.#notBefore && (now < heldUntil || !this.#isOver(now, row));
  }

  /** Whether its memberships are void or have run out, by the wall clock. */
  #isOver(now: Micros, row: RevokedRecord): boolean {
    const until = row.membershipsUntil + KEPT_SECONDS;
    return lastIssue(row) < this.#notBefore || until <= this.#seconds(now);
  }

  /**
   * Rises with every list, whatever the clock does: from the wall time, so that it goes on even
   * from an old backup of the store, but not beyond the ceiling on disk. While a disk is full it
   * rises by ones: brokers need lists also then, and a clock that ran ahead for a moment must not
   * leave them with a number that the next start does not reach.
   */
  #nextSequence(now: Micros): number {
    const wall = Math.max(0, this.#context.wall.at(now));
    this.#sequence = Math.max(this.#sequence + 1, Math.min(wall, this.#ceiling));
    return this.#sequence;
  }

  #raise(now: Micros, wanted: number): void {
    const isAhead = wanted > this.#context.wall.at(now);
    const ceiling = wanted + (isAhead ? AHEAD_STEP : SEQUENCE_STEP);
    this.#raisingTo = ceiling;
    this.#context.ledger.add(now, {
      entries: [],
      writes: () => [this.#listRow()],
      persisted: (then) => {
        this.#raisingTo = undefined;
        this.#ceiling = ceiling;
        this.#send(then);
      },
      failed: (then) => {
        this.#raisingTo = undefined;
        this.#send(then);
      },
    });
  }

  /** With the ceiling that is being written, whoever else writes the row meanwhile. */
  #listRow(): Write {
    const ceiling = this.#raisingTo ?? this.#ceiling;
    const row = { version: 1, ceiling, notBefore: this.#notBefore };
    return { table: 'meta', key: LIST_KEY, value: encodeCbor(listRecord, row) };
  }

  #seconds(now: Micros): number {
    const wall = Math.floor(this.#context.wall.at(now) / MS_PER_SECOND);
    return Math.min(LIMITS.unixSecondsMax, Math.max(0, wall));
  }
}

/** Unix seconds of the last membership that a revoked terminal can have. */
const lastIssue = (row: RevokedRecord): number => row.membershipsUntil - LIMITS.membershipSeconds;
