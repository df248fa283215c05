// Sessions and their streams over real UDP, without servers: what a service relies on. Streams in
// depth: streams.test.ts; messages, loops and events: session-api.test.ts.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import { nextStream, talk } from './session-pair.ts';

t.test('S1005: streams work with pipeline, both ways, and keep their parameters', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const content = randomBytes(2_000_000);
  const incoming = nextStream(callee);
  const stream = caller.openStream('test', Buffer.from('hello'));
  const { stream: far, parameters } = await incoming;
  t.equal(Buffer.from(parameters).toString(), 'hello');
  const echoing = pipeline(far, far);
  const hash = createHash('sha256');
  await Promise.all([
    pipeline([content], stream),
    (async () => {
      for await (const chunk of stream) hash.update(chunk as Buffer);
    })(),
    echoing,
  ]);
  t.equal(hash.digest('hex'), createHash('sha256').update(content).digest('hex'));
  caller.finish('done');
  const [ours, theirs] = await Promise.all([caller.ended, callee.ended]);
  t.equal(ours.reason, 'done');
  t.equal(theirs.reason, 'done');
  t.equal(ours.counts.sentBytes, theirs.counts.receivedBytes);
  t.equal(ours.counts.receivedBytes, content.length);
});

t.test('S4005: a stream without a handler, or of another service, is refused', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const refused = caller.openStream();
  const [error] = (await once(refused, 'error')) as [{ code: string }];
  t.equal(error.code, 'stream-refused');
  t.equal(callee.onStream, undefined);
  t.throws(() => caller.openStream('test', new Uint8Array(5_000)), { code: 'parameters-too-long' });
  t.throws(() => caller.openStream('other'), { code: 'other-service' });
  const incoming = nextStream(callee);
  caller.openStream().end('x');
  const { stream } = await incoming;
  t.equal(Buffer.concat((await stream.toArray()) as Buffer[]).toString(), 'x', 'control');
});

t.test('S4006: a stream that its reader destroys fails at its writer', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const incoming = nextStream(callee);
  const stream = caller.openStream();
  stream.write('x');
  const { stream: far } = await incoming;
  far.destroy();
  const [error] = (await once(stream, 'error')) as [{ code: string }];
  t.equal(error.code, 'stream-reset');
  t.ok(stream.destroyed);
});

t.test('claim 3: at the limit what was delivered is read, what was not fails', async (t) => {
  const quota = 200_000;
  const { caller, callee } = await talk(t, { seconds: 60, bytes: quota });
  const incoming = nextStream(callee);
  const stream = caller.openStream();
  const writing = pipeline([randomBytes(400_000)], stream);
  const failed = t.rejects(writing, { code: 'quota' });
  const { stream: far } = await incoming;
  const [, ended] = await Promise.all([caller.ended, callee.ended]);
  t.equal(ended.reason, 'quota');
  t.equal(ended.counts.receivedBytes, quota);
  // The opening was metered as well; all that arrived lies ready though the talk is over.
  const left = far.readableLength;
  t.ok(left > 0 && left <= quota);
  await failed;
  t.throws(() => caller.openStream(), { code: 'quota' });
});
