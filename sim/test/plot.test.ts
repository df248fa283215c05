// The plots are well-formed SVG with all that belongs into a figure, and the committed ones are
// small.

import { readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { svg } from '../plot.ts';

const panel = {
  title: 'a < b & c',
  mark: { at: 10, label: 'limit' },
  lines: [{ label: 'line', colour: '#000', points: [[0, 0] as const, [5, 9.96] as const] }],
};
const plot = svg({
  title: 'figure',
  xTitle: 'seconds',
  columns: [{ title: 'one', panels: [panel], bands: [{ from: 1, to: 2, label: 'phase <1>' }] }],
});

t.test('a figure has its axes, lines, bands and words', async (t) => {
  t.ok(plot.startsWith('<svg xmlns="http://www.w3.org/2000/svg"'));
  t.match(plot, 'a &lt; b &amp; c');
  t.match(plot, 'phase &lt;1&gt;');
  const opened = plot.match(/<(?!\/)[a-z]+(?=[ >])/g)?.length ?? 0;
  const closed = plot.match(/<\/[a-z]+>|\/>/g)?.length ?? 0;
  t.ok(opened > 10);
  t.equal(opened, closed, 'every element is closed');
  t.notOk(/NaN|Infinity|undefined/.test(plot));
});

t.test('a figure without points is one, too', async (t) => {
  const empty = { title: 'none', panels: [{ title: 'y', lines: [] }], bands: [] };
  const text = svg({ title: 'empty', xTitle: 'x', columns: [empty] });
  t.notOk(/NaN|Infinity|undefined/.test(text));
  t.match(text, 'none');
});

t.test('the committed plots stay small', async (t) => {
  const root = dirname(dirname(dirname(import.meta.dirname)));
  const folder = join(root, 'bench', 'plots');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.svg'));
  t.strictSame(names.sort(), ['bbr.svg', 'cubic.svg']);
  for (const name of names) {
    const text = await readFile(join(folder, name), 'utf8');
    t.ok(text.length < 60_000 && text.endsWith('</svg>\n'), `${name}: ${text.length} bytes`);
  }
});
