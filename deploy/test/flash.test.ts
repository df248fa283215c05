// Flashing on loop devices, which are to the kernel what a card is: what is written arrives, what
// arrives wrong is noticed, and what must not be overwritten is not.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { formatTicket } from '../../protocol/identity/ticket.ts';
import { type BlockDevice, examineDevice, refusal } from '../flash/block-device.ts';
import { type FlashOptions, type Flashed, flash } from '../flash/flash.ts';
import { findBootPartition, readBootFile } from '../image/boot-files.ts';
import { surveyImage } from '../image/image-file.ts';
import { missingPackages, runTool, toolEnvironment, toolPath, tryTool } from '../tools.ts';
import { PI_IMAGE_BYTES, loopDevice, noLoopDevices, piImage } from './disks.ts';

const MAIN = join(import.meta.dirname, '..', 'flash.js');
const MIB = 1024 * 1024;
const noLoops = await noLoopDevices();
const missing = missingPackages({ mformat: 'mtools', mke2fs: 'e2fsprogs' });
const skip = noLoops || (missing.length > 0 ? `needs ${missing.join(', ')}` : false);

const folder = mkdtempSync(join(tmpdir(), 'nakodo-flash-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const image = skip === false ? await piImage(folder) : '';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
function isUntouched(file: string): boolean {
  const bytes = readFileSync(file);
  return bytes.equals(Buffer.alloc(bytes.length));
}

/** Flashes; whoever is asked agrees, unless the test says otherwise. */
const flashed = (device: string, options: Partial<FlashOptions> = {}): Promise<Flashed> =>
  flash({ device, image, ask: async ({ name }) => name, onProgress: () => undefined, ...options });

/** Runs the command with an answer on its standard input. */
async function command(
  args: readonly string[],
  answer: string,
): Promise<{ readonly exit: number; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { env: toolEnvironment() });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  child.stdin.end(answer);
  const [exit] = (await once(child, 'close')) as [number];
  return { exit, stdout, stderr };
}

t.test('an image arrives on the card, packed or not, and is read back', { skip }, async (t) => {
  const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES + 5 * MIB);
  const said = await command(['--device', device, '--image', image], `${device.slice(5)}\n`);
  t.equal(said.exit, 0, said.stderr);
  const wanted = readFileSync(image);
  t.equal(sha256(readFileSync(file).subarray(0, wanted.length)), sha256(wanted));
  t.match(said.stdout, `SHA-256 ${sha256(wanted)}`);
  t.match(said.stderr, /Everything on \/dev\/loop\d+ will be lost/);
  const packings = [
    ['xz', '-0kf', 'xz'],
    ['gzip', '-1kf', 'gz'],
    ['zstd', '-qkf', 'zst'],
  ] as const;
  for (const [program, options, suffix] of packings) {
    if (toolPath(program) === undefined) continue;
    await runTool(program, [options, image]);
    await tryTool('blkdiscard', ['-f', device]);
    const { bytes } = await flashed(device, { image: `${image}.${suffix}` });
    t.equal(bytes, wanted.length);
    t.equal(sha256(readFileSync(file).subarray(0, bytes)), sha256(wanted), program);
  }
});

t.test('a card that does not hold what was written to it is found out', { skip }, async (t) => {
  const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  const onProgress: FlashOptions['onProgress'] = (phase, done) => {
    if (phase !== 'verifying' || done > 0) return;
    const card = openSync(file, 'r+');
    writeSync(card, 'x', PI_IMAGE_BYTES - 1);
    closeSync(card);
  };
  await t.rejects(flashed(device, { onProgress }), { code: 'verify-failed' });
  t.match(await flashed(device), { bytes: PI_IMAGE_BYTES }, 'without that it is sound');
});

t.test('a card that takes no more than a part is found out', { skip }, async (t) => {
  const place = join(folder, 'small');
  mkdirSync(place);
  await runTool('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', place]);
  t.teardown(() => tryTool('umount', ['-l', place]));
  const { device } = await loopDevice(t, place, PI_IMAGE_BYTES);
  await t.rejects(flashed(device), { code: 'write-failed', exit: 1, next: /another card/ });
});

