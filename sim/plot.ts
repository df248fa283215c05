// Writes a figure of lines as SVG: columns of panels that share their time axis, phases as coloured
// bands behind them, one legend. Pure text in, pure text out; small, because points are thinned by
// whoever has them and coordinates have one decimal.

/** [x, y] in the units of the axes. */
export type Point = readonly [x: number, y: number];

/** One line of a panel. */
interface Line {
  readonly label: string;
  readonly colour: string;
  readonly points: readonly Point[];
}

/** One pair of axes; y begins at 0. */
export interface Panel {
  /** What y is, with its unit. */
  readonly title: string;
  readonly lines: readonly Line[];
  /** A value worth a dashed line, `100 Mbit/s` say. */
  readonly mark?: { readonly at: number; readonly label: string };
}

/** From one x to another something was the case; `label` decides the colour. */
export interface Band {
  readonly from: number;
  readonly to: number;
  readonly label: string;
}

/** Panels below one another, over the same x. */
export interface Column {
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly bands: readonly Band[];
}

interface Plot {
  readonly title: string;
  readonly xTitle: string;
  readonly columns: readonly Column[];
}

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const PANEL = { width: 430, height: 150 };
const MARGIN = { left: 52, top: 64, gapX: 66, gapY: 34, bottom: 40 };
const TICKS = 7;
/** Room above the highest value: for the words on its line. */
const HEADROOM = 1.15;
/** Pale enough for lines to stay readable above them; reused when there are more phases. */
const BAND_COLOURS = ['#dfebf8', '#fdebd0', '#edf6e9', '#f8dfe1', '#ebe4f6', '#f6f3cf', '#dcf2f0'];

/** The figure as a whole SVG document. */
export function svg({ title, xTitle, columns }: Plot): string {
  const rows = Math.max(...columns.map(({ panels }) => panels.length));
  const width = MARGIN.left + columns.length * (PANEL.width + MARGIN.gapX) - MARGIN.gapX + 14;
  const bottom = MARGIN.top + rows * (PANEL.height + MARGIN.gapY) - MARGIN.gapY;
  const phases = [...new Set(columns.flatMap(({ bands }) => bands.map(({ label }) => label)))];
  const legendRows = Math.ceil(phases.length / 5);
  const height = bottom + MARGIN.bottom + legendRows * 18;
  const parts = columns.flatMap((column, index) => {
    const left = MARGIN.left + index * (PANEL.width + MARGIN.gapX);
    return columnParts(column, { left, xTitle, bottom, phases });
  });
  const head =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `font-family="sans-serif" font-size="11" fill="#333">`;
  return [
    head,
    '<rect width="100%" height="100%" fill="#fff"/>',
    text(MARGIN.left, 20, title, 'font-size="15" font-weight="bold"'),
    ...parts,
    ...legend(phases, bottom + MARGIN.bottom),
    '</svg>\n',
  ].join('\n');
}

interface Frame {
  readonly left: number;
  readonly xTitle: string;
  readonly bottom: number;
  readonly phases: readonly string[];
}

function columnParts(column: Column, { left, xTitle, bottom, phases }: Frame): readonly string[] {
  const points = column.panels.flatMap(({ lines }) => lines.flatMap((line) => line.points));
  const xMax = Math.max(...points.map(([x]) => x), ...column.bands.map(({ to }) => to), 0);
  const whole = { left, top: MARGIN.top, width: PANEL.width, height: bottom - MARGIN.top };
  const toX = (x: number): number => left + (x / (xMax || 1)) * PANEL.width;
  return [
    text(left, MARGIN.top - 26, column.title, 'font-size="13"'),
    ...phases.map((phase, index) => bandPath(column.bands, phase, index, { box: whole, toX })),
    ...column.panels.flatMap((panel, row) => {
      const top = MARGIN.top + row * (PANEL.height + MARGIN.gapY);
      return panelParts(panel, { left, top, width: PANEL.width, height: PANEL.height }, toX);
    }),
    ...ticksOf(xMax).map((x) => text(toX(x), bottom + 14, `${x}`, 'text-anchor="middle"')),
    text(left + PANEL.width / 2, bottom + 28, xTitle, 'text-anchor="middle"'),
  ];
}

