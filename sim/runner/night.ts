// A long run that can be stopped and goes on where it was: a small file says which seeds are done
// and which failed. Written as a whole, so that a cut leaves the one before.

import { readFile, rename, writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { NakodoError, errorCode } from '../../protocol/errors.ts';
import type { Failure } from './seeds.ts';

const FAILURES_MAX = 1_000;

const nightFile = v.strictObject({
  version: v.literal(1),
  /** The run that it belongs to; another one does not go on from here. */
  scenario: v.string(),
  from: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Every seed from `from` up to this one is done. */
  next: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  failures: v.pipe(
    v.array(v.strictObject({ seed: v.number(), invariant: v.string(), says: v.string() })),
    v.maxLength(FAILURES_MAX),
  ),
});
/** What the file says. */
export type Night = v.InferOutput<typeof nightFile>;

/**
 * Reads where a run stands; undefined if there is no file.
 * @throws NakodoError `file-damaged` for one that says nothing of the kind.
 */
export async function loadNight(path: string): Promise<Night | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw unusable(path, errorCode(error));
  }
  try {
    return v.parse(nightFile, JSON.parse(text));
  } catch {
    throw unusable(path, 'it does not say how far a run of seeds has come');
  }
}

/** Writes where a run stands. @throws NakodoError `file-damaged` if the file cannot be written. */
export async function saveNight(path: string, night: Night): Promise<void> {
  try {
    await writeFile(`${path}.new`, `${JSON.stringify(night)}\n`);
    await rename(`${path}.new`, path);
  } catch (error) {
    throw unusable(path, errorCode(error));
  }
}

/** A failure as the file keeps it. */
export const kept = ({ seed, violation }: Failure): Night['failures'][number] => ({
  seed,
  invariant: violation.invariant,
  says: violation.says,
});

function unusable(path: string, why: string): NakodoError {
  return new NakodoError(
    'file-damaged',
    `${path} cannot be used: ${why}`,
    'give --resume another file, or remove this one to begin anew',
  );
}
