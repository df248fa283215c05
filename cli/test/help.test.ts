// What a person meets first: help with an example and exit codes for every command, and two lines
// (what happened, what to do next) when something was typed wrong.

import { join } from 'node:path';
import type { Command } from 'commander';
import t from 'tap';
import { ALL_COMMANDS } from '../all-commands.ts';
import { programOf } from '../program.ts';
import { folder, run } from './program.ts';

/** What `nakodo COMMAND --help` prints, without a process for each. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}

t.test('every command is listed, and its help holds an example and its exit codes', async (t) => {
  const { exit, stdout } = await run(['--help']);
  t.equal(exit, 0);
  const { commands } = programOf(ALL_COMMANDS);
  t.ok(commands.length > 20);
  for (const command of commands) {
    const name = command.name();
    t.match(stdout, new RegExp(`^  ${name}( |$)`, 'm'));
    const help = helpOf(command);
    t.match(help, new RegExp(`\\$ nakodo ${name}\\b`), name);
    t.match(help, /Exit codes:\n  0 {2}done\n  1 {2}failed\n  2 {2}wrong use/, name);
    t.match(help, /--home <dir>/, name);
    t.match(help, /--json/, name);
  }
  const send = await run(['send', '--help']);
  t.equal(send.exit, 0);
  t.match(send.stdout, /Exit codes:/);
});

t.test('wrong use: exit code 2, what was wrong, what to do next', async (t) => {
  const home = folder(t);
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['sned', 'TERM3', 'x'], /unknown command 'sned'\nnext: .*send/],
    [['send', 'TERM3'], /missing required argument 'paths'\nnext: see nakodo send --help/],
    [['send', 'TERM3', 'x', '--bites', '1MB'], /unknown option '--bites'\nnext: .*--bytes/],
    [['send', 'TERM3', 'x', '--bytes', 'many'], /'many'.*size.*\nnext: /],
    [['send', 'TERM3', 'x', '--for', '15'], /'15'.*\nnext: /],
    [['serve', '--mqtt-port', '70000'], /'70000'.*port.*\nnext: /],
    [['serve', '--stun-port', '70000'], /'70000'.*port.*\nnext: /],
    [['serve', '--turn', 'turn.example'], /'turn\.example'.*turn\.example:3480.*\nnext: /],
    [['session-manager', '--stun', 'stun.example'], /'stun\.example'.*3478,3479.*\nnext: /],
    [['ticket', '--uses', '0'], /'0'.*\nnext: /],
    [['session-manager', '--broker', 'foo', '--home', home], /"foo".*\nnext: .*mqtt:\/\//],
    [['broker'], /--manager-pub.*\nnext: /],
    [['log', 'verfy'], /verfy.*\nnext: /],
    [['sim', '--seed', '1', '--seeds', '2'], /--seed and --seeds.*\nnext: /],
    [['sim', '--seeds', '2', '--trace'], /--trace shows one world\nnext: .*--seed N/],
    [['sim', '--set', 'udp.loss=2'], /from 0 to 1.*\nnext: /],
    [['sim', '--off', 'weather'], /no option weather.*\nnext: /],
    [['sim', '--only', 'udp.loss', '--set', 'mqtt.drop=1'], /off and on\nnext: /],
    [['sim', '--terminals', '1'], /from 2 to 20000.*\nnext: /],
    [['sim', '--resume', 'x'], /--resume is for many seeds\nnext: /],
    [['status', 'extra'], /too many arguments.*\nnext: /],
    [['allow', 'TERM1', '--bytes', '200', 'MB'], /too many.*\nnext: .*one word.*allow --help/],
    [['allow', 'TERM1', '--for', '1x'], /'1x'.*\nnext: see nakodo allow --help/],
    [['allow', '--service', 'file', 'TERM1'], /'name'\nnext: the name stands before --service/],
    [['--home', 'x', 'send', 'TERM3', 'y'], /'--home'\nnext: options stand behind the command/],
    [['--hom', 'x'], /'--hom'\nnext: .*see nakodo --help/],
    [['send', 'TERM3', 'x', '--rate', '0'], /'0'.*at least 1 byte\b.*\nnext: /],
    [['send', 'TERM3', 'x', '--bytes', '0'], /'0'.*at least 1 byte\b.*\nnext: /],
    [['send', 'TERM3', 'x', '--for', '0s'], /'0s'.*from 1 s to .*\nnext: /],
    [['send', 'TERM3', 'x', '--wait', '2d'], /'2d'.*to .*\nnext: /],
  ];
  await Promise.all(
    wrong.map(async ([args, expected]) => {
      const { exit, stdout, stderr } = await run(args);
      t.equal(exit, 2, args.join(' '));
      t.match(stderr, expected, args.join(' '));
      t.equal(stderr.trimEnd().split('\n').length, 2, args.join(' '));
      t.equal(stdout, '', args.join(' '));
    }),
  );
  t.equal((await run([])).exit, 2, 'no command');
});

t.test('wrong use with --json is an object on standard output', async (t) => {
  const { exit, said, stderr } = await run(['send', '--json']);
  t.equal(exit, 2);
  t.match(said, { error: { code: 'usage', message: /missing/, next: /nakodo send --help/ } });
  t.equal(stderr, '');
});

t.test('an address that is not loopback is refused without TLS', async (t) => {
  const home = folder(t);
  for (const address of ['0.0.0.0', '192.0.2.1', 'localhost']) {
    const { exit, stderr } = await run(['serve', '--plain', '--listen', address, '--home', home]);
    t.equal(exit, 2, address);
    t.match(stderr, /TLS.*\nnext: .*127\.0\.0\.1/, address);
  }
});

t.test('no agent, no server: exit code 5 and how to start one', async (t) => {
  const home = folder(t);
  const status = await run(['status', '--home', home]);
  t.equal(status.exit, 5);
  t.match(status.stderr, /no agent is running in .*\nnext: .*nakodo agent --home/);
  const send = await run(['send', 'TERM3', import.meta.filename, '--home', home, '--json']);
  t.equal(send.exit, 5);
  t.match(send.said, { error: { code: 'agent-not-running', next: /nakodo agent/ } });
  const devices = await run(['devices'], { NAKODO_HOME: home });
  t.equal(devices.exit, 5);
  t.match(devices.stderr, /no server is running in .*\nnext: .*nakodo serve --home/);
});

t.test('a hint to copy and paste holds a home with a space as one word', async (t) => {
  const home = join(folder(t), "pi's home");
  const { stderr } = await run(['status', '--home', home]);
  const quoted = stderr.match(/nakodo agent --home ('.*') —/)?.[1];
  t.equal(quoted, `'${home.replace("'", `'\\''`)}'`);
});

t.test(
  'a home that cannot be made is said to be one, also where there are no folders',
  async (t) => {
    const { exit, stderr } = await run(['allow', 'TERM1', '--home', '/proc/nakodo/home']);
    t.equal(exit, 1);
    t.match(stderr, /home \/proc\/nakodo\/home cannot be made.*\nnext: .*--home/);
  },
);

t.test('a stack is shown to those who ask for it only', async (t) => {
  const home = folder(t);
  const quiet = await run(['status', '--home', home]);
  t.notMatch(quiet.stderr, /\n\s+at /);
  const loud = await run(['status', '--home', home], { NAKODO_DEBUG: '1' });
  t.match(loud.stderr, /\n\s+at /);
});
