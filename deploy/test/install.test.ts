// The package installed in a Debian trixie: what it makes there, what an upgrade, a removal and a
// purge leave; as root enrols it, as its user runs it; and booted with its own systemd, from a card
// whose boot partition holds a ticket. In make prove.

import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { follow, run } from '../../cli/test/program.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { type Town, openTown } from '../../sim/fleet/town.ts';
import { buildBundle } from '../bundle/bundle.ts';
import { buildDeb } from '../deb/package.ts';
import { AGENT_NODE_FLAGS } from '../node-flags.ts';
import type { ToolResult } from '../tools.ts';
import { PiRoot, noBoot, noRoot } from './pi-root.ts';

const EPOCH = 1_790_000_000;
const noInstall = noRoot();
const noSystemd = await noBoot();

/** Two packages of these sources that differ in their version. */
async function packages(): Promise<readonly string[]> {
  const out = await mkdtemp(join(tmpdir(), 'nk-debs-'));
  t.teardown(() => rm(out, { recursive: true, force: true }));
  const root = repositoryRoot();
  const bundle = await buildBundle(root, out);
  const made: string[] = [];
  for (const version of ['1.0.0', '1.0.1']) {
    const nodeFlags = AGENT_NODE_FLAGS;
    made.push(await buildDeb({ root, bundle, nodeFlags, out, epoch: EPOCH, version }));
  }
  return made;
}
const debs = noInstall === false ? await packages() : [];

async function town(): Promise<Town> {
  const opened = await openTown();
  t.teardown(() => opened.close());
  return opened;
}

const ticketOf = async (opened: Town, name?: string, uses = 1): Promise<string> =>
  (await opened.manager.operations.ticket({ name, uses, forSeconds: 600 })).ticket;

const said = ({ exit, stdout, stderr }: ToolResult): string => `${exit}: ${stdout}${stderr}`;

