// `agent.toml`: what the owner of a device settles once. The tables of services are read anew for
// every talk, as the allow-list is; `[agent]` when the agent starts. A text that does not say
// exactly this is a problem for its owner, told with its place, and serves nobody.
//
//   [agent]                         # read when the agent starts
//   keepalive = "60s"
//   poll_every = "5m"               # sleep, and look for calls this often
//   address = "192.168.1.7"         # bind UDP to this address, and tell no other
//   broker = "mqtts://…:8883"       # another way to the broker than the server's
//   relay = "if-needed"             # or "never"; or "only": no peer learns an address of ours
//   stun = ["stun.example:3478"]    # who else is asked how this terminal looks from outside
//   socket_group = "nakodo"         # who is in this group may use the commands
//   [file]                          # `send` lands here
//   folder = "/srv/inbox"
//   file_max = "2GB"
//   keep_free = "100MB"
//   overwrite = "number"            # or "replace", "refuse"
//   [get]                           # `get` reads here
//   folder = "/srv/share"
//   [[run]]                         # the service run:temperature
//   name = "temperature"
//   command = "/usr/local/bin/temperature --json"
//   at_once = 4
//   [pipe]                          # answers `pipe` where no command waits; [live] likewise
//   command = "/usr/bin/tee -a /srv/log"
//   at_once = 1
//   [[port]]                        # the service port:8080 leads elsewhere than 127.0.0.1:8080
//   port = 8080
//   to = "192.168.1.20:80"

import { isIP } from 'node:net';
import { realpathSync } from 'node:fs';
import { isAbsolute, relative } from 'node:path';
import { TomlError, parse } from 'smol-toml';
import * as v from 'valibot';
import { sameBytes } from '../../protocol/bytes.ts';
import { UsageError, errorMessage } from '../../protocol/errors.ts';
import { RELAY_POLICIES } from '../../protocol/address.ts';
import { readFileNow } from '../../protocol/io/files.ts';
import { targetOf } from '../../protocol/io/host-port.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { parseDuration, parseSize } from '../../protocol/units.ts';
import { HOOK_NAME } from './run-frames.ts';

/** Hooks, and ports that lead elsewhere, of one device: more is a mistake. */
const TABLES_MAX = 256;
/** Commands of one hook at the same time. */
const AT_ONCE_MAX = 64;
const AT_ONCE_DEFAULT = 4;
const COMMAND_MAX = 1_024;
const POLL_SECONDS_MIN = 1;
const GROUP_NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/;

const parsedBy = <T>(parser: (text: string) => T, wanted: string) =>
  v.pipe(
    v.string(wanted),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      try {
        return parser(dataset.value);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        addIssue({ message: error.message });
        return NEVER;
      }
    }),
  );
const size = parsedBy(parseSize, 'wanted a size like "200MB"');
const folder = v.pipe(v.string(), v.check(isAbsolute, 'wanted an absolute path'));
const port = v.pipe(
  v.number('wanted a port'),
  v.safeInteger('wanted a port'),
  v.minValue(1, 'wanted a port from 1'),
  v.maxValue(LIMITS.portMax, `wanted a port to ${LIMITS.portMax}`),
);
const seconds = (wanted: string) =>
  parsedBy((text) => Math.round(parseDuration(text) / MS_PER_SECOND), wanted);
/** What only a shell understands, and would be passed on as it is. */
const SHELL_WORDS = /["'`;|<>]|&&|\$\(/;
const keepalive = v.pipe(
  seconds('wanted a time like "60s"'),
  v.minValue(IO_LIMITS.linkKeepAliveSecondsMin, 'wanted at least 10s'),
  v.maxValue(IO_LIMITS.linkKeepAliveSecondsMax, 'wanted at most 20m'),
);
const target = v.pipe(
  v.string(),
  v.maxLength(LIMITS.urlMax),
  v.check((text) => targetOf(text) !== undefined, 'wanted HOST:PORT or [IPv6]:PORT'),
);
const agent = v.strictObject({
  keepalive: v.optional(keepalive),
  poll_every: v.optional(
    v.pipe(seconds('wanted a time like "5m"'), v.minValue(POLL_SECONDS_MIN, 'wanted at least 1s')),
  ),
  address: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => isIP(text) !== 0, 'wanted an address'),
    ),
  ),
  broker: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => /^mqtts?:/.test(text) && URL.canParse(text), 'wanted mqtts://HOST:PORT'),
    ),
  ),
  relay: v.optional(
    v.picklist(RELAY_POLICIES, `wanted ${RELAY_POLICIES.map((one) => `"${one}"`).join(', ')}`),
  ),
  stun: v.optional(
    v.pipe(
      v.array(target, 'wanted a list like ["stun.example:3478"]'),
      v.maxLength(IO_LIMITS.ownStunMax, `wanted at most ${IO_LIMITS.ownStunMax}`),
    ),
  ),
  socket_group: v.optional(v.pipe(v.string(), v.regex(GROUP_NAME, 'wanted the name of a group'))),
});
const command = v.pipe(
  v.string(),
  v.maxLength(COMMAND_MAX),
  v.check((text) => isAbsolute(text.trim()), 'wanted a command with an absolute path'),
  v.check((text) => !SHELL_WORDS.test(text), 'no shell runs it: put quotes, | and && in a script'),
);
const atOnce = v.optional(
  v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(AT_ONCE_MAX)),
  AT_ONCE_DEFAULT,
);
const answering = v.optional(v.strictObject({ command, at_once: atOnce }));