/** All bands of one phase in one path. */
function bandPath(
  bands: readonly Band[],
  phase: string,
  index: number,
  { box, toX }: { readonly box: Box; readonly toX: (x: number) => number },
): string {
  const shapes = bands
    .filter(({ label }) => label === phase)
    .map(({ from, to }) => [short(toX(from)), short(toX(to))])
    .map(([left, right]) => `M${left} ${box.top}H${right}V${bottomOf(box)}H${left}Z`);
  return `<path d="${shapes.join('')}" fill="${bandColour(index)}"/>`;
}

const bottomOf = ({ top, height }: Box): number => top + height;
const bandColour = (index: number): string => BAND_COLOURS[index % BAND_COLOURS.length];

function panelParts(panel: Panel, box: Box, toX: (x: number) => number): readonly string[] {
  const { lines, mark } = panel;
  const values = lines.flatMap((line) => line.points.map(([, y]) => y));
  const yMax = Math.max(...values, mark?.at ?? 0) * HEADROOM || 1;
  const bottom = bottomOf(box);
  const toY = (y: number): number => bottom - (y / yMax) * box.height;
  const right = box.left + box.width;
  const grid = ticksOf(yMax).flatMap((y) => [
    `<path d="M${box.left} ${short(toY(y))}H${right}" stroke="#bbb" stroke-width=".5"/>`,
    text(box.left - 5, toY(y) + 4, `${y}`, 'text-anchor="end"'),
  ]);
  const dashed = mark === undefined ? [] : [markLine(box, toY(mark.at), mark.label)];
  const names = lines
    .map(({ label, colour }) => `<tspan fill="${colour}">— ${escaped(label)}</tspan>`)
    .join('  ');
  return [
    ...grid,
    `<path d="M${box.left} ${box.top}V${bottom}H${right}" fill="none" stroke="#333"/>`,
    ...dashed,
    ...lines.map(({ colour, points }) => {
      const d = points.map(([x, y]) => `${short(toX(x))} ${short(toY(y))}`).join('L');
      return `<path d="M${d}" fill="none" stroke="${colour}" stroke-width="1.1"/>`;
    }),
    `<text x="${box.left}" y="${box.top - 6}">${escaped(panel.title)}: ${names}</text>`,
  ];
}

function markLine(box: Box, y: number, label: string): string {
  const right = box.left + box.width;
  const line = `<path d="M${box.left} ${short(y)}H${right}" stroke="#888" stroke-dasharray="4 3"/>`;
  return line + text(right - 3, y - 3, label, 'text-anchor="end" fill="#666"');
}

function legend(phases: readonly string[], top: number): readonly string[] {
  return phases.flatMap((phase, index) => {
    const x = MARGIN.left + (index % 5) * 180;
    const y = top + Math.floor(index / 5) * 18;
    return [
      `<rect x="${x}" y="${y}" width="12" height="12" fill="${bandColour(index)}" stroke="#bbb"/>`,
      text(x + 17, y + 10, phase),
    ];
  });
}

/** Round numbers from 0 to `max`: 1, 2 or 5 by a power of ten apart. */
function ticksOf(max: number): readonly number[] {
  if (!(max > 0)) return [0];
  const power = 10 ** Math.floor(Math.log10(max / TICKS));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => max / by <= TICKS) ?? max;
  const count = Math.floor(max / step) + 1;
  return Array.from({ length: count }, (_, index) => Number((index * step).toPrecision(6)));
}

const short = (value: number): string => String(Math.round(value * 10) / 10);

function text(x: number, y: number, words: string, more = ''): string {
  return `<text x="${short(x)}" y="${short(y)}" ${more}>${escaped(words)}</text>`;
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };
const escaped = (words: string): string => words.replace(/[&<>]/g, (sign) => ENTITIES[sign]);