t.test('installed, upgraded, removed, purged', { skip: noInstall, timeout: 300_000 }, async (t) => {
  const opened = await town();
  const pi = await PiRoot.make(t, debs);
  const installed = await pi.shell('dpkg -i /root/nakodo_1.0.0_all.deb');
  t.equal(installed.exit, 0, said(installed));
  t.match(installed.stdout, /sudo nakodo enroll TICKET/);
  const made = await pi.shell("stat -c '%U:%G %a' /var/lib/nakodo; id -un nakodo; id -gn nakodo");
  t.equal(made.stdout, 'nakodo:nakodo 750\nnakodo\nnakodo\n');
  const unit = await pi.shell(
    'systemctl is-enabled nakodo.service nakodo.path nakodo-provision.path',
  );
  t.equal(unit.stdout, 'enabled\nenabled\nenabled\n');
  const page = await pi.shell('man nakodo | cat');
  t.match(page.stdout, /nakodo run \[options\] <name> <hook>/);
  const verified = await pi.shell('systemd-analyze verify /usr/lib/systemd/system/nakodo*.service');
  t.equal(verified.exit, 0, said(verified));
  t.notMatch(verified.stderr, /nakodo/, 'Debian’s own systemd understands every line');

  const before = await pi.shell('nakodo status');
  t.equal(before.exit, 5);
  const enrolled = await pi.run('nakodo', 'enroll', await ticketOf(opened, 'PI'));
  t.equal(enrolled.exit, 0, said(enrolled));
  const allowed = await pi.shell('nakodo allow TERM1 --service ping');
  t.equal(allowed.exit, 0, said(allowed));
  const foreign = await pi.shell('find /var/lib/nakodo ! -user nakodo');
  t.equal(foreign.stdout, '', 'root left nothing that the agent cannot read');
  const asRoot = await pi.shell('nakodo agent');
  t.equal(asRoot.exit, 1, 'an agent is not started as root in there');
  t.match(asRoot.stderr, /sudo -u nakodo/);

  const start = 'setpriv --reuid=nakodo --regid=nakodo --clear-groups nakodo agent --json';
  const words = [
    ...start.split(' '),
    '--home',
    '/var/lib/nakodo',
    '--config',
    '/etc/nakodo/agent.toml',
  ];
  const running = await pi.start(t, words);
  t.match(JSON.parse(running.line), { ready: true, name: 'PI' });
  t.equal(await running.end(), 0, 'and it ends by SIGTERM');

  const identity = await readFile(join(pi.path, 'var/lib/nakodo/identity.json'), 'utf8');
  await pi.shell('echo "# mine" >>/etc/nakodo/agent.toml');
  const upgraded = await pi.shell('dpkg -i /root/nakodo_1.0.1_all.deb');
  t.equal(upgraded.exit, 0, said(upgraded));
  t.equal(await readFile(join(pi.path, 'var/lib/nakodo/identity.json'), 'utf8'), identity);
  t.match(await readFile(join(pi.path, 'etc/nakodo/agent.toml'), 'utf8'), /# mine\n$/);
  const again = await pi.start(t, words);
  t.match(JSON.parse(again.line), { ready: true, name: 'PI' }, 'the same terminal');
  await again.end();

  const removed = await pi.shell('dpkg -r nakodo');
  t.equal(removed.exit, 0, said(removed));
  const left = await pi.shell(
    'ls -d /usr/bin/nakodo /usr/lib/nakodo /etc/nakodo/agent.toml /var/lib/nakodo/identity.json',
  );
  t.equal(left.stdout, '/etc/nakodo/agent.toml\n/var/lib/nakodo/identity.json\n', 'state stays');
  await pi.shell('dpkg -i /root/nakodo_1.0.1_all.deb');
  t.equal(await readFile(join(pi.path, 'var/lib/nakodo/identity.json'), 'utf8'), identity);
  const purged = await pi.shell('dpkg -P nakodo');
  t.equal(purged.exit, 0, said(purged));
  const none = await pi.shell(
    'find / -xdev -name "*nakodo*" -print | grep -v -e ^/root/ -e ^/proc/ -e ^/var/cache/man/',
  );
  t.equal(none.stdout, '', 'nothing is left');
  t.equal((await pi.shell('id -un nakodo')).stdout, 'nakodo\n', 'but the user');
});

t.test(
  'S1001: booted from a card that holds a ticket',
  { skip: noSystemd, timeout: 300_000 },
  async (t) => {
    const opened = await town();
    const card = await PiRoot.make(t, debs);
    await card.shell(
      'dpkg -i /root/nakodo_1.0.0_all.deb && useradd member -G nakodo && useradd stranger',
    );
    const ticket = await ticketOf(opened, undefined, 2);
    const list = '[[allow]]\nname = "CALLER"\nservices = ["file", "get", "run:who"]\n';
    const settings = `ticket = "${ticket}"\nname = "{hostname}"\n${list}`;
    await card.write('etc/hostname', 'pi-in-the-shed\n');
    const quick = '[Service]\nWatchdogSec=6s\nTimeoutAbortSec=1s\n';
    await card.write('etc/systemd/system/nakodo.service.d/quick.conf', quick);
    await card.write('boot/firmware/nakodo.toml', settings);
    await card.write('boot/firmware/user-data', `#cloud-config\n# ${ticket}\n`);
    const pi = await card.boot(t);
    const registered = `systemctl show -P StatusText nakodo | grep 'pi-in-the-shed is registered'`;
    t.ok(
      await pi.until(registered),
      said(await pi.shell('journalctl -u "nakodo*" --no-pager -n 30')),
    );
    t.equal((await pi.shell('ls /boot/firmware')).stdout, 'user-data\n', 'the ticket is gone');
    t.notMatch((await pi.shell('cat /boot/firmware/user-data')).stdout, ticket.slice(8, 40));
    t.equal((await pi.shell('find /var/lib/nakodo ! -user nakodo')).stdout, '');
    t.equal((await pi.shell('systemctl --failed --plain --no-legend | grep nakodo')).stdout, '');

    const as = (user: string, words: string): ReturnType<typeof pi.shell> =>
      pi.shell(
        `setpriv --reuid=${user} --regid=${user} --init-groups --reset-env sh -c '${words}'`,
      );
    t.match((await as('member', 'nakodo status')).stdout, /pi-in-the-shed .*registered/);
    const other = await as('stranger', 'nakodo status');
    t.not(other.exit, 0);
    t.match(other.stderr, /adduser .* nakodo/);
    const second = await as('stranger', 'nakodo allow EVE');
    t.equal(second.exit, 1, 'and gets no list of his own that no agent reads');
    t.match(second.stderr, /sudo nakodo .*--home/);

    // From outside, through the sandbox: introduced, a file, and a hook of the owner's.
    const caller = await opened.enrol('CALLER', '');
    await follow(t, ['agent', '--home', caller, '--json']).line((line) => line.includes('"ready"'));
    const photo = join(caller, 'photo.jpg');
    await writeFile(photo, 'a photo');
    const sent = await run(['send', 'pi-in-the-shed', photo, '--home', caller]);
    t.equal(sent.exit, 0, sent.stderr);
    const received = await as('member', 'cd /var/lib/nakodo/inbox; stat -c %U:%a *; cat *');
    t.equal(received.stdout, 'nakodo:640\na photo', 'a member reads it');
    t.equal((await as('stranger', 'cat /var/lib/nakodo/inbox/*')).stdout, '', 'nobody else');
    await as('member', 'echo today >/var/lib/nakodo/outbox/log');
    const got = await run(['get', 'pi-in-the-shed', 'log', join(caller, 'log'), '--home', caller]);
    t.equal(got.exit, 0, got.stderr);
    t.equal(await readFile(join(caller, 'log'), 'utf8'), 'today\n', 'and gives what others get');
    const hook = '[[run]]\nname = "who"\ncommand = "/usr/bin/id -un"\n';
    await pi.shell(`printf '${hook.replaceAll('\n', '\\n')}' >>/etc/nakodo/agent.toml`);
    const ran = await run(['run', 'pi-in-the-shed', 'who', '--home', caller]);
    t.same([ran.exit, ran.stdout], [0, 'nakodo\n'], ran.stderr);

    const idBefore = (await pi.shell('nakodo status --json')).stdout;
    await pi.shell('systemctl kill --signal=KILL --kill-whom=main nakodo');
    const restarts = 'systemctl show -P NRestarts nakodo';
    t.ok(await pi.until(`${restarts} | grep 1 && ${registered}`), 'SIGKILL');
    await pi.shell('systemctl kill --signal=STOP --kill-whom=main nakodo');
    t.ok(await pi.until(`${restarts} | grep 2 && ${registered}`), 'the watchdog wakes it');
    const upgraded = await pi.shell('dpkg -i /root/nakodo_1.0.1_all.deb');
    t.equal(upgraded.exit, 0, said(upgraded));
    t.ok(await pi.until(registered), 'upgraded and started again');
    const idAfter = (await pi.shell('nakodo status --json')).stdout;
    const id = (text: string): unknown => (JSON.parse(text) as { readonly id: unknown }).id;
    t.equal(id(idAfter), id(idBefore), 'the same terminal');

    // Reset by its owner, who then takes a ticket that is used up, and one that is not.
    await pi.shell('systemctl stop nakodo; find /var/lib/nakodo -mindepth 1 -delete');
    const used = await ticketOf(opened, 'SPENT');
    await opened.manager.operations.ticket({ name: 'OTHER', uses: 1, forSeconds: 600 });
    await pi.shell(`nakodo enroll ${used} --home /root/spent`);
    await card.write('boot/firmware/nakodo.toml', `ticket = "${used}"\n`);
    t.ok(await pi.until('grep "used up" /boot/firmware/nakodo.error.txt'), 'told on the card');
    t.match((await pi.shell('systemctl is-failed nakodo')).stdout, /failed/, 'and not tried again');
    await card.write('boot/firmware/nakodo.toml', `ticket = "${ticket}"\nname = "pi-again"\n`);
    t.ok(await pi.until('nakodo status | grep "pi-again .*registered"'), 'a good one mends it');
    t.ok(await pi.until('[ ! -e /boot/firmware/nakodo.error.txt ]'), 'and the error is gone');

    for (const unit of ['nakodo', 'nakodo-provision']) {
      const { stdout } = await pi.shell(`systemd-analyze security ${unit} | tail -n 1`);
      const exposure = Number(/: ([\d.]+)/.exec(stdout)?.[1]);
      t.ok(exposure <= 3, `exposure of ${unit} as it runs: ${exposure}`);
    }
    await pi.shell('dpkg -P nakodo');
    // systemd forgets a unit when nothing refers to it any more, which is a moment later.
    const left = 'systemctl list-units --all --plain --no-legend "nakodo*"';
    t.ok(await pi.until(`[ -z "$(${left})" ]`), 'systemd knows none of it');
  },
);

t.test(
  'a root that is read-only, and one small folder that is not',
  { skip: noSystemd, timeout: 300_000 },
  async (t) => {
    const opened = await town();
    const card = await PiRoot.make(t, debs);
    await card.shell('dpkg -i /root/nakodo_1.0.0_all.deb');
    await card.run('nakodo', 'enroll', await ticketOf(opened, 'PI'));
    const state = join(card.path, '../state');
    await rename(join(card.path, 'var/lib/nakodo'), state);
    await mkdir(join(card.path, 'var/lib/nakodo'));
    const pi = await card.boot(t, ['--read-only', `--bind=${state}:/var/lib/nakodo`]);
    t.equal((await pi.shell('touch /var/lib/x')).exit, 1, 'nothing else can be written');
    const up = await pi.until('nakodo status | grep "PI .*registered"');
    t.ok(up, said(await pi.shell('journalctl -u "nakodo*" --no-pager -n 30')));
    t.equal((await pi.shell('nakodo allow TERM1 --service ping')).exit, 0);
    t.equal((await pi.shell('systemctl restart nakodo')).exit, 0);
    t.ok(await pi.until('nakodo status | grep "PI .*registered"'));
  },
);

t.test(
  'the server, by the words of docs/server.md',
  { skip: noSystemd, timeout: 300_000 },
  async (t) => {
    const checkout = repositoryRoot();
    const page = await readFile(join(checkout, 'docs/server.md'), 'utf8');
    const [, install = ''] = page.split('A user, the settings');
    const commands = install.split('sudoedit')[0].match(/(?<=^ {4}sudo ).*$/gm) ?? [];
    t.equal(commands.length, 4);
    const machine = await PiRoot.make(t, debs);
    const host = await machine.boot(t, [`--bind-ro=${checkout}:/opt/nakodo`]);
    for (const command of commands) {
      const done = await host.shell(command);
      t.equal(done.exit, 0, `${command}: ${said(done)}`);
    }
    const edits = ['s/nakodo.example:8183/127.0.0.1:28183/', 's/0.0.0.0$/127.0.0.1/'];
    const ports = 's/^MORE=/MORE=--http-port 28183 --mqtt-port 28883 --stun-port 28478/';
    for (const edit of [...edits, ports])
      await host.shell(`sed -i '${edit}' /etc/nakodo-server.conf`);
    await host.shell('systemctl enable --now nakodo-server');
    t.ok(
      await host.until('nakodo-server devices'),
      said(await host.shell('journalctl -u nakodo-server -n 20')),
    );
    const made = await host.shell('nakodo-server ticket --name PI --json');
    const { ticket } = JSON.parse(made.stdout) as { readonly ticket: string };
    await host.shell('dpkg -i /root/nakodo_1.0.0_all.deb');
    const enrolled = await host.shell(`nakodo enroll ${ticket}`);
    t.equal(enrolled.exit, 0, said(enrolled));
    t.ok(
      await host.until('nakodo status | grep "PI .*registered"'),
      'a terminal of the same machine',
    );
    t.match((await host.shell('nakodo-server devices')).stdout, /^PI /m);
    t.equal((await host.shell('nakodo-server log verify')).exit, 0);
    t.equal((await host.shell('find /var/lib/nakodo-server ! -user nakodo-server')).stdout, '');
    const stopped = await host.shell(
      'systemctl stop nakodo-server && systemctl is-failed nakodo-server',
    );
    t.match(stopped.stdout, /inactive/, 'it ends in order');
    const { stdout } = await host.shell('systemd-analyze security nakodo-server | tail -n 1');
    t.match(stdout, /: 1\.\d /, `docs/server.md says how exposed it is: ${stdout}`);
  },
);
