// Sessions and their streams over real UDP, without servers: two connections, two sockets, one
// timer.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import t, { type Test } from 'tap';
import { type Port, drain } from '../../protocol/core.ts';
import type { ConnectionEvent, Role } from '../../protocol/data/connection-types.ts';
import { Connection } from '../../protocol/data/connection.ts';
import { randomSessionId } from '../../protocol/ids.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { Clock, WakeUp } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { BufferPool, type UdpSocket, openUdp } from '../../protocol/io/udp.ts';
import { Session } from '../shell/session.ts';
import type { TalkStream } from '../shell/talk-stream.ts';

const clock = new Clock();
const DATAGRAM_BYTES = 16 * 1024;

interface End {
  readonly session: Session;
  close(): Promise<void>;
}

/** Two sessions that talk to each other; the limits are the grant's. */
async function talk(
  test: Test,
  limits: { seconds: number; bytes?: number },
): Promise<{ caller: Session; callee: Session }> {
  const common = {
    session: randomSessionId(entropy),
    grantBytes: new Uint8Array([1]),
    limits: { seconds: limits.seconds, bytes: limits.bytes },
    sessionKey: new Uint8Array(32).fill(7),
    suite: nodeSuite,
    rng: entropy,
    config: { datagramBytes: DATAGRAM_BYTES },
  };
  const keys = { caller: nodeSuite.dhKey(secret(1)), callee: nodeSuite.dhKey(secret(2)) };
  const parts = { caller: await half(), callee: await half() };
  const ends = (['caller', 'callee'] as const).map((role) => {
    const other = role === 'caller' ? 'callee' : 'caller';
    const { host, port } = parts[other].udp;
    const connection = new Connection({
      ...common,
      role,
      localKey: keys[role],
      remotePublicKey: keys[other].publicKey,
      paths: [{ host, port }],
    });
    return drive(role, connection, parts[role], common.session);
  });
  test.teardown(() => Promise.all(ends.map((end) => end.close())));
  await ends[0].session.established;
  return { caller: ends[0].session, callee: ends[1].session };
}

interface Half {
  readonly udp: UdpSocket;
  readonly pool: BufferPool;
  onDatagram: (path: { host: string; port: number }, bytes: Uint8Array) => void;
}

async function half(): Promise<Half> {
  const pool = new BufferPool(DATAGRAM_BYTES);
  const made: { udp?: UdpSocket; pool: BufferPool; onDatagram: Half['onDatagram'] } = {
    pool,
    onDatagram: () => {},
  };
  made.udp = await openUdp({
    bind: '127.0.0.1',
    pool,
    onDatagram: (path, bytes) => made.onDatagram(path, bytes),
    onError: () => {},
  });
  return made as Half;
}

const secret = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

function drive(
  role: Role,
  connection: Connection,
  half: Half,
  id: Session['info']['session'],
): End {
  const { udp, pool } = half;
  let isDraining = false;
  const wake = new WakeUp(clock, () => {
    connection.handleTimeout(clock.now());
    run();
  });
  const session = new Session(
    {
      session: id,
      role,
      peer: { name: 'PEER' as Name, id: 'x' as DeviceId },
      service: 'test',
      seconds: 60,
      bytes: undefined,
    },
    {
      talk: () => connection,
      drain: () => run(),
      end: (_id, reason) => {
        connection.close(clock.now(), reason);
        run();
      },
      state: () => connection.state(clock.now()),
    },
  );
  const port: Port<ConnectionEvent> = {
    borrow: () => pool.borrow(),
    release: (buffer) => pool.release(buffer),
    send: (transmit, buffer) => udp.send(transmit, buffer),
    event: (event) => {
      if (event.kind !== 'ended') session.onTalkEvent(event);
      else session.onEnded({ ...event, path: undefined });
    },
  };
  const run = (): void => {
    if (isDraining) return;
    isDraining = true;
    const at = drain(connection, clock.now(), port, 1_000);
    isDraining = false;
    wake.arm(at);
  };
  connection.start(clock.now());
  half.onDatagram = (path, bytes) => {
    connection.handleDatagram(clock.now(), path, bytes);
    wake.arm(clock.now());
  };
  run();
  return {
    session,
    close: async () => {
      wake.stop();
      await udp.close();
    },
  };
}

/** The next stream that the peer opens. */
function nextStream(session: Session): Promise<{ stream: TalkStream; parameters: Uint8Array }> {
  return new Promise((resolve) => {
    session.onStream = (stream, parameters) => resolve({ stream, parameters });
  });
}

t.test('S1005: streams work with pipeline, both ways, and keep their parameters', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const content = randomBytes(2_000_000);
  const incoming = nextStream(callee);
  const stream = caller.openStream('test', Buffer.from('hello'));
  const { stream: far, parameters } = await incoming;
  t.equal(Buffer.from(parameters).toString(), 'hello');
  const echoing = pipeline(far, far);
  const hash = createHash('sha256');
  await Promise.all([
    pipeline([content], stream),
    (async () => {
      for await (const chunk of stream) hash.update(chunk as Buffer);
    })(),
    echoing,
  ]);
  t.equal(hash.digest('hex'), createHash('sha256').update(content).digest('hex'));
  caller.finish('done');
  const [ours, theirs] = await Promise.all([caller.ended, callee.ended]);
  t.equal(ours.reason, 'done');
  t.equal(theirs.reason, 'done');
  t.equal(ours.counts.sentBytes, theirs.counts.receivedBytes);
  t.equal(ours.counts.receivedBytes, content.length);
});

t.test('S4005: a stream without a handler, or of another service, is refused', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const refused = caller.openStream();
  const [error] = (await once(refused, 'error')) as [{ code: string }];
  t.equal(error.code, 'stream-refused');
  t.equal(callee.onStream, undefined);
  t.throws(() => caller.openStream('test', new Uint8Array(5_000)), { code: 'parameters-too-long' });
  t.throws(() => caller.openStream('other'), { code: 'other-service' });
  const incoming = nextStream(callee);
  caller.openStream().end('x');
  const { stream } = await incoming;
  t.equal(Buffer.concat((await stream.toArray()) as Buffer[]).toString(), 'x', 'control');
});

t.test('S4006: a stream that its reader destroys fails at its writer', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const incoming = nextStream(callee);
  const stream = caller.openStream();
  stream.write('x');
  const { stream: far } = await incoming;
  far.destroy();
  const [error] = (await once(stream, 'error')) as [{ code: string }];
  t.equal(error.code, 'stream-reset');
  t.ok(stream.destroyed);
});

t.test('claim 3: at the limit what was delivered is read, what was not fails', async (t) => {
  const quota = 200_000;
  const { caller, callee } = await talk(t, { seconds: 60, bytes: quota });
  const incoming = nextStream(callee);
  const stream = caller.openStream();
  const writing = pipeline([randomBytes(400_000)], stream);
  const failed = t.rejects(writing, { code: 'quota' });
  const { stream: far } = await incoming;
  const [, ended] = await Promise.all([caller.ended, callee.ended]);
  t.equal(ended.reason, 'quota');
  t.equal(ended.counts.receivedBytes, quota);
  // The opening was metered as well; all that arrived lies ready though the talk is over.
  const left = far.readableLength;
  t.ok(left > 0 && left <= quota);
  await failed;
  t.throws(() => caller.openStream(), { code: 'quota' });
});
