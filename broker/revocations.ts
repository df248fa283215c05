// The revocation lists of the session managers (design §3), each manager's for its own terminals.
// A broker without a fresh one cannot know who was thrown out since: it lets nobody new in, and
// keeps whom it has. A list counts once: whoever repeats an old one brings nobody back.

import type { MessageOf } from '../protocol/control/messages.ts';
import type { CryptoSuite } from '../protocol/crypto.ts';
import { managerClientId } from '../protocol/identity/manager-id.ts';
import { openRevocationList } from '../protocol/identity/revocation.ts';
import type { DeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, seconds } from '../protocol/time.ts';

/** What a revocation list may void: a terminal's membership, and which manager made it. */
export interface Issued {
  readonly device: DeviceId;
  /** The manager's place in the list of keys that the broker was started with. */
  readonly manager: number;
  /** Unix seconds. */
  readonly issuedAt: number;
}

interface Revoked {
  readonly sequence: number;
  readonly notBefore: number;
  readonly devices: ReadonlySet<DeviceId>;
  readonly receivedAt: Micros;
}

/** The newest list of each manager. Bounded by the managers' keys and the lists' own bound. */
export class Revocations {
  readonly #suite: CryptoSuite;
  readonly #managers: readonly { readonly key: Uint8Array; readonly client: string }[];
  readonly #newest = new Map<number, Revoked>();

  constructor(suite: CryptoSuite, managerKeys: readonly Uint8Array[]) {
    this.#suite = suite;
    this.#managers = managerKeys.map((key) => ({ key, client: managerClientId(suite, key) }));
  }

  /**
   * Takes a manager's list [T13 of the threat model: revoked within 5 s]. `from`: its proven client
   * ID. Returns whose list it is, or undefined if it is not signed by that manager or not newer
   * than its last one.
   */
  take(now: Micros, from: string, message: MessageOf<'revoked'>): number | undefined {
    const manager = this.#managers.findIndex(({ client }) => client === from);
    if (manager < 0) return undefined;
    const list = openRevocationList(this.#suite, this.#managers[manager].key, message);
    if (list === undefined) return undefined;
    const last = this.#newest.get(manager);
    if (last !== undefined && list.sequence <= last.sequence) return undefined;
    const { sequence, notBefore } = list;
    this.#newest.set(manager, {
      sequence,
      notBefore,
      devices: new Set(list.devices),
      receivedAt: now,
    });
    return manager;
  }

  /** Whether this manager's list is too old to let anybody in, or there is none. */
  isStale(now: Micros, manager: number): boolean {
    const newest = this.#newest.get(manager);
    return (
      newest === undefined ||
      now > after(newest.receivedAt, seconds(LIMITS.revocationAgeSecondsMax))
    );
  }

  /** Whether a membership is void by what we know. */
  isVoid({ device, manager, issuedAt }: Issued): boolean {
    const newest = this.#newest.get(manager);
    if (newest === undefined) return false;
    return issuedAt < newest.notBefore || newest.devices.has(device);
  }
}
