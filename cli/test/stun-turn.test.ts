// What a server offers to terminals behind NATs, as its operator meets it: a STUN server on two UDP
// ports, a relay that is named with its secret, and what is said when one of them is wrong.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ATTRIBUTE, decodeXorAddress } from '../../protocol/stun/attributes.ts';
import { METHOD, decodeMessage, encodeMessage } from '../../protocol/stun/message.ts';
import { UsageError } from '../../protocol/errors.ts';
import { until } from '../../protocol/test/until.ts';
import { programOf } from '../program.ts';
import { ALL_COMMANDS } from '../all-commands.ts';
import { relayOf, stunPortsOf, stunServersOf } from '../commands/meeting-options.ts';
import { folder, follow, run, serve, start } from './program.ts';

const FREE = ['--mqtt-port', '0', '--http-port', '0'];
const SECRET = 'a-secret-of-32-characters-or-more';

const REQUEST = encodeMessage({
  stunClass: 'request',
  method: METHOD.binding,
  transaction: new Uint8Array(12).fill(9),
  attributes: [[ATTRIBUTE.filling, new Uint8Array(80)]],
});

t.test('S1000: nakodo serve shows a client its address, on two ports', async (t) => {
  const server = await serve(t, join(folder(t), 's'));
  const { udp, udp2 } = server.ready.ports as { udp: number; udp2: number };
  t.not(udp, udp2);
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  const heard = new Map<number, Uint8Array>();
  client.on('message', (bytes, { port }) => heard.set(port, Uint8Array.from(bytes)));
  client.bind(0, '127.0.0.1');
  await once(client, 'listening');
  for (const port of [udp, udp2]) {
    await until(() => {
      client.send(REQUEST, port, '127.0.0.1');
      return heard.has(port);
    }, 'an answer');
    const answer = decodeMessage(heard.get(port) ?? new Uint8Array());
    const mapped = answer?.attributes.get(ATTRIBUTE.xorMappedAddress);
    t.strictSame(decodeXorAddress(mapped, new Uint8Array(12).fill(9)), {
      host: '127.0.0.1',
      port: client.address().port,
    });
  }
  t.equal(await server.end(), 0);
});

t.test('--no-stun opens no UDP port; a port that is taken is said', async (t) => {
  const home = join(folder(t), 's');
  const without = await start(t, ['serve', '--home', home, '--no-stun', ...FREE]);
  t.match(without.ready, { ports: { udp: null, udp2: null } });
  await without.end();
  const taken = createSocket('udp4');
  t.teardown(() => taken.close());
  taken.bind(0, '127.0.0.1');
  await once(taken, 'listening');
  const port = String(taken.address().port);
  for (const option of ['--stun-port', '--stun-other-port']) {
    const refused = await run(['serve', '--home', home, option, port, ...FREE]);
    t.equal(refused.exit, 1);
    t.match(refused.stderr, new RegExp(`UDP port ${port}\nnext: .*${option}.*--no-stun`));
  }
  const same = await run(['serve', '--stun-port', '9', '--stun-other-port', '9', ...FREE]);
  t.equal(same.exit, 2);
  t.match(same.stderr, /two ports\nnext: .*--stun-other-port/);
  const plain = follow(t, ['serve', '--plain', '--home', home, ...FREE]);
  t.match(await plain.line((line) => line.startsWith('Ready')), /mqtt \d+, udp \d+, udp2 \d+/);
});

t.test('which ports: 3478 and the next, those that are named, or any free ones', async (t) => {
  t.strictSame(stunPortsOf({ stun: true }), { port: 3478, otherPort: 3479 });
  t.strictSame(stunPortsOf({ stun: true, mqttPort: 8883 }), { port: 3478, otherPort: 3479 });
  t.strictSame(stunPortsOf({ stun: true, mqttPort: 0 }), { port: 0, otherPort: 0 });
  t.strictSame(stunPortsOf({ stun: true, stunPort: 65_535 }), { port: 65_535, otherPort: 65_534 });
  t.strictSame(stunPortsOf({ stun: true, stunPort: 5, stunOtherPort: 0 }), {
    port: 5,
    otherPort: 0,
  });
  t.equal(stunPortsOf({ stun: false, stunPort: 5 }), undefined);
  t.strictSame(stunServersOf({}), [{ port: 3478, otherPort: 3479 }]);
  t.strictSame(stunServersOf({ stun: false }), []);
});

