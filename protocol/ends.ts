// Why a talk ended: exactly one reason each (design §5). The code goes into the CLOSE frame and
// into the end notice (S5007); the word goes into the log and to the person.

/** code → word, sentence. Codes are wire format: append, never reorder. */
export const END_REASONS = [
  { code: 1, reason: 'done', says: 'everything was delivered' },
  { code: 2, reason: 'time', says: 'the granted time is up' },
  { code: 3, reason: 'quota', says: 'the granted bytes are used up' },
  { code: 4, reason: 'operator', says: 'the operator ended it' },
  { code: 5, reason: 'revoked', says: 'a terminal was revoked' },
  { code: 6, reason: 'peer-gone', says: 'the other terminal fell silent' },
  { code: 7, reason: 'path-lost', says: 'no path to the other terminal' },
  { code: 8, reason: 'local', says: 'a user ended it' },
  { code: 9, reason: 'restarted', says: 'a terminal was restarted in mid-talk' },
  { code: 10, reason: 'protocol-error', says: 'the other terminal broke the protocol' },
  { code: 11, reason: 'unreported', says: 'no terminal reported an end; closed by the manager' },
] as const;

export type EndReason = (typeof END_REASONS)[number]['reason'];

const byCode = new Map<number, EndReason>(END_REASONS.map((row) => [row.code, row.reason]));
const byReason = new Map<EndReason, (typeof END_REASONS)[number]>(
  END_REASONS.map((row) => [row.reason, row]),
);

/** The reason behind a wire code, or undefined for a code we do not know. */
export const endReason = (code: number): EndReason | undefined => byCode.get(code);
/** The wire code of a reason. */
export const endCode = (reason: EndReason): number => byReason.get(reason)?.code ?? 0;
/** The reason as a sentence for a person. */
export const endSentence = (reason: EndReason): string => byReason.get(reason)?.says ?? reason;
/** Ends that a limit made: exit code 4. */
export const isLimit = (reason: EndReason): boolean =>
  reason === 'time' || reason === 'quota' || reason === 'operator' || reason === 'revoked';

/** What one terminal counted of a talk; goes into the end notice and the log. */
export interface Counts {
  /** Metered: highest stream offsets + DATAGRAM payload sent by this end. */
  readonly sentBytes: number;
  /** The same, received by this end. */
  readonly receivedBytes: number;
  /** Payload of our DATAGRAM frames that were declared lost. */
  readonly lostBytes: number;
  /** UDP payload bytes both ways, everything counted. */
  readonly wireBytes: number;
  /** Since this end's clock started (first handshake message accepted). */
  readonly durationMs: number;
}

/** The counts of a talk in which nothing was said. */
export const NO_COUNTS: Counts = {
  sentBytes: 0,
  receivedBytes: 0,
  lostBytes: 0,
  wireBytes: 0,
  durationMs: 0,
};
