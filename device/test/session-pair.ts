// Two sessions over real UDP, without servers: two connections, two sockets, one timer each. What a
// test of sessions and streams needs, and no more.

import type { Test } from 'tap';
import { type Path, type Port, drain } from '../../protocol/core.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
} from '../../protocol/data/connection-types.ts';
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
  /** In place of a meeting: the caller knocks where the callee is. */
  knock(path: Path): void;
  close(): Promise<void>;
}

/** What is special about a talk. */
interface TalkOptions {
  readonly config?: Partial<ConnectionConfig>;
  /** Asked for every datagram that leaves; true: it does not arrive. */
  readonly isLost?: (from: Role) => boolean;
  /** What the talk is for; default `test`. */
  readonly service?: string;
}

/** Two sessions that talk to each other over loopback; the limits are the grant's. */
export async function talk(
  test: Test,
  limits: { seconds: number; bytes?: number },
  options: TalkOptions = {},
): Promise<{ caller: Session; callee: Session }> {
  const common = {
    session: randomSessionId(entropy),
    grantBytes: new Uint8Array([1]),
    limits: { seconds: limits.seconds, bytes: limits.bytes },
    sessionKey: new Uint8Array(32).fill(7),
    suite: nodeSuite,
    rng: entropy,
    config: { datagramBytes: DATAGRAM_BYTES, ...options.config },
  };
  const keys = { caller: nodeSuite.dhKey(secret(1)), callee: nodeSuite.dhKey(secret(2)) };
  const parts = { caller: await half(), callee: await half() };
  const ends = (['caller', 'callee'] as const).map((role) => {
    const other = role === 'caller' ? 'callee' : 'caller';
    const connection = new Connection({
      ...common,
      role,
      localKey: keys[role],
      remotePublicKey: keys[other].publicKey,
    });
    const isLost = (): boolean => options.isLost?.(role) === true;
    const own = { ...parts[role], isLost };
    parts[role].onDatagram = (path, bytes) => own.onDatagram(path, bytes);
    return drive(role, connection, own, { id: common.session, service: options.service ?? 'test' });
  });
  test.teardown(() => Promise.all(ends.map((end) => end.close())));
  const { host, port } = parts.callee.udp;
  ends[0].knock({ host, port });
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
  half: Half & { readonly isLost: () => boolean },
  { id, service }: { readonly id: Session['info']['session']; readonly service: string },
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
      service,
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
    send: (transmit, buffer) => {
      if (half.isLost()) pool.release(buffer);
      else udp.send(transmit, buffer);
    },
    event: (event) => {
      if (event.kind !== 'ended') session.onTalkEvent(event);
      else session.onEnded({ ...event, path: undefined, way: undefined, meeting: undefined });
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
    knock: (path) => {
      connection.knock(path);
      run();
    },
    close: async () => {
      wake.stop();
      await udp.close();
    },
  };
}

/** The next stream that the peer opens. */
export function nextStream(
  session: Session,
): Promise<{ stream: TalkStream; parameters: Uint8Array }> {
  return new Promise((resolve) => {
    session.onStream = (stream, parameters) => resolve({ stream, parameters });
  });
}
