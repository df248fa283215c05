// The home of one terminal: records of talks (device/shell/ends-store.ts), pinned keys, files. What
// is wanted reaches the disk a moment later; a crash forgets the rest, and a bad disk more.

import type { StoredEnd } from '../../device/terminal-types.ts';
import { NO_COUNTS } from '../../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { type Rng, randomFraction } from '../../protocol/random.ts';
import { after, ms } from '../../protocol/time.ts';
import type { World } from '../world.ts';
import { Disk } from './disk.ts';

const WRITE_MS = 2;
const LOST_MS = 500;
const MEMBERSHIP = 'membership';
const RECEIPT = 'receipt';

/** What strikes a home. */
type DiskFault = 'disk.full' | 'disk.lost' | 'disk.torn' | 'list.torn';

/** The disk of one terminal; `rng` draws its faults. */
export class TerminalDisk {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #ends = new Disk<StoredEnd>();
  readonly #pins = new Disk<DeviceId>();
  readonly #files = new Disk<Uint8Array>();

  constructor(world: World, rng: Rng) {
    this.#world = world;
    this.#rng = rng;
  }

  /** What a start reads: nothing is under way then. */
  read(): {
    readonly membership: Uint8Array | undefined;
    readonly records: readonly StoredEnd[];
    readonly pins: readonly { readonly name: Name; readonly id: DeviceId }[];
  } {
    const { now } = this.#world;
    for (const disk of [this.#ends, this.#pins, this.#files]) disk.crash(now);
    return {
      membership: this.#files.rows().get(MEMBERSHIP),
      records: [...this.#ends.rows().values()],
      pins: [...this.#pins.rows()].map(([name, id]) => ({ name: name as Name, id })),
    };
  }

  /** Every record waits, and one that is overtaken is not written; forgetting does not wait. */
  store(session: SessionId, record: StoredEnd | undefined): void {
    const { now } = this.#world;
    const waitMs = record === undefined ? 0 : IO_LIMITS.endRecordWaitMs;
    const at = after(now, ms(waitMs + WRITE_MS));
    if (!this.strikes('disk.full')) this.#ends.put(now, session, record, at);
  }

  /** `id` undefined: it is pinned no more. */
  pin(name: Name, id: DeviceId | undefined): void {
    const { now } = this.#world;
    this.#pins.put(now, name, id, after(now, ms(WRITE_MS)));
  }

  receipt(bytes: Uint8Array): void {
    this.#file(RECEIPT, bytes, WRITE_MS);
  }

  /** `isThere`: it was put there before anything began. */
  membership(bytes: Uint8Array, isThere = false): void {
    this.#file(MEMBERSHIP, bytes, isThere ? 0 : WRITE_MS);
  }

  /** The machine loses its power, or the process is killed. */
  crash(): void {
    const { now } = this.#world;
    const lost = this.strikes('disk.lost') ? ms(LOST_MS) : 0;
    this.#ends.crash(now, lost);
    this.#pins.crash(now, lost);
    this.#files.crash(now);
    if (!this.strikes('disk.torn')) return;
    // A record that cannot be read counts as a talk that was under way (ends-store.ts).
    for (const session of this.#ends.rows().keys()) {
      const record = { session: session as SessionId, reason: undefined, counts: NO_COUNTS };
      this.#ends.damage(session, record);
      return;
    }
  }

  /** Whether a fault strikes now. */
  strikes(fault: DiskFault): boolean {
    const chance = this.#world.options[fault];
    if (chance === 0 || randomFraction(this.#rng) >= chance) return false;
    this.#world.fired(fault);
    return true;
  }

  #file(name: string, bytes: Uint8Array, delayMs: number): void {
    const { now } = this.#world;
    this.#files.put(now, name, bytes, after(now, ms(delayMs)));
  }
}
