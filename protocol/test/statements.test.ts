// Signed consent: every field of every statement counts. Whatever one changes of a request, an
// answer or a wish for a later expiry, the signature no longer fits; and no bytes make the decoder
// of a verdict do anything but read or refuse.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import {
  type Request,
  answerStatement,
  decodeVerdict,
  encodeExtension,
  encodeRequest,
  encodeVerdict,
  extensionHash,
  extensionStatement,
  isExtensionOf,
  isRequestOf,
  isVerdictOf,
  requestHash,
  requestStatement,
  signExtension,
  signRequest,
  signVerdict,
  verdictStatement,
} from '../consent/statements.ts';
import { encodeCbor } from '../control/cbor.ts';
import type { MessageOf } from '../control/messages.ts';
import type { Type } from '../control/schema.ts';
import type { DeviceId, Name, RecordId, RequestId, SessionId } from '../ids.ts';
import { deviceIdOf } from '../identity/device-id.ts';
import { signed } from '../identity/signed.ts';
import { nodeSuite as suite } from '../io/node-crypto.ts';
import { LIMITS } from '../limits.ts';
import { randomBytes, seededRng } from '../random.ts';
import { mutated, valuesOf } from './arbitraries.ts';
import { hex } from './vectors.ts';

const FUZZ = { numRuns: dose(2_000, 50) };
const rng = seededRng(11);

function party(): { signing: ReturnType<typeof suite.signingKey>; keys: Keys; id: DeviceId } {
  const signing = suite.signingKey(randomBytes(rng, 32));
  const { publicKey: x25519 } = suite.dhKey(randomBytes(rng, 32));
  const keys = { ed25519: signing.publicKey, x25519 };
  return { signing, keys, id: deviceIdOf(suite, keys) };
}
type Keys = MessageOf<'ask'>['callerKeys'];

const caller = party();
const callee = party();
const idOf = <T extends string>(letter: string): T => letter.repeat(26) as T;

const request: Request = {
  nonce: idOf<RequestId>('a'),
  callerId: caller.id,
  callerName: 'TERM1' as Name,
  calleeName: 'TERM3' as Name,
  service: 'file',
  want: { seconds: 60, bytes: 5 },
};
const answer = {
  request: idOf<RequestId>('b'),
  nonce: idOf<RequestId>('c'),
  mode: 'verdict' as const,
  version: 'v1',
  entries: [{ action: 'allow' as const, pattern: 'TERM1', seconds: 60, ask: true }],
  reduced: true,
  record: idOf<RecordId>('d'),
  approved: true,
};
const context = {
  calleeId: callee.id,
  callerId: caller.id,
  request: requestHash(suite, request),
};
const extension = {
  request: idOf<RequestId>('e'),
  session: idOf<SessionId>('f'),
  askerId: caller.id,
  revision: 1,
  want: { seconds: 120, bytes: undefined },
};
type Answer = Parameters<typeof encodeVerdict>[1];
type Extension = Parameters<typeof encodeExtension>[0];

/** Values that a statement's fields take, by its own declaration; the version is fixed. */
function fieldsOf(statement: Type<unknown>): readonly (readonly [string, fc.Arbitrary<unknown>])[] {
  const { form } = statement;
  const fields = form.is === 'record' ? form.fields : [];
  return fields
    .filter(({ type }) => type.form.is !== 'exactly')
    .map(({ property, required, type }) => [
      property,
      required ? valuesOf(type) : fc.option(valuesOf(type), { nil: undefined }),
    ]);
}

/** Whether the two would be the same bytes as this statement's field. */
const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

t.test("S1003: a request is the caller's, and every field of it counts", async (t) => {
  const signature = signRequest(caller.signing, request);
  const holds = (changed: object, keys = caller.keys): boolean =>
    isRequestOf(suite, keys, { ...request, ...changed } as Request, signature);
  t.equal(holds({}), true);
  t.equal(holds({}, callee.keys), false, 'by other keys');
  const { ed25519, x25519 } = callee.keys;
  t.equal(holds({}, { ...caller.keys, x25519 }), false, 'keys of another ID');
  t.equal(holds({}, { ...caller.keys, ed25519 }), false);
  const asCallee = { ...request, callerId: callee.id };
  const own = signRequest(callee.signing, asCallee);
  t.equal(isRequestOf(suite, callee.keys, asCallee, own), true);
  t.equal(isRequestOf(suite, callee.keys, { ...asCallee, callerId: caller.id }, own), false);
  for (const [field, values] of fieldsOf(requestStatement)) {
    let tried = 0;
    fc.assert(
      fc.property(values, (value) => {
        if (isSame(value, request[field as keyof Request])) return true;
        tried += 1;
        return !holds({ [field]: value });
      }),
      { numRuns: 20 },
    );
    t.ok(tried > 3, `${field}: ${tried} other values`);
  }
});

