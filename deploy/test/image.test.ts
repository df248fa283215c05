// Images without what takes minutes: the partition table, files on the boot partition, holes, what
// is taken out of a root, and what is refused before anything is made. Whole images are made in
// image-made.test.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fc from 'fast-check';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { findBootPartition, readBootFile } from '../image/boot-files.ts';
import { customise } from '../image/customise.ts';
import { finishImage, surveyImage, unpackImage } from '../image/image-file.ts';
import {
  LINUX_TYPE,
  SECTOR,
  decodePartitions,
  decodeSignature,
  encodePartitions,
  resizedPartition,
} from '../image/partition-table.ts';
import { missingPackages, repositoryFile, toolEnvironment, tryTool } from '../tools.ts';
import { PI_IMAGE_BYTES, PI_PARTITIONS, piImage } from './disks.ts';

const MAIN = join(import.meta.dirname, '..', 'image', 'build.js');
const RUNS = 200;
const missing = missingPackages({ mformat: 'mtools', xz: 'xz-utils' });
const skip = missing.length > 0 ? `needs ${missing.join(', ')}` : false;

const folder = mkdtempSync(join(tmpdir(), 'nakodo-image-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

t.test('a partition table is read as it was written', async (t) => {
  t.equal(decodePartitions(new Uint8Array(SECTOR)), undefined, 'an empty disk has none');
  const sectors = fc.integer({ min: 1, max: 0xffff_fffe });
  const entry = fc.record({
    type: fc.integer({ min: 1, max: 255 }),
    start: sectors,
    size: sectors,
  });
  const table = fc.array(entry, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(table, fc.integer({ min: 0, max: 0xffff_ffff }), (entries, disk) => {
      const partitions = entries.map(({ type, start, size }, at) => ({
        number: at + 1,
        type,
        startByte: start * SECTOR,
        bytes: size * SECTOR,
      }));
      const signature = disk.toString(16).padStart(8, '0');
      const sector = encodePartitions(partitions, signature);
      const isSame =
        isDeepStrictEqual(decodePartitions(sector), partitions) &&
        decodeSignature(sector) === signature;
      const longer = resizedPartition(sector, partitions[0], SECTOR);
      const wanted = [{ ...partitions[0], bytes: SECTOR }, ...partitions.slice(1)];
      return isSame && isDeepStrictEqual(decodePartitions(longer), wanted);
    }),
    { numRuns: RUNS },
  );
  const any = fc.uint8Array({ minLength: 0, maxLength: SECTOR });
  fc.assert(
    fc.property(any, (bytes) => (decodePartitions(bytes)?.length ?? 0) <= 4),
    { numRuns: RUNS },
  );
});

t.test('sfdisk, whose trade it is, reads the same table', async (t) => {
  const file = join(folder, 'table');
  writeFileSync(file, encodePartitions(PI_PARTITIONS, 'c0ffee01'));
  const { exit, stdout } = await tryTool('sfdisk', ['-d', file]).catch(() => ({
    exit: 1,
    stdout: '',
  }));
  if (exit !== 0) return t.comment('no sfdisk here');
  t.match(stdout, /label-id: 0xc0ffee01/);
  t.match(stdout, /start= +8192, size= +73728, type=c\n/);
  t.match(stdout, /start= +81920, size= +4096, type=83/);
});

t.test('the boot partition of a Pi is found, and nothing else', { skip }, async (t) => {
  const image = await piImage(folder);
  const boot = await findBootPartition(image);
  t.equal(await readBootFile(boot, 'CONFIG.TXT'), 'arm_64bit=1\n', 'FAT knows no capitals');
  t.equal(await readBootFile(boot, 'nakodo.toml'), undefined);
  const other = join(folder, 'other.img');
  const linux = { number: 1, type: LINUX_TYPE, startByte: SECTOR, bytes: SECTOR };
  writeFileSync(other, Buffer.concat([encodePartitions([linux], '1'), Buffer.alloc(SECTOR)]));
  await t.rejects(findBootPartition(other), { code: 'not-pi' });
});

t.test('an image keeps its bytes and its holes, packed and unpacked', { skip }, async (t) => {
  const image = await piImage(folder, 'whole.img');
  const copy = join(folder, 'copy.part');
  await unpackImage(image, copy);
  t.ok(readFileSync(copy).equals(readFileSync(image)));
  t.ok(statSync(copy).blocks * 512 < PI_IMAGE_BYTES / 4, 'what is empty takes no room');
  const packed = join(folder, 'packed.img.xz');
  t.equal(await finishImage(copy, packed), PI_IMAGE_BYTES);
  t.equal((await surveyImage(packed)).sha256, (await surveyImage(image)).sha256);
  t.ok(statSync(packed).size < PI_IMAGE_BYTES / 4);
  t.notOk(existsSync(`${copy}.xz`));
});

/** A root with as much in it as `unmark.sh` looks at. */
function madeRoot(): string {
  const root = mkdtempSync(join(folder, 'root-'));
  const units = join(root, 'etc/systemd/system/multi-user.target.wants');
  for (const path of [units, join(root, 'var/lib/nakodo'), join(root, 'etc/ssh')])
    mkdirSync(path, { recursive: true });
  mkdirSync(join(root, 'var/lib/systemd'));
  for (const unit of ['nakodo.service', 'nakodo-provision.service'])
    symlinkSync(`/usr/lib/systemd/system/${unit}`, join(units, unit));
  writeFileSync(join(root, 'etc/machine-id'), '0123456789abcdef0123456789abcdef\n');
  writeFileSync(join(root, 'var/lib/systemd/random-seed'), 'seed');
  return root;
}

const unmark = (root: string): ReturnType<typeof tryTool> =>
  tryTool('sh', [repositoryFile('deploy/image/unmark.sh'), root]);

t.test('what differs from card to card is taken out of a root', async (t) => {
  const root = madeRoot();
  t.equal((await unmark(root)).exit, 0);
  t.equal(
    readFileSync(join(root, 'etc/machine-id'), 'utf8'),
    '',
    'empty: the first start makes it',
  );
  t.strictSame(readdirSync(join(root, 'var/lib/systemd')), []);
  writeFileSync(join(root, 'etc/machine-id'), 'uninitialized\n');
  t.equal((await unmark(root)).exit, 0);
  t.equal(readFileSync(join(root, 'etc/machine-id'), 'utf8'), 'uninitialized\n', 'as good');
  writeFileSync(join(root, 'etc/ssh/ssh_host_ed25519_key'), 'key');
  t.match((await unmark(root)).stderr, /warning: .*SSH host keys/);
});

t.test('a root that is a terminal already, or would be none, makes no image', async (t) => {
  for (const file of ['identity.json', 'enrolment.json', 'provisioning.json']) {
    const root = madeRoot();
    writeFileSync(join(root, 'var/lib/nakodo', file), '{}');
    const { exit, stderr } = await unmark(root);
    t.equal(exit, 1);
    t.match(stderr, new RegExp(`identity of a terminal .*${file}`));
  }
  const root = madeRoot();
  rmSync(join(root, 'etc/systemd/system/multi-user.target.wants/nakodo.service'));
  t.match(await unmark(root), { exit: 1, stderr: /nakodo.service is not enabled/ });
});

t.test('what cannot become an image leaves none', { skip }, async (t) => {
  const out = join(folder, 'out.img');
  const make = (base: string, provision?: string): Promise<number> =>
    customise({ base, provision, out, deb: '/none.deb', tell: () => undefined });
  if (process.getuid?.() !== 0) {
    await t.rejects(make('/none'), { code: /no-tool|not-allowed/ });
    return;
  }
  const settings = join(folder, 'nakodo.toml');
  writeFileSync(settings, 'ticket = "nakodo1broken"\n');
  const attempts: readonly (readonly [string, string | undefined, string])[] = [
    [join(folder, 'none.img'), undefined, 'no-image'],
    [settings, undefined, 'bad-image'],
    [await piImage(folder, 'noise.img'), settings, 'bad-provision'],
    // Its root is noise.
    [join(folder, 'noise.img'), undefined, 'tool-failed'],
  ];
  for (const [base, provision, code] of attempts) {
    await t.rejects(make(base, provision), { code }, code);
  }
  t.strictSame(
    readdirSync(folder).filter((name) => name.startsWith('out.img')),
    [],
  );
});

t.test('wrong use says what to do', async (t) => {
  const said = async (args: readonly string[]): Promise<readonly [number, string, string]> => {
    const child = spawn(process.execPath, [MAIN, ...args], { env: toolEnvironment() });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    const [exit] = (await once(child, 'close')) as [number];
    return [exit, stdout, stderr];
  };
  const [exit, help] = await said(['--help']);
  t.equal(exit, 0);
  t.match(help, /Example:\n.*\n\nExit codes/);
  const [wrong, , errors] = await said(['--nonsense']);
  t.equal(wrong, 2);
  t.match(errors, /^nakodo: .*\nnext: /);
});
