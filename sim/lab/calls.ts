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
  /** From the introduction, by MQTT, to the path, by UDP. */
  readonly meetingMs: number | undefined;
  readonly ways: readonly TakenWay[];
  readonly lastWay: string;
  readonly exit: number | undefined;
  /** What the command said of a failure. */
  readonly failure: string | undefined;
  /** The whole command, its own start included. */
  readonly commandMs: number;
}

/** What is called, and what for. */
interface CallPlan {
  readonly from: string;
  readonly to: string;
  /** The talk is held that long by pings; 0: for one ping. */
  readonly holdSeconds: number;
  /** A file is sent instead: where much is lost, it arrives, while a ping is sent but once. */
  readonly file?: string;
}

/** Calls, holds the talk for so long, and ends it. */
export async function callOnce(
  terminals: Terminals,
  { from, to, holdSeconds, file }: CallPlan,
): Promise<Call> {
  const holdMs = holdSeconds * MS_PER_SECOND;
  const count = Math.max(1, Math.round(holdMs / PING_MS));
  const ping = ['ping', to, '--count', String(count), '--interval', `${PING_MS}ms`];
  const words = file === undefined ? ping : ['send', to, file];
  const begun = performance.now();
  const before = Date.now();
  const { exit, said, stderr } = await terminals.command(from, words, CALL_MS_MAX + holdMs);
  const commandMs = performance.now() - begun;
  const setupSeconds = said.setupSeconds as number | undefined;
  const rtt = said.rttMs as { readonly min: number } | undefined;
  const error = said.error as { readonly code: string; readonly message: string } | undefined;
  const setupMs = setupSeconds === undefined ? undefined : setupSeconds * MS_PER_SECOND;
  // The agent's log has times of day: of the events since the command began, the talk's own.
  const events = logLines(terminals.complaints(from)).filter(
    ({ time }) => Date.parse(time) >= before,
  );
  const introduced = events.find(({ event }) => event === 'introduced');
  const firstWay = events.find(({ event }) => event === 'way');
  const calledAt = firstWay === undefined ? before : Date.parse(firstWay.time) - (setupMs ?? 0);
  return {
    setupMs,
    firstByteMs: setupMs === undefined ? undefined : setupMs + (rtt?.min ?? 0) / 2,
    meetingMs: between(introduced, firstWay),
    ways: events
      .filter(({ event }) => event === 'way')
      .map(({ time, way }) => ({ way: way ?? '', atMs: Date.parse(time) - calledAt })),
    lastWay: typeof said.way === 'string' ? said.way : 'none',
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

function between(from: LogLine | undefined, to: LogLine | undefined): number | undefined {
  if (from === undefined || to === undefined) return undefined;
  return Date.parse(to.time) - Date.parse(from.time);
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
