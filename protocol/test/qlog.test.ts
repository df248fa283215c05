// The trace as qlog in JSON text sequences: what draft-ietf-quic-qlog-main-schema and -quic-events
// want, checked on a real talk.

import t from 'tap';
import fc from 'fast-check';
import { micros } from '../time.ts';
import { QlogWriter } from '../trace/qlog.ts';
import type { TraceEvent } from '../trace/trace-event.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';
import { packetsOf, parseQlog } from './text-sequence.ts';

function talk(role: 'caller' | 'callee'): { text: string; events: readonly TraceEvent[] } {
  const writer = new QlogWriter(role);
  const events: TraceEvent[] = [];
  let text = writer.header();
  const pair = new Pair({
    faults: { loss: 0.02, delayMs: 10, bytesPerSecond: 2_000_000, queueBytes: 60_000 },
    trace: (event) => {
      events.push(event);
      text += writer.write(event);
    },
  }).open();
  const sink = new Sink(pair.callee);
  const stream = send(pair, pair.caller, new Uint8Array(400_000));
  pair.run(() => sink.finished.has(stream));
  pair.caller.connection.close(pair.now, 'local');
  pair.runToEnd();
  text += writer.end();
  return { text, events };
}

t.test(
  'a talk is a file that viewers open: header, then events in the order of time',
  async (t) => {
    const { text, events: told } = talk('caller');
    const { header, events } = parseQlog(text);
    t.match(header, {
      qlog_version: '0.3',
      qlog_format: 'JSON-SEQ',
      trace: { vantage_point: { type: 'client' }, common_fields: { time_format: 'relative' } },
    });
    t.equal(header.traces, undefined, 'a sequence has one trace');
    let last = 0;
    for (const { time, name, data } of events) {
      if (time < last || !/^[a-z]+:[a-z_]+$/.test(name) || typeof data !== 'object') t.fail(name);
      last = time;
    }
    const count = (name: string): number => events.filter((event) => event.name === name).length;
    const heard = (kind: TraceEvent['kind']): number =>
      told.filter((event) => event.kind === kind).length;
    for (const [name, kind] of [
      ['transport:packet_sent', 'packetSent'],
      ['transport:packet_received', 'packetReceived'],
      ['recovery:packet_lost', 'packetLost'],
      ['recovery:metrics_updated', 'metrics'],
      ['nakodo:round_trip', 'roundTrip'],
      ['recovery:congestion_state_updated', 'phase'],
      ['connectivity:connection_closed', 'ended'],
    ] as const) {
      t.ok(count(name) > 0, name);
      t.equal(count(name), heard(kind), `${name}: all of them`);
    }
  },
);

t.test('events carry what quic-events wants', async (t) => {
  const { events } = parseQlog(talk('caller').text);
  const first = (name: string): unknown => events.find((event) => event.name === name)?.data;
  const packet = {
    header: { packet_type: '1RTT', packet_number: Number },
    raw: { length: Number },
  };
  t.match(first('transport:packet_sent'), packet);
  t.match(first('transport:packet_received'), packet);
  t.match(first('recovery:packet_lost'), packet);
  t.match(first('recovery:metrics_updated'), {
    min_rtt: Number,
    smoothed_rtt: Number,
    latest_rtt: Number,
    congestion_window: Number,
    bytes_in_flight: Number,
  });
  t.match(first('recovery:congestion_state_updated'), { new: /^[a-z_]+$/ });
});

t.test('every packet that was acknowledged is in some ACK that was received', async (t) => {
  const qlog = parseQlog(talk('caller').text);
  const sent = packetsOf(qlog, 'transport:packet_sent');
  const acked = new Set<number>();
  for (const { name, data } of qlog.events) {
    if (name !== 'transport:packet_received') continue;
    const frames = data.frames as
      | readonly { readonly acked_ranges: readonly (readonly [number, number])[] }[]
      | undefined;
    for (const [from, to] of frames?.[0]?.acked_ranges ?? []) {
      for (let number = from; number <= to; number++) acked.add(number);
    }
  }
  t.ok(acked.size > 300, `${acked.size} packets`);
  for (const number of acked) if (!sent.has(number)) t.fail(`${number} was never sent`);
});

t.test('the callee is the server', async (t) => {
  t.match(parseQlog(talk('callee').text).header, { trace: { vantage_point: { type: 'server' } } });
});

t.test('nothing says who talked', async (t) => {
  const { text } = talk('caller');
  t.ok(text.includes('nakodo'), 'a positive control');
  t.notOk(/192\.0\.2|key|session"|host|port"/.test(text));
});

t.test('whatever the numbers and words are, a record is one line of JSON', async (t) => {
  const number = fc.oneof(fc.double(), fc.integer(), fc.constant(2 ** 48 - 1));
  const event = fc.oneof(
    fc.record({
      kind: fc.constant('metrics' as const),
      at: fc.nat().map(micros),
      congestionWindow: number,
      bytesInFlight: number,
      pacingRate: fc.option(number, { nil: undefined }),
      deliveryRate: fc.option(number, { nil: undefined }),
      smoothedRtt: number,
      latestRtt: number,
      minimumRtt: number,
    }),
    fc.record({
      kind: fc.constant('phase' as const),
      at: fc.nat().map(micros),
      from: fc.string({ unit: 'binary' }),
      to: fc.constantFrom('\u001E\n', 'a\u001Eb', '"', 'slow start'),
    }),
    fc.record({
      kind: fc.constant('packetReceived' as const),
      at: fc.nat().map(micros),
      packetNumber: number,
      bytes: number,
    }),
    fc.record({
      kind: fc.constant('acknowledged' as const),
      at: fc.nat().map(micros),
      ranges: fc.array(fc.tuple(number, number), { maxLength: 64 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), (events) => {
      const writer = new QlogWriter('caller');
      const text = writer.header() + events.map((one) => writer.write(one)).join('') + writer.end();
      const received = events.filter(({ kind }) => kind === 'packetReceived').length;
      const parsed = parseQlog(text).events;
      return (
        parsed.filter(({ name }) => name === 'transport:packet_received').length === received &&
        parsed.every(({ time }) => Number.isFinite(time))
      );
    }),
    { numRuns: 300 },
  );
  t.pass('300 runs');
});
