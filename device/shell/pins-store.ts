// The file pins.json: which device ID stands behind each name that this terminal has talked to
// (design §3, Pinning). The core decides about pins; this keeps them over restarts. A file that
// somebody damaged is refused, never begun anew by itself: an empty one would trust anybody once
// more.

import * as v from 'valibot';
import { type DeviceId, type Name, isDeviceId, isName } from '../../protocol/ids.ts';
import { damagedFile, readJson } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { Pin } from '../terminal-types.ts';
import { WholeFile } from './whole-file.ts';

/** Bytes of a pin: name, ID and the JSON around them come to less than 128. */
const FILE_BYTES_MAX = LIMITS.pinsMax * 128;

const pinsFile = v.strictObject({
  version: v.literal(1),
  pins: v.pipe(
    v.array(
      v.strictObject({
        name: v.custom<Name>((text) => typeof text === 'string' && isName(text)),
        id: v.custom<DeviceId>((text) => typeof text === 'string' && isDeviceId(text)),
      }),
    ),
    v.maxLength(LIMITS.pinsMax),
  ),
});

/** What a parsed file of pins says. @throws NakodoError `file-damaged` for anything else. */
export function pinsIn(path: string, found: unknown): readonly Pin[] {
  const parsed = v.safeParse(pinsFile, found);
  if (parsed.success) return parsed.output.pins;
  throw damagedFile(path, 'it does not hold names and their IDs');
}

/** The pins of one home. */
export class PinsStore {
  readonly #path: string;
  readonly #pins = new Map<Name, DeviceId>();
  readonly #file: WholeFile;

  /** `onError` is told what could not be written, `onWritten` of everything that was. */
  constructor(path: string, onError: (error: unknown) => void, onWritten?: () => void) {
    this.#path = path;
    this.#file = new WholeFile({ path, text: () => this.#text(), onError, onWritten });
  }

  /** Reads the file, once; one that is not there holds none. @throws NakodoError `file-damaged` */
  async load(): Promise<readonly Pin[]> {
    const found = await readJson(this.#path, FILE_BYTES_MAX);
    const pins = found === undefined ? [] : pinsIn(this.#path, found);
    for (const { name, id } of pins) this.#pins.set(name, id);
    return pins;
  }

  /**
   * Keeps who is behind a name, or (undefined) forgets it; on disk in a moment. Beyond
   * LIMITS.pinsMax a new name is not kept: what is known already must not be pushed out.
   */
  keep(name: Name, id: DeviceId | undefined): void {
    if (id === undefined) this.#pins.delete(name);
    else if (this.#pins.has(name) || this.#pins.size < LIMITS.pinsMax) this.#pins.set(name, id);
    this.#file.changed();
  }

  /** Whether this very terminal is known under this name. */
  isKnown({ name, id }: Pin): boolean {
    return this.#pins.get(name) === id;
  }

  /** Resolves when everything kept is on disk. */
  settled(): Promise<void> {
    return this.#file.settled();
  }

  #text(): string {
    const rows = [...this.#pins].map(([name, id]) => JSON.stringify({ name, id }));
    return `{ "version": 1, "pins": [\n${rows.join(',\n')}\n] }\n`;
  }
}
