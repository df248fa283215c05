// A hook of another terminal as if it ran here: our input goes there, its outputs come back, each
// to its own descriptor, and how it ended (docs/services.md, "Run").

import type { Readable, Writable } from 'node:stream';
import { passOn, written } from '../device/services/pump.ts';
import { RunFrameReader, type RunOutcome } from '../device/services/run-frames.ts';
import { NakodoError } from '../protocol/errors.ts';
import type { CommandTalk } from './talk.ts';

/** The descriptors of a command. */
export interface StandardStreams {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

/**
 * Runs the hook once over a talk of its service; resolves with how it ended when all of its output
 * is written.
 * @throws NakodoError `stream-refused`, `run-cut`, the reason of the talk's end.
 */
export async function runOnce(talk: CommandTalk, io: StandardStreams): Promise<RunOutcome> {
  const stream = await talk.openStream();
  const feeding = passOn(io.stdin, stream).then(() => stream.end());
  // An input that cannot be read ends as if it were over; the hook has its own view of it.
  feeding.catch(() => stream.end());
  const reader = new RunFrameReader();
  let outcome: RunOutcome | undefined;
  try {
    const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const chunk of chunks) {
      const frames = reader.read(chunk);
      if (frames === 'bad') throw cut('does not speak as this release does');
      for (const frame of frames) {
        if (frame.kind === 'outcome') outcome = frame.outcome;
        else await written(frame.kind === 'stdout' ? io.stdout : io.stderr, frame.bytes);
      }
    }
  } finally {
    stream.destroy();
  }
  if (outcome === undefined) throw cut('ended before the hook did');
  return outcome;
}

function cut(what: string): NakodoError {
  return new NakodoError(
    'run-cut',
    `the other end of the run ${what}`,
    'look at the agent there, and bring both terminals to the same release',
  );
}
