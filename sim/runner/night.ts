// A long run that can be stopped and goes on where it was: a small file says which seeds are done
// and what they came to. Written as a whole every few seconds, so that a cut leaves the one before;
// what was under way then is run again.

import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { EXIT, NakodoError, errorCode } from '../../protocol/errors.ts';
import { FAILURES_MAX, type Progress } from './seeds.ts';

/** Ours are far below; a larger one is something else. */
const FILE_BYTES_MAX = 16_777_216;
const SAVE_EVERY_MS = 5_000;

const amount = v.pipe(v.number(), v.finite(), v.minValue(0));
const whole = v.pipe(amount, v.safeInteger());
const tallies = v.record(v.string(), v.strictObject({ worlds: whole, times: whole }));

const nightFile = v.pipe(
  v.strictObject({
    version: v.literal(1),
    /** What was asked for beside the seeds, as in a command line. */
    wanted: v.string(),
    from: whole,
    /** Every seed from `from` up to this one is counted. */
    next: whole,
    totals: v.strictObject({
      done: whole,
      failed: whole,
      events: whole,
      virtualSeconds: amount,
      realSeconds: amount,
      runTwice: whole,
      invariants: v.record(v.string(), whole),
      failures: v.pipe(
        v.array(
          v.strictObject({ seed: whole, invariant: v.string(), says: v.string(), at: amount }),
        ),
        v.maxLength(FAILURES_MAX),
      ),
      faults: tallies,
      marks: tallies,
    }),
  }),
  v.check(({ from, next, totals }) => next - from === totals.done),
);
/** What the file says. */
type Night = v.InferOutput<typeof nightFile>;

/** Which run it is. */
interface WhichRun {
  readonly wanted: string;
  readonly from: number;
}

/** The file of one run; `begin` it, `save` now and then. */
export class NightFile {
  readonly #path: string;
  readonly #which: WhichRun;
  #savedMs = -Infinity;
  #saving: Promise<void> = Promise.resolve();

  private constructor(path: string, which: WhichRun) {
    this.#path = path;
    this.#which = which;
  }

  /**
   * Opens the file of a run, and where that run stands; undefined if it only begins.
   * @throws NakodoError `file-damaged` if it cannot be read, or written, or says nothing of the
   * kind; `usage` if it belongs to another run. Nothing is changed then.
   */
  static async open(path: string, which: WhichRun): Promise<readonly [NightFile, Night?]> {
    const night = await read(path);
    const file = new NightFile(path, which);
    if (night === undefined) {
      return [file];
    }
    if (night.wanted !== which.wanted || night.from !== which.from) {
      const was = `--from ${night.from} ${night.wanted}`.trim();
      throw new NakodoError(
        'usage',
        `${path} belongs to another run`,
        `say ${was} as then, or give --resume another file`,
        EXIT.usage,
      );
    }
    return [file, night];
  }

  /** Writes where the run stands, if it has not been done for a while. */
  soon(progress: Progress): void {
    if (performance.now() - this.#savedMs < SAVE_EVERY_MS) return;
    this.save(progress).catch(() => {
      // It is said at the end, when it is written for the last time.
    });
  }

  /** Writes where the run stands. @throws NakodoError `file-damaged` if it cannot be written. */
  async save({ next, totals }: Progress): Promise<void> {
    this.#savedMs = performance.now();
    const night: Night = {
      version: 1,
      ...this.#which,
      next,
      totals: {
        ...totals,
        failures: [...totals.failures],
        invariants: { ...totals.invariants },
        faults: { ...totals.faults },
        marks: { ...totals.marks },
      },
    };
    const text = `${JSON.stringify(night)}\n`;
    const saved = this.#saving.then(() => write(this.#path, text));
    this.#saving = saved.catch(() => {});
    await saved;
  }
}

async function read(path: string): Promise<Night | undefined> {
  let text: string;
  try {
    if ((await stat(path)).size > FILE_BYTES_MAX) throw unusable(path, NO_NIGHT);
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof NakodoError) throw error;
    if (errorCode(error) === 'ENOENT') return undefined;
    throw unusable(path, errorCode(error));
  }
  try {
    return v.parse(nightFile, JSON.parse(text));
  } catch {
    throw unusable(path, NO_NIGHT);
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  } catch (error) {
    throw unusable(path, errorCode(error));
  }
}

const NO_NIGHT = 'it does not say how far a run of seeds has come';

function unusable(path: string, why: string): NakodoError {
  return new NakodoError(
    'file-damaged',
    `${path} cannot be used: ${why}`,
    'give --resume another file, or remove this one to begin anew',
  );
}
