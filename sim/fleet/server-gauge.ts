// Loaded into the servers of a fleet before their own program (`--import`): says what memory and
// processor time they take when it is asked, and ends them with the process that started them. The
// server itself is the one that everybody runs.

import type { Gauge, Word } from './orders.ts';

process.on('message', () => {
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const answer: Gauge = { rssBytes: rss, heapBytes: heapUsed + external, cpuMicros: user + system };
  const word: Word = { kind: 'answer', answer };
  process.send?.(word);
});
process.on('disconnect', () => process.exit());