t.test('settings are put onto the boot partition, checked before anything', { skip }, async (t) => {
  const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  const settings = join(folder, 'nakodo.toml');
  writeFileSync(settings, 'ticket = "nakodo1broken"\n');
  await t.rejects(flashed(device, { provision: settings }), {
    code: 'bad-provision',
    message: /line 1: ticket/,
  });
  t.ok(isUntouched(file));
  const ticket = formatTicket({
    url: 'https://127.0.0.1:8183',
    managerKey: new Uint8Array(32).fill(1),
    agreementKey: new Uint8Array(32).fill(2),
    secret: new Uint8Array(20).fill(3),
    expiresAt: 2_000_000_000,
  });
  const text = `ticket = "${ticket}"\nname = "pi-{serial}"\n\n[[allow]]\nname = "TERM1"\n`;
  writeFileSync(settings, text);
  t.match(await flashed(device, { provision: settings }), { isProvisioned: true });
  const boot = await findBootPartition(file);
  t.equal(await readBootFile(boot, 'nakodo.toml'), text);
  t.equal(await readBootFile(boot, 'config.txt'), 'arm_64bit=1\n');
});

t.test('what is in use is refused, and stays as it was', { skip }, async (t) => {
  const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  await runTool('mke2fs', ['-q', device]);
  const place = join(folder, 'mount here');
  mkdirSync(place);
  await runTool('mount', [device, place]);
  t.teardown(() => tryTool('umount', [place]));
  const before = sha256(readFileSync(file));
  const said = await command(['--device', device, '--image', image, '--yes'], '');
  t.equal(said.exit, 3);
  t.match(said.stderr, /in use: .*mount here.*\nnext: .*umount/);
  t.equal(sha256(readFileSync(file)), before);
  await runTool('umount', [place]);
  t.match(await flashed(device), { bytes: PI_IMAGE_BYTES }, 'unmounted, it is taken');
});

t.test('a disk with a mounted partition is refused, and a partition', { skip }, async (t) => {
  const { device } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  const added = await tryTool('addpart', [device, '1', '8192', '32768']);
  if (added.exit !== 0) return t.comment(`no partitions of loop devices: ${added.stderr}`);
  await runTool('mke2fs', ['-q', `${device}p1`]);
  const place = join(folder, 'partition');
  mkdirSync(place);
  await runTool('mount', [`${device}p1`, place]);
  t.teardown(() => tryTool('umount', [place]));
  await t.rejects(flashed(device), { code: 'mounted', message: /loop\d+p1 .*partition/ });
  await t.rejects(flashed(`${device}p1`), { code: 'no-device', message: /not a whole disk/ });
  await runTool('umount', [place]);
  t.strictSame(examineDevice(device).partitions[0].usedAs, []);
});

t.test('a device mounted where we do not look is refused by the kernel', { skip }, async (t) => {
  const { device } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  await runTool('mke2fs', ['-q', device]);
  const place = join(folder, 'elsewhere');
  mkdirSync(place);
  const script = 'mount "$0" "$1" && echo mounted && cat';
  const other = spawn('unshare', ['--mount', 'sh', '-c', script, device, place]);
  t.teardown(() => other.kill());
  await once(other.stdout, 'data');
  t.equal(refusal(examineDevice(device), 0), undefined, 'we do not see it');
  await t.rejects(flashed(device), { code: 'in-use' });
  other.stdin.end();
  await once(other, 'close');
});

t.test('no card, a small card, a locked card, no disk: refused', { skip }, async (t) => {
  const small = await loopDevice(t, folder, PI_IMAGE_BYTES - MIB);
  await t.rejects(flashed(small.device), { code: 'too-small', exit: 3 });
  t.ok(isUntouched(small.file));
  const locked = await loopDevice(t, folder, PI_IMAGE_BYTES, ['--read-only']);
  await t.rejects(flashed(locked.device), { code: 'read-only', exit: 3 });
  await runTool('losetup', ['-d', locked.device]);
  await t.rejects(flashed(locked.device), { code: 'no-card', exit: 3 });
  for (const path of [image, '/dev/null', folder, join(folder, 'none')]) {
    await t.rejects(flashed(path), { code: 'no-device', exit: 2 }, path);
  }
});

