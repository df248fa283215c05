// How a command that runs until it is told to stop is told: SIGINT (Ctrl-C) and SIGTERM (systemd).
// The second signal ends the process at once, for whoever has no patience.

import { EXIT } from '../protocol/errors.ts';

/** Resolves at the first SIGINT or SIGTERM; from then on another one ends the process at once. */
export function untilEnded(): Promise<void> {
  return new Promise((resolve) => {
    const onSignal = (): void => {
      for (const signal of SIGNALS) {
        process.off(signal, onSignal);
        process.once(signal, () => process.exit(EXIT.failed));
      }
      resolve();
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
  });
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
