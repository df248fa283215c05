// The file approvals.json: the owner's yes that still counts (`remember` in an allow-list entry,
// `approve --remember`): for one caller, by its device ID, one service and the entry that asked, as
// it stood then, until a moment of wall time. Whoever changes the entry is asked again. The agent's
// corrected clock judges; a moment further away than any approval lasts counts for nothing, since
// it was written, or is read, by a clock that is wrong.

import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import { errorMessage } from '../../protocol/errors.ts';
import { type DeviceId, isDeviceId } from '../../protocol/ids.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import { damagedFile, readJson } from '../../protocol/io/files.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { isWindow } from '../vendor-windows.ts';
import { DiskTroubles } from './disk-troubles.ts';
import { WholeFile } from './whole-file.ts';

/** Bytes of an approval: ID, service, mark, moment and the JSON around them: less than 256. */
const FILE_BYTES_MAX = LIMITS.approvalsMax * 256;
/** Hex digits of an entry's mark. */
const MARK_DIGITS = 32;

const approval = v.strictObject({
  id: v.custom<DeviceId>((text) => typeof text === 'string' && isDeviceId(text)),
  service: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.serviceNameMax)),
  /** Of the entry that asked; see `markOf`. */
  entry: v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.length(MARK_DIGITS)),
  /** Unix milliseconds. */
  until: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
const approvalsFile = v.strictObject({
  version: v.literal(1),
  approvals: v.pipe(v.array(approval), v.maxLength(LIMITS.approvalsMax)),
});
type Approval = v.InferOutput<typeof approval>;

/** What a yes is for. `entry`: that of the allow-list which asked. */
interface Approved {
  readonly id: DeviceId;
  readonly service: string;
  readonly entry: AllowEntry;
}

/** What a parsed file of approvals says. @throws NakodoError `file-damaged` for anything else. */
export function approvalsIn(path: string, found: unknown): readonly Approval[] {
  const parsed = v.safeParse(approvalsFile, found);
  if (parsed.success) return parsed.output.approvals;
  throw damagedFile(path, 'it does not hold approvals');
}

/** The approvals of one home. */
export class Approvals {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #approvals = new Map<string, Approval>();
  readonly #file: WholeFile;

  constructor(path: string, clock: Clock, log: Log, disk = new DiskTroubles()) {
    this.#path = path;
    this.#clock = clock;
    this.#file = new WholeFile({
      path,
      text: () => this.#text(),
      onError: (error) => {
        disk.failed('approvals', error);
        log.error('approvals-not-saved', { why: errorMessage(error) });
      },
      onWritten: () => disk.written('approvals'),
    });
  }

  /** Reads the file, once; one that is not there holds none. @throws NakodoError `file-damaged` */
  async load(): Promise<void> {
    const found = await readJson(this.#path, FILE_BYTES_MAX);
    const approvals = found === undefined ? [] : approvalsIn(this.#path, found);
    for (const each of approvals) this.#approvals.set(keyOf(each), each);
  }

  /** Whether a yes for this caller and service still counts: the entry is the same as then. */
  holds({ id, service, entry }: Approved): boolean {
    const found = this.#approvals.get(keyOf({ id, service }));
    if (found === undefined || found.entry !== markOf(entry)) return false;
    const leftMs = found.until - this.#clock.wall();
    return leftMs > 0 && leftMs <= LIMITS.approvalSecondsMax * MS_PER_SECOND;
  }

  /** Remembers a yes, for at most LIMITS.approvalSecondsMax seconds; on disk in a moment. */
  remember({ id, service, entry }: Approved, seconds: number): void {
    const bounded = Math.min(seconds, LIMITS.approvalSecondsMax);
    const until = Math.floor(this.#clock.wall() + bounded * MS_PER_SECOND);
    const mark = markOf(entry);
    this.#approvals.set(keyOf({ id, service }), { id, service, entry: mark, until });
    this.#makeRoom();
    this.#file.changed();
  }

  /** Takes back what was remembered of a caller and a service. */
  forget(id: DeviceId, service: string): void {
    if (this.#approvals.delete(keyOf({ id, service }))) this.#file.changed();
  }

  /** Resolves when everything remembered is on disk. */
  settled(): Promise<void> {
    return this.#file.settled();
  }

  /** Drops what is over; of too many that count, the one that ends first. */
  #makeRoom(): void {
    const now = this.#clock.wall();
    for (const [key, { until }] of this.#approvals) if (until <= now) this.#approvals.delete(key);
    while (this.#approvals.size > LIMITS.approvalsMax) {
      const [first] = [...this.#approvals].sort(([, a], [, b]) => a.until - b.until);
      this.#approvals.delete(first[0]);
    }
  }

  #text(): string {
    const rows = [...this.#approvals.values()].map((each) => JSON.stringify(each));
    return `{ "version": 1, "approvals": [\n${rows.join(',\n')}\n] }\n`;
  }
}

/** No ID holds a blank. */
const keyOf = ({ id, service }: Pick<Approval, 'id' | 'service'>): string => `${id} ${service}`;

/**
 * Tells an entry from what its owner may make of it later: any change is another mark. The bytes of
 * a vendor window are what is left of it, and change with every talk.
 */
function markOf(entry: AllowEntry): string {
  const { action, pattern, id, services, seconds, until, extend, ask, remember } = entry;
  const bytes = isWindow(entry) ? undefined : entry.bytes;
  const all = [action, pattern, id, services, seconds, bytes, until, extend, ask, remember];
  const digest = createHash('sha256').update(JSON.stringify(all)).digest('hex');
  return digest.slice(0, MARK_DIGITS);
}
