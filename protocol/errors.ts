// Three kinds of error (CONTRIBUTING §14): a peer's fault is counted and dropped, or ends the
// connection with a reason from `ends.ts`; a caller's misuse is a `UsageError`; our own bug is an
// `AssertionFailed`. Commands add `NakodoError`, which carries an exit code and the next step.

/** Caller misuse: thrown at once, state unchanged. `code` is stable. */
export class UsageError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'UsageError';
    this.code = code;
  }
}

/** Our own bug. A shell logs it and exits. */
export class AssertionFailed extends Error {
  readonly code = 'assertion';
  constructor(claim: string) {
    super(`assertion failed: ${claim}`);
    this.name = 'AssertionFailed';
  }
}

/** Exit codes of every command (design §7). */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, limit: 4, unreachable: 5 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/**
 * An error that a person at the command line reads.
 * `code`: stable, kebab-case; `message`: what happened; `next`: what to do about it.
 */
export class NakodoError extends Error {
  readonly code: string;
  readonly next: string;
  readonly exit: ExitCode;
  constructor(code: string, message: string, next: string, exit: ExitCode = EXIT.failed) {
    super(message);
    this.name = 'NakodoError';
    this.code = code;
    this.next = next;
    this.exit = exit;
  }
}

/** The `code` of anything thrown, for a log line or a reply. */
export function errorCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) return String(error.code);
  return 'unknown';
}

/** The message of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
