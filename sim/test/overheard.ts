// A terminal whose whole talk with the servers can be read. Two ears: a proxy that has the broker's
// own TLS key, and so hears what a broker hears, sealed messages as they are sealed; and the
// terminal's own cryptography, which notes the messages that it opens and seals.

import type { Test } from 'tap';
import { RecordingProxy } from '../../cli/demo/recording-proxy.ts';
import type { Agent, AgentOptions } from '../../device/agent.ts';
import type { Session } from '../../device/shell/session.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import type { Kind, Message, MessageOf } from '../../protocol/control/messages.ts';
import type { AeadKey, CryptoSuite } from '../../protocol/crypto.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { answerWithHash } from '../fleet/fleet.ts';
import type { Town } from '../fleet/town.ts';

const PUBLISH = 3;
const QOS_BITS = 0x06;
const TAG_BYTES = 16;

/** A running terminal, its home, and everything that passed between it and the servers. */
export interface Overheard {
  readonly agent: Agent;
  readonly home: string;
  /** Between the terminal and the broker; hears what the broker hears. */
  readonly proxy: RecordingProxy;
  /** Control messages in plaintext that the terminal's own keys opened, and that they sealed. */
  readonly opened: readonly Buffer[];
  readonly sealed: readonly Buffer[];
  /** Talks that others asked of it; each stream in them is answered with its hash. */
  readonly incoming: readonly Session[];
  /** The messages of one kind that it was told, sealed or not; those inside a `call` as well. */
  readonly told: <K extends Kind>(kind: K) => readonly MessageOf<K>[];
  /** The messages of one kind that it said. */
  readonly said: <K extends Kind>(kind: K) => readonly MessageOf<K>[];
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
  const proxy = await RecordingProxy.listen(town.tls);
  t.teardown(() => proxy.close());
  proxy.leadTo('127.0.0.1', town.broker.port);
  const home = await town.enrol(options.name, options.allowList);
  const opened: Buffer[] = [];
  const sealed: Buffer[] = [];
  const suite = listening(noteIn(opened), noteIn(sealed));
  const agent = await town.start(home, { ...options.agent, suite, brokerUrl: proxy.url });
  const incoming: Session[] = [];
  agent.onIncoming((session) => {
    incoming.push(session);
    answerWithHash(session);
  });
  return {
    agent,
    home,
    proxy,
    opened,
    sealed,
    incoming,
    told: (kind) => messagesOf([...plain(proxy.received()), ...opened], kind),
    said: (kind) => messagesOf([...plain(proxy.sent()), ...sealed], kind),
  };
}

/**
 * node:crypto, whose user is told of all that it opened, or is about to seal; the
 * bytes are borrowed.
 */
export function listening(
  onOpened: (message: Uint8Array) => void,
  onSealed: (message: Uint8Array) => void,
): CryptoSuite {
  const importKey = (bytes: Uint8Array): AeadKey => {
    const key = nodeSuite.aead.importKey(bytes);
    return {
      seal(nonce, aad, buffer, start, length) {
        onSealed(buffer.subarray(start, start + length));
        key.seal(nonce, aad, buffer, start, length);
      },
      open(nonce, aad, buffer, start, length) {
        const isOpen = key.open(nonce, aad, buffer, start, length);
        if (isOpen) onOpened(buffer.subarray(start, start + length - TAG_BYTES));
        return isOpen;
      },
    };
  };
  return { ...nodeSuite, aead: { name: nodeSuite.aead.name, importKey } };
}

/** Keeps control messages; what the data plane protects is none. */
const noteIn =
  (into: Buffer[]) =>
  (bytes: Uint8Array): void => {
    if (decodeMessage(bytes) !== undefined) into.push(Buffer.from(bytes));
  };

function messagesOf<K extends Kind>(payloads: readonly Buffer[], kind: K): readonly MessageOf<K>[] {
  return payloads
    .flatMap((payload) => decodeMessage(payload) ?? [])
    .flatMap((message) =>
      message.kind === 'call' ? [message, decodeMessage(message.payload)] : [message],
    )
    .filter((message: Message | undefined): message is MessageOf<K> => message?.kind === kind);
}

/**
 * How many bytes of `recorded` belong to `address`: each place where its 4 raw bytes stand (as a
 * candidate carries them) counts 4, each place where its dotted text stands counts its length.
 */
export function addressBytes(recorded: readonly Buffer[], address: string): number {
  const raw = Buffer.from(address.split('.').map(Number));
  const text = Buffer.from(address);
  return 4 * places(recorded, raw) + text.length * places(recorded, text);
}

/** At how many places a pattern stands in what was recorded. */
export function places(recorded: readonly Buffer[], pattern: Buffer): number {
  let count = 0;
  for (const bytes of recorded) {
    for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) count += 1;
  }
  return count;
}

/** Payloads of the PUBLISH packets of all connections, one direction. */
const plain = (recorded: readonly Buffer[]): readonly Buffer[] =>
  recorded.flatMap((bytes) => publishes(bytes));

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
