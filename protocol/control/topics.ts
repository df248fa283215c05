// The topic grammar; no other file knows a slash (design §4). A topic is built from a proven ID and
// parsed by exact match, never by splitting what somebody sent.

import { DEVICE_ID_LENGTH, type DeviceId, isDeviceId, isManagerId } from '../ids.ts';

const ROOT = 'nakodo/1/';

/** A topic of one terminal, by what it carries. */
type TerminalTopic = 'address' | 'up' | 'allow-list' | 'trigger' | 'call' | 'down';

/** The topic of one terminal for one purpose; who may use which: `broker/rights.ts`. */
export const topic = (of: TerminalTopic, device: DeviceId): string => `${ROOT}${of}/${device}`;
/** broker → manager: what became of a trigger. */
export const triggerStateTopic = (device: DeviceId): string => `${ROOT}trigger/${device}/state`;
/** manager → broker. */
export const QUERY_TOPIC = `${ROOT}query`;
/** manager → broker: the revocation list. */
export const REVOKED_TOPIC = `${ROOT}revoked`;
/** broker → manager. */
export const answerTopic = (manager: string): string => `${ROOT}answer/${manager}`;

/** What the manager subscribes to, itself excepted (`answerTopic` is its own). */
export const MANAGER_FILTERS = [
  `${ROOT}up/+`,
  `${ROOT}allow-list/+`,
  `${ROOT}trigger/+/state`,
] as const;

const TERMINAL_TOPICS: readonly TerminalTopic[] = [
  'address',
  'up',
  'allow-list',
  'trigger',
  'call',
  'down',
];

/** A topic taken apart; everything that is none of ours is undefined instead. */
export type ParsedTopic =
  | { readonly of: TerminalTopic | 'trigger-state'; readonly device: DeviceId }
  | { readonly of: 'query' | 'revoked' }
  | { readonly of: 'answer'; readonly manager: string };

/** What a topic name is, or undefined for one that is not ours. */
export function parseTopic(name: string): ParsedTopic | undefined {
  if (name === QUERY_TOPIC) return { of: 'query' };
  if (name === REVOKED_TOPIC) return { of: 'revoked' };
  const answer = `${ROOT}answer/`;
  if (name.startsWith(answer)) {
    const manager = name.slice(answer.length);
    return isManagerId(manager) ? { of: 'answer', manager } : undefined;
  }
  for (const of of TERMINAL_TOPICS) {
    const prefix = `${ROOT}${of}/`;
    if (!name.startsWith(prefix)) continue;
    const device = name.slice(prefix.length, prefix.length + DEVICE_ID_LENGTH);
    const rest = name.slice(prefix.length + DEVICE_ID_LENGTH);
    if (!isDeviceId(device)) return undefined;
    if (rest === '') return { of, device };
    return of === 'trigger' && rest === '/state' ? { of: 'trigger-state', device } : undefined;
  }
  return undefined;
}
