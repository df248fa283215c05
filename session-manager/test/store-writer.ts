// A process that writes to a store until it is killed: each batch is two rows that belong together,
// and its number is printed only when the batch is durable.

import { openLmdbStore } from '../shell/store-lmdb.ts';

const [folder] = process.argv.slice(2);
if (folder !== undefined) {
  const store = await openLmdbStore({ folder });
  for (let batch = 0; ; batch++) {
    const key = String(batch).padStart(8, '0');
    const value = Uint8Array.from(Buffer.from(key));
    await store.write([
      { table: 'sessions', key, value },
      { table: 'log', key, value },
    ]);
    process.stdout.write(`${key}\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
