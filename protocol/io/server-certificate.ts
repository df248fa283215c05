// The TLS key and certificate of a server (design §3, ADR 0010): made at its first start, or given.
// Terminals look at the key alone (its pin), so a certificate that runs out is replaced here, with
// the same key, and nobody notices. X.509 is written by @peculiar/x509, loaded only where one is
// written; node:crypto reads it.

import {
  type KeyObject,
  X509Certificate,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  webcrypto,
} from 'node:crypto';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { EXIT, NakodoError, errorMessage } from '../errors.ts';
import type { WallMs } from '../time.ts';
import type { Clock } from './clock.ts';
import { makeFolder, readFileIfAny, readFileNow, writeFileAtomic } from './files.ts';
import { IO_LIMITS } from './limits.ts';

const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;
const MS_PER_DAY = 86_400_000;
/** Validity of a certificate of ours, and how long before its end it is replaced: design §3. */
const VALID_DAYS = 3_650;
const RENEW_DAYS = 30;
/** Bytes of a serial number behind a first one that is positive: 20 at most (RFC 5280 §4.1.2.2). */
const SERIAL_BYTES = 15;
const SERIAL_FIRST = '4e';
const CURVE = 'P-256';
/** What is signed to see whether a key works. */
const PROBE = new Uint8Array(1);

/** What a TLS server shows. `key`, `cert`: PEM; `pin`: 32 bytes, see `pinOfKey`. */
export interface ServerCertificate {
  readonly key: string;
  readonly cert: string;
  readonly pin: Uint8Array;
}

/** Where a server's certificate lies. */
interface CertificateOptions {
  /** Folder of `tls.key`, `tls.crt` and `tls.pin`; made if it is not there. */
  readonly home: string;
  /** PEM files in place of our own; both or none. */
  readonly keyFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly clock: Clock;
}

/** The pin of a public key: SHA-256 over its SubjectPublicKeyInfo in DER (RFC 7469 §2.4). */
export function pinOfKey(publicKey: KeyObject): Uint8Array {
  const info = publicKey.export({ type: 'spki', format: 'der' });
  return Uint8Array.from(createHash('sha256').update(info).digest());
}

/**
 * Reads the server's key (ECDSA P-256, 0600) and its certificate, makes what is not there yet, and
 * renews a certificate of ours that ends in less than 30 days, with the same key. Writes `tls.pin`,
 * the pin in hex and a line feed, for a session manager that runs apart.
 * @throws NakodoError `file-damaged` naming the file and what to do, `no-such-file`,
 *   `tls-files` (exit 2) if only one file is given, `no-permission`, `disk-full`.
 */
export async function loadServerCertificate(
  options: CertificateOptions,
): Promise<ServerCertificate> {
  const { home, keyFile, certFile } = options;
  await makeFolder(home);
  const wall = options.clock.wall();
  if ((keyFile === undefined) !== (certFile === undefined)) {
    throw new NakodoError(
      'tls-files',
      'a certificate is of no use without its key, nor a key without its certificate',
      'give both, --tls-cert and --tls-key, or neither: the server then makes its own',
      EXIT.usage,
    );
  }
  const loaded =
    keyFile === undefined || certFile === undefined
      ? await ownCertificate(home, wall)
      : await givenCertificate(keyFile, certFile);
  await writePin(join(home, 'tls.pin'), loaded.pin);
  return loaded;
}

async function ownCertificate(home: string, wall: WallMs): Promise<ServerCertificate> {
  const keyPath = join(home, 'tls.key');
  const certPath = join(home, 'tls.crt');
  const key = (await readText(keyPath)) ?? (await makeKey(keyPath));
  const parsed = parseKey(keyPath, key, NEXT_OWN_KEY);
  const found = await readText(certPath);
  const isGood = found !== undefined && isCurrent(certPath, found, parsed, wall);
  const cert = isGood ? found : await makeCertificate(certPath, parsed, wall);
  return { key, cert, pin: pinShownBy(cert) };
}

/** The pin that terminals see: of the certificate, as one key can be written in several ways. */
function pinShownBy(cert: string): Uint8Array {
  return pinOfKey(new X509Certificate(cert).publicKey);
}

/** Whether our certificate is good for long enough. @throws NakodoError `file-damaged`. */
function isCurrent(path: string, cert: string, key: KeyObject, wall: WallMs): boolean {
  const parsed = parseCertificate(path, cert, NEXT_OWN_CERTIFICATE);
  if (!parsed.checkPrivateKey(key)) {
    throw damaged(path, 'it does not belong to the key in tls.key', NEXT_OWN_CERTIFICATE);
  }
  return Date.parse(parsed.validTo) - wall >= RENEW_DAYS * MS_PER_DAY;
}

