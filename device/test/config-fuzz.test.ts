// The terminal's own files, spoiled at random: read, or refused with the file's name; never another
// outcome, and what is read is within its bounds. (The allow-list file is in list-file.test.ts.)

import fc from 'fast-check';
import t, { type Test } from 'tap';
import { NakodoError } from '../../protocol/errors.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { makeMembership } from '../../protocol/identity/membership.ts';
import { makeServerKeys } from '../../protocol/identity/server-keys.ts';
import { type Name, isDeviceId, isName } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { dose } from '../../protocol/test/dose.ts';
import { approvalsIn } from '../shell/approvals.ts';
import { type Home, checkEnrolment, enrolmentIn, identityIn } from '../shell/home.ts';
import { pinsIn } from '../shell/pins-store.ts';

const HOME: Home = {
  folder: '/h',
  identity: '/h/identity.json',
  enrolment: '/h/enrolment.json',
  list: '/h/allow-list.toml',
  ends: '/h/ends',
  inbox: '/h/inbox',
  pins: '/h/pins.json',
  approvals: '/h/approvals.json',
  windows: '/h/windows.json',
  receipt: '/h/receipt',
  socket: '/h/agent.sock',
};
const SEED = new Uint8Array(32).fill(7);
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const signingKey = nodeSuite.signingKey(SEED);
const dhKey = nodeSuite.dhKey(SEED);
const keys = { ed25519: signingKey.publicKey, x25519: dhKey.publicKey };
const id = deviceIdOf(nodeSuite, keys);
const name = 'TERM1' as Name;
const dates = { issuedAt: 1_750_000_000, expiresAt: 1_750_086_400 };

const GOOD = {
  identity: {
    version: 2,
    id,
    signingSeed: base64(SEED),
    agreementSecret: base64(SEED),
    machine: 'a'.repeat(64),
  },
  enrolment: {
    version: 2,
    name,
    managerKey: base64(signingKey.publicKey),
    agreementKey: base64(dhKey.publicKey),
    brokerUrl: 'mqtts://192.0.2.1:8883',
    enrolUrl: 'https://192.0.2.1:8183/nakodo/1/enrol',
    membership: base64(makeMembership(signingKey, { device: id, keys, ...dates })),
    serverKeys: base64(makeServerKeys(signingKey, { sequence: 1, pins: [SEED] })),
  },
  pins: { version: 1, pins: [{ name, id }] },
  approvals: {
    version: 1,
    approvals: [{ id, service: 'file', entry: '0'.repeat(32), until: 1_750_000_000_000 }],
  },
} as const;

/** A text with up to three places cut out and written over. */
const spoiled = (text: string): fc.Arbitrary<string> =>
  fc
    .array(
      fc.record({
        at: fc.nat(text.length - 1),
        cut: fc.nat(4),
        put: fc.oneof(
          fc.string({ maxLength: 3 }),
          fc.constantFrom('null', '1e999', '{}', '[]', '\\u0000', '"', ',', '-1', '__proto__'),
        ),
      }),
      { minLength: 1, maxLength: 3 },
    )
    .map((edits) => {
      let changed = text;
      for (const { at, cut, put } of edits) {
        changed = changed.slice(0, at) + put + changed.slice(at + cut);
      }
      return changed;
    });

/** Reads spoiled texts and arbitrary values; `judge` says whether what was read may be read. */
function fuzz<T>(t: Test, good: object, read: (found: unknown) => T, judge: (it: T) => boolean) {
  t.ok(judge(read(JSON.parse(JSON.stringify(good)))), 'the good one is read');
  const counts = { read: 0, refused: 0 };
  const one = (found: unknown): boolean => {
    try {
      const it = read(found);
      counts.read += 1;
      return judge(it);
    } catch (error) {
      counts.refused += 1;
      return error instanceof NakodoError && /\/h\/\w+\.json/.test(error.message);
    }
  };
  const anything = fc.oneof(
    { weight: 4, arbitrary: spoiled(JSON.stringify(good)).map(parsed) },
    { weight: 1, arbitrary: fc.jsonValue().map((value) => ({ ...good, ...Object(value) })) },
    { weight: 1, arbitrary: fc.jsonValue() },
  );
  fc.assert(fc.property(anything, one), { numRuns: dose(2_000, 50) });
  t.ok(counts.refused > 500, `${counts.refused} were refused`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isPin = (pin: { name: string; id: string }): boolean =>
  isName(pin.name) && isDeviceId(pin.id);

t.test('pins.json: read or refused', async (t) => {
  fuzz(
    t,
    GOOD.pins,
    (found) => pinsIn(HOME.pins, found),
    (pins) => pins.length <= LIMITS.pinsMax && pins.every((each) => isPin(each)),
  );
});

t.test('approvals.json: read or refused', async (t) => {
  fuzz(
    t,
    GOOD.approvals,
    (found) => approvalsIn(HOME.approvals, found),
    (approvals) =>
      approvals.every((each) => isDeviceId(each.id) && Number.isSafeInteger(each.until)),
  );
});

t.test('identity.json: read or refused; its keys are always those of its ID', async (t) => {
  fuzz(
    t,
    GOOD.identity,
    (found) => identityIn(HOME, nodeSuite, found).identity,
    (identity) => identity.id === deviceIdOf(nodeSuite, identity.keys),
  );
});

t.test(
  'enrolment.json: read or refused; what its manager did not sign is never read',
  async (t) => {
    const { identity } = identityIn(HOME, nodeSuite, GOOD.identity);
    fuzz(
      t,
      GOOD.enrolment,
      (found) => {
        const enrolment = enrolmentIn(HOME, found);
        checkEnrolment(HOME, nodeSuite, identity, enrolment);
        return enrolment;
      },
      (enrolment) =>
        isName(enrolment.name) && base64(enrolment.membership) === GOOD.enrolment.membership,
    );
  },
);
