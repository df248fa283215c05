// What shares a packet, and what a probe timeout sends: an honest peer looks at what a connection
// puts into its packets when several things wait at once.

import t from 'tap';
import { FRAME } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { MisbehavingPeer } from './misbehaving-peer.ts';

t.test('a message and bulk leave in one packet', async (t) => {
  const peer = new MisbehavingPeer();
  peer.hear();
  const stream = peer.victim.openStream();
  if (stream === undefined) throw new Error('no stream');
  peer.victim.write(stream, new Uint8Array(500));
  t.ok(peer.victim.sendDatagram(new Uint8Array(160)));
  const [before, messages, bulk] = [
    peer.work.datagramsOut,
    peer.heard.of(FRAME.datagram),
    peer.heard.of(FRAME.stream),
  ];
  peer.hear();
  t.strictSame(
    [
      peer.work.datagramsOut - before,
      peer.heard.of(FRAME.datagram) - messages,
      peer.heard.of(FRAME.stream) - bulk,
    ],
    [1, 1, 1],
  );
});

t.test('bulk behind a full window: a message overtakes it, up to its share', async (t) => {
  const peer = new MisbehavingPeer();
  const stream = peer.victim.openStream();
  if (stream === undefined) throw new Error('no stream');
  peer.victim.write(stream, new Uint8Array(60_000));
  peer.hear();
  t.ok(peer.victim.sendDatagram(new Uint8Array(160)));
  peer.hear();
  t.equal(peer.heard.of(FRAME.datagram), 1, 'at once');
  for (let i = 0; i < 40; i++) peer.victim.sendDatagram(new Uint8Array(1_000));
  peer.hear();
  const most = peer.heard.of(FRAME.datagram);
  t.ok(most < 20, `${most} until something is acknowledged`);
  const { received } = peer.heard;
  peer.acknowledge();
  peer.hear();
  t.ok(peer.heard.of(FRAME.datagram) > most, 'and with the next room');
  t.ok(received < 60_000);
});

t.test(
  'a probe timeout sends two datagrams at least, and small ones from the second on',
  async (t) => {
    const peer = new MisbehavingPeer({ config: { datagramBytes: 16_000 } });
    const stream = peer.victim.openStream();
    if (stream === undefined) throw new Error('no stream');
    peer.victim.write(stream, new Uint8Array(60_000));
    peer.hear();
    for (let timeout = 1; timeout <= 4; timeout++) {
      const { datagramsOut, bytesOut } = peer.work;
      for (let waited = 0; waited < 10_000 && peer.work.datagramsOut === datagramsOut; waited += 5)
        peer.pass(5);
      const datagrams = peer.work.datagramsOut - datagramsOut;
      const bytes = peer.work.bytesOut - bytesOut;
      t.ok(datagrams >= DATA_LIMITS.probesPerPto, `${datagrams} at timeout ${timeout}`);
      const isSmall = bytes <= datagrams * DATA_LIMITS.datagramBytesMin;
      t.equal(isSmall, timeout >= DATA_LIMITS.smallProbeAfter, `${bytes} bytes`);
    }
  },
);
