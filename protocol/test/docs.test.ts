// What README.md and docs/ name must be there: files by their path, tests by their title, so that a
// reader who follows a page never stands before nothing.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from './house/sources.ts';

const ROOT = repositoryRoot();
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'docs/ARCHITECTURE.md',
  'docs/story.md',
  'docs/proof.md',
  'docs/log.md',
  'docs/sessions.md',
  'docs/services.md',
  'docs/troubleshooting.md',
  'docs/congestion.md',
  'docs/fleet.md',
  'docs/threat-model.md',
  'docs/simulator.md',
  'docs/nat.md',
  'docs/lab.md',
  'SECURITY.md',
];
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

t.test('every file that a page names is there', async (t) => {
  let named = 0;
  for (const page of PAGES) {
    const text = read(page);
    const links = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map(([, to]) => join(dirname(page), to));
    const paths = [...text.matchAll(/`([a-z-]+\/[\w/.-]+\.(?:ts|md))`/g)].map(([, path]) => path);
    for (const path of [...links, ...paths]) {
      named += 1;
      t.ok(existsSync(join(ROOT, path)), `${page}: ${path}`);
    }
  }
  t.ok(named > 30, 'the search finds what pages name');
});

t.test('every scene of the story has its test, by its title', async (t) => {
  const shown = [...read('docs/story.md').matchAll(/ · test `([^`]+)`: (.+)$/gm)];
  t.equal(shown.length, 11);
  for (const [, path, title] of shown) t.ok(read(path).includes(`'${title}'`), `${path}: ${title}`);
});
