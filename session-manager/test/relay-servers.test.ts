// The operator's relay as a manager's shell knows it: names that are looked up, are gone, change,
// and the credentials that coturn believes.

import t from 'tap';
import { addressText } from '../../protocol/address.ts';
import { createLog, silentLog } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { until } from '../../protocol/test/until.ts';
import { RelayServers } from '../shell/relay-servers.ts';

const SECRET = new TextEncoder().encode('north');
const SOON = { againMs: 5, retryMs: 5 };

const textOf = (relay: RelayServers): readonly string[] =>
  relay.servers().map(({ address, port }) => `${addressText(address)} ${port}`);
const addresses = (...texts: readonly string[]) =>
  Promise.resolve(texts.map((address) => ({ address })));

t.test('literal addresses are there at once and are never looked up', async (t) => {
  const servers = [
    { host: '192.0.2.1', port: 3480 },
    { host: '2001:db8::1', port: 9 },
  ];
  const lookUp = (): never => t.fail('asked') as never;
  const relay = new RelayServers({ servers, secret: SECRET }, silentLog, { lookUp, ...SOON });
  t.strictSame(textOf(relay), ['192.0.2.1 3480', '2001:db8::1 9']);
  await relay.close();
});

t.test('a name has one address of each family; the first of each name come first', async (t) => {
  const servers = ['a', 'b', 'c'].map((host) => ({ host, port: 7 }));
  const known: Readonly<Record<string, readonly string[]>> = {
    a: ['2001:db8::a', '192.0.2.1', '192.0.2.2'],
    b: ['192.0.2.3'],
    c: ['2001:db8::c', '192.0.2.4'],
  };
  const lookUp = (host: string) => addresses(...known[host]);
  const relay = new RelayServers({ servers, secret: SECRET }, silentLog, { lookUp });
  t.strictSame(textOf(relay), [], 'a start waits for no name server');
  await until(() => textOf(relay).length === LIMITS.meetingServersMax, 'all names');
  t.strictSame(textOf(relay), ['192.0.2.1 7', '192.0.2.3 7', '192.0.2.4 7', '2001:db8::a 7']);
  await relay.close();
});

t.test('a name that moves is followed; one that is gone keeps what was known', async (t) => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => void lines.push(line) });
  const gone = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));
  const answers = [
    () => gone('EAI_AGAIN'),
    () => gone('EAI_AGAIN'),
    () => addresses('192.0.2.1'),
    () => addresses('192.0.2.1'),
    () => gone('EAI_AGAIN'),
    () => gone('ENOTFOUND'),
    () => gone('ENOTFOUND'),
    () => addresses(),
  ];
  let asked = 0;
  const lookUp = () => (answers[asked++] ?? (() => addresses('192.0.2.9')))();
  const servers = [{ host: 'turn.example', port: 7 }];
  const relay = new RelayServers({ servers, secret: SECRET }, log, { lookUp, ...SOON });
  await until(() => asked === 4, 'another try');
  t.strictSame(textOf(relay), ['192.0.2.1 7']);
  await until(() => asked === 8, 'tries in vain');
  t.strictSame(textOf(relay), ['192.0.2.1 7'], 'kept');
  await until(() => textOf(relay)[0] === '192.0.2.9 7', 'its new address');
  await until(() => asked > 11, 'it stays');
  await relay.close();
  const said = lines.map((line) => line.match(/relay-(?:not-)?found|E[A-Z_]{5,}/g)?.join(' '));
  t.strictSame(
    said,
    [
      'relay-not-found EAI_AGAIN',
      'relay-found',
      'relay-not-found EAI_AGAIN',
      'relay-not-found ENOTFOUND',
      'relay-not-found ENODATA',
      'relay-found',
    ],
    'a warning once, then at each change',
  );
  const last = asked;
  await until(() => asked === last, 'the end');
  t.notOk(lines.join('').includes('north'), 'the secret is in no line');
});

t.test('credentials are what coturn computes from the same secret', async (t) => {
  const relay = new RelayServers({ servers: [], secret: SECRET }, silentLog);
  // printf %s 1433895918:ninefingers | openssl dgst -sha1 -hmac north -binary | base64
  t.equal(relay.credentials('1433895918:ninefingers'), 'jy8hTxmOO7UtEKXqSkSlvakPVYA=');
  await relay.close();
});
