// The owner's word while somebody talks: a talk that the list no longer allows is ended. The file
// is looked at every second, by its date and size, and only while somebody who called is here;
// an idle terminal looks at nothing.

import { stat } from 'node:fs/promises';

/** Milliseconds between two looks: so long a talk goes on at most after its entry is gone. */
const LOOK_MS = 1_000;

/** Watches one allow-list file while it is asked to. */
export class ListWatch {
  readonly #path: string;
  readonly #onChanged: () => void;
  #timer: NodeJS.Timeout | undefined;
  #seen: string | undefined;

  /** `onChanged`: called once after `watch`, and whenever the file is another one. */
  constructor(path: string, onChanged: () => void) {
    this.#path = path;
    this.#onChanged = onChanged;
  }

  /** Looks from now on; again, it goes on. */
  watch(): void {
    this.#timer ??= setInterval(() => void this.#look(), LOOK_MS).unref();
  }

  /** Looks no more. */
  rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#seen = undefined;
  }

  async #look(): Promise<void> {
    const found = await stat(this.#path).catch(() => undefined);
    const now = found === undefined ? 'none' : `${found.ino} ${found.mtimeMs} ${found.size}`;
    if (this.#timer === undefined || now === this.#seen) return;
    this.#seen = now;
    this.#onChanged();
  }
}
