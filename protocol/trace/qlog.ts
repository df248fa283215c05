// Writes trace events as qlog (draft-ietf-quic-qlog-main-schema, -quic-events; version 0.3) in JSON
// text sequences (RFC 7464), which qvis and other viewers open. A talk is no QUIC connection, but
// packets, acknowledgements, losses, windows and round trips are the same things. Nothing in it
// says who talked: no keys, no addresses, no names, no content; times count from the first event.

import type { Role } from '../data/connection-types.ts';
import { MICROS_PER_MS, MICROS_PER_SECOND } from '../time.ts';
import type { TraceEvent } from './trace-event.ts';

/** ASCII record separator and line feed around each record (RFC 7464 §2.2). */
const RECORD_START = '\u001E';
const RECORD_END = '\n';
const BITS_PER_BYTE = 8;

type Event<Kind extends TraceEvent['kind']> = Extract<TraceEvent, { kind: Kind }>;

/** One trace, written record by record; the caller keeps the text. */
export class QlogWriter {
  readonly #role: Role;
  #startedAt: number | undefined;
  /** The packet received last: its ACK, if it has one, comes with the next event. */
  #received: Event<'packetReceived'> | undefined;

  /** The caller is qlog's client. */
  constructor(role: Role) {
    this.#role = role;
  }

  /** The record that a file begins with. */
  header(): string {
    return record({
      qlog_version: '0.3',
      qlog_format: 'JSON-SEQ',
      title: 'nakodo',
      trace: {
        vantage_point: { name: 'nakodo', type: this.#role === 'caller' ? 'client' : 'server' },
        common_fields: { time_format: 'relative', reference_time: 0, protocol_type: ['QUIC'] },
      },
    });
  }

  /** The records that `event` completes: none, one or two. Events come in the order of time. */
  write(event: TraceEvent): string {
    const { kind } = event;
    const held = this.#received;
    this.#received = undefined;
    if (kind === 'acknowledged' && held !== undefined) return this.#packetReceived(held, event);
    const before = held === undefined ? '' : this.#packetReceived(held);
    if (kind === 'acknowledged') return before;
    if (kind === 'packetReceived') {
      this.#time(event.at);
      this.#received = event;
      return before;
    }
    const [name, data] = described(event);
    return before + this.#event(event.at, name, data);
  }

  /** What was still held back; call it once, at the end. */
  end(): string {
    const held = this.#received;
    this.#received = undefined;
    return held === undefined ? '' : this.#packetReceived(held);
  }

  /** A record that says that, and why, the trace is not whole. */
  warning(at: number, message: string): string {
    return this.#event(at, 'loglevel:warning', { message });
  }

  #packetReceived(packet: Event<'packetReceived'>, ack?: Event<'acknowledged'>): string {
    const { at, packetNumber, bytes } = packet;
    const frames =
      ack === undefined ? undefined : [{ frame_type: 'ack', acked_ranges: ack.ranges }];
    const data = { header: header(packetNumber), raw: { length: bytes }, frames };
    return this.#event(at, 'transport:packet_received', data);
  }

  #event(at: number, name: string, data: object): string {
    return record({ time: this.#time(at), name, data });
  }

  /** Milliseconds since the first event. */
  #time(at: number): number {
    this.#startedAt ??= at;
    return milliseconds(at - this.#startedAt) ?? 0;
  }
}

function described(
  event: Exclude<TraceEvent, { kind: 'packetReceived' | 'acknowledged' }>,
): readonly [name: string, data: object] {
  switch (event.kind) {
    case 'packetSent': {
      const { packetNumber, bytes, eliciting } = event;
      // What is in it is nobody's business; only whether it is an ACK alone.
      const frames = eliciting ? undefined : [{ frame_type: 'ack' }];
      const data = { header: header(packetNumber), raw: { length: bytes }, frames };
      return ['transport:packet_sent', data];
    }
    case 'packetLost': {
      const { packetNumber, bytes } = event;
      return ['recovery:packet_lost', { header: header(packetNumber), raw: { length: bytes } }];
    }
    case 'spuriousLoss':
      return ['nakodo:spurious_loss', { header: header(event.packetNumber) }];
    case 'metrics':
      return ['recovery:metrics_updated', metrics(event)];
    case 'roundTrip':
      return ['nakodo:round_trip', { latest_rtt: milliseconds(event.micros) }];
    case 'phase': {
      const { from, to } = event;
      const old = from === '' ? undefined : state(from);
      return ['recovery:congestion_state_updated', { old, new: state(to) }];
    }
    case 'timeout': {
      const data = { timer_type: 'pto', event_type: 'expired', pto_count: event.count };
      return ['recovery:loss_timer_updated', data];
    }
    case 'datagramBytes':
      return ['connectivity:mtu_updated', { new: event.bytes }];
    case 'path':
      return ['nakodo:path', { validated: event.isValidated }];
    case 'ended':
      return ['connectivity:connection_closed', { reason: event.reason }];
  }
}

function metrics(event: Event<'metrics'>): object {
  return {
    min_rtt: milliseconds(event.minimumRtt),
    smoothed_rtt: milliseconds(event.smoothedRtt),
    latest_rtt: milliseconds(event.latestRtt),
    congestion_window: Math.floor(event.congestionWindow),
    bytes_in_flight: event.bytesInFlight,
    pacing_rate: bitsPerSecond(event.pacingRate),
    // Not of the schema, which allows it.
    delivery_rate: bitsPerSecond(event.deliveryRate),
  };
}

/** Everything after the handshake is what QUIC calls 1-RTT. */
const header = (packetNumber: number): object => ({
  packet_type: '1RTT',
  packet_number: packetNumber,
});

/** The words of the schema: `slow_start`, `congestion_avoidance` … */
const state = (phase: string): string => phase.toLowerCase().replaceAll(' ', '_');

function milliseconds(duration: number): number | undefined {
  return Number.isFinite(duration) ? Math.round(duration) / MICROS_PER_MS : undefined;
}

function bitsPerSecond(bytesPerMicro: number | undefined): number | undefined {
  if (bytesPerMicro === undefined || !Number.isFinite(bytesPerMicro)) return undefined;
  return Math.round(bytesPerMicro * MICROS_PER_SECOND * BITS_PER_BYTE);
}

function record(value: object): string {
  return RECORD_START + JSON.stringify(value) + RECORD_END;
}
