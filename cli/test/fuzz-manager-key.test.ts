// `manager.pub`, spoiled: a key of 32 bytes, or refused with the name of the file. It comes from
// another machine, copied by hand.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { KEY_BYTES } from '../../protocol/crypto.ts';
import { toBase64 } from '../../protocol/io/base64.ts';
import { fuzzFile } from '../../protocol/test/fuzz.ts';
import { readManagerKey } from '../manager-key.ts';

t.test('any text for manager.pub: a key, or refused by name', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nk-pub-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'manager.pub');
  await fuzzFile(t, {
    path,
    valid: [1, 0xfe].map((fill) =>
      new TextEncoder().encode(`${toBase64(new Uint8Array(KEY_BYTES).fill(fill))}\n`),
    ),
    read: async () => {
      const key = await readManagerKey(path);
      if (key.length !== KEY_BYTES) throw new Error('this is no key');
    },
  });
});
