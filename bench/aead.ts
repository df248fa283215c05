// What it costs to seal and to open one message, by length: our WebAssembly kernel, node:crypto and
// noble, turn and turn about, the median of many turns. `node out/bench/aead.js` prints this alone.

import { type Aead, KEY_BYTES, NONCE_BYTES, TAG_BYTES } from '../protocol/crypto.ts';
import { entropy } from '../protocol/io/entropy.ts';
import { nodeAead } from '../protocol/io/node-crypto.ts';
import { instantiateWasmAead } from '../protocol/io/wasm-aead.ts';
import { nobleAead } from '../protocol/noble-aead.ts';
import { randomBytes } from '../protocol/random.ts';
import { type Figure, machine, median } from './figures.ts';

const LENGTHS = [64, 256, 1_200, 1_472, 4_096, 16_384, 60_000] as const;
/** Between these the crossover is looked for. */
const CROSSING_LENGTHS = [2_048, 3_072, 4_096, 5_120, 6_144, 8_192, 12_288, 16_384] as const;
const DATAGRAM_BYTES = 1_472;
const AAD_BYTES = 13;
const TURNS = 101;
/** What one measurement takes: long against the clock, short against a scheduler's time slice. */
const TURN_MICROS = 200;
/** Calls between two looks at the clock. */
const CALLS = 10;
const WARM_UP_CALLS = 3_000;
const MICROS_PER_MS = 1_000;

/** A way to seal at one length, and the times of its turns in µs per message. */
interface Entry {
  readonly aead: Aead;
  readonly length: number;
  readonly work: { readonly seal: () => void; readonly open: () => void };
  readonly times: { readonly seal: number[]; readonly open: number[] };
}

/** µs per seal and open by length, the kernel's share of node:crypto's time, the crossover. */
export function aeads(): readonly Figure[] {
  const wasm = instantiateWasmAead();
  const entries: Entry[] = [];
  for (const length of new Set([...LENGTHS, ...CROSSING_LENGTHS])) {
    if (wasm !== undefined && length <= wasm.textBytesMax) entries.push(entry(wasm, length));
    entries.push(entry(nodeAead, length));
    if (LENGTHS.some((each) => each === length)) entries.push(entry(nobleAead, length));
  }
  for (const each of entries) warmUp(each);
  for (let turn = 0; turn < TURNS; turn++) for (const each of entries) takeTurn(each);
  const shown = entries.filter(({ length }) => LENGTHS.some((each) => each === length));
  return [...shown.flatMap(perMessage), ...comparisons(entries)];
}

function entry(aead: Aead, length: number): Entry {
  const key = aead.importKey(randomBytes(entropy, KEY_BYTES));
  const nonce = randomBytes(entropy, NONCE_BYTES);
  // As in a datagram: the header is the additional data and lies before the text.
  const packet = randomBytes(entropy, AAD_BYTES + length + TAG_BYTES);
  const aad = packet.subarray(0, AAD_BYTES);
  const sealed = packet.slice();
  key.seal(nonce, aad, sealed, AAD_BYTES, length);
  const opened = new Uint8Array(sealed.length);
  return {
    aead,
    length,
    times: { seal: [], open: [] },
    work: {
      seal: () => key.seal(nonce, aad, packet, AAD_BYTES, length),
      open() {
        // Opening overwrites what it opens; the copy costs some 30 ns per KiB, for all alike.
        opened.set(sealed);
        if (!key.open(nonce, aad, opened, AAD_BYTES, length + TAG_BYTES)) throw new Error('forged');
      },
    },
  };
}

function warmUp({ length, work }: Entry): void {
  const calls = length > DATAGRAM_BYTES ? WARM_UP_CALLS / 10 : WARM_UP_CALLS;
  for (let call = 0; call < calls; call++) {
    work.seal();
    work.open();
  }
}

function takeTurn({ work, times }: Entry): void {
  for (const what of ['seal', 'open'] as const) {
    const run = work[what];
    let [calls, spent] = [0, 0];
    const begun = performance.now();
    do {
      for (let i = 0; i < CALLS; i++) run();
      calls += CALLS;
      spent = (performance.now() - begun) * MICROS_PER_MS;
    } while (spent < TURN_MICROS);
    times[what].push(spent / calls);
  }
}

function perMessage({ aead, length, times }: Entry): readonly Figure[] {
  return (['seal', 'open'] as const).map((what) => ({
    name: `${what} ${length} B, ${aead.name}`,
    value: median(times[what]),
    unit: 'µs',
    meaning: `one message in place with ${AAD_BYTES} B of additional data`,
  }));
}

function comparisons(entries: readonly Entry[]): readonly Figure[] {
  const both = (name: string, length: number): number | undefined => {
    const found = entries.find((each) => each.aead.name === name && each.length === length);
    return found && median(found.times.seal) + median(found.times.open);
  };
  const ratio = (length: number): number | undefined => {
    const [wasm, node] = [both('wasm', length), both('node', length)];
    return wasm === undefined || node === undefined ? undefined : wasm / node;
  };
  const figures: Figure[] = [];
  const atDatagram = ratio(DATAGRAM_BYTES);
  if (atDatagram !== undefined) {
    figures.push({
      name: 'kernel / node:crypto',
      value: atDatagram,
      unit: '×',
      meaning: `time to seal and open ${DATAGRAM_BYTES} B; lower is better`,
    });
  }
  const crossing = CROSSING_LENGTHS.find((length) => (ratio(length) ?? 0) > 1);
  if (crossing !== undefined) {
    figures.push({
      name: 'AEAD crossover',
      value: crossing,
      unit: 'B',
      meaning: `the first of ${CROSSING_LENGTHS.join(', ')} at which node:crypto is faster`,
    });
  }
  return figures;
}

if (process.argv[1] === import.meta.filename) {
  console.log(machine());
  for (const { name, value, unit, meaning } of aeads()) {
    console.log(`${name.padEnd(24)} ${value.toFixed(2).padStart(9)} ${unit}  ${meaning}`);
  }
}
