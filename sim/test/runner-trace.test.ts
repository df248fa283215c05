// A world as text: one aligned line for each change of state, in order of time, and nobody who
// watches changes what happens.

import t from 'tap';
import { planOf } from '../runner/plan.ts';
import { type TraceLine, traceWords, tracer } from '../runner/trace.ts';
import { runSeed } from '../seed-run.ts';

t.test('time, who and what stand in columns, in the order of time', async (t) => {
  const lines: TraceLine[] = [];
  const plan = planOf(2, { scenario: 'outage', seconds: 30, terminals: 4 });
  const { hash } = runSeed({ ...plan, watch: (world) => [tracer(world, (l) => lines.push(l))] });
  t.equal(runSeed(plan).hash, hash, 'who watches changes nothing');
  t.ok(lines.length > 50);
  const words = lines.map(traceWords);
  for (const line of words) {
    t.match(line, /^ {0,12}\d+\.\d{6} {2}[a-z0-9-]+ +\S.*$/, line);
    t.notMatch(line, /\n|undefined|\[object/);
    t.equal(line.indexOf('.'), 7, 'the points stand below one another');
  }
  const times = lines.map(({ at }) => at);
  t.strictSame(
    times,
    [...times].sort((a, b) => a - b),
  );
  const said = (pattern: RegExp): number => lines.filter(({ what }) => pattern.test(what)).length;
  t.equal(said(/^started/) > 0 && said(/^killed/) > 0, true);
  t.ok(said(/^introduced/) > 0 && said(/^established/) > 0 && said(/^ended/) > 0);
  t.equal(said(/the faults are over/), 1);
  // A change of state is told once: nobody is introduced twice to one session.
  const told = lines.map(({ who, what }) => `${who} ${what}`);
  const introduced = told.filter((line) => / introduced /.test(line));
  t.equal(new Set(introduced).size, introduced.length);
});
