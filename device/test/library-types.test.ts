// The library's types do not lie: what must compile compiles here, and each @ts-expect-error is an
// error, or the build fails. Imported as applications do, by the package's name.

import { EventEmitter } from 'node:events';
import t from 'tap';
import * as library from 'nakodo';
import { NakodoError } from 'nakodo';
import type { Agent, EndReason, Session, SessionEnd, SessionEvents, TalkStream } from 'nakodo';

/** Never run: the compiler reads it. */
export async function compiled(agent: Agent, session: Session): Promise<void> {
  session.on('datagram', (message) => message.subarray(1));
  session.on('stream', (stream) => stream.parameters.length);
  session.once('end', ({ reason, counts }) => void [reason, counts.sentBytes + 1]);
  session.on('expiryNear', (by: 'time' | 'bytes') => by);
  session.on('extended', ({ seconds }) => seconds + 1);
  // @ts-expect-error no such event
  session.on('data', () => {});
  // @ts-expect-error a message is bytes
  session.on('datagram', (message: string) => message);
  // @ts-expect-error a refusal tells nothing
  session.on('extensionRefused', (why: string) => why);
  // @ts-expect-error what was agreed is not ours to change
  session.info.seconds = 60;
  // @ts-expect-error parameters are bytes
  session.openStream('echo', 'hello');
  // @ts-expect-error a message is bytes
  session.sendDatagram('hello');
  // @ts-expect-error a user ends a talk as done or local, nothing else
  session.finish('quota');
  // @ts-expect-error undefined when the talk is over
  void session.state.counts;
  for await (const stream of session) {
    const each: TalkStream = stream;
    each.end();
    // @ts-expect-error no array
    void stream.length;
  }
  for await (const message of session.datagrams()) message satisfies Uint8Array;
  for await (const incoming of agent.sessions()) incoming satisfies Session;
  const end: SessionEnd = await session.close();
  const reason: EndReason = end.reason;
  // @ts-expect-error no such reason
  void (reason === 'bored');
  // @ts-expect-error a callee is needed
  await agent.call({ service: 'echo' });
  // @ts-expect-error a class of types only: the agent makes sessions
  void Object.keys(library satisfies { Session: unknown });
}

t.test('the library is what its one entry exports, no more', async (t) => {
  t.strictSame(Object.keys(library).sort(), ['Agent', 'EXIT', 'NakodoError', 'createLog']);
  t.ok(new NakodoError('code', 'what', 'next') instanceof Error);
  const events: (keyof SessionEvents)[] = ['established', 'stream', 'datagram', 'path', 'end'];
  const emitter = new EventEmitter<SessionEvents>();
  for (const name of events) emitter.on(name, () => {});
  t.strictSame(emitter.eventNames(), events);
});
