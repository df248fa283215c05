// Somebody who sends UDP with an address that may be another's: bytes that look like packets of a
// talk by their first one and are else by chance, so many a second. Run by scenes-moves.ts on a
// host of the lab that was given the address: FROM_HOST FROM_PORT TO_HOST TO_PORT COUNT PER_SECOND.

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';

/** As long as a packet of a talk with 32 bytes in it. */
const DATAGRAM_BYTES = 64;
const TICK_MS = 10;
const MS_PER_SECOND = 1_000;
/** First bytes of packets are small numbers. */
const KINDS = 16;

const [fromHost = '', fromPort = '', toHost = '', toPort = '', count = '', perSecond = ''] =
  process.argv.slice(2);
const socket = createSocket('udp4');
socket.on('error', () => {});
await new Promise<void>((resolve) => socket.bind(Number(fromPort), fromHost, resolve));
const begun = performance.now();
let sent = 0;
const timer = setInterval(() => {
  const due = Math.min(
    Number(count),
    Math.floor(((performance.now() - begun) / MS_PER_SECOND) * Number(perSecond)),
  );
  for (; sent < due; sent++) {
    const bytes = randomBytes(DATAGRAM_BYTES);
    bytes[0] %= KINDS;
    socket.send(bytes, Number(toPort), toHost, () => {});
  }
  if (sent < Number(count)) return;
  clearInterval(timer);
  socket.close(() => console.log(JSON.stringify({ sent })));
}, TICK_MS);
