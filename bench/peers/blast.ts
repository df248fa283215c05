// Plain UDP at a rate, with no regard for anybody: what a link is checked with (driver.ts).
// `mbit`: IP bytes a second, headers counted; `bytes`: of payload, after which it says how many
// were sent.

import { createSocket } from 'node:dgram';
import { Arrivals, microseconds, say, task } from './driver.ts';

const PAYLOAD_BYTES = 1_472;
const PACKET_BYTES = 1_500;
const BUFFER_BYTES = 4 * 1024 * 1024;

const { role, plan, hello } = task();
const { host, bytes } = plan;
const socket = createSocket('udp4');
if (role === 'receive') {
  const arrivals = new Arrivals(0);
  socket.on('message', (message) => arrivals.add(message.length));
  socket.bind(0, host, () => {
    socket.setRecvBufferSize(BUFFER_BYTES);
    say({ ready: true, port: socket.address().port });
  });
} else {
  socket.connect(Number(hello.port), host, () => {
    const began = microseconds();
    say({ began });
    const payload = new Uint8Array(PAYLOAD_BYTES);
    let sent = 0;
    const timer = setInterval(() => {
      const due = ((microseconds() - began) * Number(plan.mbit)) / 8 / PACKET_BYTES;
      for (; sent < due && (bytes === 0 || sent * PAYLOAD_BYTES < bytes); sent++) {
        socket.send(payload, () => {});
      }
      if (bytes === 0 || sent * PAYLOAD_BYTES < bytes) return;
      clearInterval(timer);
      say({ sent: sent * PAYLOAD_BYTES });
    }, 1);
  });
}
