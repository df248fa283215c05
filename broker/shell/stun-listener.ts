// The STUN server beside the broker (RFC 8489): a terminal that calls or is called asks it where
// its NAT shows it. Two UDP ports, so that a NAT is seen to show each destination another one; both
// families where the broker listens on all addresses. Nothing is kept of who asks, and no answer is
// longer than its request (`protocol/stun/server.ts`).

import { type RemoteInfo, type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { addressBytes } from '../../protocol/address.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import type { RecordId } from '../../protocol/ids.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import type { Log } from '../../protocol/io/log.ts';
import { answerBinding } from '../../protocol/stun/server.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Sighting } from '../sightings.ts';
import { StunGate } from '../stun-gate.ts';

/** The two UDP ports of a STUN server; 0: any free one. */
export interface StunPorts {
  readonly port: number;
  readonly otherPort: number;
}

/** What became of datagrams since the start. */
export interface StunCounters {
  readonly stunAnswered: number;
  /** No Binding request: other bytes, or another message; an answer would not fit. */
  readonly stunMalformed: number;
  /** Over the rate, or nobody's turn to be answered as the kernel takes no more. */
  readonly stunOverRate: number;
}

interface StunOptions {
  /** A literal address of this host. */
  readonly host: string;
  readonly ports: StunPorts;
  readonly clock: Clock;
  readonly log: Log;
}

/** Hears that a request named an address record. */
type OnSighting = (record: RecordId, sighting: Sighting) => void;

/** How many ports a STUN server has. */
export const STUN_PORTS = 2;
/** Answers that Node keeps while the kernel takes no more; then requests are dropped. */
const QUEUED_MAX = 64;
/** No address: the kernel names none. */
const NOBODY = new Uint8Array(4);
const ANY_IPV4 = '0.0.0.0';
const ANY_IPV6 = '::';

/** A STUN server that listens; made by `openStun`. */
export class StunListener {
  readonly ports: StunPorts;
  readonly #sockets: readonly Socket[];
  readonly #clock: Clock;
  readonly #gate = new StunGate(entropy, (record) => this.#isFavoured(record));
  readonly #counts = { stunAnswered: 0, stunMalformed: 0, stunOverRate: 0 };
  #onSighting: OnSighting = () => {};
  #isFavoured: (record: RecordId) => boolean = () => false;
  #isClosed = false;

  /** `sockets`: bound, handed over. */
  constructor(clock: Clock, ports: StunPorts, sockets: readonly Socket[]) {
    this.#clock = clock;
    this.ports = ports;
    this.#sockets = sockets;
    for (const socket of sockets) {
      const { port } = socket.address();
      socket.on('message', (bytes, from) => this.#onDatagram(socket, port, bytes, from));
    }
  }

  /**
   * From here on `take` hears of each request that names an address record; in a flood only those
   * are answered for whose record `isFavoured` says so, beside what the rate lets through.
   */
  onSighting(take: OnSighting, isFavoured: (record: RecordId) => boolean = () => false): void {
    this.#onSighting = take;
    this.#isFavoured = isFavoured;
  }

  counters(): StunCounters {
    return { ...this.#counts };
  }

  /** Frees the ports. Repeated calls are harmless. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await closeAll(this.#sockets);
  }

  /** One request: judged, answered to where it came from, and its record told [S3000]. */
  #onDatagram(socket: Socket, serverPort: number, bytes: Uint8Array, from: RemoteInfo): void {
    if (this.#isClosed) return;
    const { address: host, port } = from;
    const address = addressBytes(host) ?? NOBODY;
    const verdict = this.#gate.judge(this.#clock.now(), { bytes, address, port });
    if (verdict === 'over-rate' || socket.getSendQueueCount() >= QUEUED_MAX) {
      this.#counts.stunOverRate += 1;
      return;
    }
    const reply = verdict === 'ok' ? answerBinding(bytes, { host, port }) : undefined;
    if (reply?.answer === undefined) {
      this.#counts.stunMalformed += 1;
      return;
    }
    this.#counts.stunAnswered += 1;
    // An answer that is lost, or cannot be sent, is asked for again.
    socket.send(reply.answer, port, host);
    if (reply.record === undefined || address === NOBODY) return;
    this.#onSighting(reply.record, { address, port, serverPort });
  }
}

/**
 * Opens both ports: on `host`, or on all addresses of both families where that is what `host` says;
 * a host without IPv6 does without.
 * @throws NakodoError `port-taken`, `no-permission` or `address-unusable`.
 */
export async function openStun(options: StunOptions): Promise<StunListener> {
  const { host, ports, clock, log } = options;
  const first = await openPort({ host, port: ports.port, option: '--stun-port', log });
  try {
    const other = { host, port: ports.otherPort, option: '--stun-other-port', log };
    const second = await openPort(other);
    const [port, otherPort] = [first, second].map(([socket]) => socket.address().port);
    return new StunListener(clock, { port, otherPort }, [...first, ...second]);
  } catch (error) {
    await closeAll(first);
    throw error;
  }
}

/** One port to open; `option`: where another one is chosen. */
interface Wanted {
  readonly host: string;
  readonly port: number;
  readonly option: string;
  readonly log: Log;
}

/** The sockets of one port, one for each family; a free port has to be free for both. */
async function openPort(wanted: Wanted): Promise<readonly Socket[]> {
  const { host, port } = wanted;
  const isAny = host === ANY_IPV4 || host === ANY_IPV6;
  for (let tries = 1; ; tries++) {
    const socket = await bind({ ...wanted, host: isAny ? ANY_IPV4 : host });
    if (!isAny) return [socket];
    try {
      const same = { ...wanted, host: ANY_IPV6, port: socket.address().port };
      return [socket, await bind(same)];
    } catch (error) {
      const code = error instanceof NakodoError ? error.code : '';
      // A host without IPv6.
      if (code === 'address-unusable') return [socket];
      await closeAll([socket]);
      if (code !== 'port-taken' || port !== 0 || tries >= BROKER_LIMITS.stunPortTriesMax)
        throw error;
    }
  }
}

function bind(wanted: Wanted): Promise<Socket> {
  const { host, port, log } = wanted;
  const family = isIPv6(host) ? 6 : 4;
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    ipv6Only: family === 6,
    // Whoever is answered is a literal address: nothing is ever asked of DNS.
    lookup: (address, _options, done) => done(null, address, family),
  });
  return new Promise((resolve, reject) => {
    const onBindError = (error: Error): void => {
      socket.close();
      reject(bindError(error, wanted));
    };
    socket.once('error', onBindError);
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.off('error', onBindError);
      socket.on('error', (error) => log.warn('stun-error', { error }));
      socket.setRecvBufferSize(BROKER_LIMITS.stunReceiveBufferBytes);
      resolve(socket);
    });
  });
}

async function closeAll(sockets: readonly Socket[]): Promise<void> {
  await Promise.all(
    sockets.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
  );
}

function bindError(error: Error, { host, port, option }: Wanted): NakodoError {
  const code = errorCode(error);
  if (code === 'EADDRINUSE') {
    return new NakodoError(
      'port-taken',
      `another program uses UDP port ${port}`,
      `choose another port with ${option}, 0 for any free one, or do without: --no-stun`,
    );
  }
  if (code === 'EACCES') {
    return new NakodoError(
      'no-permission',
      `this user may not open UDP port ${port}`,
      `choose a port above 1023 with ${option}`,
    );
  }
  return new NakodoError(
    'address-unusable',
    `cannot listen for UDP on ${host}: ${errorMessage(error)}`,
    'give an address of this host, such as 127.0.0.1',
  );
}
