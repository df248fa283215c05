// Invariant of the log: its entries follow one another without a gap and are never fewer than
// before; it verifies after every start of the manager and at the end; what the manager promises to
// terminals (receipts) is on its disk, and covers what it acknowledges. Verified with public keys,
// from what lies on the disk.

import type { MessageOf } from '../../protocol/control/messages.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import { openReceipt } from '../../protocol/identity/receipt.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { type LogEntry, logKey } from '../../session-manager/log.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 20_000;

/** Reads the log as it grows, and what is said of it. */
export class LogIsSound implements Watcher, WordHearer {
  readonly #world: World;
  #last = 0;
  /** The first report about each session: by then its end can be acknowledged. */
  readonly #reported = new KeptMap<SessionId, number>(KEPT);

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'logged') this.#onLogged(happening.entry);
    else if (happening.kind === 'managerStarted' && this.#last > 0) this.#verify();
  }

  onWord({ how, party, message }: Word): void {
    if (how === 'sealed' && party === 'manager' && message.kind === 'ended')
      this.#onAcknowledged(message);
  }

  atEnd(): void {
    this.#verify();
  }

  #onLogged(entry: LogEntry): void {
    if (entry.sequence !== this.#last + 1)
      this.#fail(`entry ${entry.sequence} follows entry ${this.#last}`);
    this.#last = entry.sequence;
    if (entry.kind === 'report' && !this.#reported.has(entry.session))
      this.#reported.set(entry.session, entry.sequence);
  }

  /** A receipt is about an entry that is there, and not about one before the end that it is for. */
  #onAcknowledged({ session, receipt: encoded }: MessageOf<'ended'>): void {
    if (encoded === undefined) return;
    const { manager } = this.#world;
    const { suite, signing } = manager.keys;
    const receipt = openReceipt(suite, signing.publicKey, encoded);
    if (receipt === undefined) return this.#fail('a receipt that the manager did not sign');
    const { sequence, hash } = receipt;
    const bytes = manager.tables.get('log')?.get(logKey(sequence));
    if (sequence > this.#last || bytes === undefined)
      return this.#fail(`a receipt for entry ${sequence} of ${this.#last}`);
    if (!sameBytes(hash, suite.blake2s(bytes)))
      this.#fail(`a receipt for another entry ${sequence}`);
    const reported = this.#reported.get(session);
    if (reported === undefined) this.#fail(`the end of ${session} is acknowledged, not logged`);
    else if (sequence < reported)
      this.#fail(`an end in entry ${reported} is acknowledged by entry ${sequence}`);
  }

  #verify(): void {
    const { manager } = this.#world;
    const entries = manager.tables.get('log')?.size ?? 0;
    if (entries !== this.#last) this.#fail(`the log has ${entries} entries of ${this.#last}`);
    if (entries === 0) return;
    const verdict = manager.verifyLog();
    if (!verdict.ok) this.#fail(`the log does not verify: entry ${verdict.at}, ${verdict.why}`);
  }

  #fail(says: string): void {
    this.#world.violate('log', says);
  }
}
