// The owner's STUN servers: names become paths in the background, nobody waits for DNS; and errors
// that come a thousand times are said once.

import t from 'tap';
import { silentLog } from '../../protocol/io/log.ts';
import { seededRng } from '../../protocol/random.ts';
import { BindingRequests } from '../../protocol/stun/binding.ts';
import { STUN_LIMITS } from '../../protocol/stun/limits.ts';
import { answerBinding } from '../../protocol/stun/server.ts';
import { micros } from '../../protocol/time.ts';
import { StunNames } from '../shell/stun-names.ts';
import { ToldErrors } from '../shell/told-errors.ts';

t.test('literal addresses need no name server; the same path is the same object', async (t) => {
  const asked: string[] = [];
  const lookUp = async (host: string): Promise<readonly { address: string }[]> => {
    asked.push(host);
    return [];
  };
  const servers = ['192.0.2.1:3478', '[2001:db8::1]:3479'];
  const names = new StunNames({ servers, log: silentLog, lookUp });
  t.strictSame(names.paths(), [
    { host: '192.0.2.1', port: 3_478 },
    { host: '2001:db8::1', port: 3_479 },
  ]);
  t.equal(names.paths()[0], names.paths()[0]);
  await names.refresh();
  t.strictSame(asked, [], 'nothing was looked up');
  t.strictSame(names.servers, servers);
});

t.test(
  'a name is looked up in the background; what was known is kept while DNS is away',
  async (t) => {
    let looks = 0;
    let answer: readonly { address: string }[] | Error = [
      { address: '2001:db8::5' },
      { address: '192.0.2.5' },
      { address: '192.0.2.6' },
    ];
    const lookUp = async (): Promise<readonly { address: string }[]> => {
      looks += 1;
      if (answer instanceof Error) throw answer;
      return answer;
    };
    const names = new StunNames({ servers: ['stun.example:3478'], log: silentLog, lookUp });
    t.strictSame(names.paths(), [], 'nobody waits for it');
    t.equal(looks, 1, 'but it is looked up');
    await names.refresh();
    t.equal(looks, 1, 'one look at a time');
    const both = names.paths();
    t.strictSame(both, [
      { host: '192.0.2.5', port: 3_478 },
      { host: '2001:db8::5', port: 3_478 },
    ]);
    t.equal(looks, 1, 'fresh');
    answer = new Error('no name server');
    await names.refresh();
    t.equal(looks, 2);
    t.strictSame(names.paths(), both, 'kept');
    answer = [{ address: '192.0.2.9' }, { address: '2001:db8::5' }];
    await names.refresh();
    t.strictSame(
      names.paths().map(({ host }) => host),
      ['192.0.2.9', '2001:db8::5'],
    );
    t.equal(names.paths()[1], both[1], 'the path that stayed is the same object');
  },
);

t.test('the answer of a server is taken however its IPv6 address was written', async (t) => {
  const names = new StunNames({ servers: ['[2001:DB8:0:0::1]:3478'], log: silentLog });
  const foreignServers = names.paths();
  const requests = new BindingRequests({ rng: seededRng(1), servers: [], foreignServers });
  const bytes = new Uint8Array(STUN_LIMITS.bindingRequestBytes);
  t.ok(requests.pollTransmit(micros(0), bytes));
  const reply = answerBinding(bytes, { host: '2001:db8::77', port: 9 });
  t.ok(reply?.answer);
  // As Node's sockets print it.
  const from = { host: '2001:db8::1', port: 3_478 };
  requests.handleDatagram(micros(1), from, reply?.answer ?? bytes);
  t.match(requests.answers(), [{ mapped: { host: '2001:db8::77', port: 9 } }]);
});

t.test('what is no server, or one too many, is told at once', async (t) => {
  const made = (servers: readonly string[]) => () => new StunNames({ servers, log: silentLog });
  for (const bad of ['stun.example', 'stun.example:0', ':3478', 'a b:1', '']) {
    t.throws(made([bad]), { code: 'bad-stun-server' }, bad);
  }
  const five = Array.from({ length: 5 }, (_, at) => `stun${at}.example:3478`);
  t.throws(made(five), { code: 'bad-stun-server' });
  t.doesNotThrow(made(five.slice(1)));
  t.strictSame(new StunNames({ servers: [], log: silentLog }).paths(), [], 'usually there is none');
});

t.test('an error is said once a minute, with how often it came', async (t) => {
  let now = 0;
  const told = new ToldErrors(() => now);
  const error = (code: string): Error => Object.assign(new Error(code), { code });
  t.equal(told.count(error('ENETUNREACH')), 1);
  for (let at = 0; at < 999; at++) t.equal(told.count(error('ENETUNREACH')), undefined);
  t.equal(told.count(error('EPERM')), 1, 'another kind is said by itself');
  now = 59_999;
  t.equal(told.count(error('ENETUNREACH')), undefined);
  now = 60_000;
  t.equal(told.count(error('ENETUNREACH')), 1_001);
  for (let at = 0; at < 100; at++) t.equal(told.count(error(`E${at}`)), 1, 'kinds are bounded');
  t.equal(told.count(error('E99')), undefined);
  t.equal(told.count(error('ENETUNREACH')), 1, 'the oldest is forgotten');
});
