// `make flash DEVICE=/dev/sdX IMAGE=file.img[.xz]`: the command around flash/flash.ts: its options,
// its question, its progress, its words for what went wrong.

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Output } from '../cli/output.ts';
import { EXIT, type ExitCode, NakodoError, UsageError, errorMessage } from '../protocol/errors.ts';
import { formatSize } from '../protocol/units.ts';
import { type FlashPhase, flash, whatIsLost } from './flash/flash.ts';

const HELP = `Usage: make flash DEVICE=/dev/sdX IMAGE=file.img[.xz] [PROVISION=nakodo.toml]
       node out/deploy/flash.js --device /dev/sdX --image file.img[.xz] [options]

Writes an image to a card, asks before it does, and reads back what it wrote.

Options:
  --device <file>     the whole card or disk, like /dev/sdb or /dev/mmcblk0
  --image <file>      a disk image; .xz, .gz and .zst are unpacked on the way
  --provision <file>  put this onto the card's boot partition as nakodo.toml
  --yes               do not ask (for scripts); nothing else is skipped
  --json              say the result in JSON

Refused: a disk that holds the running system, one that is mounted, swapped to or part of another,
one that is read-only or smaller than the image. It needs root, as every write to a disk does.

Example:
  $ sudo make flash DEVICE=/dev/sdb IMAGE=nakodo-pi.img.xz PROVISION=nakodo.toml

Exit codes (make itself ends with 2 whenever this does not end with 0):
  0  done: written, read back, the same
  1  failed: the card did not take it, or does not hold what was written
  2  wrong use: no such device or image, or the provisioning file has an error
  3  refused: this device may not be overwritten, or the answer was no`;

const VERBS: Readonly<Record<FlashPhase, string>> = {
  checking: 'reading the image',
  writing: 'writing',
  verifying: 'reading back',
};

async function main(): Promise<ExitCode> {
  const { values } = parseArgs({
    options: {
      device: { type: 'string' },
      image: { type: 'string' },
      provision: { type: 'string' },
      yes: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return EXIT.done;
  }
  const output = new Output(values.json);
  try {
    const flashed = await flash({
      device: named(values.device, 'DEVICE=/dev/sdX'),
      image: named(values.image, 'IMAGE=file.img'),
      provision: values.provision || undefined,
      ask: async (device, image) => {
        output.progressDone();
        output.warn(whatIsLost(device, image));
        return values.yes ? device.name : typed(`Type ${device.name} to go on: `);
      },
      onProgress: (phase, done, of) => output.progress(progressWords(phase, done, of)),
    });
    const { device, bytes, sha256, isProvisioned } = flashed;
    const settings = isProvisioned ? ' Its nakodo.toml is on the boot partition.' : '';
    const words = `Written to ${device} and read back: ${formatSize(bytes)}, SHA-256 ${sha256}.`;
    output.result(flashed, `${words}${settings}\nTake the card out; it is all there.`);
    return EXIT.done;
  } catch (error) {
    return output.error(error);
  }
}

function progressWords(phase: FlashPhase, done: number, of: number): string {
  const percent = of === 0 ? '' : ` ${Math.floor((done / of) * 100)} %`;
  return `${VERBS[phase]}${percent}  ${formatSize(done)}${of === 0 ? '' : ` of ${formatSize(of)}`}`;
}

function named(value: string | undefined, wanted: string): string {
  if (value !== undefined && value !== '') return value;
  throw new NakodoError(
    'usage',
    `${wanted} is missing`,
    'see node out/deploy/flash.js --help',
    EXIT.usage,
  );
}

/** One line from whoever answers; '' where nobody does. */
async function typed(question: string): Promise<string> {
  process.stderr.write(question);
  const lines = createInterface({ input: process.stdin });
  const answer = await Promise.race([
    once(lines, 'line').then(([line]) => line as string),
    once(lines, 'close').then(() => ''),
  ]);
  lines.close();
  return answer;
}

try {
  process.exitCode = await main();
} catch (error) {
  // What parseArgs says of an option that there is none of.
  const wrong = new UsageError('usage', errorMessage(error));
  process.exitCode = new Output(false).error(wrong);
}
