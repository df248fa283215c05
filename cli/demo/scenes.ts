// The scenes of the demo, in the order of the story: each plays on real sockets between real
// processes, checks what happened from the outside, and says it in one line of plain words.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NakodoError } from '../../protocol/errors.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import type { Children, Finished } from './children.ts';
import type { RecordingProxy } from './recording-proxy.ts';
import type { Cast, Stage } from './stage.ts';

/** What one scene showed. `figures` go out with `--json`. */
export interface Played {
  readonly ok: boolean;
  readonly words: string;
  readonly figures: Readonly<Record<string, unknown>>;
}

/** What the scenes share. */
export interface Play {
  readonly stage: Stage;
  readonly cast: Cast;
  /** The user's file, or one that the demo made. */
  readonly file: { readonly path: string; readonly bytes: number };
  /** A file of LONG_BYTES, for the talks that something ends. */
  readonly longFile: string;
  /** Sessions so far, for the last scene. */
  readonly sessions: string[];
  /** True: the terminal shows the progress of `send`. */
  readonly showProgress: boolean;
}

/** One scene: a stable name and how it is played. */
interface Scene {
  readonly scene: string;
  readonly play: (play: Play) => Promise<Played>;
}

/** The scenes of the demo in their order; each leaves the stage as it found it. */
export const SCENES: readonly Scene[] = [
  { scene: 'registered', play: registered },
  { scene: 'stranger-refused', play: strangerRefused },
  { scene: 'file-delivered', play: fileDelivered },
  { scene: 'ended-by-bytes', play: endedByBytes },
  { scene: 'ended-by-time', play: endedByTime },
  { scene: 'extended', play: extended },
  { scene: 'ended-by-operator', play: endedByOperator },
  { scene: 'log-verified', play: logVerified },
];

/** Bytes of the file for talks that end early: more than any of them lets through. */
export const LONG_BYTES = 12_000_000;
const QUOTA_BYTES = 4_000_000;
const TIME_SECONDS = 2;
/** The extended talk: this much is granted at first, and the file holds LONG_BYTES. */
const FIRST_BYTES = 8_000_000;
/** Slow enough to be ended in the middle, and for 2 s to end it. */
/** What one scene has sent of the long file is no head start for the next. */
const EACH_ANEW = ['--no-resume'];
const SLOW_RATE = '1MB';
const STEADY_RATE = '5MB';
/** How far from the granted time an end may be: two timers and two processes on a busy machine. */
const TIME_TOLERANCE_MS = 1_000;
/** How far apart two refusals may leave: timers of the same length in a busy process. */
const REFUSAL_TOLERANCE_MS = 100;
/** Milliseconds for a talk to show up in `sessions`, and between two looks. */
const LIVE_MS_MAX = 10_000;
const LIVE_LOOK_MS = 50;

async function registered({ stage, cast }: Play): Promise<Played> {
  const devices = (await stage.operator('devices')) as readonly { name: string; id: string }[];
  const actors = [cast.term1, cast.term3, cast.stranger];
  const found = actors.filter(({ name, id }) =>
    devices.some((device) => device.name === name && device.id === id),
  );
  return {
    ok: found.length === actors.length && devices.length === actors.length,
    words: `${found.map(({ name }) => name).join(', ')} registered with broker and manager`,
    figures: { terminals: found.map(({ name, id }) => ({ name, id })) },
  };
}

/**
 * Somebody on the wire between STRANGER and the broker sees TLS: how much, and when. All that can
 * be seen of a refusal from there, and by STRANGER, is the same for TERM3, which exists and does
 * not list it, and for a name that nobody has. The positive control: the same look tells a yes.
 */
async function strangerRefused(play: Play): Promise<Played> {
  const { cast } = play;
  const asked = await watched(play, cast.stranger, 'TERM3', ['--wait', '1s']);
  const unknown = await watched(play, cast.stranger, 'TERM9', ['--wait', '1s']);
  const permitted = await watched(play, cast.term1, 'TERM3', ['--bytes', '1MB', '--no-extend']);
  note(play, permitted.finished);
  const apartMs = Math.abs(asked.tookMs - unknown.tookMs);
  // What it sends is its own doing, and may lie in one TLS record or in two.
  const isSame =
    asked.receivedBytes === unknown.receivedBytes &&
    asked.finished.exit === unknown.finished.exit &&
    apartMs <= REFUSAL_TOLERANCE_MS;
  return {
    ok:
      asked.finished.exit === 3 &&
      isSame &&
      asked.receivedBytes > 0 &&
      permitted.receivedBytes > asked.receivedBytes,
    words:
      `a stranger that TERM3 does not list is refused: ${asked.receivedBytes} bytes after ` +
      `${formatDuration(asked.tookMs)}; a name that nobody has: ${unknown.receivedBytes} bytes ` +
      `after ${formatDuration(unknown.tookMs)} (TERM1, let in: ${permitted.receivedBytes})`,
    figures: {
      exit: asked.finished.exit,
      exitUnknown: unknown.finished.exit,
      receivedBytes: asked.receivedBytes,
      receivedBytesUnknown: unknown.receivedBytes,
      controlReceivedBytes: permitted.receivedBytes,
      waitedMs: Math.round(asked.tookMs),
      waitedMsUnknown: Math.round(unknown.tookMs),
    },
  };
}

