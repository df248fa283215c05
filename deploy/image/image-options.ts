// What both ways of making an image take, and what both need of the machine they run on: programs
// of the system, and root, for chroot and mounts.

import { NakodoError } from '../../protocol/errors.ts';
import { missingPackages } from '../tools.ts';

/** What is made of what. */
export interface ImageOptions {
  /** The package. */
  readonly deb: string;
  /** A provisioning file for the boot partition. */
  readonly provision?: string | undefined;
  /** Where the image goes; packed if it ends in `.xz`. */
  readonly out: string;
  /** Hears what is being done. */
  readonly tell: (line: string) => void;
}

/**
 * Throws unless this machine can make images with these programs (and Debian's package of each).
 * @throws NakodoError `no-tool`, `not-allowed`.
 */
export function refuseUnable(tools: Readonly<Record<string, string>>): void {
  const missing = missingPackages(tools);
  if (missing.length > 0) {
    const next = `sudo apt-get install ${missing.join(' ')}`;
    throw new NakodoError('no-tool', 'programs are missing here', next);
  }
  if (process.getuid?.() === 0) return;
  const next = 'run it as root: sudo make image …';
  throw new NakodoError('not-allowed', 'images are mounted, which only root may', next);
}
