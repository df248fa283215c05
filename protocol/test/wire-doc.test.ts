// docs/wire.md says what the code does: its generated part is fresh, its hand-written tables leave
// nothing out.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cddl } from '../control/cddl.ts';
import { KIND_NUMBERS } from '../control/messages.ts';
import { topic } from '../control/topics.ts';
import { FRAME } from '../data/frame.ts';
import { END_REASONS } from '../ends.ts';
import type { DeviceId } from '../ids.ts';
import { repositoryRoot } from './house/sources.ts';
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
  const kinds = defined.filter((rule) => rule.endsWith('-message'));
  t.equal(kinds.length, Object.keys(KIND_NUMBERS).length);
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
  for (const word of ['query', 'revoked', 'answer/<manager>'])
    t.ok(prose.includes(`\`nakodo/1/${word}\``), word);
});

t.test('the prose names every kind of message, and what every signature is for', async (t) => {
  const prose = withoutCddl(document);
  for (const kind of Object.keys(KIND_NUMBERS)) {
    const word = kind.replaceAll(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`);
    t.ok(prose.includes(`\`${word}\``), word);
  }
  const source = readFileSync(join(repositoryRoot(), 'protocol/identity/signed.ts'), 'utf8');
  const labels = [...source.matchAll(/^ {2}\| '([a-z-]+)'/gm)].map(([, label]) => label);
  t.ok(labels.length > 10, 'the search finds the labels');
  for (const label of labels) t.match(prose, `| \`${label}\` |`, label);
});

function withoutCddl(whole: string): string {
  return whole.replace(/```cddl[\s\S]*?```/, '');
}
