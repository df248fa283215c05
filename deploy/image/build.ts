// `make image`: an image for a card, from the image of Raspberry Pi OS that the user has (BASE=),
// or of Debian where there is none. The command: its options, its help, its words.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Output } from '../../cli/output.ts';
import { EXIT, type ExitCode, UsageError, errorMessage } from '../../protocol/errors.ts';
import { formatSize } from '../../protocol/units.ts';
import { freshPackage } from '../fresh-package.ts';
import { customise } from './customise.ts';
import { debianImage } from './debian.ts';

const OUT = 'nakodo-pi.img';
const HELP = `Usage: make image [BASE=raspios.img.xz] [PROVISION=nakodo.toml] [OUT=${OUT}]
       node out/deploy/image/build.js [options]

Makes an image for a card with the terminal in it. The image holds no identity: every card written
with it becomes a terminal of its own when it is set up.

Options:
  --base <file>       an image of Raspberry Pi OS, as it was downloaded (.img, .img.xz …): a copy
                      of it gets the package and Node. Without it: a Debian trixie for arm64,
                      built here (Pi 3, Zero 2 W and 4; by wire; nobody can log in)
  --provision <file>  put this onto its boot partition as nakodo.toml. For many cards, its ticket
                      has to be good for as many (nakodo ticket --uses 20), or each card gets its
                      own by make flash
  --deb <file>        this package, in place of one built from these sources
  --out <file>        where the image goes (${OUT}); packed if it ends in .xz
  --verbose           show what the programs say that do the work
  --json              say the result in JSON

It needs root (mounts, chroot), a mirror of Debian, and some programs; what is missing is told.

Example:
  $ sudo make image BASE=2026-raspios-lite-arm64.img.xz OUT=pi.img

Exit codes (make itself ends with 2 whenever this does not end with 0):
  0  done
  1  failed: a program said why
  2  wrong use: no such image, no image of a Pi, an error in the provisioning file`;

async function main(): Promise<ExitCode> {
  const { values } = parseArgs({
    options: {
      base: { type: 'string' },
      provision: { type: 'string' },
      deb: { type: 'string' },
      out: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return EXIT.done;
  }
  const output = new Output(values.json);
  const work = await mkdtemp(join(tmpdir(), 'nakodo-package-'));
  const tell = (line: string): void => {
    // Our own sentences end so; what programs say is for those who want it.
    if (values.verbose || line.endsWith(' …')) output.warn(line);
  };
  try {
    const options = {
      deb: values.deb ? resolve(values.deb) : await freshPackage(work),
      provision: values.provision || undefined,
      out: resolve(values.out || OUT),
      tell,
    };
    const { base } = values;
    const bytes = base ? await customise({ ...options, base }) : await debianImage(options);
    const words = `${options.out}: ${formatSize(bytes)} on the card.`;
    const next = `Next: sudo make flash DEVICE=/dev/sdX IMAGE=${options.out}`;
    output.result({ image: options.out, bytes }, `${words}\n${next}`);
    return EXIT.done;
  } catch (error) {
    return output.error(error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  // What parseArgs says of an option that there is none of.
  const wrong = new UsageError('usage', errorMessage(error));
  process.exitCode = new Output(false).error(wrong);
}
