// Somebody who sends with the peer's own address, on real sockets: a file passes meanwhile, whole,
// and nothing is sent to whoever shows an address of their own. No timing decides here; the rate
// is told. Needs a raw socket, so root; `make lab` measures the same between network namespaces.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import type { Path } from '../../protocol/core.ts';
import { dose } from '../../protocol/test/dose.ts';
import type { Agent } from '../agent.ts';
import { pair } from './real-world.ts';
import { sendOne } from './sending.ts';

const SPOOFED = dose(20_000, 10);
const BYTES = dose(16, 4) * 1024 * 1024;
const OWN_ADDRESS = '127.0.66.66';
const OWN_SENT = 1_000;

/** Writes UDP datagrams whose source is anybody's; first bytes as packets of a talk have them. */
const SPOOFER = `
import os, socket, struct, sys, time
source, source_port, to, to_port, count, per_second = sys.argv[1:7]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
if int(count) == 0: sys.exit(0)
addresses = socket.inet_aton(source) + socket.inet_aton(to)
kinds = (1, 2, 4, 5, 8, 9, 10)
begun = time.monotonic()
for at in range(int(count)):
    size = 41 if at % 7 > 3 else 53 if at % 7 < 2 else 1200
    payload = bytes((kinds[at % 7],)) + os.urandom(size - 1)
    udp = struct.pack('!HHHH', int(source_port), int(to_port), 8 + size, 0)
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 28 + size, 0, 0, 64, 17, 0) + addresses
    raw.sendto(ip + udp + payload, (to, 0))
    early = begun + at / int(per_second) - time.monotonic()
    if early > 0.002: time.sleep(early)
print(at + 1)
`;

const canSpoof =
  spawnSync('python3', ['-c', SPOOFER, '127.0.0.1', '1', '127.0.0.1', '1', '0', '1']).status === 0;

async function spoof(from: Path, to: Path): Promise<number> {
  const words = [from.host, from.port, to.host, to.port, SPOOFED, 20_000].map(String);
  const child = spawn('python3', ['-c', SPOOFER, ...words]);
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await once(child, 'close');
  return Number(said);
}

const pathOf = (agent: Agent): Path => {
  const path = agent.status().talks[0]?.talk.path;
  if (path === undefined) throw new Error('there is no talk');
  return path;
};

t.test(
  `${SPOOFED} datagrams with the peer's address, and a file passes`,
  { skip: canSpoof ? false : 'no raw socket: root and python3 are needed', timeout: 110_000 },
  async (t) => {
    const { caller, callee } = await pair(t);
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    const content = new Uint8Array(BYTES).map((_, at) => (at * 31) >> 3);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const rate = async (name: string): Promise<number> => {
      const begun = performance.now();
      const given = await sendOne(session, name, content);
      t.equal(given.sha256, sha256, name);
      return BYTES / (performance.now() - begun) / 1_000;
    };
    await rate('warm');
    const alone = Math.max(await rate('one'), await rate('two'));
    const [callerAt, calleeAt] = [pathOf(callee), pathOf(caller)];

    const own = createSocket('udp4');
    let answers = 0;
    own.on('message', () => (answers += 1));
    own.bind(0, OWN_ADDRESS);
    await once(own, 'listening');
    t.teardown(() => own.close());

    let spoofers = 2;
    const spoofing = async (from: Path, to: Path): Promise<number> => {
      const count = await spoof(from, to);
      spoofers -= 1;
      return count;
    };
    const spoofed = Promise.all([spoofing(callerAt, calleeAt), spoofing(calleeAt, callerAt)]);
    const rates: number[] = [];
    for (let turn = 0; spoofers > 0; turn++) {
      for (let at = 0; at < OWN_SENT && turn === 0; at++) {
        const kinds = [1, 2, 4, 8, 9, 10];
        const bytes = new Uint8Array(at % 2 === 0 ? 41 : 53).fill(at);
        bytes[0] = kinds[at % kinds.length];
        own.send(bytes, calleeAt.port, calleeAt.host);
      }
      rates.push(await rate(`three ${turn}`));
    }
    t.strictSame(await spoofed, [SPOOFED, SPOOFED]);
    const median = rates.toSorted((a, b) => a - b)[rates.length >> 1];
    t.comment(`${alone.toFixed(0)} MB/s alone, ${median.toFixed(0)} MB/s meanwhile`);
    for (const agent of [caller, callee]) {
      t.ok(agent.status().counters.badProbes > SPOOFED / 20, 'positive control: they arrive');
    }
    t.equal(answers, 0, 'nothing comes to who shows an address of its own');
    t.strictSame([pathOf(callee), pathOf(caller)], [callerAt, calleeAt], 'nobody is followed');
    t.equal((await session.close()).reason, 'done');
  },
);
