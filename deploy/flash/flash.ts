// `make flash`: an image onto a card, in an order that loses nothing by mistake: the image is read
// through and the settings are checked before the card is looked at, the person is asked before the
// first byte, and what was written is read back from the card and compared.

import { EXIT, NakodoError } from '../../protocol/errors.ts';
import { formatSize } from '../../protocol/units.ts';
import { BOOT_TOOLS, findBootPartition, provision } from '../image/boot-files.ts';
import { type ImageSurvey, imageChunks, surveyImage } from '../image/image-file.ts';
import { readProvisioning } from '../image/provisioning.ts';
import { missingPackages, runTool, toolPath, tryTool } from '../tools.ts';
import { type BlockDevice, examineDevice, refusal } from './block-device.ts';
import { readCard, writeCard } from './card.ts';

/** What is done, in this order. */
export type FlashPhase = 'checking' | 'writing' | 'verifying';

/** What to flash, and whom to ask. */
export interface FlashOptions {
  /** The device file of the card: `/dev/sdb`. */
  readonly device: string;
  /** `.img`, or that packed with xz, gzip or zstd. */
  readonly image: string;
  /** A provisioning file to put onto the card's boot partition. */
  readonly provision?: string | undefined;
  /** Shows the person what is lost, and returns what the person types. */
  readonly ask: (device: BlockDevice, image: ImageSurvey) => Promise<string>;
  /** Hears how far each phase is; the two that touch the card begin with 0 bytes. */
  readonly onProgress: (phase: FlashPhase, doneBytes: number, ofBytes: number) => void;
}

/** What was done. */
export interface Flashed {
  readonly device: string;
  readonly bytes: number;
  /** Of the image, and of what was read back from the card. */
  readonly sha256: string;
  readonly isProvisioned: boolean;
}

/**
 * Writes an image to a card and verifies it.
 * @throws NakodoError for everything that keeps it from being done; nothing was written unless its
 *   code is `write-failed`, `read-failed`, `image-changed` or `verify-failed`.
 */
export async function flash(options: FlashOptions): Promise<Flashed> {
  const { onProgress } = options;
  const settings = await settingsOf(options);
  refuseUnfit(examineDevice(options.device), 0);
  const image = await surveyImage(options.image, (done) => onProgress('checking', done, 0));
  const device = examineDevice(options.device);
  refuseUnfit(device, image.bytes);
  const typed = (await options.ask(device, image)).trim();
  if (typed !== device.name && typed !== device.path) {
    const next = `type ${device.name} to agree`;
    throw new NakodoError('not-agreed', 'nothing was written', next, EXIT.refused);
  }
  await write(device, image, options);
  if (settings !== undefined) {
    await provision(await findBootPartition(device.path), settings);
    await runTool('sync', [device.path]);
  }
  await readTable(device);
  return {
    device: device.path,
    bytes: image.bytes,
    sha256: image.sha256,
    isProvisioned: settings !== undefined,
  };
}

/** The checked provisioning text; undefined if none is wanted. */
async function settingsOf({ provision: path }: FlashOptions): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const missing = missingPackages(BOOT_TOOLS);
  if (missing.length > 0) {
    const next = `apt-get install ${missing.join(' ')}`;
    throw new NakodoError('no-tool', 'a provisioning file needs mtools to be put there', next);
  }
  return readProvisioning(path);
}

function refuseUnfit(device: BlockDevice, imageBytes: number): void {
  const why = refusal(device, imageBytes);
  if (why !== undefined) throw why;
}

async function write(
  device: BlockDevice,
  image: ImageSurvey,
  { image: path, onProgress }: FlashOptions,
): Promise<void> {
  const { bytes, sha256 } = image;
  onProgress('writing', 0, bytes);
  const written = await writeCard(device, imageChunks(path), (done) =>
    onProgress('writing', done, bytes),
  );
  if (written !== sha256) {
    const next = 'leave the image alone while it is written, then again';
    throw new NakodoError('image-changed', `${path} changed while it was written`, next);
  }
  onProgress('verifying', 0, bytes);
  const read = await readCard(device, bytes, (done) => onProgress('verifying', done, bytes));
  if (read !== sha256) {
    throw new NakodoError(
      'verify-failed',
      `${device.path} does not hold what was written to it`,
      'take another card: this one, or its reader, is broken or larger in name than in truth',
    );
  }
}

/**
 * Has the kernel read the new partition table: last of all, as a desktop mounts what it then finds.
 * A kernel without partitions, or busy with them, says no; the card is as it should be.
 */
async function readTable(device: BlockDevice): Promise<void> {
  if (toolPath('blockdev') === undefined) return;
  await tryTool('blockdev', ['--flushbufs', device.path]);
  await tryTool('blockdev', ['--rereadpt', device.path]);
}

/** The lines that a person reads before agreeing. */
export function whatIsLost(device: BlockDevice, image: ImageSurvey): string {
  const { path, model, bytes, partitions } = device;
  const parts = partitions.map((each) => `  /dev/${each.name}  ${formatSize(each.bytes)}`);
  return [
    `Card:  ${path}, ${formatSize(bytes)}${model === '' ? '' : `, ${model}`}`,
    ...(parts.length === 0 ? ['  (no partitions known)'] : parts),
    `Image: ${formatSize(image.bytes)}, ${image.partitions.length} partitions`,
    `Everything on ${path} will be lost.`,
  ].join('\n');
}
