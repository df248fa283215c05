// A fleet's report as one page of HTML that needs nothing beside it: its words, its plots as SVG, a
// table of what went wrong. Everything that stands in it as text is escaped, since names come from
// a file.

import { type Column, type Panel, type Point, svg } from '../plot.ts';
import type { CourseRow } from './course.ts';
import type { FleetReport } from './report.ts';
import { reportWords } from './report-words.ts';

const BLUE = '#1f5fa8';
const ORANGE = '#c8641b';
const GREEN = '#2f7d3b';
const RED = '#b3262e';
const MEGA = 1e6;
const PER_CENT = 100;

const STYLE =
  'body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;' +
  'color:#222}pre{background:#f6f6f4;padding:1em;overflow-x:auto;font-size:13px}' +
  'svg{width:100%;height:auto;border:1px solid #ddd;margin:.5em 0}.bad{color:#b3262e}' +
  'td,th{text-align:left;padding:.1em 1.2em .1em 0;vertical-align:top}';

/** The page, as a whole document in UTF-8. */
export function reportPage(report: FleetReport): string {
  const { ok, why, fleet, begun } = report;
  const source = fleet.policy === null ? `seed ${fleet.seed}` : fleet.policy;
  const title = `nakodo fleet: ${fleet.terminals} terminals, ${source}`;
  const verdict = ok
    ? '<p>Nothing was introduced or delivered that should not have been.</p>'
    : `<p class="bad">${why.map(escaped).join('<br>')}</p>`;
  const { cores, model, node } = report.machine;
  const machine = `${cores} cores (${model}), Node ${node}`;
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8">',
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ' +
      "style-src 'unsafe-inline'\">",
    `<title>${escaped(title)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escaped(title)}</h1>`,
    `<p>${escaped(begun)}, ${escaped(machine)}</p>`,
    verdict,
    `<pre>${escaped(reportWords(report))}</pre>`,
    '<h2>Over time</h2>',
    svg({ title: 'Calls and machines', xTitle: 'seconds', columns: courseColumns(report) }),
    '<h2>Set-up times</h2>',
    svg({ title: 'From asking to a proven talk', xTitle: 'ms', columns: [histogram(report)] }),
    '<h2>Errors by code</h2>',
    table(report.errors),
    ...faultLists(report),
    '</body></html>\n',
  ].join('\n');
}

/** How much more of something, per second, from each row to the next. */
function rate(course: readonly CourseRow[], of: (row: CourseRow) => number): readonly Point[] {
  return course.slice(1).flatMap((row, at) => {
    const before = course[at];
    const seconds = row.seconds - before.seconds;
    if (seconds <= 0) return [];
    return [[row.seconds, Math.max(0, (of(row) - of(before)) / seconds)] as const];
  });
}

/** How much of something there is. */
const level = (course: readonly CourseRow[], of: (row: CourseRow) => number): readonly Point[] =>
  course.map((row) => [row.seconds, of(row)] as const);

type Quantity = readonly [label: string, colour: string, of: (row: CourseRow) => number];

const OUTCOMES: readonly Quantity[] = [
  ['introduced', BLUE, (row) => row.introduced],
  ['refused', ORANGE, (row) => row.refused],
  ['missed', RED, (row) => row.missed],
  ['came to nothing', GREEN, (row) => row.failed],
];
const MEMORY: readonly Quantity[] = [
  ['terminals', BLUE, (row) => row.terminalsRssBytes / MEGA],
  ['servers', ORANGE, (row) => row.serversRssBytes / MEGA],
];
const PROCESSOR: readonly Quantity[] = [
  ['terminals', BLUE, (row) => row.terminalsCpuSeconds * PER_CENT],
  ['servers', ORANGE, (row) => row.serversCpuSeconds * PER_CENT],
];
const REGISTERED: readonly Quantity[] = [['registered', BLUE, (row) => row.registered]];

function courseColumns({ course, load }: FleetReport): readonly Column[] {
  const lines = (quantities: readonly Quantity[], how: typeof rate): Panel['lines'] =>
    quantities.map(([label, colour, of]) => ({ label, colour, points: how(course, of) }));
  const mark = { at: load.callsPerSecond, label: 'due' };
  const calls: readonly Panel[] = [
    { title: 'calls/s', lines: lines(OUTCOMES, rate), mark },
    { title: 'terminals', lines: lines(REGISTERED, level) },
  ];
  const machine: readonly Panel[] = [
    { title: 'memory, MB', lines: lines(MEMORY, level) },
    { title: 'processor, % of a core', lines: lines(PROCESSOR, rate) },
  ];
  const bands = bandsOf(course);
  return [
    { title: 'what the fleet did', panels: calls, bands },
    { title: 'what it took', panels: machine, bands },
  ];
}

/** From one row to the next of another phase. */
function bandsOf(course: readonly CourseRow[]): Column['bands'] {
  const bands: { from: number; to: number; label: string }[] = [];
  for (const { seconds, phase } of course) {
    const last = bands.at(-1);
    if (last !== undefined) last.to = seconds;
    if (last?.label !== phase) bands.push({ from: seconds, to: seconds, label: phase });
  }
  return bands;
}

function histogram({ histogram: { stepMs, counts } }: FleetReport): Column {
  const points = counts.flatMap((count, at): readonly Point[] => [
    [at * stepMs, count],
    [(at + 1) * stepMs, count],
  ]);
  const panel = { title: 'talks', lines: [{ label: 'a step', colour: BLUE, points }] };
  return { title: 'both ends always there', panels: [panel], bands: [] };
}

function table(counts: Readonly<Record<string, number>>): string {
  const rows = Object.entries(counts).toSorted(([, a], [, b]) => b - a);
  if (rows.length === 0) return '<p>None.</p>';
  const cells = rows.map(([code, times]) => `<tr><td>${escaped(code)}</td><td>${times}</td></tr>`);
  return `<table><tr><th>code</th><th>times</th></tr>${cells.join('')}</table>`;
}

function faultLists({ faults }: FleetReport): readonly string[] {
  return Object.entries(faults).flatMap(([fault, words]) => {
    if (words.length === 0) return [];
    const items = words.map((each) => `<li>${escaped(each)}</li>`).join('');
    return [`<h2 class="bad">${escaped(fault)}</h2>`, `<ul>${items}</ul>`];
  });
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]);
