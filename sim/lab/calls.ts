// One call of the real program, as a lab's scenes make it: `nakodo ping` from one terminal to
// another, how long it took to the path and to the first byte, and every way that the talk had, by
// the words of the caller's agent.

import type { Terminals } from './terminals.ts';

/** Milliseconds of a call that gets no answer, at most, beside those that it is held. */
const CALL_MS_MAX = 45_000;
const PING_MS = 200;
const MS_PER_SECOND = 1_000;

/** A way that a talk took, and when: milliseconds since the call. */
interface TakenWay {
  readonly way: string;
  readonly atMs: number;
}

/** What came of a call. */
export interface Call {
  /** From the request to the proven path; undefined: there was none. */
  readonly setupMs: number | undefined;
  /** From the request to the first byte at the callee: the path, and half of a round trip. */
  readonly firstByteMs: number | undefined;
  readonly ways: readonly TakenWay[];
  readonly lastWay: string;
  readonly exit: number | undefined;
  /** What the command said of a failure. */
  readonly failure: string | undefined;
  /** The whole command, its own start included. */
  readonly commandMs: number;
}

/** Calls, holds the talk for so long by pings, and ends it. */
export async function callOnce(
  terminals: Terminals,
  {
    from,
    to,
    holdSeconds,
  }: { readonly from: string; readonly to: string; readonly holdSeconds: number },
): Promise<Call> {
  const count = Math.max(1, Math.round((holdSeconds * MS_PER_SECOND) / PING_MS));
  const begun = performance.now();
  const before = Date.now();
  const words = ['ping', to, '--count', String(count), '--interval', `${PING_MS}ms`];
  const { exit, said, stderr } = await terminals.command(
    from,
    words,
    CALL_MS_MAX + holdSeconds * MS_PER_SECOND,
  );
  const commandMs = performance.now() - begun;
  const setupSeconds = said.setupSeconds as number | undefined;
  const rtt = said.rttMs as { readonly min: number } | undefined;
  const error = said.error as { readonly code: string; readonly message: string } | undefined;
  const setupMs = setupSeconds === undefined ? undefined : setupSeconds * MS_PER_SECOND;
  // The agent's log has times of day: of the events since the command began, the talk's own.
  const events = logLines(terminals.complaints(from)).filter(
    ({ time }) => Date.parse(time) >= before,
  );
  const firstWay = events.find(({ event }) => event === 'way');
  const calledAt = firstWay === undefined ? before : Date.parse(firstWay.time) - (setupMs ?? 0);
  return {
    setupMs,
    firstByteMs: setupMs === undefined ? undefined : setupMs + (rtt?.min ?? 0) / 2,
    ways: events
      .filter(({ event }) => event === 'way')
      .map(({ time, way }) => ({ way: way ?? '', atMs: Date.parse(time) - calledAt })),
    lastWay: String(said.way ?? 'none'),
    exit,
    failure:
      error === undefined ? (exit === 0 ? undefined : stderr) : `${error.code}: ${error.message}`,
    commandMs,
  };
}

interface LogLine {
  readonly time: string;
  readonly event: string;
  readonly way?: string;
}

function logLines(text: string): readonly LogLine[] {
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}
