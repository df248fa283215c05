// How a command that runs until it is told to stop is told: SIGINT (Ctrl-C) and SIGTERM (systemd).
// The second signal ends the process at once, for whoever has no patience. SIGHUP asks a service to
// read its settings again, and tells a program in a window that the window is gone.

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

/**
 * Calls `reload` at each SIGHUP. A process that was started in a terminal window ends with it, as
 * at SIGTERM: otherwise it would run on where nobody sees it.
 */
export function onHangup(reload: () => void): void {
  const isInWindow = process.stderr.isTTY;
  process.on('SIGHUP', () => {
    if (isInWindow) process.kill(process.pid, 'SIGTERM');
    else reload();
  });
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
