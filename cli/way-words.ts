// The words of ways that several commands say: which one a talk took when it opened, what an owner
// lets a relay do, and who decided it.

import type { RelaySource } from '../device/services/agent-settings.ts';
import { wayWords } from '../device/shell/way.ts';
import type { RelayPolicy } from '../protocol/address.ts';
import type { OpenTalk } from './talk.ts';

const SOURCES: Readonly<Record<RelaySource, string>> = {
  option: 'by --relay',
  settings: 'by agent.toml',
  default: 'as usual',
  unreadable: 'its settings are unreadable',
};

/** `only (by --relay)`; without `by` for an agent that does not say. */
export function relayPolicyWords(policy: RelayPolicy, by: RelaySource | undefined): string {
  return by === undefined ? policy : `${policy} (${SOURCES[by]})`;
}

/** Which way a talk took when it opened, as `nakodo status` says it. */
export function openWayWords({ way, path, relayAt }: OpenTalk): string {
  return wayWords({ class: way, path, meeting: { tried: 0, relayAt } });
}
