// A terminal's home folder (docs/ARCHITECTURE.md, Homes): its identity, made when it enrols; its
// enrolment; where the list, the ends, the inbox, the pins and the commands' socket lie. A file
// that was tampered with is refused with its name: nothing here is ever begun anew by itself.

import { join } from 'node:path';
import * as v from 'valibot';
import type { PublicKeys } from '../../protocol/control/messages.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../../protocol/crypto.ts';
import { KEY_BYTES } from '../../protocol/crypto.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { openServerKeys } from '../../protocol/identity/server-keys.ts';
import { type DeviceId, type Name, isName } from '../../protocol/ids.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { fromBase64, toBase64 } from '../../protocol/io/base64.ts';
import {
  damagedFile,
  makeFolder,
  readJson,
  writeFileAtomic,
  writeFileOnce,
} from '../../protocol/io/files.ts';
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
  readonly pins: string;
  readonly approvals: string;
  readonly windows: string;
  readonly receipt: string;
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
  /** The manager's X25519 key, 32 bytes: what is said to it is sealed for it. */
  readonly agreementKey: Uint8Array;
  readonly brokerUrl: string;
  /** Where the ticket was redeemed, and where a membership that ran out is renewed. */
  readonly enrolUrl: string;
  /** As the manager signed it. */
  readonly membership: Uint8Array;
  /** The newest statement about the server's TLS keys, as signed; undefined: it has no TLS. */
  readonly serverKeys: Uint8Array | undefined;
}

/** What making an identity takes. */
interface IdentityOptions {
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  /** See machine-mark.ts; undefined: nothing tells this machine from another. */
  readonly machine: string | undefined;
}

/** Where everything lies in a home; nothing is made or read. */
export function homeAt(folder: string): Home {
  return {
    folder,
    identity: join(folder, 'identity.json'),
    enrolment: join(folder, 'enrolment.json'),
    list: join(folder, 'allow-list.toml'),
    ends: join(folder, 'ends'),
    inbox: join(folder, 'inbox'),
    pins: join(folder, 'pins.json'),
    approvals: join(folder, 'approvals.json'),
    windows: join(folder, 'windows.json'),
    receipt: join(folder, 'receipt'),
    socket: join(folder, 'agent.sock'),
  };
}

/** Makes the folders of a home (0700) as far as they are missing. @throws NakodoError */
export async function openHome(folder: string): Promise<Home> {
  const home = homeAt(folder);
  await makeFolder(folder);
  await makeFolder(home.ends);
  await makeFolder(home.inbox);
  return home;
}

const base64 = v.pipe(v.string(), v.transform(fromBase64), v.instance(Uint8Array));
const key = v.pipe(
  base64,
  v.check((bytes) => bytes.length === KEY_BYTES),
);
const identityKeys = { id: v.string(), signingSeed: key, agreementSecret: key };
const identityFile = v.variant('version', [
  // Of the first release, which knew no clones.
  v.strictObject({ version: v.literal(1), ...identityKeys }),
  v.strictObject({
    version: v.literal(2),
    ...identityKeys,
    machine: v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))),
  }),
]);
const signedBytes = (bytesMax: number) =>
  v.pipe(
    base64,
    v.check((bytes) => bytes.length > 0 && bytes.length <= bytesMax),
  );
const enrolmentFile = v.strictObject({
  version: v.literal(2),
  name: v.custom<Name>((text) => typeof text === 'string' && isName(text)),
  managerKey: key,
  agreementKey: key,
  brokerUrl: v.pipe(v.string(), v.maxLength(LIMITS.urlMax)),
  enrolUrl: v.pipe(
    v.string(),
    v.maxLength(LIMITS.urlMax),
    v.check((text) => URL.canParse(text)),
  ),
  membership: signedBytes(LIMITS.membershipBytesMax),
  serverKeys: v.nullable(signedBytes(LIMITS.serverKeysBytesMax)),
});

/**
 * Reads the identity of a home that is enrolled.
 * @throws NakodoError `file-damaged` naming the file, also if it is missing; `no-permission`.
 */
export async function loadIdentity(home: Home, suite: CryptoSuite): Promise<Identity> {
  const found = await readIdentity(home, suite);
  if (found !== undefined) return found.identity;
  throw damagedFile(home.identity, `it is missing, though ${home.enrolment} is there`);
}

/**
 * The identity to enrol with: the one in the home, else new keys, 0600 and durable, before their ID
 * is told to anybody. Keys that never enrolled and were made on another machine came here with a
 * copied disk: new ones take their place.
 * @throws NakodoError `file-damaged` naming the file, `no-permission`, `disk-full`.
 */