const table = v.strictObject({
  agent: v.optional(agent, {}),
  file: v.optional(
    v.strictObject({
      folder: v.optional(folder),
      file_max: v.optional(size),
      keep_free: v.optional(size),
      overwrite: v.optional(
        v.picklist(['number', 'replace', 'refuse'], 'wanted "number", "replace" or "refuse"'),
        'number',
      ),
    }),
    {},
  ),
  get: v.optional(v.strictObject({ folder: v.optional(folder) }), {}),
  run: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          name: v.pipe(v.string(), v.regex(HOOK_NAME, 'wanted a name of a-z, 0-9, . _ -')),
          command,
          at_once: atOnce,
        }),
        'wanted [[run]] in double brackets',
      ),
      v.maxLength(TABLES_MAX),
      v.check(
        (hooks) => new Set(hooks.map(({ name }) => name)).size === hooks.length,
        'wanted each name once',
      ),
    ),
    [],
  ),
  pipe: answering,
  live: answering,
  port: v.optional(
    v.pipe(
      v.array(v.strictObject({ port, to: target }), 'wanted [[port]] in double brackets'),
      v.maxLength(TABLES_MAX),
    ),
    [],
  ),
});

/** What `agent.toml` says; sizes in bytes. A file that is not there says nothing: the defaults. */
export type ServicesConfig = v.InferOutput<typeof table>;
/** What was read: settings, or a sentence for the owner. */
type ParsedConfig = { readonly config: ServicesConfig } | { readonly problem: string };

/** What holds where there is no `agent.toml`. */
export const DEFAULT_CONFIG: ServicesConfig = v.parse(table, {});

/** Reads the text of an `agent.toml`; never throws. */
export function parseConfig(text: string): ParsedConfig {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    const line = error instanceof TomlError ? `line ${error.line}: ` : '';
    return { problem: `${line}${errorMessage(error).split('\n')[0]}` };
  }
  const checked = v.safeParse(table, raw);
  if (checked.success) return { config: checked.output };
  const [issue] = checked.issues;
  const key = (issue.path ?? [])
    .map((step) => (typeof step.key === 'number' ? `number ${step.key + 1}` : String(step.key)))
    .join(' ');
  const isUnknown = issue.type === 'strict_object' && issue.expected === 'never';
  if (!isUnknown) return { problem: `${key}: ${issue.message}` };
  const last = String(issue.path?.at(-1)?.key);
  const place = Object.hasOwn(agent.entries, last) ? ' (it belongs under [agent])' : '';
  return { problem: `unknown key '${key}'${place}` };
}

/**
 * Makes a reader of one `agent.toml`, which looks at the file each time it is called, and parses
 * what has changed. `home`: the agent's, which no folder of a service may hold. Never throws.
 */
export function configReader(path: string, home?: string): () => ParsedConfig {
  let known: Uint8Array | undefined;
  let parsed: ParsedConfig = { config: DEFAULT_CONFIG };
  return () => {
    try {
      const bytes = readFileNow(path, IO_LIMITS.smallFileBytesMax);
      if (bytes === undefined) return { config: DEFAULT_CONFIG };
      if (known === undefined || !sameBytes(known, bytes)) {
        known = undefined;
        parsed = parseConfig(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
        known = bytes;
      }
      if ('problem' in parsed) return { problem: `${path}: ${parsed.problem}` };
      const table = home === undefined ? undefined : tableWith(home, parsed.config);
      if (table === undefined) return parsed;
      return { problem: `${path}: ${table} folder: it holds this terminal's keys and its list` };
    } catch (error) {
      const why = error instanceof TypeError ? `${path} is not UTF-8 text` : errorMessage(error);
      return { problem: why };
    }
  };
}

/** The table whose folder holds the home, wherever links lead; undefined: none does. */
function tableWith(home: string, { file, get }: ServicesConfig): string | undefined {
  const holds = (folder: string | undefined): boolean => {
    if (folder === undefined) return false;
    const way = relative(realPath(folder), realPath(home));
    return way !== '..' && !way.startsWith('../');
  };
  if (holds(file.folder)) return 'file';
  return holds(get.folder) ? 'get' : undefined;
}

/** What is not there yet holds nothing. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
