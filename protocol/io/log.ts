// The shells' log: one event a line, on standard error. Above debug no line holds an address or a
// whole ID; no line of any level holds a key (byte strings are printed as their length).

/** From most to least: per packet, a turn not taken, a state, wakes an operator, broken. */
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
type LogLevel = (typeof LOG_LEVELS)[number];
type LogFields = Readonly<Record<string, unknown>>;

/** Where a shell says what happened; `event` is a stable kebab-case word. */
export interface Log {
  trace(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

interface LogOptions {
  /** The least level that is written; default `info`. */
  readonly level?: LogLevel;
  /** JSON objects or plain text, one a line; default text. */
  readonly json?: boolean;
  /** Takes a whole line with its line feed; default: standard error. */
  readonly write?: (line: string) => void;
}

/** Makes a log; lines of a lower level cost one comparison. */
export function createLog(options: LogOptions = {}): Log {
  const least = LOG_LEVELS.indexOf(options.level ?? 'info');
  const { write } = options;
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (LOG_LEVELS.indexOf(level) < least) return;
      const time = new Date().toISOString();
      const line = (): string => formatted(time, level, event, fields, options.json === true);
      if (write === undefined) writeSoon(line);
      else write(line());
    };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  };
}

function formatted(
  time: string,
  level: LogLevel,
  event: string,
  fields: LogFields,
  json: boolean,
): string {
  const redact = LOG_LEVELS.indexOf(level) > LOG_LEVELS.indexOf('debug');
  const shown = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, printable(value, redact)] as const);
  if (json) {
    return `${JSON.stringify({ time, level, event, ...Object.fromEntries(shown) })}\n`;
  }
  const tail = shown.map(([key, value]) => ` ${key}=${textOf(value)}`).join('');
  return `${time} ${level.padEnd(5)} ${event}${tail}\n`;
}

/** Lines that wait for the end of this turn of the event loop; at the bound they go at once. */
const LINES_WAITING_MAX = 256;
const waiting: (() => string)[] = [];

/**
 * Standard error may block, and whoever says something is often in mid-introduction: the line is
 * put into words, and written, a moment later.
 */
function writeSoon(line: () => string): void {
  if (waiting.length === 0) setImmediate(writeWaiting);
  waiting.push(line);
  if (waiting.length >= LINES_WAITING_MAX) writeWaiting();
}

function writeWaiting(): void {
  if (waiting.length > 0) {
    const lines = waiting.splice(0).map((line) => line());
    process.stderr.write(lines.join(''));
  }
}
process.on('exit', writeWaiting);

const nothing = (): void => {};

/** Says nothing: for tests. */
export const silentLog: Log = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
};

const IPV4 = /\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b/g;
// Any run of hex groups with two colons or more; times (12:30:00) have none of `::` and two digits.
const IPV6 = /\[?(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}\]?(?::\d{1,5})?/gi;
const TIME = /^\d{2}:\d{2}:\d{2}$/;
const LONG_ID = /(?<![a-z2-7])([a-z2-7]{4})(?:[a-z2-7]{28}|[a-z2-7]{22})(?![a-z2-7])/g;

/** Hides addresses and all but the first 4 characters of device, session and request IDs. */
function redacted(text: string): string {
  return text
    .replace(LONG_ID, '$1…')
    .replace(IPV4, '<address>')
    .replace(IPV6, (found) => (TIME.test(found) ? found : '<address>'));
}

function printable(value: unknown, redact: boolean): unknown {
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (value instanceof Error) return redact ? redacted(value.message) : value.message;
  if (typeof value === 'string') return redact ? redacted(value) : value;
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  const flat = JSON.stringify(value, (_key, inner: unknown) =>
    inner instanceof Uint8Array ? `<${inner.length} bytes>` : inner,
  );
  return redact ? redacted(flat ?? '') : flat;
}

function textOf(value: unknown): string {
  const text = String(value);
  // Control characters would let a peer's name forge a second line.
  return /^[\x21\x23-\x7e\u2026]+$/.test(text) ? text : JSON.stringify(text);
}
