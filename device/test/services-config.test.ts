// `agent.toml`: what it says, what it refuses and where, and that it is read anew. Settings of
// every service are in it.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { targetOf } from '../../protocol/io/host-port.ts';
import { DEFAULT_CONFIG, configReader, parseConfig } from '../services/config.ts';

const WHOLE = `
[agent]
keepalive = "5m"
[file]
folder = "/srv/inbox"
file_max = "2GB"
keep_free = "100MB"
overwrite = "refuse"
[get]
folder = "/srv/share"
[[run]]
name = "temperature"
command = "/usr/local/bin/temperature --json"
[pipe]
command = "/usr/bin/tee -a /srv/log"
at_once = 1
[live]
command = "/usr/bin/rpicam-vid -t 0 -o -"
[[port]]
port = 8080
to = "[::1]:80"
`;

t.test('a whole file says what it says, an empty one the defaults', async (t) => {
  t.match(parseConfig(WHOLE), {
    config: {
      agent: { keepalive: 300 },
      file: { folder: '/srv/inbox', file_max: 2e9, keep_free: 1e8, overwrite: 'refuse' },
      get: { folder: '/srv/share' },
      run: [{ name: 'temperature', at_once: 4 }],
      pipe: { command: '/usr/bin/tee -a /srv/log', at_once: 1 },
      live: { command: '/usr/bin/rpicam-vid -t 0 -o -', at_once: 4 },
      port: [{ port: 8080, to: '[::1]:80' }],
    },
  });
  t.strictSame(parseConfig(''), { config: DEFAULT_CONFIG });
});

t.test('what the agent itself is told when it starts', async (t) => {
  const text = `[agent]
poll_every = "5m"
address = "::1"
broker = "mqtts://a.example:8883"
relay = "only"
stun = ["stun.example:3478", "[2001:db8::1]:3479"]
socket_group = "nakodo"`;
  const agent = {
    poll_every: 300,
    address: '::1',
    broker: 'mqtts://a.example:8883',
    relay: 'only',
    stun: ['stun.example:3478', '[2001:db8::1]:3479'],
    socket_group: 'nakodo',
  };
  t.match(parseConfig(text), { config: { agent } });
});

t.test('what is not right is told with its place', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['[file]\nfolder = "inbox"', /file folder: wanted an absolute path/],
    ['[file]\nfile_max = "2 parsecs"', /file file_max: .*parsecs/],
    ['[file]\noverwrite = "yes"', /file overwrite: wanted "number"/],
    ['[agent]\nkeepalive = "1s"', /agent keepalive: wanted at least 10s/],
    ['[agent]\nkeepalive = "1h"', /agent keepalive: wanted at most 20m/],
    ['[agent]\npoll_every = "1ms"', /agent poll_every: wanted at least 1s/],
    ['[agent]\naddress = "eth0"', /agent address: wanted an address/],
    ['[agent]\nbroker = "https://x"', /agent broker: wanted mqtts/],
    ['[agent]\nrelay = "sometimes"', /agent relay: wanted "never", "if-needed", "only"/],
    ['[agent]\nstun = "stun.example:3478"', /agent stun: wanted a list like/],
    ['[agent]\nstun = ["stun.example"]', /agent stun number 1: wanted HOST:PORT/],
    [`[agent]\nstun = [${'"a:1",'.repeat(5)}]`, /agent stun: wanted at most 4/],
    ['[agent]\nsocket_group = "a b"', /agent socket_group: wanted the name/],
    ['[[port]]\nport = 0\nto = "a:1"', /port number 1 port: wanted a port/],
    ['[[port]]\nport = 80\nto = "nowhere"', /port number 1 to: wanted HOST:PORT/],
    ['[[run]]\nname = "a b"\ncommand = "/x"', /run number 1 name/],
    ['[[run]]\nname = "a"\ncommand = "x"', /run number 1 command: .*absolute/],
    ['[[run]]\nname = "a"\ncommand = "/x | y"', /run number 1 command: no shell/],
    ['[[run]]\nname = "a"\ncommand = "/x"\nat_once = 0', /run number 1 at_once/],
    [`${'[[run]]\nname = "a"\ncommand = "/x"\n'.repeat(2)}`, /run: wanted each name once/],
    ['[pipe]\ncommand = "cat"', /pipe command: .*absolute/],
    ['[live]\nat_once = 2', /live command/],
    ['[fiel]\n', /unknown key 'fiel'$/],
    ['relay = "only"', /unknown key 'relay' \(it belongs under \[agent\]\)$/],
    ['stun = []', /unknown key 'stun' \(it belongs under \[agent\]\)$/],
    ['[file]\nrelay = "only"', /unknown key 'file relay' \(it belongs under \[agent\]\)$/],
    ['[file]\nfoldr = "/x"', /unknown key 'file foldr'/],
    ['[file', /line 1/],
  ];
  for (const [text, wanted] of cases) t.match(parseConfig(text), { problem: wanted }, text);
});

t.test('any text is settings or a problem, never another outcome', async (t) => {
  const text = fc.oneof(fc.string(), fc.json(), fc.mixedCase(fc.constant(WHOLE)));
  fc.assert(
    fc.property(text, (any) => {
      const parsed = parseConfig(any);
      return 'config' in parsed || parsed.problem.length > 0;
    }),
    { numRuns: 500 },
  );
  t.pass('500 texts');
});

t.test('the file is read anew, and one that is not there says nothing', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo config '));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'agent.toml');
  const read = configReader(path);
  t.strictSame(read(), { config: DEFAULT_CONFIG });
  await writeFile(path, WHOLE);
  t.match(read(), { config: { get: { folder: '/srv/share' } } });
  await writeFile(path, '[get');
  t.match(read(), { problem: new RegExp(`${path}: line 1`) });
  await writeFile(path, Uint8Array.of(0xff, 0xfe));
  t.match(read(), { problem: /not UTF-8/ });
  await rm(path);
  t.strictSame(read(), { config: DEFAULT_CONFIG });
});

t.test('a target is a host and a port', async (t) => {
  t.strictSame(targetOf('192.168.1.20:80'), { host: '192.168.1.20', port: 80 });
  t.strictSame(targetOf('[fe80::1]:65535'), { host: 'fe80::1', port: 65_535 });
  t.strictSame(targetOf('[2001:DB8:0:0::1]:80'), { host: '2001:db8::1', port: 80 }, 'RFC 5952');
  t.strictSame(targetOf('[::ffff:c000:201]:80'), { host: '192.0.2.1', port: 80 }, 'mapped');
  const none = ['', ':80', 'a', 'a:', 'a:0', 'a:65536', 'a b:1', '[::1]', '::1:80'];
  for (const bad of [...none, '[1::2::3]:80', '[192.0.2.1]:80', `${'a'.repeat(254)}:1`]) {
    t.equal(targetOf(bad), undefined, bad);
  }
});
