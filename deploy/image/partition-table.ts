// The partition table at the beginning of a card for a Pi: four entries of an MBR. The firmware of
// a Pi reads its first FAT partition; Linux finds its root by the disk's signature and the number.

/** Bytes of a sector, in which the table counts. */
export const SECTOR = 512;
/** Partitions begin at multiples of 4 MiB: cards erase blocks of about that size. */
export const ALIGNMENT = 4 * 1024 * 1024;

/** Where the disk's signature, the entries and the mark at the end stand, and an entry's size. */
const SIGNATURE_AT = 440;
const ENTRIES_AT = 446;
const ENTRY_BYTES = 16;
const ENTRIES = 4;
const MARK_AT = 510;
const MARK = 0xaa55;
/** Cylinder, head and sector of whoever counts in logical blocks: all bits set. */
const NO_CHS = [0xfe, 0xff, 0xff];
const SECTORS_MAX = 0xffff_ffff;
const HEX_DIGITS = 8;

/** Partition types: FAT with 32-bit clusters (LBA), and any file system of Linux. */
export const FAT32_TYPE = 0x0c;
export const LINUX_TYPE = 0x83;
const FAT_TYPES: readonly number[] = [0x06, 0x0b, FAT32_TYPE, 0x0e];

/** One partition. */
export interface Partition {
  /** From 1, as in `sdb1`. */
  readonly number: number;
  readonly type: number;
  readonly startByte: number;
  readonly bytes: number;
}

/** Whether a Pi's firmware would look for its files there. */
export const isFat = ({ type }: Partition): boolean => FAT_TYPES.includes(type);

/** The table in the first sector of a disk; undefined if there is none. */
export function decodePartitions(sector: Uint8Array): readonly Partition[] | undefined {
  if (sector.length < SECTOR) return undefined;
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR);
  if (view.getUint16(MARK_AT, true) !== MARK) return undefined;
  return Array.from({ length: ENTRIES }, (_, at) => {
    const entry = ENTRIES_AT + at * ENTRY_BYTES;
    return {
      number: at + 1,
      type: view.getUint8(entry + 4),
      startByte: view.getUint32(entry + 8, true) * SECTOR,
      bytes: view.getUint32(entry + 12, true) * SECTOR,
    };
  }).filter(({ type, startByte, bytes }) => type !== 0 && startByte > 0 && bytes > 0);
}

/** The disk's signature as Linux writes it in PARTUUID: eight hex digits. */
export function decodeSignature(sector: Uint8Array): string {
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR);
  return view.getUint32(SIGNATURE_AT, true).toString(16).padStart(HEX_DIGITS, '0');
}

/** A first sector with this table and no program to boot, which a Pi does not need. */
export function encodePartitions(
  partitions: readonly Partition[],
  signature: string,
): Uint8Array<ArrayBuffer> {
  const sector = new Uint8Array(SECTOR);
  const view = new DataView(sector.buffer);
  view.setUint32(SIGNATURE_AT, Number.parseInt(signature, 16), true);
  for (const { number, type, startByte, bytes } of partitions) {
    setPartition(view, { number, type, startByte, bytes });
  }
  view.setUint16(MARK_AT, MARK, true);
  return sector;
}

/** The same first sector with one partition of another size, all else untouched. */
export function resizedPartition(
  sector: Uint8Array,
  partition: Partition,
  bytes: number,
): Uint8Array<ArrayBuffer> {
  const changed = Uint8Array.from(sector);
  setPartition(new DataView(changed.buffer), { ...partition, bytes });
  return changed;
}

function setPartition(view: DataView, { number, type, startByte, bytes }: Partition): void {
  const entry = ENTRIES_AT + (number - 1) * ENTRY_BYTES;
  NO_CHS.forEach((value, at) => {
    view.setUint8(entry + 1 + at, value);
    view.setUint8(entry + 5 + at, value);
  });
  view.setUint8(entry + 4, type);
  view.setUint32(entry + 8, Math.min(startByte / SECTOR, SECTORS_MAX), true);
  view.setUint32(entry + 12, Math.min(bytes / SECTOR, SECTORS_MAX), true);
}
