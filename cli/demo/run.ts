// Plays the demo: sets the stage, plays scene after scene, and clears everything away, whatever
// happens, so that a machine looks afterwards as it did before.

import { randomFillSync } from 'node:crypto';
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EXIT, type ExitCode, NakodoError, errorMessage } from '../../protocol/errors.ts';
import type { Output } from '../output.ts';
import { untilEnded } from '../signals.ts';
import { LONG_BYTES, type Play, type Played, SCENES } from './scenes.ts';
import { Stage } from './stage.ts';

/** Bytes of the file that is made when the user names none. */
const MADE_BYTES = 32_000_000;
const CHUNK_BYTES = 1_000_000;

/**
 * Plays all scenes; exit code 0 only if each showed what it claims.
 * `file`: the user's file, or undefined to make one. `program`: the path of main.js.
 */
export async function runDemo(
  output: Output,
  options: { readonly program: string; readonly file: string | undefined },
): Promise<ExitCode> {
  const userFile = options.file === undefined ? undefined : regularFile(options.file);
  const stage = new Stage(options.program);
  let isInterrupted = false;
  const interrupted = untilEnded().then(() => {
    isInterrupted = true;
    throw new NakodoError('interrupted', 'the demo was interrupted', 'run it again: nakodo demo');
  });
  try {
    return await Promise.race([interrupted, playAll(output, stage, userFile, () => isInterrupted)]);
  } finally {
    interrupted.catch(() => undefined);
    await stage.clear();
  }
}

async function playAll(
  output: Output,
  stage: Stage,
  userFile: Play['file'] | undefined,
  isInterrupted: () => boolean,
): Promise<ExitCode> {
  const started = performance.now();
  output.progress('starting a broker, a session manager and three terminals …');
  await stage.startServers();
  const cast = await stage.startTerminals();
  const longFile = join(stage.folder, 'long.bin');
  await makeFile(longFile, LONG_BYTES);
  const file = userFile ?? (await madeFile(stage.folder));
  const play: Play = { stage, cast, file, longFile, sessions: [], showProgress: !output.json };
  let allOk = true;
  for (const { scene, play: perform } of SCENES) {
    output.progress(`${scene} …`);
    const played = await perform(play).catch(failure);
    // Nobody shall read a scene that lost its actors in the middle.
    if (isInterrupted()) return EXIT.failed;
    allOk &&= played.ok;
    output.result(
      { scene, ok: played.ok, ...played.figures },
      `${played.ok ? '✓' : '✗'} ${played.words}`,
    );
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  output.remark(
    allOk
      ? `All of it in ${seconds} s. Next: nakodo serve --help`
      : `Not all of it was as it should be (${seconds} s).`,
  );
  return allOk ? EXIT.done : EXIT.failed;
}

function failure(error: unknown): Played {
  const message = errorMessage(error);
  return { ok: false, words: message, figures: { error: message } };
}

async function madeFile(folder: string): Promise<Play['file']> {
  const path = join(folder, 'photos.bin');
  await makeFile(path, MADE_BYTES);
  return { path, bytes: MADE_BYTES };
}

/** Random bytes, so that nothing on the way can be compressed or guessed. */
async function makeFile(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'wx');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    randomFillSync(chunk);
    await file.write(chunk.subarray(0, Math.min(left, CHUNK_BYTES)));
  }
  await file.close();
}

function regularFile(path: string): Play['file'] {
  const facts = statSync(path);
  if (!facts.isFile()) {
    throw new NakodoError('not-a-file', `${path} is not a file`, 'name a file', EXIT.usage);
  }
  return { path: resolve(path), bytes: facts.size };
}
