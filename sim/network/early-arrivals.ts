// Ports of a box that early datagrams took: what comes in from somewhere and is refused leaves an
// entry of its own in the box (Linux, where no rule drops what comes in), and whoever sends there
// afterwards cannot have that port. So two that send to one another, one earlier, do not meet.

import type { Path } from '../../protocol/core.ts';
import { type Micros, after } from '../../protocol/time.ts';

/** Remote ends that took a port; the oldest makes room. */
const EARLY_MAX = 1_024;

/** The entries of one box; each remote end's last one. */
export class EarlyArrivals {
  readonly #taken = new Map<Path, { readonly port: number; readonly until: Micros }>();

  /** A datagram from `remote` was refused; `lasts`: microseconds. */
  note(now: Micros, remote: Path, { port, lasts }: { port: number; lasts: number }): void {
    this.#taken.delete(remote);
    if (this.#taken.size >= EARLY_MAX) {
      const [oldest] = this.#taken.keys();
      this.#taken.delete(oldest);
    }
    this.#taken.set(remote, { port, until: after(now, lasts) });
  }

  /** Whether that remote end holds that port. */
  isTakenBy(now: Micros, remote: Path, port: number): boolean {
    const taken = this.#taken.get(remote);
    return taken !== undefined && taken.port === port && now < taken.until;
  }

  clear(): void {
    this.#taken.clear();
  }
}