t.test('servers as they are typed: STUN by address or by port, TURN by name', async (t) => {
  const manager = ['session-manager', '--broker', 'mqtts://127.0.0.1:1'];
  /** What commander made of the words, without running anything. */
  const parse = (...args: readonly string[]): Readonly<Record<string, unknown>> => {
    const program = programOf(ALL_COMMANDS).exitOverride();
    const command = program.commands.find((each) => each.name() === 'session-manager');
    if (command === undefined) throw new UsageError('no-command', 'there is none');
    command.exitOverride().configureOutput({ writeErr: () => {} });
    command.action(() => {});
    program.parse(['node', 'nakodo', ...manager, ...args]);
    return command.opts();
  };
  const here = Uint8Array.of(192, 0, 2, 1);
  t.match(parse('--stun', '3480,3481', '192.0.2.1:9', '--stun', '[2001:db8::1]:7,8'), {
    stun: [
      { address: undefined, port: 3480, otherPort: 3481 },
      { address: here, port: 9, otherPort: undefined },
      { address: Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Uint8Array(11), 1), port: 7 },
    ],
  });
  t.match(parse('--no-stun'), { stun: false });
  t.match(parse('--turn', 'turn.example:3480', '--turn', '[2001:db8::1]:1', '192.0.2.1:2'), {
    turn: [
      { host: 'turn.example', port: 3480 },
      { host: '2001:db8::1', port: 1 },
      { host: '192.0.2.1', port: 2 },
    ],
  });
  for (const [option, text] of [
    ['--stun', 'stun.example:3478'],
    ['--stun', '0'],
    ['--stun', '70000'],
    ['--stun', '1,0'],
    ['--stun', ''],
    ['--turn', 'turn.example'],
    ['--turn', 'turn.example:0'],
    ['--turn', 'turn example:9'],
    ['--turn', '[turn.example]:9'],
    ['--turn', '2001:db8::1:9'],
  ])
    t.throws(() => parse(option, text), { code: 'commander.invalidArgument' }, `${option} ${text}`);
  const five = Array.from({ length: 5 }, (_, at) => ['--turn', `t${at}:9`]).flat();
  t.throws(() => parse(...five), { message: /At most 4/ });
});

t.test(
  'a relay’s secret: a private file with one line, or the server does not start',
  async (t) => {
    const base = folder(t);
    const at = (name: string, content: string, mode = 0o600): string => {
      const path = join(base, name);
      writeFileSync(path, content);
      chmodSync(path, mode);
      return path;
    };
    const turn = [{ host: '127.0.0.1', port: 3480 }];
    const good = await relayOf({ turn, turnSecretFile: at('good', `${SECRET}\n`) });
    t.strictSame(good, { servers: turn, secret: new TextEncoder().encode(SECRET) });
    t.ok(
      await relayOf({ turn, turnSecretFile: at('group', SECRET, 0o640) }),
      'the service’s group',
    );
    t.equal(await relayOf({}), undefined);
    const refused: readonly (readonly [string, RegExp])[] = [
      [at('open', SECRET, 0o644), /chmod o-rwx,g-w /],
      [at('shared', SECRET, 0o660), /chmod o-rwx,g-w /],
      [at('short', 'short'), /openssl rand -hex 32/],
      [at('empty', ''), /openssl rand/],
      [at('lines', `${SECRET}\n${SECRET}`), /openssl rand/],
      [at('long', 'x'.repeat(600)), /path/],
      [base, /path/],
      [join(base, 'none'), /path/],
    ];
    for (const [turnSecretFile, next] of refused) {
      await t.rejects(relayOf({ turn, turnSecretFile }), { code: 'no-turn-secret', next });
    }
    for (const half of [
      ['--turn', 'a:1'],
      ['--turn-secret-file', at('half', SECRET)],
    ]) {
      const { exit, stderr } = await run(['serve', ...half, ...FREE]);
      t.equal(exit, 2);
      t.match(stderr, /\nnext: give both, --turn HOST:PORT and --turn-secret-file FILE/);
    }
  },
);

t.test('a relay’s secret is in no log, no output and no command line', async (t) => {
  const base = folder(t);
  const path = join(base, 'secret');
  writeFileSync(path, SECRET, { mode: 0o600 });
  const turn = ['--turn', 'localhost:3480', '127.0.0.1:3481', '--turn-secret-file', path];
  const home = join(base, 's');
  const server = await start(t, ['serve', '--home', home, ...turn, ...FREE], { NAKODO_DEBUG: '1' });
  let stderr = '';
  server.child.stderr?.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  const line = readFileSync(`/proc/${server.child.pid}/cmdline`, 'utf8');
  t.match(line, /localhost/, 'the control is there');
  t.equal(await server.end(), 0);
  for (const said of [line, JSON.stringify(server.ready), stderr]) t.notOk(said.includes(SECRET));
});
