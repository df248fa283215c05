// Who may publish, subscribe to and receive what (design §4): exact comparison with topics built
// from the proven ID, never a pattern, so that no identifier can widen a right. Everything that is
// not named here is refused: wildcards, `$SYS`, QoS 2, retained messages, other people's topics.

import {
  MANAGER_FILTERS,
  type ParsedTopic,
  QUERY_TOPIC,
  REVOKED_TOPIC,
  answerTopic,
  parseTopic,
  topic,
} from '../protocol/control/topics.ts';
import type { DeviceId, ManagerId } from '../protocol/ids.ts';

/** Who a connection belongs to, once proven. */
export type Party =
  | { readonly of: 'terminal'; readonly device: DeviceId }
  /** `client`: its MQTT client ID, see `managerClientId`. */
  | { readonly of: 'manager'; readonly client: ManagerId };

const QOS_MAX = 1;

/** Whether `party` may publish this: a terminal its own three topics, a manager its four. */
export function mayPublish(
  party: Party,
  packet: { readonly topic: string; readonly qos: number; readonly retain: boolean },
): boolean {
  if (packet.qos > QOS_MAX || packet.retain) return false;
  if (party.of === 'terminal') {
    return (
      packet.topic === topic('address', party.device) ||
      packet.topic === topic('up', party.device) ||
      packet.topic === topic('allow-list', party.device)
    );
  }
  if (packet.topic === QUERY_TOPIC || packet.topic === REVOKED_TOPIC) return true;
  const parsed = parseTopic(packet.topic);
  return parsed?.of === 'trigger' || parsed?.of === 'down';
}

/** Whether `party` may subscribe: a terminal its own two topics, a manager its filters. */
export function maySubscribe(
  party: Party,
  subscription: { readonly topic: string; readonly qos: number },
): boolean {
  if (subscription.qos > QOS_MAX) return false;
  const filter = subscription.topic;
  if (party.of === 'terminal') return isOwn(party.device, filter);
  return filter === answerTopic(party.client) || MANAGER_FILTERS.some((each) => each === filter);
}

/**
 * Whether a message on `name` may be forwarded to `party`; asked again at the moment of sending.
 * What the broker itself consumes (`forBroker`) goes to nobody.
 */
export function mayReceive(party: Party, name: string): boolean {
  if (party.of === 'terminal') return isOwn(party.device, name);
  if (name === answerTopic(party.client)) return true;
  const parsed = parseTopic(name);
  return parsed?.of === 'up' || parsed?.of === 'allow-list' || parsed?.of === 'trigger-state';
}

/** The topic of a message that the broker itself consumes; undefined for what it passes on. */
export function forBroker(name: string): ParsedTopic | undefined {
  const parsed = parseTopic(name);
  switch (parsed?.of) {
    case 'address':
    case 'trigger':
    case 'query':
    case 'revoked':
      return parsed;
    default:
      return undefined;
  }
}

const isOwn = (device: DeviceId, name: string): boolean =>
  name === topic('call', device) || name === topic('down', device);
