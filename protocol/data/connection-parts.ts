// What a talk consists of, made once and shared by the files that drive it: connection, packet
// builder, frame handler, settlement.

import type { Aead } from '../crypto.ts';
import { connectionConfig } from './connection-config.ts';
import type { ConnectionConfig, ConnectionOptions } from './connection-types.ts';
import { Bbr } from '../congestion/bbr.ts';
import type { Controller } from '../congestion/controller.ts';
import { Cubic } from '../congestion/cubic.ts';
import { DatagramSize } from './datagram-size.ts';
import { Datagrams } from './datagrams.ts';
import { Events } from './events.ts';
import { Expiry } from './expiry.ts';
import { PACKET_OVERHEAD_BYTES } from './packet.ts';
import { Pacer } from './pacer.ts';
import { PathValidation } from './path-validation.ts';
import { PacketFate } from './packet-fate.ts';
import { Meter } from './quota.ts';
import { ReceivedPackets } from './received-packets.ts';
import { Recovery } from './recovery.ts';
import { Rtt } from './rtt.ts';
import { Streams } from './streams.ts';
import type { PathClock } from './tuned-window.ts';
import { micros } from '../time.ts';

/** Everything inside a connection that is not its state. */
export interface ConnectionParts {
  /** The AEAD in use; its name may say more once it knows more. */
  readonly aead: Aead;
  readonly config: ConnectionConfig;
  /** Set by the connection with each input. */
  readonly clock: PathClock;
  readonly events: Events;
  readonly meter: Meter;
  readonly expiry: Expiry;
  readonly rtt: Rtt;
  readonly controller: Controller;
  readonly pacer: Pacer;
  readonly received: ReceivedPackets;
  readonly recovery: Recovery;
  readonly streams: Streams;
  readonly datagrams: Datagrams;
  readonly size: DatagramSize;
  readonly paths: PathValidation;
}

/** @throws UsageError for a configuration out of range. */
export function connectionParts(options: ConnectionOptions): ConnectionParts {
  const config = connectionConfig(options.config);
  const { datagramBytes } = config;
  const events = new Events();
  const meter = new Meter(options.role, options.limits.bytes);
  const expiry = new Expiry(options.limits);
  const rtt = new Rtt();
  const controller: Controller =
    config.congestionControl === 'bbr'
      ? new Bbr({ datagramBytes, rng: options.rng })
      : new Cubic(datagramBytes);
  const received = new ReceivedPackets();
  const clock: PathClock = { now: micros(0), rtt };
  const streams = new Streams(options.role, config, events, meter, clock);
  const datagrams = new Datagrams(meter);
  const fate = new PacketFate({ received, streams, datagrams, meter, expiry });
  const pacer = new Pacer(datagramBytes);
  const { trace } = options;
  const size = new DatagramSize({
    datagramBytes,
    datagramBytesProbes: config.datagramBytesProbes,
    onChange: (at, bytes) => {
      controller.onDatagramBytes(bytes);
      pacer.onDatagramBytes(bytes);
      datagrams.onRoom(bytes - PACKET_OVERHEAD_BYTES);
      trace?.({ kind: 'datagramBytes', at, bytes });
    },
  });
  const recovery = new Recovery(rtt, controller, fate, trace, size);
  const paths = new PathValidation(options.rng, {
    onDoubt: (at) => trace?.({ kind: 'path', at, isValidated: false }),
    onMove: (at, { from, to, rttMicros }) => {
      recovery.onPathChange(at);
      // RFC 9000 §9.4: a NAT that only changed the port has changed nothing else of the path.
      if (from.host !== to.host || from.via !== to.via) {
        rtt.reset();
        recovery.onRoundTrip(at, rttMicros);
        size.restart(at);
        controller.reset(at);
      } else size.onPortChange(at);
      events.push({ kind: 'path', path: to });
      trace?.({ kind: 'path', at, isValidated: true });
    },
  });
  return {
    aead: options.suite.aead,
    config,
    clock,
    events,
    meter,
    expiry,
    rtt,
    controller,
    pacer,
    received,
    recovery,
    streams,
    datagrams,
    size,
    paths,
  };
}
