// A terminal's home folder (docs/ARCHITECTURE.md, Homes): its identity, made here at first start;
// its enrolment; where the list, the ends, the inbox and the commands' socket lie.

import { join } from 'node:path';
import * as v from 'valibot';
import type { PublicKeys } from '../../protocol/control/messages.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../../protocol/crypto.ts';
import { KEY_BYTES } from '../../protocol/crypto.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { type DeviceId, type Name, isName } from '../../protocol/ids.ts';
import { damagedFile, makeFolder, readJson, writeFileAtomic } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';

/** The paths of one home. */
export interface Home {
  readonly folder: string;
  readonly identity: string;
  readonly enrolment: string;
  readonly list: string;
  readonly ends: string;
  readonly inbox: string;
  readonly socket: string;
}

/** A terminal's keys and the ID that follows from them; the seeds stay in the file. */
export interface Identity {
  readonly id: DeviceId;
  readonly keys: PublicKeys;
  readonly signingKey: SigningKey;
  readonly dhKey: DhKey;
}

/** What enrolment gave [S1001's precondition]: a name, and whom to trust. */
export interface Enrolment {
  readonly name: Name;
  /** The manager's Ed25519 key, 32 bytes. */
  readonly managerKey: Uint8Array;
  readonly brokerUrl: string;
  /** Where the ticket was redeemed, and where a membership that ran out is renewed. */
  readonly enrolUrl: string;
  /** As the manager signed it. */
  readonly membership: Uint8Array;
}

/** Makes the folders of a home (0700) as far as they are missing. @throws NakodoError */
export async function openHome(folder: string): Promise<Home> {
  const home: Home = {
    folder,
    identity: join(folder, 'identity.json'),
    enrolment: join(folder, 'enrolment.json'),
    list: join(folder, 'allow-list.toml'),
    ends: join(folder, 'ends'),
    inbox: join(folder, 'inbox'),
    socket: join(folder, 'agent.sock'),
  };
  await makeFolder(folder);
  await makeFolder(home.ends);
  await makeFolder(home.inbox);
  return home;
}

const base64 = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_-]*$/),
  v.transform((text): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64url'))),
);
const key = v.pipe(
  base64,
  v.check((bytes) => bytes.length === KEY_BYTES),
);
const identityFile = v.strictObject({
  version: v.literal(1),
  id: v.string(),
  signingSeed: key,
  agreementSecret: key,
});
const enrolmentFile = v.strictObject({
  version: v.literal(1),
  name: v.pipe(
    v.string(),
    v.custom<Name>((text) => isName(String(text))),
  ),
  managerKey: key,
  brokerUrl: v.pipe(v.string(), v.maxLength(LIMITS.urlMax)),
  enrolUrl: v.pipe(v.string(), v.maxLength(LIMITS.urlMax)),
  membership: v.pipe(
    base64,
    v.check((bytes) => bytes.length > 0 && bytes.length <= LIMITS.membershipBytesMax),
  ),
});

/**
 * Reads the identity of a home; at the first start makes one, 0600 and durable, before its ID is
 * told to anybody.
 * @throws NakodoError `file-damaged` naming the file, `no-permission`, `disk-full`.
 */
export async function loadIdentity(home: Home, suite: CryptoSuite, rng: Rng): Promise<Identity> {
  const found = await readJson(home.identity);
  if (found !== undefined) {
    const parsed = v.safeParse(identityFile, found);
    if (!parsed.success) throw damagedFile(home.identity, 'it does not hold two keys and their ID');
    const { id, signingSeed, agreementSecret } = parsed.output;
    const identity = identityOf(suite, signingSeed, agreementSecret);
    if (identity.id === id) return identity;
    throw damagedFile(home.identity, 'its keys do not belong to its ID');
  }
  const signingSeed = randomBytes(rng, KEY_BYTES);
  const agreementSecret = randomBytes(rng, KEY_BYTES);
  const identity = identityOf(suite, signingSeed, agreementSecret);
  const content = {
    version: 1,
    id: identity.id,
    signingSeed: toBase64(signingSeed),
    agreementSecret: toBase64(agreementSecret),
  };
  await writeFileAtomic(home.identity, jsonText(content), 0o600);
  return identity;
}

/**
 * Reads the enrolment, or undefined if this terminal has none yet.
 * @throws NakodoError `file-damaged` naming the file, `no-permission`.
 */
export async function loadEnrolment(home: Home): Promise<Enrolment | undefined> {
  const found = await readJson(home.enrolment);
  if (found === undefined) return undefined;
  const parsed = v.safeParse(enrolmentFile, found);
  if (!parsed.success) throw damagedFile(home.enrolment, 'it does not hold a whole enrolment');
  const { version: _, ...enrolment } = parsed.output;
  return enrolment;
}

/** Writes the enrolment, 0600 and durable. @throws NakodoError */
export async function saveEnrolment(home: Home, enrolment: Enrolment): Promise<void> {
  const content = {
    version: 1,
    name: enrolment.name,
    managerKey: toBase64(enrolment.managerKey),
    brokerUrl: enrolment.brokerUrl,
    enrolUrl: enrolment.enrolUrl,
    membership: toBase64(enrolment.membership),
  };
  await writeFileAtomic(home.enrolment, jsonText(content), 0o600);
}

/**
 * Checks that an enrolment is this identity's and signed by its manager.
 * @throws NakodoError `file-damaged` naming the file.
 */
export function checkEnrolment(
  home: Home,
  suite: CryptoSuite,
  identity: Identity,
  enrolment: Enrolment,
): void {
  const { managerKey, membership } = enrolment;
  const statement = openMembership(suite, managerKey, membership);
  if (statement === undefined) {
    throw damagedFile(home.enrolment, 'its membership is not signed by its manager');
  }
  if (statement.device !== identity.id || statement.name !== enrolment.name) {
    throw damagedFile(home.enrolment, `it belongs to another terminal than ${home.identity}`);
  }
}

function identityOf(
  suite: CryptoSuite,
  signingSeed: Uint8Array,
  agreementSecret: Uint8Array,
): Identity {
  const signingKey = suite.signingKey(signingSeed);
  const dhKey = suite.dhKey(agreementSecret);
  const keys = { ed25519: signingKey.publicKey, x25519: dhKey.publicKey };
  return { id: deviceIdOf(suite, keys), keys, signingKey, dhKey };
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const jsonText = (value: object): string => `${JSON.stringify(value, undefined, 2)}\n`;
