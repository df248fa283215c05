// What `[agent]` in agent.toml said when the agent started, beside what the file says now: the
// agent reads it once, and nobody shall believe that a change of it holds already. An agent whose
// settings cannot be read must not tell an address that its owner may have wanted to be told to
// nobody: until they are mended it goes through a relay only.

import type { RelayPolicy } from '../../protocol/address.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { formatDuration } from '../../protocol/units.ts';
import { DEFAULT_CONFIG, type ServicesConfig } from './config.ts';

type AgentSettings = ServicesConfig['agent'];
type Key = keyof AgentSettings;

/** What set the relay policy: an option, the file, nobody, or that the file is unreadable. */
export type RelaySource = 'option' | 'settings' | 'default' | 'unreadable';

/** What a running agent took from its settings. */
export interface AgentAtStart {
  /** As `[agent]` said, or what holds where it could not be read. */
  readonly settings: AgentSettings;
  readonly isReadable: boolean;
  /** What options of the command line stand in for. */
  readonly overridden: ReadonlySet<Key>;
}

/** What an agent without readable settings says at its start. */
export const RELAY_ONLY_WORDS =
  'settings unreadable: until they are mended and the agent is restarted, this terminal goes ' +
  'through a relay only';

const KEYS: readonly Key[] = [
  'relay',
  'address',
  'stun',
  'broker',
  'keepalive',
  'poll_every',
  'socket_group',
];

/** The settings to start with; `read` undefined: they could not be read. */
export function agentAtStart(
  read: AgentSettings | undefined,
  overridden: ReadonlySet<Key>,
): AgentAtStart {
  const settings = read ?? { ...DEFAULT_CONFIG.agent, relay: 'only' };
  return { settings, isReadable: read !== undefined, overridden };
}

/** Whether it goes through a relay only since nobody knows what its owner wants. */
export function isRelayOnlyUnread({ isReadable, overridden }: AgentAtStart): boolean {
  return !isReadable && !overridden.has('relay');
}

/** Who decided about the relay. */
export function relaySource({ settings, isReadable, overridden }: AgentAtStart): RelaySource {
  if (overridden.has('relay')) return 'option';
  if (!isReadable) return 'unreadable';
  return settings.relay === undefined ? 'default' : 'settings';
}

/**
 * What the file says otherwise than the running agent does, in a sentence for its owner; undefined:
 * nothing that a restart would change. A broker is not named: its URL may hold a password.
 */
export function settingsDrift(
  now: AgentSettings,
  { settings, overridden }: AgentAtStart,
): string | undefined {
  const differ = KEYS.filter(
    (key) => !overridden.has(key) && valueWords(key, now) !== valueWords(key, settings),
  );
  if (differ.length === 0) return undefined;
  const each = differ.map((key) => {
    if (key === 'broker') return 'broker is another one in agent.toml than in the running agent';
    const [inFile, running] = [now, settings].map((of) => valueWords(key, of));
    return `${key} is ${inFile} in agent.toml, ${running} in the running agent`;
  });
  return `[agent] ${each.join('; ')}: restart it`;
}

function valueWords(key: Key, settings: AgentSettings): string {
  const value = settings[key] ?? USUAL[key];
  if (value === undefined) return 'not set';
  return typeof value === 'number' ? formatDuration(value * MS_PER_SECOND) : JSON.stringify(value);
}

const RELAY_USUAL: RelayPolicy = 'if-needed';
/** What holds where the file says nothing: saying it is no change. */
const USUAL: Partial<AgentSettings> = {
  relay: RELAY_USUAL,
  stun: [],
  keepalive: IO_LIMITS.linkKeepAliveSeconds,
};
