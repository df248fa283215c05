// docs/wire.md says what the code does: its generated part is fresh, its hand-written tables leave
// nothing out.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { cddl } from '../control/cddl.ts';
import { KIND_NUMBERS } from '../control/messages.ts';
import { topic } from '../control/topics.ts';
import { FRAME } from '../data/frame.ts';
import { END_REASONS } from '../ends.ts';
import type { DeviceId } from '../ids.ts';
import { WIRE_DOC, withCddl } from './wire-doc.ts';

const document = readFileSync(WIRE_DOC, 'utf8');

t.test('docs/wire.md holds the CDDL of the declarations as they are', async (t) => {
  t.equal(document, withCddl(document), 'run: make wire');
  const stale = document.replace('; wire version', '; another');
  t.not(stale, document);
  t.not(stale, withCddl(stale), 'a stale one would be found');
});

t.test('every rule that the CDDL uses is defined in it, once', async (t) => {
  const rules = cddl()
    .replaceAll(/;.*$/gm, '')
    .replaceAll(/"[^"]*"/g, '');
  const defined = [...rules.matchAll(/^([a-z0-9-]+) *=/gm)].map(([, rule]) => rule);
  t.equal(new Set(defined).size, defined.length, 'once');
  const builtIn = ['bool', 'tstr', 'bstr', 'size', 'regexp'];
  const used = [...rules.matchAll(/[a-z][a-z0-9-]*/g)].map(([word]) => word);
  const missing = used.filter((word) => ![...defined, ...builtIn].includes(word));
  t.same(missing, []);
  t.equal(defined.filter((rule) => rule.endsWith('-message')).length, 21);
  t.equal(Object.keys(KIND_NUMBERS).length, 21);
});

t.test('the hand-written tables name every topic, frame and end reason', async (t) => {
  const prose = withoutCddl(document);
  const device = '2'.repeat(32) as DeviceId;
  for (const of of ['address', 'up', 'allow-list', 'trigger', 'call', 'down'] as const)
    t.ok(prose.includes(`\`${topic(of, device).replace(device, '<id>')}\``), of);
  for (const [name, type] of Object.entries(FRAME))
    t.ok(prose.includes(`0x${type.toString(16).padStart(2, '0')}`), `frame ${name}`);
  for (const { code, reason } of END_REASONS)
    t.ok(prose.includes(`| ${code} | ${reason} |`), `end ${reason}`);
});

function withoutCddl(whole: string): string {
  return whole.replace(/```cddl[\s\S]*?```/, '');
}