/** A `send` of the long file, and what passed between that terminal and the broker meanwhile. */
async function watched(
  play: Play,
  who: Cast['term1'],
  to: string,
  args: readonly string[],
): Promise<ReturnType<RecordingProxy['since']> & { readonly finished: Finished }> {
  const from = performance.now();
  const command = ['send', to, play.longFile, ...args, ...EACH_ANEW, '--home', who.home, '--json'];
  const finished = await play.stage.children.run(command);
  return { ...who.proxy.since(from), finished };
}

async function fileDelivered(play: Play): Promise<Played> {
  const { cast, file } = play;
  const started = performance.now();
  const sent = await send(play, cast.term1.home, [file.path], {
    showProgress: play.showProgress,
    bytes: file.bytes,
  });
  const elapsedMs = performance.now() - started;
  note(play, sent);
  const inbox = join(cast.term3.home, 'inbox', basename(file.path));
  const [hash, received] = await Promise.all([sha256(file.path), sha256(inbox)]);
  return {
    ok: sent.exit === 0 && hash === received,
    words:
      `TERM1 introduced to TERM3: ${basename(file.path)}, ${formatSize(file.bytes)} delivered ` +
      `in ${formatDuration(elapsedMs)}, SHA-256 ${hash === received ? 'equal' : 'different'}`,
    figures: {
      ...said(sent),
      exit: sent.exit,
      fileBytes: file.bytes,
      sha256: hash,
      sha256Received: received,
    },
  };
}

async function endedByBytes(play: Play): Promise<Played> {
  const sent = await send(play, play.cast.term1.home, [
    play.longFile,
    '--bytes',
    String(QUOTA_BYTES),
    '--no-extend',
  ]);
  const session = note(play, sent);
  const { caller, callee } = await settled(play, session);
  const metered = [caller, callee].map(total);
  return {
    ok: sent.exit === 4 && metered.every((bytes) => bytes === QUOTA_BYTES) && agree(caller, callee),
    words:
      `ended by bytes: ${formatSize(QUOTA_BYTES)} granted, TERM1 counted ${metered[0]} and ` +
      `TERM3 ${metered[1]}`,
    figures: { session, exit: sent.exit, grantedBytes: QUOTA_BYTES, caller, callee },
  };
}

async function endedByTime(play: Play): Promise<Played> {
  const sent = await send(play, play.cast.term1.home, [
    play.longFile,
    '--for',
    `${TIME_SECONDS}s`,
    '--rate',
    SLOW_RATE,
    '--no-extend',
  ]);
  const session = note(play, sent);
  const { caller, callee } = await settled(play, session);
  const late = [caller, callee].map(({ durationMs }) => Math.abs(durationMs - TIME_SECONDS * 1000));
  return {
    ok:
      sent.exit === 4 &&
      said(sent).reason === 'time' &&
      late.every((milliseconds) => milliseconds <= TIME_TOLERANCE_MS),
    words:
      `ended by time: ${TIME_SECONDS} s granted, TERM1 stopped after ` +
      `${formatDuration(caller.durationMs)}, TERM3 after ` +
      formatDuration(callee.durationMs),
    figures: { session, exit: sent.exit, grantedSeconds: TIME_SECONDS, caller, callee },
  };
}

async function extended(play: Play): Promise<Played> {
  const sent = await send(play, play.cast.term1.home, [
    play.longFile,
    '--bytes',
    String(FIRST_BYTES),
    '--rate',
    STEADY_RATE,
  ]);
  const session = note(play, sent);
  const { row, caller, callee } = await settled(play, session);
  return {
    ok:
      sent.exit === 0 &&
      row.revision > 0 &&
      total(caller) > FIRST_BYTES &&
      total(callee) === total(caller),
    words:
      `extended: ${formatSize(FIRST_BYTES)} granted, at 70 % TERM3 was asked again ` +
      `(${row.revision} × yes), both ends told, finished with ${formatSize(total(caller))}`,
    figures: {
      session,
      exit: sent.exit,
      firstBytes: FIRST_BYTES,
      revision: row.revision,
      bytes: row.bytes,
      caller,
      callee,
    },
  };
}

