// How many talks each terminal has begun, on either side, and not reported as ended. Its own report
// is all that counts: nobody else can make the number of a terminal that reports any higher, and a
// few that never report cannot fill the sessions of a manager.

import type { DeviceId } from '../protocol/ids.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { SIDES, type SessionRecord } from './records.ts';

/** Sessions, open or being written, that a terminal has not reported on itself. */
export class Unreported {
  readonly #counts = new Map<DeviceId, number>();

  /** Whether this terminal has MANAGER_LIMITS.unreportedPerDeviceMax of them. */
  isFull(device: DeviceId): boolean {
    return (this.#counts.get(device) ?? 0) >= MANAGER_LIMITS.unreportedPerDeviceMax;
  }

  /** A session begins. */
  add(row: SessionRecord): void {
    this.#each(row, 1);
  }

  /** A session is over, or has not come about. */
  remove(row: SessionRecord): void {
    this.#each(row, -1);
  }

  /** One terminal of a session reports. */
  report(device: DeviceId): void {
    this.#count(device, -1);
  }

  #each(row: SessionRecord, change: 1 | -1): void {
    for (const side of SIDES) {
      if (row[`${side}Report`] === undefined) this.#count(row[`${side}Id`], change);
    }
  }

  #count(device: DeviceId, change: 1 | -1): void {
    const own = (this.#counts.get(device) ?? 0) + change;
    if (own > 0) this.#counts.set(device, own);
    else this.#counts.delete(device);
  }
}
