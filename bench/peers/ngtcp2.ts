// QUIC by ngtcp2's example programs (Debian: ngtcp2-client, ngtcp2-server), with BBR and
// ChaCha20-Poly1305; one end of a flow (driver.ts). The server sends, so our sender is its server;
// it makes the bytes up itself. They say nothing while they work: only a whole transfer can be
// measured.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { microseconds, say, task } from './driver.ts';

const PORT = 47_320;
const CIPHERS = 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305';
/** Milliseconds between two looks whether the server is there. */
const LOOK_MS = 20;

const { role, plan, hello } = task();
const { host, bytes } = plan;
const common = ['-q', '--cc=bbr', `--ciphers=${CIPHERS}`];
let child: ChildProcess | undefined;
process.on('exit', () => child?.kill('SIGKILL'));
if (role === 'receive') receive();
else send();

/** The client: it starts when the sender says that the server is there. */
function receive(): void {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const quiet = ['--no-quic-dump', '--no-http-dump', '--exit-on-all-streams-close'];
    const uri = `https://${String(plan.from)}:${PORT}/${bytes}`;
    const words = [...common, ...quiet, String(plan.from), `${PORT}`, uri];
    child = spawn('gtlsclient', words, { stdio: 'ignore' });
    child.once('exit', (code) => {
      if (code === 0) say({ done: true, at: microseconds(), bytes });
      else process.exit(1);
    });
  });
  server.listen(0, host, () => say({ ready: true, port: (server.address() as AddressInfo).port }));
}

function send(): void {
  const certificate = String(plan.certificate);
  const made = `--max-dyn-length=${bytes}`;
  const files = [`${certificate}.key`, `${certificate}.crt`];
  const words = [...common, made, String(plan.from), `${PORT}`, ...files];
  child = spawn('gtlsserver', words, { stdio: 'ignore' });
  child.once('exit', () => process.exit(1));
  const timer = setInterval(() => {
    const port = `:${PORT.toString(16).toUpperCase()} `;
    if (!readFileSync('/proc/net/udp', 'utf8').includes(port)) return;
    clearInterval(timer);
    say({ began: microseconds() });
    connect({ host, port: Number(hello.port) }).on('error', () => {});
  }, LOOK_MS);
}
