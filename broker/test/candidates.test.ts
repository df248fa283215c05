// The candidates of an address record: malformed ones refuse it whole, what was seen is added and
// never squeezed out, and whatever comes in whatever order, bounds hold and queries are answered.

import fc from 'fast-check';
import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { FoundAddress, Message } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, topic } from '../../protocol/control/topics.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { dose } from '../../protocol/test/dose.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { withSeen } from '../sightings.ts';
import { HOME, HOME6, OTHER, REQUEST, STUN, Scene, gathered, gathering } from './scene.ts';
import {
  CALLER,
  HERE,
  MANAGER,
  type Published,
  VirtualBroker,
  deviceOf,
  query,
  recordOf,
  requestOf,
} from './virtual-broker.ts';

const repeated = (item: readonly number[], times: number): readonly number[] =>
  Array.from({ length: times }, () => item).flat();

/** An address message whose list of one candidate (CBOR) is another: `list` gets that candidate. */
function forged(list: (item: readonly number[]) => readonly number[]): Uint8Array {
  const one = [...encodeMessage(gathered(HERE))];
  const length = encodeMessage(gathered(HERE, HERE)).length - one.length;
  const at = one.findIndex((byte, place) => byte === 0x81 && one[place + 1] === 0xa3);
  const item = one.slice(at + 1, at + 1 + length);
  return Uint8Array.from([...one.slice(0, at), ...list(item), ...one.slice(at + 1 + length)]);
}

const keyOf = ({ address, port }: { readonly address: Uint8Array; readonly port: number }) =>
  `${address.join('.')} ${port}`;

t.test('S3000: malformed candidates refuse a record whole; mapped ones are folded', async (t) => {
  const scene = new Scene();
  const refused = [
    encodeMessage(gathered(HERE, { ...HERE, port: 0 })),
    forged((item) => [0x81, ...item.slice(0, 2), 0x45, 0, ...item.slice(3)]),
    forged((item) => [0x80 + LIMITS.candidatesMax + 1, ...repeated(item, 17)]),
    forged((item) => [0x99, 300 >> 8, 300 & 0xff, ...repeated(item, 300)]),
  ];
  t.match(decodeMessage(forged((item) => [0x81, ...item])), gathered(HERE), 'the control is read');
  t.match(decodeMessage(forged((item) => [0x90, ...repeated(item, 16)])), { kind: 'address' });
  for (const bytes of refused)
    t.strictSame(scene.broker.tell(CALLER, topic('address', CALLER), bytes), []);
  t.match(scene.broker.core.counters(), { malformed: refused.length, records: 0 });
  const mapped = Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...HERE.address);
  scene.record(gathered({ ...HERE, address: mapped }));
  t.strictSame(scene.found()?.candidates, [HERE]);
});

t.test(
  'what was seen is told whatever else a terminal names; nothing twice, 16 in all',
  async (t) => {
    const address = fc.constantFrom(HOME, HOME6, HERE.address);
    const endpoint = { address, port: fc.integer({ min: 1, max: 20 }) };
    const own = fc.uniqueArray(fc.record({ ...endpoint, type: fc.constant('host' as const) }), {
      maxLength: LIMITS.candidatesMax,
      selector: keyOf,
    });
    const seen = fc.array(fc.record({ ...endpoint, serverPort: fc.constantFrom(STUN, OTHER) }), {
      maxLength: BROKER_LIMITS.sightingsPerRecordMax,
    });
    const holds = fc.property(own, seen, (candidates, sightings) => {
      const told = withSeen(candidates, sightings);
      const keys = told.map(keyOf);
      const all = new Set([...candidates, ...sightings].map(keyOf));
      const isHost = new Set(candidates.map(keyOf));
      return (
        told.length === Math.min(all.size, LIMITS.candidatesMax) &&
        new Set(keys).size === keys.length &&
        sightings.every((each) => keys.includes(keyOf(each))) &&
        told.every((each) => (each.type === 'host') === isHost.has(keyOf(each)))
      );
    });
    t.doesNotThrow(() => fc.assert(holds, { numRuns: dose(2_000) }));
  },
);

t.test('any inputs in any order: bounds are kept and every query is answered once', async (t) => {
  const step = fc.oneof(
    fc.record({ does: fc.constant('see' as const), record: fc.nat(5), port: fc.nat(6) }),
    fc.record({ does: fc.constant('record' as const), record: fc.nat(5), done: fc.boolean() }),
    fc.record({ does: fc.constant('ask' as const), record: fc.nat(5), waitMs: fc.nat(1_500) }),
    fc.record({ does: fc.constant('pass' as const), ms: fc.nat(7_000) }),
  );
  const holds = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const broker = new VirtualBroker({}, 2);
    let asked = 0;
    const said: Published[] = [];
    for (const one of steps) {
      if (one.does === 'pass') said.push(...broker.pass(one.ms));
      else if (one.does === 'see') {
        const { record, port } = one;
        const at = { address: HOME, port, serverPort: port % 2 === 0 ? STUN : OTHER };
        said.push(...broker.give({ kind: 'sighted', record: recordOf(record), ...at }));
      } else if (one.does === 'record') {
        const message = { ...gathering(recordOf(one.record)), gathering: !one.done };
        said.push(...broker.tell(CALLER, topic('address', CALLER), message as Message));
      } else {
        const wanted = [[CALLER, recordOf(one.record)]] as const;
        const message = query(requestOf(++asked), wanted, one.waitMs);
        said.push(...broker.tell(MANAGER, QUERY_TOPIC, message));
      }
      if (broker.core.counters().earlySightings > 6) return false;
    }
    said.push(...broker.pass(LIMITS.recordWaitMs));
    const answers = said.flatMap(({ message }) =>
      message?.kind === 'addressAnswer' ? [message] : [],
    );
    const requests = new Set(answers.map(({ request }) => request));
    const isSmall = answers.every(({ found }) =>
      found.every(({ candidates }) => candidates.length <= 1 + BROKER_LIMITS.sightingsPerRecordMax),
    );
    return answers.length === asked && requests.size === asked && isSmall;
  });
  t.doesNotThrow(() => fc.assert(holds, { numRuns: dose(300) }));
});

t.test('an answer with 16 candidates of two terminals can be said', async (t) => {
  const scene = new Scene(HOME6);
  const sixteen = Array.from({ length: LIMITS.candidatesMax }, (_, at) => ({
    address: Uint8Array.from(HOME6, (byte, place) => (place === 15 ? at : byte)),
    port: LIMITS.portMax,
    type: 'host' as const,
  }));
  scene.record(gathered(...sixteen));
  scene.see(STUN, { address: HOME6, port: 9 });
  const found = scene.found();
  t.equal(found?.candidates.length, LIMITS.candidatesMax);
  const both = [found, { ...found, device: deviceOf(3) }] as FoundAddress[];
  const bytes = encodeMessage({ kind: 'addressAnswer', request: REQUEST, found: both });
  t.match(decodeMessage(bytes), { found: [{ seenAt: HOME6 }, { device: deviceOf(3) }] });
});