t.test('the disk under the running system is known', { skip }, async (t) => {
  const source = (await tryTool('findmnt', ['-n', '-o', 'SOURCE', '/'])).stdout.trim();
  const parent = (await tryTool('lsblk', ['-n', '-o', 'PKNAME', source])).stdout.trim();
  const disk = parent === '' ? source : `/dev/${parent}`;
  if (!existsSync(disk)) return t.comment(`/ is on ${source}, which is no disk`);
  t.match(refusal(examineDevice(disk), 0), { code: 'system-disk', exit: 3 });
});

t.test('each reason to refuse, alone', async (t) => {
  const card: BlockDevice = {
    path: '/dev/sdz',
    name: 'sdz',
    model: 'Some card',
    bytes: 32_000_000_000,
    blockBytes: 512,
    isReadOnly: false,
    usedAs: [],
    partitions: [{ name: 'sdz1', bytes: 1_000_000, usedAs: [] }],
    holders: [],
    isSystem: false,
  };
  t.equal(refusal(card, 32_000_000_000), undefined);
  const reasons: readonly (readonly [Partial<BlockDevice>, string])[] = [
    [{ isSystem: true, usedAs: ['/'] }, 'system-disk'],
    [{ usedAs: ['/media/card'] }, 'mounted'],
    [{ partitions: [{ name: 'sdz1', bytes: 1, usedAs: ['swap'] }] }, 'mounted'],
    [{ holders: ['dm-0'] }, 'in-use'],
    [{ bytes: 0 }, 'no-card'],
    [{ isReadOnly: true }, 'read-only'],
    [{ bytes: 31_999_999_999 }, 'too-small'],
  ];
  for (const [change, code] of reasons) {
    t.match(refusal({ ...card, ...change }, 32_000_000_000), { code, exit: 3 }, code);
  }
});

t.test('any answer but the name of the device writes nothing', { skip }, async (t) => {
  const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  for (const answer of ['y\n', '', `${device}x\n`]) {
    const said = await command(['--device', device, '--image', image], answer);
    t.equal(said.exit, 3, JSON.stringify(answer));
    t.match(said.stderr, /nothing was written/);
  }
  t.ok(isUntouched(file));
});

t.test(
  'what is no image of a disk is refused before the card is asked about',
  { skip },
  async (t) => {
    const { device, file } = await loopDevice(t, folder, PI_IMAGE_BYTES);
    const bad = join(folder, 'bad');
    const attempt = (bytes: string | Uint8Array): Promise<Flashed> => {
      writeFileSync(bad, bytes);
      const ask = (): Promise<string> => Promise.reject(new Error('asked'));
      return flashed(device, { image: bad, ask });
    };
    const whole = readFileSync(image);
    await t.rejects(attempt('a text'), { code: 'bad-image', exit: 2 });
    await t.rejects(attempt('PK\u0003\u0004zip'), { code: 'bad-image', message: /unzip/ });
    await t.rejects(attempt(whole.subarray(0, whole.length - 1)), { message: /cut off/ });
    if (toolPath('gzip') !== undefined) {
      await runTool('gzip', ['-1kf', image]);
      const packed = readFileSync(`${image}.gz`);
      await t.rejects(attempt(packed.subarray(0, packed.length - 9)), { code: 'bad-image' });
    }
    await t.rejects(flashed(device, { image: join(folder, 'none') }), {
      code: 'no-image',
      exit: 2,
    });
    t.ok(isUntouched(file));
  },
);

t.test('an image that changes while it is written is told', { skip }, async (t) => {
  const { device } = await loopDevice(t, folder, PI_IMAGE_BYTES);
  const changing = await piImage(folder, 'changing.img');
  const survey = await surveyImage(changing);
  const ask: FlashOptions['ask'] = async ({ name }) => {
    truncateSync(changing, survey.bytes - 1);
    return name;
  };
  await t.rejects(flashed(device, { image: changing, ask }), { code: 'image-changed' });
});

t.test('wrong use says what to do', async (t) => {
  const help = await command(['--help'], '');
  t.equal(help.exit, 0);
  t.match(help.stdout, /Example:\n.*\n\nExit codes/);
  for (const args of [[], ['--device', '/dev/null'], ['--nonsense']]) {
    const said = await command(args, '');
    t.equal(said.exit, 2, args.join(' '));
    t.match(said.stderr, /^nakodo: .*\nnext: /);
  }
});
