// docs/sessions.md says what the code does: its examples are the files that run, its tables of
// errors and events leave nothing out and name the exit codes as they are.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { END_REASONS } from '../../protocol/ends.ts';
import type { NakodoError } from '../../protocol/errors.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { callError, endError, resetError, streamError } from '../shell/call-error.ts';
import type { SessionEvents } from '../shell/session-types.ts';
import { STREAM_CODE } from '../shell/stream-opening.ts';
import type { CallFailure } from '../terminal-types.ts';

const LINES_MAX = 60;
const root = repositoryRoot();
const page = readFileSync(join(root, 'docs/sessions.md'), 'utf8');

/** Whole, or it does not compile. */
const CALL_FAILURES: Readonly<Record<CallFailure, true>> = {
  refused: true,
  'no-link': true,
  'no-answer': true,
  socket: true,
  'bad-notice': true,
  'peer-changed': true,
  busy: true,
  cancelled: true,
};
const EVENTS: Readonly<Record<keyof SessionEvents, true>> = {
  established: true,
  stream: true,
  datagram: true,
  expiryNear: true,
  extended: true,
  extensionRefused: true,
  path: true,
  way: true,
  end: true,
};

t.test('docs/sessions.md shows every example as it is', async (t) => {
  const folder = join(root, 'device/examples');
  const names = readdirSync(folder);
  t.ok(names.length >= 5);
  for (const name of names) {
    const text = readFileSync(join(folder, name), 'utf8');
    t.ok(text.split('\n').length <= LINES_MAX, `${name} is short`);
    t.ok(page.includes(`\`\`\`ts\n${text}\`\`\`\n`), `device/examples/${name} stands in the page`);
  }
  t.equal([...page.matchAll(/^```ts$/gm)].length, names.length, 'and nothing else does as code');
});

t.test('docs/sessions.md names every error with its exit code, and no other', async (t) => {
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| [^|]+ \| (\d) \|$/gm)];
  const shown = new Map(rows.map(([, code, exit]) => [code, Number(exit)]));
  t.equal(rows.length, shown.size, 'each once');
  const errors: NakodoError[] = [
    ...(Object.keys(CALL_FAILURES) as CallFailure[]).map((why) =>
      callError(why, { to: 'TERM3', service: 'echo' }),
    ),
    ...END_REASONS.map(({ reason }) => endError(reason)),
    ...(['not-established', 'too-many-streams', 'other-service'] as const).map(streamError),
    streamError('parameters-too-long'),
    resetError(STREAM_CODE.givenUp),
    resetError(STREAM_CODE.refused),
    resetError(STREAM_CODE.noTarget),
  ];
  for (const { code, exit, next } of errors) {
    t.equal(shown.get(code), exit, code);
    t.ok(next.length > 0, `${code}: what to do`);
    shown.delete(code);
  }
  t.strictSame([...shown], [['bad-name', 2]], 'that one is of agent.call itself');
  for (const { reason, says } of END_REASONS) t.ok(page.includes(`| \`${reason}\` | ${says} |`));
});

t.test('docs/sessions.md names every event', async (t) => {
  const table = page.slice(page.indexOf('## Events'), page.indexOf('## Errors'));
  const shown = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  t.strictSame(shown.sort(), Object.keys(EVENTS).sort());
});
