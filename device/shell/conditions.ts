// Waiting for a state that only the drain loop can bring about, without polling for it: the owner
// calls `check` after every change.

/** Conditions that somebody waits for; at most a few. */
export class Conditions {
  readonly #checks = new Set<() => void>();

  /** Looks at every condition. */
  check(): void {
    for (const check of this.#checks) check();
  }

  /** Resolves when the condition holds, `msMax` milliseconds later, or when aborted. */
  until(condition: () => boolean, msMax: number, signal?: AbortSignal): Promise<void> {
    if (condition() || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', settle);
        this.#checks.delete(check);
        resolve();
      };
      const check = (): void => {
        if (condition()) settle();
      };
      const timer = setTimeout(settle, msMax);
      signal?.addEventListener('abort', settle, { once: true });
      this.#checks.add(check);
    });
  }
}
