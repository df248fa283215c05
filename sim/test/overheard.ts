// A terminal whose whole talk with the servers can be read: its TCP connection to the broker leads
// through a recording proxy, and what passed there is taken apart into control messages again.

import type { Test } from 'tap';
import { RecordingProxy } from '../../cli/demo/recording-proxy.ts';
import type { Agent, AgentOptions } from '../../device/agent.ts';
import type { Session } from '../../device/shell/session.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import type { Kind, Message, MessageOf } from '../../protocol/control/messages.ts';
import { answerWithHash } from '../fleet/fleet.ts';
import type { Town } from '../fleet/town.ts';

const PUBLISH = 3;
const QOS_BITS = 0x06;

/** A running terminal, its home, and the wire between it and the broker. */
export interface Overheard {
  readonly agent: Agent;
  readonly home: string;
  readonly proxy: RecordingProxy;
  /** Talks that others asked of it; each stream in them is answered with its hash. */
  readonly incoming: readonly Session[];
}

/** Enrols and starts a terminal behind a proxy of its own. */
export async function overheard(
  t: Test,
  town: Town,
  options: {
    readonly name: string;
    readonly allowList: string;
    readonly agent?: Partial<AgentOptions>;
  },
): Promise<Overheard> {
  const proxy = await RecordingProxy.listen();
  t.teardown(() => proxy.close());
  proxy.leadTo('127.0.0.1', town.broker.port);
  const home = await town.enrol(options.name, options.allowList);
  const agent = await town.start(home, { ...options.agent, brokerUrl: proxy.url });
  const incoming: Session[] = [];
  agent.onIncoming((session) => {
    incoming.push(session);
    answerWithHash(session);
  });
  return { agent, home, proxy, incoming };
}

/** The messages of one kind in what was recorded; those inside a `call` count as well. */
export function messagesOf<K extends Kind>(
  recorded: readonly Buffer[],
  kind: K,
): readonly MessageOf<K>[] {
  return recorded
    .flatMap((bytes) => publishes(bytes))
    .flatMap((payload) => decodeMessage(payload) ?? [])
    .flatMap((message) =>
      message.kind === 'call' ? [message, decodeMessage(message.payload)] : [message],
    )
    .filter((message: Message | undefined): message is MessageOf<K> => message?.kind === kind);
}

/** Payloads of the whole PUBLISH packets of one direction of an MQTT 3.1.1 connection. */
function publishes(bytes: Buffer): readonly Buffer[] {
  const payloads: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    const head = bytes[at];
    let length = 0;
    let shift = 0;
    let next = at + 1;
    for (let more = true; more; shift += 7) {
      if (next >= bytes.length) return payloads;
      const byte = bytes[next++];
      length |= (byte & 0x7f) << shift;
      more = byte >= 0x80;
    }
    at = next + length;
    if (at > bytes.length) return payloads;
    if (head >> 4 !== PUBLISH) continue;
    const topicLength = bytes.readUInt16BE(next);
    const identifier = (head & QOS_BITS) === 0 ? 0 : 2;
    payloads.push(bytes.subarray(next + 2 + topicLength + identifier, at));
  }
  return payloads;
}
