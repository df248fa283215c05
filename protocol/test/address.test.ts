// Addresses as bytes and as text: hard cases by table, round trips by property, and what Node's own
// sockets print for the same bytes.

import { isIP, BlockList, SocketAddress } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { type AddressScope, addressBytes, addressScope, addressText } from '../address.ts';
import { dose } from './dose.ts';

const numRuns = dose(2_000, 5);
const bytesOf = (host: string): Uint8Array => {
  const bytes = addressBytes(host);
  if (bytes === undefined) throw new Error(`${host} is no address`);
  return bytes;
};
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Many zero groups: what RFC 5952 §4.2 is about. */
const ipv6 = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));

const SCOPES: readonly (readonly [string, AddressScope])[] = [
  ['0.0.0.0', 'unspecified'],
  ['0.0.0.1', 'none'],
  ['0.255.255.255', 'none'],
  ['1.0.0.0', 'global'],
  ['9.255.255.255', 'global'],
  ['10.0.0.0', 'private'],
  ['10.255.255.255', 'private'],
  ['11.0.0.0', 'global'],
  ['100.63.255.255', 'global'],
  ['100.64.0.0', 'shared'],
  ['100.127.255.255', 'shared'],
  ['100.128.0.0', 'global'],
  ['126.255.255.255', 'global'],
  ['127.0.0.0', 'loopback'],
  ['127.255.255.255', 'loopback'],
  ['128.0.0.0', 'global'],
  ['169.253.255.255', 'global'],
  ['169.254.0.0', 'link-local'],
  ['169.254.169.254', 'link-local'],
  ['169.255.0.0', 'global'],
  ['172.15.255.255', 'global'],
  ['172.16.0.0', 'private'],
  ['172.31.255.255', 'private'],
  ['172.32.0.0', 'global'],
  ['192.167.255.255', 'global'],
  ['192.168.0.0', 'private'],
  ['192.168.255.255', 'private'],
  ['192.169.0.0', 'global'],
  ['223.255.255.255', 'global'],
  ['224.0.0.0', 'multicast'],
  ['239.255.255.255', 'multicast'],
  ['240.0.0.0', 'none'],
  ['255.255.255.255', 'none'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['::2', 'none'],
  ['::7f00:1', 'none'],
  ['::192.0.2.1', 'none'],
  ['::1:0:0', 'global'],
  ['64:ff9b::c000:201', 'global'],
  ['2001:db8::1', 'global'],
  ['fbff::1', 'global'],
  ['fc00::1', 'private'],
  ['fdff:ffff::1', 'private'],
  ['fe00::1', 'global'],
  ['fe7f::1', 'global'],
  ['fe80::1', 'link-local'],
  ['febf::1', 'link-local'],
  ['ff00::', 'multicast'],
  ['ff02::1', 'multicast'],
  ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'multicast'],
];

t.test('RFC 6890: every scope at its first and last address, mapped to IPv6 as well', (t) => {
  for (const [host, scope] of SCOPES) {
    const bytes = bytesOf(host);
    t.equal(addressScope(bytes), scope, host);
    if (bytes.length !== 4) continue;
    const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes);
    t.equal(addressScope(mapped), scope, `::ffff:${host}`);
    t.equal(addressText(mapped), host, 'and its text is that of the IPv4 address');
    t.strictSame(addressBytes(`::ffff:${host}`), bytes, 'and so are its bytes');
  }
  for (const length of [0, 1, 3, 5, 8, 15, 17, 32]) {
    t.equal(addressScope(new Uint8Array(length)), undefined);
    t.equal(addressText(new Uint8Array(length)), undefined);
  }
  t.end();
});

t.test('RFC 5952 §4: one text for each address', (t) => {
  for (const [written, text] of [
    ['2001:0DB8:0000:0000:0000:0000:0002:0001', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['0:0:0:0:0:ffff:c000:0201', '192.0.2.1'],
    ['fe80::1%eth0', 'fe80::1'],
  ] as const) {
    t.equal(addressText(bytesOf(written)), text, written);
  }
  t.end();
});

t.test('what is no literal address is none', (t) => {
  for (const text of [
    '',
    ' ',
    '.',
    ':',
    '::: ',
    ':::',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.-4',
    '1.2.3.4e0',
    '0x7f.0.0.1',
    '127.1',
    '1..3.4',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    '::g',
    '1:',
    ':1',
    '::1.2.3',
    '::1.2.3.4:5',
    '1.2.3.4::',
    '::ffff:1.2.3.400',
    '::1\n',
    '::1\0',
    'localhost',
    'example.org',
    '[::1]',
    '::1/128',
    '１.2.3.4',
    '%',
    '%eth0',
    `${'0'.repeat(40)}:::1`,
    '0:'.repeat(1_000),
    '1'.repeat(100_000),
  ]) {
    t.equal(addressBytes(text), undefined, JSON.stringify(text.slice(0, 40)));
  }
  t.end();
});

t.test('bytes and text are one another’s, and one text has one address', (t) => {
  const texts = new Set<string>();
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6), (bytes) => {
      const text = addressText(bytes);
      if (text === undefined) return false;
      texts.add(text);
      const again = addressBytes(text);
      return again !== undefined && addressText(again) === text && isIP(text) !== 0;
    }),
    { numRuns },
  );
  // What Node makes of the same address; its own text differs only in IPv4-compatible ones.
  fc.assert(
    fc.property(ipv6, (bytes) => {
      const text = addressText(bytes) ?? '';
      if (addressScope(bytes) === 'none' || !text.includes(':')) return true;
      const address = new SocketAddress({ address: text, family: 'ipv6' });
      return address.address === text;
    }),
    { numRuns },
  );
  t.ok(texts.size > numRuns / 2, `${texts.size} addresses`);
  t.end();
});

t.test('any text is an address for us as far as it is one for Node', (t) => {
  const piece = fc.constantFrom('0', '1', 'ff', 'FFFF', '10', '255', '.', ':', '::', 'g', '%', ' ');
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 18 }), (pieces) => {
      const text = pieces.join('');
      const bytes = addressBytes(text);
      // Of a scope only the IPv6 form is known to Node, and not an empty one.
      if (text.includes('%')) return true;
      if (bytes !== undefined) accepted += 1;
      return (bytes !== undefined) === (isIP(text) !== 0);
    }),
    { numRuns: numRuns * 4 },
  );
  t.ok(accepted > 10, `${accepted} were addresses`);
  t.end();
});

t.test('a scope is judged as Node’s own lists judge it', (t) => {
  const privates = new BlockList();
  privates.addSubnet('10.0.0.0', 8);
  privates.addSubnet('172.16.0.0', 12);
  privates.addSubnet('192.168.0.0', 16);
  const near = fc
    .tuple(fc.constantFrom(9, 10, 11, 172, 192), fc.integer({ min: 0, max: 255 }))
    .map(([a, b]) => Uint8Array.of(a, b, 3, 4));
  let found = 0;
  fc.assert(
    fc.property(fc.oneof(ipv4, near), (bytes) => {
      const isPrivate = privates.check(addressText(bytes) ?? '');
      if (isPrivate) found += 1;
      return isPrivate === (addressScope(bytes) === 'private');
    }),
    { numRuns },
  );
  t.ok(found > numRuns / 20, `${found} were private`);
  t.end();
});