async function givenCertificate(keyFile: string, certFile: string): Promise<ServerCertificate> {
  const key = await givenText(keyFile);
  const cert = await givenText(certFile);
  const parsed = parseKey(keyFile, key, NEXT_GIVEN);
  if (!parseCertificate(certFile, cert, NEXT_GIVEN).checkPrivateKey(parsed)) {
    throw damaged(certFile, `it does not belong to the key in ${keyFile}`, NEXT_GIVEN);
  }
  try {
    createSecureContext({ key, cert, minVersion: 'TLSv1.3' });
  } catch (error) {
    throw damaged(certFile, `TLS cannot use it: ${errorMessage(error)}`, NEXT_GIVEN);
  }
  return { key, cert, pin: pinShownBy(cert) };
}

const NEXT_OWN_KEY =
  'restore it from a backup; or move tls.key and tls.crt away: the next start makes a new key, ' +
  'which terminals follow by themselves';
const NEXT_OWN_CERTIFICATE =
  'move it away: the next start makes a new certificate for the same key, and nobody notices';
const NEXT_GIVEN =
  'give a PEM certificate (its chain behind it) and its PEM key without a passphrase';

function damaged(path: string, why: string, next: string): NakodoError {
  return new NakodoError('file-damaged', `${path} cannot be used: ${why}`, next);
}

function parseKey(path: string, pem: string, next: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw damaged(path, 'it does not hold a private key in PEM', next);
  }
  if (isWhole(key)) return key;
  throw damaged(path, 'its private key does not belong to the public key beside it', next);
}

/** A file holds both halves of a key, and OpenSSL believes them: every handshake would fail. */
function isWhole(key: KeyObject): boolean {
  try {
    const signature = sign(null, PROBE, key);
    return verify(null, PROBE, createPublicKey(key), signature);
  } catch {
    return false;
  }
}

function parseCertificate(path: string, pem: string, next: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw damaged(path, 'it does not hold a certificate in PEM', next);
  }
}

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readFileIfAny(path);
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

async function givenText(path: string): Promise<string> {
  const text = await readText(path);
  if (text !== undefined) return text;
  throw new NakodoError('no-such-file', `there is no file ${path}`, 'check the path', EXIT.usage);
}

/** A new key, on disk before a certificate names it. */
async function makeKey(path: string): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: CURVE });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeFileAtomic(path, pem, PRIVATE_MODE);
  return String(pem);
}

/** A self-signed certificate: names and dates in it mean nothing to us, TLS wants one. */
async function makeCertificate(path: string, key: KeyObject, wall: WallMs): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: CURVE, hash: 'SHA-256' };
  let pem: string;
  try {
    await import('reflect-metadata');
    const { X509CertificateGenerator, cryptoProvider } = await import('@peculiar/x509');
    const { subtle } = webcrypto;
    const secret = key.export({ type: 'pkcs8', format: 'der' });
    const open = createPublicKey(key).export({ type: 'spki', format: 'der' });
    const made = await X509CertificateGenerator.createSelfSigned(
      {
        serialNumber: SERIAL_FIRST + randomBytes(SERIAL_BYTES).toString('hex'),
        name: 'CN=nakodo',
        notBefore: new Date(wall - MS_PER_DAY),
        notAfter: new Date(wall + VALID_DAYS * MS_PER_DAY),
        signingAlgorithm: algorithm,
        keys: {
          privateKey: await subtle.importKey('pkcs8', secret, algorithm, false, ['sign']),
          publicKey: await subtle.importKey('spki', open, algorithm, true, ['verify']),
        },
      },
      cryptoProvider.get(),
    );
    pem = `${made.toString('pem')}\n`;
  } catch (error) {
    throw damaged(
      path,
      `no certificate could be made for tls.key (${errorMessage(error)})`,
      NEXT_OWN_KEY,
    );
  }
  await writeFileAtomic(path, pem, PUBLIC_MODE);
  return pem;
}

async function writePin(path: string, pin: Uint8Array): Promise<void> {
  const text = `${Buffer.from(pin).toString('hex')}\n`;
  if ((await readText(path)) !== text) await writeFileAtomic(path, text, PUBLIC_MODE);
}

/**
 * Reads a `tls.pin`, or undefined if there is none yet; at once, as a connection waits for it.
 * @throws NakodoError `file-damaged` if it holds something else.
 */
export function readPin(path: string): Uint8Array | undefined {
  const bytes = readFileNow(path, IO_LIMITS.smallFileBytesMax);
  if (bytes === undefined) return undefined;
  const text = new TextDecoder().decode(bytes);
  if (/^[0-9a-f]{64}\s*$/.test(text)) return Uint8Array.from(Buffer.from(text.trim(), 'hex'));
  const next = 'copy tls.pin anew from the home of the broker';
  throw damaged(path, 'it does not hold a pin (64 hex digits)', next);
}