async function endedByOperator(play: Play): Promise<Played> {
  const { stage, cast } = play;
  const sending = send(play, cast.term1.home, [play.longFile, '--rate', SLOW_RATE]);
  const session = await liveSession(play);
  const started = performance.now();
  await stage.operator('end', session);
  const sent = await sending;
  const elapsedMs = Math.round(performance.now() - started);
  note(play, sent);
  const { caller, callee } = await settled(play, session);
  return {
    ok:
      sent.exit === 4 &&
      said(sent).session === session &&
      caller.reason === 'operator' &&
      callee.reason === 'operator',
    words: `ended by the operator in mid-talk: both terminals obeyed within ${elapsedMs} ms`,
    figures: { session, exit: sent.exit, elapsedMs, caller, callee },
  };
}

async function logVerified(play: Play): Promise<Played> {
  const verdict = (await play.stage.operator('log', 'verify')) as Readonly<Record<string, unknown>>;
  const log = (await play.stage.operator('log')) as readonly Entry[];
  const open = play.sessions.filter(
    (session) =>
      !['introduced', 'ended'].every((kind) =>
        log.some((entry) => entry.kind === kind && entry.session === session),
      ),
  );
  return {
    ok: verdict.ok === true && open.length === 0 && play.sessions.length > 0,
    words:
      `the log: ${log.length} entries verified, ${play.sessions.length} talks, ` +
      `each with its beginning and its end`,
    figures: { ...verdict, sessions: play.sessions, open },
  };
}

type Entry = Readonly<Record<string, unknown>>;

/** One terminal's end notice, as the manager shows it. */
interface Report {
  readonly reason: string;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
}

/** The part of a row of `nakodo sessions` that the scenes look at. */
interface SessionRow {
  readonly session: string;
  readonly revision: number;
  readonly bytes: number | null;
  readonly callerReport: Report | null;
  readonly calleeReport: Report | null;
}

interface Settled {
  readonly row: SessionRow;
  readonly caller: Report;
  readonly callee: Report;
}

function send(
  play: Play,
  home: string,
  args: readonly string[],
  how: Parameters<Children['run']>[1] = {},
): Promise<Finished> {
  const command = ['send', 'TERM3', ...args, ...EACH_ANEW, '--home', home, '--json'];
  return play.stage.children.run(command, how);
}

const said = (finished: Finished): Entry => finished.said as Entry;

/** Remembers the session of a talk for the last scene. */
function note(play: Play, finished: Finished): string {
  const { session } = finished.said as { readonly session?: string };
  if (session === undefined) return '';
  play.sessions.push(session);
  return session;
}

/** A session as `nakodo sessions --all` shows it, once both terminals have reported its end. */
async function settled(play: Play, session: string): Promise<Settled> {
  const end = performance.now() + LIVE_MS_MAX;
  for (;;) {
    const rows = (await play.stage.operator('sessions', '--all')) as readonly SessionRow[];
    const row = rows.find((each) => each.session === session);
    const { callerReport: caller, calleeReport: callee } = row ?? {};
    if (row !== undefined && caller && callee) return { row, caller, callee };
    if (performance.now() > end) {
      throw new NakodoError('no-reports', `a terminal did not report ${session}`, 'see the log');
    }
    await delay(LIVE_LOOK_MS);
  }
}

const total = (report: Report): number => report.sentBytes + report.receivedBytes;

/** What one sent, the other received: both ways. */
const agree = (caller: Report, callee: Report): boolean =>
  caller.sentBytes === callee.receivedBytes && caller.receivedBytes === callee.sentBytes;

/** The session that is live now; waits for it to begin. */
async function liveSession(play: Play): Promise<string> {
  const end = performance.now() + LIVE_MS_MAX;
  for (;;) {
    const live = (await play.stage.operator('sessions')) as readonly { session: string }[];
    const fresh = live.find(({ session }) => !play.sessions.includes(session));
    if (fresh !== undefined) return fresh.session;
    if (performance.now() > end) return '';
    await delay(LIVE_LOOK_MS);
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch {
    return 'missing';
  }
  return hash.digest('hex');
}
