// The TLS files in a server's home, spoiled: each is used, or refused with its name and what to do.
// What is used works: the key signs what the certificate's key verifies.

import { X509Certificate, createPrivateKey, sign, verify } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { sameBytes } from '../bytes.ts';
import { Clock } from '../io/clock.ts';
import {
  type ServerCertificate,
  loadServerCertificate,
  pinOfKey,
  readPin,
} from '../io/server-certificate.ts';
import { fuzzFile } from './fuzz.ts';

const home = await mkdtemp(join(tmpdir(), 'nk-tls-'));
t.teardown(() => rm(home, { recursive: true, force: true }));
const options = { home, clock: new Clock() };
const first = await loadServerCertificate(options);
const [key, cert, pin] = [join(home, 'tls.key'), join(home, 'tls.crt'), join(home, 'tls.pin')];
const text = new TextEncoder().encode('any text');

const isFirst = ({ pin: found }: ServerCertificate): boolean => sameBytes(found, first.pin);

t.test('any text for tls.key: that key, or refused by name', async (t) => {
  const good = await readFile(key);
  await fuzzFile(t, {
    path: key,
    valid: [good],
    read: async () => {
      const loaded = await loadServerCertificate(options);
      const { publicKey } = new X509Certificate(loaded.cert);
      const signature = sign('sha256', text, loaded.key);
      if (!isFirst(loaded) || !verify('sha256', text, publicKey, signature)) {
        throw new Error('the key does not work');
      }
    },
  });
  await writeFile(key, good);
  t.ok(isFirst(await loadServerCertificate(options)), 'as it was: it is used');
});

t.test('any text for tls.crt: used, made anew when it ends soon, or refused', async (t) => {
  const good = await readFile(cert);
  await fuzzFile(t, {
    path: cert,
    valid: [good],
    read: async () => {
      const { cert: used, pin: told } = await loadServerCertificate(options);
      const shown = pinOfKey(new X509Certificate(used).publicKey);
      if (!sameBytes(shown, told)) throw new Error('terminals would see another key');
    },
  });
  await writeFile(cert, good);
  t.ok(isFirst(await loadServerCertificate(options)), 'as it was: it is used');
});

t.test('any text for tls.pin: a pin, or refused by name', async (t) => {
  await fuzzFile(t, {
    path: pin,
    valid: [await readFile(pin)],
    read: () => {
      if (readPin(pin)?.length !== 32) throw new Error('this is no pin');
    },
  });
});

t.test('a private key with the public key of another is refused, not served', async (t) => {
  const good = await readFile(key, 'utf8');
  const der = createPrivateKey(good).export({ type: 'pkcs8', format: 'der' });
  // RFC 5915: the 32 bytes behind `INTEGER 1, OCTET STRING 32` are the private half.
  der[der.indexOf(Buffer.from('0201010420', 'hex')) + 20] ^= 1;
  const other = createPrivateKey({ key: der, type: 'pkcs8', format: 'der' });
  await writeFile(key, other.export({ type: 'pkcs8', format: 'pem' }));
  await t.rejects(loadServerCertificate(options), { code: 'file-damaged', message: /tls\.key/ });
  await writeFile(key, good);
  t.ok(isFirst(await loadServerCertificate(options)));
});

t.test('the pin is that of the certificate, however the key is written', async (t) => {
  const good = await readFile(key, 'utf8');
  const der = createPrivateKey(good).export({ type: 'pkcs8', format: 'der' });
  // The same point in the hybrid form (SEC 1 §2.3.3, X9.62): 6 or 7 for 4, by the last bit of y.
  der[der.indexOf(Buffer.from('034200', 'hex')) + 3] = 6 | (der[der.length - 1] & 1);
  const body = der.toString('base64');
  const label = 'PRIVATE KEY-----';
  await writeFile(key, `-----BEGIN ${label}\n${body}\n-----END ${label}\n`);
  t.ok(isFirst(await loadServerCertificate(options)));
  await writeFile(key, good);
});
