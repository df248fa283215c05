// What the tests of the terminal do again and again: set two terminals up, have them introduced,
// send bytes from one to the other, and pick from what came out of them.

import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import { type Request, signRequest } from '../../protocol/consent/statements.ts';
import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import type { ConnectionEvent } from '../../protocol/data/connection-types.ts';
import type { Name, SessionId } from '../../protocol/ids.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { TerminalEvent } from '../terminal-types.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

/** The events of one kind. */
export function eventsOf<K extends TerminalEvent['kind']>(
  node: Node,
  kind: K,
): Extract<TerminalEvent, { kind: K }>[] {
  return node.events.filter(
    (event): event is Extract<TerminalEvent, { kind: K }> => event.kind === kind,
  );
}

/** The messages of one kind that a terminal published. */
export function sentOf<K extends Message['kind']>(node: Node, kind: K): MessageOf<K>[] {
  return node.sent.filter((message): message is MessageOf<K> => message.kind === kind);
}

/** TERM1, and TERM3 that allows it. */
export function two(
  world = new World(),
  entry: Partial<AllowEntry> = {},
): { world: World; caller: Node; callee: Node } {
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', { list: [{ action: 'allow', pattern: 'TERM1', ...entry }] });
  return { world, caller, callee };
}

/** The two, talking. */
export function introduced(
  call: Parameters<World['call']>[2] = {},
  entry: Partial<AllowEntry> = {},
): ReturnType<typeof two> & { session: SessionId } {
  const all = two(new World(), entry);
  all.world.call(all.caller, 'TERM3', call);
  const isOpen = (node: Node): boolean => talkEvents(node, 'established').length > 0;
  if (!all.world.run(2, () => isOpen(all.caller) && isOpen(all.callee))) throw new Error('no talk');
  const [{ session }] = eventsOf(all.caller, 'introduced');
  return { ...all, session };
}

/** A communication request of a caller for TERM3, signed by the caller. */
export function question(
  world: World,
  caller: Node,
  changes: Partial<Request> = {},
): MessageOf<'ask'> {
  const { id: callerId, name: callerName, keys: callerKeys } = caller;
  const request = randomRequestId(world.rng);
  const asked: Request = {
    nonce: randomRequestId(world.rng),
    callerId,
    callerName,
    calleeName: 'TERM3' as Name,
    service: 'pipe',
    want: {},
    ...changes,
  };
  const { calleeName: _, ...told } = asked;
  const signature = signRequest(caller.signing, asked);
  return { kind: 'ask', request, ...told, callerKeys, signature, waitMs: LIMITS.waitMsDefault };
}

/** What the connections of a terminal said. */
export function talkEvents<K extends ConnectionEvent['kind']>(
  node: Node,
  kind: K,
): Extract<ConnectionEvent, { kind: K }>[] {
  return eventsOf(node, 'talk')
    .map(({ event }) => event)
    .filter((event): event is Extract<ConnectionEvent, { kind: K }> => event.kind === kind);
}

/** Writes on a new stream at one end and reads all of it at the other. */
export function exchange(
  world: World,
  from: Node,
  to: Node,
  session: SessionId,
  bytes: Uint8Array,
): Uint8Array {
  const sender = from.terminal.talk(session);
  const receiver = to.terminal.talk(session);
  const stream = sender?.openStream();
  if (sender === undefined || receiver === undefined || stream === undefined) {
    throw new Error('there is no talk');
  }
  sender.write(stream, bytes);
  sender.finish(stream);
  const into = new Uint8Array(bytes.length + 1);
  let length = 0;
  world.run(5, () => {
    if (!talkEvents(to, 'stream').some((event) => event.stream === stream)) return false;
    const read = receiver.read(stream, into.subarray(length));
    if (read > 0) length += read;
    return read < 0;
  });
  return into.slice(0, length);
}
