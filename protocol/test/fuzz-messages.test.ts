// Every control message, of every kind, spoiled: read and written again byte for byte, or refused.
// So are the records inside them: grants, expiries, what terminals sign, and topic names.

import fc from 'fast-check';
import t from 'tap';
import { asciiBytes } from '../bytes.ts';
import {
  answerStatement,
  extensionQuestion,
  extensionStatement,
  requestStatement,
  verdictStatement,
} from '../consent/statements.ts';
import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import { KINDS } from '../control/cddl.ts';
import { decodeMessage, encodeMessage } from '../control/codec.ts';
import type { Kind } from '../control/messages.ts';
import type { Type } from '../control/schema.ts';
import {
  MANAGER_FILTERS,
  QUERY_TOPIC,
  REVOKED_TOPIC,
  answerTopic,
  parseTopic,
  topic,
  triggerStateTopic,
} from '../control/topics.ts';
import { expiry, grant } from '../grant.ts';
import type { DeviceId } from '../ids.ts';
import { messagesOf, valuesOf } from './arbitraries.ts';
import { fuzz } from './fuzz.ts';

const EXAMPLES = { numRuns: 60, seed: 5 };

const examplesOf = (kind: Kind): readonly Uint8Array[] =>
  fc.sample(messagesOf(kind), EXAMPLES).map(encodeMessage);

for (const kind of KINDS)
  t.test(`any bytes for a message '${kind}': that message, or none`, async (t) => {
    fuzz(t, {
      what: kind,
      valid: examplesOf(kind),
      read: (bytes) => {
        const message = decodeMessage(bytes);
        return message && encodeMessage(message);
      },
    });
  });

const RECORDS = {
  grant,
  expiry,
  request: requestStatement,
  answer: answerStatement,
  verdict: verdictStatement,
  extension: extensionStatement,
  'question about an extension': extensionQuestion,
} as unknown as Readonly<Record<string, Type<unknown>>>;

for (const [what, type] of Object.entries(RECORDS))
  t.test(`any bytes for a signed record '${what}': that record, or none`, async (t) => {
    fuzz(t, {
      what,
      valid: fc.sample(valuesOf(type), EXAMPLES).map((value) => encodeCbor(type, value)),
      read: (bytes) => {
        const value = decodeCbor(type, bytes);
        return value === undefined ? undefined : encodeCbor(type, value);
      },
    });
  });

t.test('any text for a topic: one of ours, or none', async (t) => {
  const device = 'abcdefghijklmnopqrstuvwxyz234567' as DeviceId;
  const ours = (['address', 'up', 'allow-list', 'trigger', 'call', 'down'] as const).map((of) =>
    topic(of, device),
  );
  const names = [
    ...ours,
    triggerStateTopic(device),
    answerTopic(`manager-${device}`),
    QUERY_TOPIC,
    REVOKED_TOPIC,
    ...MANAGER_FILTERS,
  ];
  fuzz(t, {
    what: 'topic',
    valid: names.map(asciiBytes),
    read: (bytes) => {
      const parsed = parseTopic(Buffer.from(bytes).toString('latin1'));
      if (parsed === undefined) return undefined;
      if ('device' in parsed) {
        const { of, device: id } = parsed;
        return asciiBytes(of === 'trigger-state' ? triggerStateTopic(id) : topic(of, id));
      }
      if (parsed.of === 'answer') return asciiBytes(answerTopic(parsed.manager));
      return asciiBytes(parsed.of === 'query' ? QUERY_TOPIC : REVOKED_TOPIC);
    },
  });
});
