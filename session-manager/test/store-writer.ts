// A process that writes to a sealed store until it is killed: each batch is two rows that belong
// together, and its number is printed only when the batch is durable.

import { LIVE_PREFIX } from '../records.ts';
import { openSealedStore } from './sealed-stores.ts';

const [folder] = process.argv.slice(2);
if (folder !== undefined) {
  const store = await openSealedStore(folder);
  for (let batch = 0; ; batch++) {
    const key = String(batch).padStart(8, '0');
    const value = Uint8Array.from(Buffer.from(key));
    await store.write([
      { table: 'sessions', key: LIVE_PREFIX + key, value },
      { table: 'log', key, value },
    ]);
    process.stdout.write(`${key}\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
