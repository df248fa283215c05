// Many cards from one image, in `make prove`: the image of Debian is started twice by qemu's
// virtual board for arm64, with its own kernel, systemd and network, until the server knows both
// terminals. What a Pi's firmware does before the kernel is not shown by it; no Pi was there.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run, start } from '../../cli/test/program.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { noSystemRoot } from '../arm64/system-root.ts';
import { freshPackage } from '../fresh-package.ts';
import { findBootPartition, readBootFile } from '../image/boot-files.ts';
import { debianImage } from '../image/debian.ts';
import { imagePartitions } from '../image/image-file.ts';
import { missingPackages, runTool, toolEnvironment } from '../tools.ts';

const TIMEOUT_MS = 1_700_000;
t.setTimeout(TIMEOUT_MS);
/** A boot takes one to three minutes under emulation. */
const BOOT_MS_MAX = 1_200_000;
/** This machine's loopback, as qemu's own network shows it to its guests. */
const HOST = '10.0.2.2';
/** By the board's own bus: PCI would want a ROM that is in another package. */
const NETWORK = ['-device', 'virtio-net-device,netdev=net'];
const CARDS = ['card-one', 'card-two'];
const LARGER = 256 * 1024 * 1024;

const TOOLS = { 'qemu-system-aarch64': 'qemu-system-arm', mcopy: 'mtools' } as const;
const missing = missingPackages(TOOLS);
const skip = !IS_PROOF
  ? 'fifteen minutes and a mirror of Debian: in make prove'
  : noSystemRoot() || (missing.length > 0 ? `needs ${missing.join(', ')}` : false);

const base = mkdtempSync(join(tmpdir(), 'nakodo-boot-'));
t.teardown(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string): string => join(base, name);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A running card; `console` is what its system said last. */
interface Board {
  readonly child: ChildProcess;
  console(): string;
}

/** Starts a card in a virtual board, its kernel with these words. */
function board(t: Test, card: string, cmdline: string): Board {
  const image = at(`${card}.img`);
  const machine = ['-M', 'virt', '-cpu', 'cortex-a53', '-m', '1G', '-nographic', '-no-reboot'];
  const boot = ['-kernel', at('kernel'), '-initrd', at('initrd')];
  const disk = [
    '-drive',
    `file=${image},if=virtio,format=raw`,
    '-netdev',
    'user,id=net',
    ...NETWORK,
  ];
  const child = spawn(
    'qemu-system-aarch64',
    [...machine, ...boot, '-append', cmdline, ...disk, '-monitor', 'none', '-serial', 'stdio'],
    { env: toolEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  let said = '';
  child.stdout?.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-100_000)));
  return { child, console: () => said };
}

interface Device {
  readonly name: string;
  readonly id: string;
}

t.test(
  'many cards from one image are terminals of their own',
  { skip, timeout: TIMEOUT_MS },
  async (t) => {
    const [http, home] = [await freePort(), at('server')];
    const ports = ['--mqtt-port', '0', '--http-port', `${http}`];
    await start(t, ['serve', '--home', home, ...ports, '--public-url', `https://${HOST}:${http}`]);
    const uses = ['--uses', `${CARDS.length}`, '--for', '1h'];
    const { said } = await run(['ticket', '--home', home, ...uses, '--json']);
    writeFileSync(at('nakodo.toml'), `ticket = "${String(said?.ticket)}"\nname = "pi-{serial}"\n`);

    const image = at('pi.img');
    const deb = await freshPackage(at('deb'));
    const tell = (line: string): void => {
      if (line.endsWith(' …')) t.comment(line);
    };
    await debianImage({ deb, out: image, provision: at('nakodo.toml'), tell });
    const boot = await findBootPartition(image);
    const config = (await readBootFile(boot, 'config.txt')) ?? '';
    const [, kernel] = /^kernel=(.*)$/m.exec(config) ?? [];
    const [, initrd] = /^initramfs (.*)$/m.exec(config) ?? [];
    const fat = `${image}@@${boot.partition.startByte}`;
    await runTool('mcopy', ['-i', fat, `::/${kernel}`, at('kernel')]);
    await runTool('mcopy', ['-i', fat, `::/${initrd}`, at('initrd')]);
    // The board's console in place of a Pi's.
    const words = ((await readBootFile(boot, 'cmdline.txt')) ?? '').trim();
    const cmdline = `${words.replace(/console=\S+/g, '')} console=ttyAMA0`;

    const boards: Board[] = [];
    for (const card of CARDS) {
      const copy = at(`${card}.img`);
      await runTool('cp', ['--sparse=always', image, copy]);
      truncateSync(copy, statSync(copy).size + LARGER);
      boards.push(board(t, card, cmdline));
    }
    const devices = async (): Promise<readonly Device[]> =>
      (await run(['devices', '--home', home, '--json'])).said as unknown as readonly Device[];
    const isThere = async (): Promise<boolean> => {
      if (boards.some(({ child }) => child.exitCode !== null)) throw new Error('a board has ended');
      // Asked only when its system is up: a command that runs here takes its time from the boards.
      if (!boards.every((each) => each.console().includes('login:'))) return false;
      return (await devices()).length === CARDS.length;
    };
    await until(isThere, 'both terminals', BOOT_MS_MAX).catch((error: unknown) => {
      for (const each of boards) t.comment(each.console().slice(-5_000));
      throw error;
    });
    const [one, other] = await devices();
    t.match(one.name, /^pi-[0-9a-f]{16}$/);
    t.not(one.name, other.name);
    t.not(one.id, other.id);
    for (const card of CARDS) {
      const copy = at(`${card}.img`);
      const on = await findBootPartition(copy);
      const isGone = async (): Promise<boolean> =>
        (await readBootFile(on, 'nakodo.toml')) === undefined;
      await until(isGone, 'the ticket to be gone from the card', BOOT_MS_MAX);
      const [before, after] = await Promise.all([image, copy].map((path) => imagePartitions(path)));
      t.equal(after[1].bytes, before[1].bytes + LARGER, 'its root is as large as the card');
    }
  },
);
