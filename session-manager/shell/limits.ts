// Bounds of the manager's shell: what it holds while a network, a disk or a person is slow.
// Those of its core stand in ../limits.ts.

export const SHELL_LIMITS = {
  /** Bytes of an HTTP request body: an enrolment at its longest comes to 900. */
  bodyBytesMax: 4 * 1024,
  /** Bytes of HTTP headers. */
  headerBytesMax: 4 * 1024,
  /** Milliseconds for a whole HTTP request, and for an idle connection. */
  requestMs: 5_000,
  /** HTTP requests, their bodies read, answered at the same time; more are told to come again. */
  requestsMax: 64,
  /** HTTP connections, from TCP on; one more drops the oldest. */
  connectionsMax: 256,
  /** Milliseconds for a TLS handshake. */
  handshakeMs: 3_000,
  /** Milliseconds between two looks for a broker's `tls.pin` that is not there yet. */
  pinLookMs: 100,
  /** Milliseconds until a relay's name is looked up again: once it was found, and until then. */
  relayLookUpMs: 300_000,
  relayRetryMs: 15_000,
  /** Outputs of the core that one drain takes out before the loop lets inputs in. */
  stepsMax: 10_000,
  /**
   * Turns of the event loop between what was published and a flush, which holds up the process: in
   * two of them it has gone through a broker in this process and its TLS to the kernel.
   */
  turnsBeforeFlush: 3,
  /**
   * Milliseconds from one commit to the next where there is that much to write: a flush stops the
   * loop, so that facts which come meanwhile share one. Whoever comes alone waits for nobody.
   */
  commitGapMs: 4,
  /** Commands and enrolments that wait for the core's reply. */
  repliesMax: 1_024,
  /** Operators who watch. */
  watchersMax: 128,
  /** Log entries read at a time while verifying. */
  verifyPageRows: 1_000,
  /** Entries or sessions that one answer to the operator holds at most. */
  listMax: 10_000,
  /** Entries or sessions shown when nobody says how many. */
  listDefault: 1_000,
} as const;