t.test(
  "S4003: an answer is the callee's, and every field of it and around it counts",
  async (t) => {
    const verdict = encodeVerdict(suite, answer, context);
    const signature = signVerdict(callee.signing, verdict);
    const { ed25519 } = callee.keys;
    const holds = (changed: object, around: object = {}): boolean => {
      const other = encodeVerdict(
        suite,
        { ...answer, ...changed } as Answer,
        { ...context, ...around } as typeof context,
      );
      return isVerdictOf(suite, ed25519, other, signature);
    };
    t.equal(holds({}), true);
    t.equal(isVerdictOf(suite, caller.keys.ed25519, verdict, signature), false, 'of the caller');
    const { request: _, ...rest } = decodeVerdict(verdict) ?? {};
    t.match(rest, {
      ask: answer.request,
      nonce: answer.nonce,
      calleeId: callee.id,
      callerId: caller.id,
    });
    const inAnswer = fieldsOf(answerStatement);
    const ids = fieldsOf(verdictStatement).filter(
      ([field]) => field === 'nonce' || field === 'ask',
    );
    const asked = ids.map(
      ([field, values]) => [field === 'ask' ? 'request' : field, values] as const,
    );
    for (const [field, values] of [...inAnswer, ...asked]) {
      let tried = 0;
      fc.assert(
        fc.property(values, (value) => {
          if (isSame(value, answer[field as keyof typeof answer])) return true;
          tried += 1;
          return !holds({ [field]: value });
        }),
        { numRuns: 60 },
      );
      t.ok(tried > 3, `${field}: ${tried} other values`);
    }
    t.equal(holds({}, { calleeId: caller.id }), false);
    t.equal(holds({}, { callerId: callee.id }), false);
    const other = requestHash(suite, { ...request, nonce: idOf<RequestId>('g') });
    t.equal(holds({}, { request: other }), false, 'an answer to another request');
  },
);

t.test(
  'S5004: a wish for a later expiry is whose ID it names, and every field of it counts',
  async (t) => {
    const signature = signExtension(caller.signing, extension);
    const holds = (changed: object, { keys } = caller): boolean =>
      isExtensionOf(suite, keys.ed25519, { ...extension, ...changed } as Extension, signature);
    t.equal(holds({}), true);
    t.equal(holds({}, callee), false);
    for (const [field, values] of fieldsOf(extensionStatement)) {
      const name = field === 'nonce' ? 'request' : field;
      let tried = 0;
      fc.assert(
        fc.property(values, (value) => {
          if (isSame(value, extension[name as keyof Extension])) return true;
          tried += 1;
          return !holds({ [name]: value });
        }),
        { numRuns: 20 },
      );
      t.ok(tried > 3, `${field}: ${tried} other values`);
    }
  },
);

t.test('S5004: an extension is asked for these totals of this session', async (t) => {
  const { session, want } = extension;
  const hash = hex(extensionHash(suite, { session, want }));
  t.equal(hex(extensionHash(suite, { session, want: { seconds: 120 } })), hash);
  t.not(hex(extensionHash(suite, { session, want: { seconds: 121 } })), hash);
  t.not(hex(extensionHash(suite, { session, want: { ...want, bytes: 1 } })), hash);
  t.not(hex(extensionHash(suite, { session: idOf<SessionId>('g'), want })), hash);
});

t.test('a signature for one purpose is none for another', async (t) => {
  const bytes = encodeRequest(request);
  const wrong = signed(caller.signing, 'verdict', bytes);
  t.equal(isRequestOf(suite, caller.keys, request, wrong), false);
  const verdict = encodeVerdict(suite, answer, context);
  const asRequest = signed(callee.signing, 'request', verdict);
  t.equal(isVerdictOf(suite, callee.keys.ed25519, verdict, asRequest), false);
  const asked = signed(caller.signing, 'request', encodeExtension(extension));
  t.equal(isExtensionOf(suite, caller.keys.ed25519, extension, asked), false);
});

t.test('the longest request and verdict fit their bound', async (t) => {
  const name = 'N'.repeat(64) as Name;
  const want = { seconds: LIMITS.grantSecondsMax, bytes: LIMITS.grantBytesMax };
  const service = 's'.repeat(LIMITS.serviceNameMax);
  const longest = { ...request, callerName: name, calleeName: name, service, want };
  t.ok(encodeRequest(longest).length > 250);
  t.ok(encodeRequest(longest).length <= LIMITS.statementBytesMax);
  t.ok(encodeVerdict(suite, answer, context).length <= LIMITS.statementBytesMax);
});

t.test(
  'S1004: any bytes are read as a verdict or refused, and what is read is what was written',
  async (t) => {
    const verdict = encodeVerdict(suite, answer, context);
    const signature = signVerdict(callee.signing, verdict);
    const made = valuesOf(verdictStatement).map((value) =>
      encodeCbor(verdictStatement as Type<unknown>, value),
    );
    const hostile = fc.oneof(
      mutated(fc.constant(verdict)),
      mutated(made),
      made,
      fc.uint8Array({ maxLength: 300 }),
    );
    let read = 0;
    let refused = 0;
    fc.assert(
      fc.property(hostile, (bytes) => {
        const decoded = decodeVerdict(bytes);
        if (decoded === undefined) refused += 1;
        else read += 1;
        const isGenuine = hex(bytes) === hex(verdict);
        if (isVerdictOf(suite, callee.keys.ed25519, bytes, signature) !== isGenuine) return false;
        return decoded === undefined || hex(encodeCbor(verdictStatement, decoded)) === hex(bytes);
      }),
      FUZZ,
    );
    t.ok(read > 100 && refused > 100, `${read} read, ${refused} refused`);
  },
);

t.test('no bytes pass for a signature', async (t) => {
  const signature = signRequest(caller.signing, request);
  const hostile = fc.oneof(
    mutated(fc.constant(signature)),
    fc.uint8Array({ minLength: 64, maxLength: 64 }),
    fc.uint8Array({ maxLength: 80 }),
  );
  fc.assert(
    fc.property(hostile, (bytes) => {
      const isGenuine = hex(bytes) === hex(signature);
      return isRequestOf(suite, caller.keys, request, bytes) === isGenuine;
    }),
    FUZZ,
  );
  t.equal(isRequestOf(suite, caller.keys, request, signature), true);
});
