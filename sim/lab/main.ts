// `make lab`: what the real program reaches through real boxes. Prints every scene as it is
// measured; ONLY=matrix,loss runs some, JSON=FILE keeps all figures. Needs root (docs/lab.md).

import { writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type Cell, SEVEN, matrixFaults, matrixLines, measureMatrix } from './matrix.ts';
import { SCENES } from './scenes.ts';
import { FULL } from './stage.ts';
import { boxesMissing, linkMissing } from './namespaces.ts';
import { PLACES, type PlaceName } from './pair-table.ts';
import { Terminals } from './terminals.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    pairs: { type: 'string', default: '' },
    json: { type: 'string', default: '' },
  },
});
const tell = (line: string): void => void process.stdout.write(`${line}\n`);

const PLACE_NAMES = Object.keys(PLACES) as readonly PlaceName[];
const only = values.only.split(',').filter(Boolean);
const scenes = ['matrix', ...Object.keys(SCENES)];
const unknown = only.find((name) => !scenes.includes(name));
if (unknown !== undefined) leave(`no scene is called ${unknown}; there are ${scenes.join(', ')}`);
const [callers = SEVEN, callees = SEVEN] = chosenPairs(values.pairs);

const missing = boxesMissing() ?? linkMissing() ?? Terminals.relayMissing();
if (missing !== undefined) leave(`no lab here: ${missing}`);

const isWanted = (name: string): boolean => only.length === 0 || only.includes(name);
const figures: Record<string, unknown> = {};
const faults: string[] = [];

// Times mean little where others have the processors.
tell(`load ${loadavg()[0].toFixed(1)} on ${availableParallelism()} processors`);
if (isWanted('matrix')) {
  const cells = await measureMatrix({ callers, callees }, (cell) => tell(cellLine(cell)));
  figures.matrix = cells;
  for (const line of matrixLines(cells)) tell(line);
  faults.push(...matrixFaults(cells));
}

for (const [name, perform] of Object.entries(SCENES)) {
  if (!isWanted(name)) continue;
  const begun = performance.now();
  const scene = await perform(FULL).catch((error: unknown) => ({
    lines: [],
    figures: undefined,
    faults: [`${name}: ${error instanceof Error ? error.message : String(error)}`],
  }));
  for (const line of scene.lines) tell(line);
  tell(`  (${name}: ${Math.round((performance.now() - begun) / 1_000)} s)`);
  figures[name] = scene.figures;
  faults.push(...scene.faults);
}

if (values.json !== '') writeFileSync(values.json, `${JSON.stringify(figures, undefined, 1)}\n`);
tell(faults.length === 0 ? 'all as asked' : `not as asked:\n  ${faults.join('\n  ')}`);
process.exit(faults.length === 0 ? 0 : 1);

/** `CALLERS:CALLEES`, each as `port,symmetric`; nothing: undefined, all seven. */
function chosenPairs(words: string): readonly (readonly PlaceName[] | undefined)[] {
  const sides = words.split(':');
  if (sides.length > 2) leave(`PAIRS is CALLERS:CALLEES, as port,symmetric:none; not ${words}`);
  return sides.map((side) => (side === '' ? undefined : side.split(',').map(placeNamed)));
}

function placeNamed(word: string): PlaceName {
  const name = PLACE_NAMES.find((place) => place === word);
  return name ?? leave(`no place is called ${word}; there are ${PLACE_NAMES.join(', ')}`);
}

/** Nothing is measured: says why. */
function leave(why: string): never {
  process.stdout.write(`${why}\n`);
  process.exit(2);
}

function cellLine({ caller, callee, expected, call }: Cell): string {
  const { ways, setupMs, firstByteMs, failure } = call;
  const taken = ways.map(({ way, atMs }) => `${way} at ${Math.round(atMs)} ms`).join(', ');
  const times =
    setupMs === undefined
      ? (failure ?? '')
      : `path ${Math.round(setupMs)} ms, first byte ${Math.round(firstByteMs ?? 0)} ms; ${taken}`;
  return `${caller} → ${callee} (${expected}): ${times}`;
}
