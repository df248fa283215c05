// Whom a terminal shows the ID of its address record: the STUN server beside the broker, however
// its address is written, and nobody else who is asked.

import t from 'tap';
import { addressBytes } from '../../protocol/address.ts';
import type { StunServer } from '../../protocol/control/messages.ts';
import { randomRecordId } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { ATTRIBUTE } from '../../protocol/stun/attributes.ts';
import { STUN_LIMITS } from '../../protocol/stun/limits.ts';
import { decodeMessage } from '../../protocol/stun/message.ts';
import { micros } from '../../protocol/time.ts';
import { Reachability } from '../meeting/reachability.ts';
import type { SocketId } from '../terminal-types.ts';

const NOW = micros(1);
const at = (text: string, port: number, otherPort?: number): StunServer => ({
  address: addressBytes(text),
  port,
  otherPort,
});

/** Who is asked, in order; `*`: is shown the record. */
function asked(broker: string | undefined, servers: readonly StunServer[]): readonly string[] {
  const rng = seededRng(1);
  const reachability = new Reachability(rng, () => {});
  reachability.broker = broker;
  reachability.servers = servers;
  const own = { candidates: [], stun: [{ host: '203.0.113.9', port: 9 }] };
  reachability.begin(NOW, 1 as SocketId, own, randomRecordId(rng));
  const bytes = new Uint8Array(STUN_LIMITS.bindingRequestBytes);
  const all: string[] = [];
  for (;;) {
    const transmit = reachability.pollTransmit(NOW, bytes);
    if (transmit === undefined) return all;
    const { host, port } = transmit.path;
    const attributes = decodeMessage(bytes.slice(0, transmit.size))?.attributes;
    all.push(`${attributes?.has(ATTRIBUTE.record) === true ? '*' : ''}${host} ${port}`);
  }
}

t.test('S1000: the record’s ID is shown to the broker’s STUN server, to no other', async (t) => {
  const beside: StunServer = { address: undefined, port: 1, otherPort: 2 };
  const other = at('198.51.100.1', 1, 2);
  const owners = '203.0.113.9 9';
  t.strictSame(asked('192.0.2.1', [other, beside]), [
    '*192.0.2.1 1',
    '*192.0.2.1 2',
    '198.51.100.1 1',
    '198.51.100.1 2',
    owners,
  ]);
  t.strictSame(asked('192.0.2.1', [at('192.0.2.1', 5)]), ['*192.0.2.1 5', owners], 'by address');
  t.strictSame(asked('::ffff:192.0.2.1', [at('192.0.2.1', 5)]), ['*192.0.2.1 5', owners]);
  t.strictSame(asked('2001:DB8::1', [at('2001:db8::1', 5)]), ['*2001:db8::1 5', owners]);
  const twice = [at('198.51.100.1', 1), at('203.0.113.9', 9), at('198.51.100.1', 1)];
  t.strictSame(asked('192.0.2.1', twice), ['198.51.100.1 1', owners], 'each once');
  t.strictSame(asked('fe80::1%eth0', [beside]).length, 3, 'a link-local broker');
  t.strictSame(asked(undefined, [beside, other]), ['198.51.100.1 1', '198.51.100.1 2', owners]);
});