export async function ownIdentity(home: Home, options: IdentityOptions): Promise<Identity> {
  const { suite, rng, machine } = options;
  const found = await readIdentity(home, suite);
  const isEnrolled = (await readJson(home.enrolment)) !== undefined;
  const isOurs = isEnrolled || (machine !== undefined && found?.machine === machine);
  if (found !== undefined && isOurs) return found.identity;
  const signingSeed = randomBytes(rng, KEY_BYTES);
  const agreementSecret = randomBytes(rng, KEY_BYTES);
  const identity = identityOf(suite, signingSeed, agreementSecret);
  const content = {
    version: 2,
    id: identity.id,
    signingSeed: toBase64(signingSeed),
    agreementSecret: toBase64(agreementSecret),
    machine: machine ?? null,
  };
  if (found !== undefined) {
    await writeFileAtomic(home.identity, jsonText(content), 0o600);
    return identity;
  }
  // Of two that enrol one home at once the second takes the first one's keys: it is one terminal.
  if (await writeFileOnce(home.identity, jsonText(content), 0o600)) return identity;
  return loadIdentity(home, suite);
}

interface StoredIdentity {
  readonly identity: Identity;
  readonly machine: string | undefined;
}

async function readIdentity(home: Home, suite: CryptoSuite): Promise<StoredIdentity | undefined> {
  const found = await readJson(home.identity);
  return found === undefined ? undefined : identityIn(home, suite, found);
}

/** What a parsed identity file says. @throws NakodoError `file-damaged` for anything else. */
export function identityIn(home: Home, suite: CryptoSuite, found: unknown): StoredIdentity {
  const parsed = v.safeParse(identityFile, found);
  if (!parsed.success) throw damagedFile(home.identity, 'it does not hold two keys and their ID');
  const { output } = parsed;
  const identity = identityOf(suite, output.signingSeed, output.agreementSecret);
  if (identity.id !== output.id) {
    throw damagedFile(home.identity, 'its keys do not belong to its ID');
  }
  return { identity, machine: 'machine' in output ? (output.machine ?? undefined) : undefined };
}

/**
 * Reads the enrolment, or undefined if this terminal has none yet.
 * @throws NakodoError `enrolment-old`, `file-damaged` naming the file, `no-permission`.
 */
export async function loadEnrolment(home: Home): Promise<Enrolment | undefined> {
  const found = await readJson(home.enrolment);
  return found === undefined ? undefined : enrolmentIn(home, found);
}

/** What a parsed enrolment file says. @throws NakodoError `enrolment-old`, `file-damaged`. */
export function enrolmentIn(home: Home, found: unknown): Enrolment {
  if (typeof found === 'object' && found !== null && 'version' in found && found.version === 1) {
    throw new NakodoError(
      'enrolment-old',
      `${home.enrolment} is from a release that knew no sealed messages`,
      `ask the operator for a ticket, then: nakodo enroll TICKET --home ${home.folder}`,
    );
  }
  const parsed = v.safeParse(enrolmentFile, found);
  if (!parsed.success) throw damagedFile(home.enrolment, 'it does not hold a whole enrolment');
  const { version: _, serverKeys, ...enrolment } = parsed.output;
  return { ...enrolment, serverKeys: serverKeys ?? undefined };
}

/** Writes the enrolment, 0600 and durable. @throws NakodoError */
export async function saveEnrolment(home: Home, enrolment: Enrolment): Promise<void> {
  const content = {
    version: 2,
    name: enrolment.name,
    managerKey: toBase64(enrolment.managerKey),
    agreementKey: toBase64(enrolment.agreementKey),
    brokerUrl: enrolment.brokerUrl,
    enrolUrl: enrolment.enrolUrl,
    membership: toBase64(enrolment.membership),
    serverKeys: enrolment.serverKeys === undefined ? null : toBase64(enrolment.serverKeys),
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
  const { managerKey, membership, serverKeys } = enrolment;
  const statement = openMembership(suite, managerKey, membership);
  if (statement === undefined) {
    throw damagedFile(home.enrolment, 'its membership is not signed by its manager');
  }
  if (statement.device !== identity.id) {
    throw damagedFile(home.enrolment, `it belongs to another terminal than ${home.identity}`);
  }
  if (serverKeys !== undefined && openServerKeys(suite, managerKey, serverKeys) === undefined) {
    throw damagedFile(home.enrolment, "its server's keys are not signed by its manager");
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

const jsonText = (value: object): string => `${JSON.stringify(value, undefined, 2)}\n`;
