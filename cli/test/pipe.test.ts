// `pipe` on real sockets: bytes both ways, half-closed, at the pace of the slower end; commands of
// the owner's that answer; nobody who does; live messages.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t from 'tap';
import { LIVE_FRAME_BYTES } from '../../device/services/live-talk.ts';
import { errorCode } from '../../protocol/errors.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { type OpenPipe, acceptPipe, joinLivePipe, joinPipe } from '../pipe.ts';
import { CommandTalk, type TalkWish } from '../talk.ts';
import { folder } from './program.ts';
import { servedPair } from './served-pair.ts';

type Pair = Awaited<ReturnType<typeof servedPair>>;

/** Calls, and has one stream. */
async function called(pair: Pair, wish: Partial<TalkWish> = {}): Promise<OpenPipe> {
  const options = { home: pair.callerHome };
  const talk = await CommandTalk.begin({ to: 'TERM3', service: 'pipe', ...wish }, options);
  return { talk, stream: await talk.openStream() };
}

/** A command at TERM3 that waits; resolves when the agent knows it. */
async function accepting(pair: Pair, service = 'pipe'): Promise<{ taken: Promise<OpenPipe> }> {
  let onKnown = (): void => {};
  const known = new Promise<void>((resolve) => (onKnown = resolve));
  const onEvent = ({ event }: { event: string }): void => {
    if (event === 'accepting') onKnown();
  };
  const taken = acceptPipe({ service, from: 'TERM1' }, { home: pair.calleeHome, onEvent });
  taken.catch(() => {});
  await known;
  return { taken };
}

/** What comes out of one end while something goes in. */
function ends(source: Readable): { source: Readable; sink: PassThrough; out: Promise<Buffer> } {
  const sink = new PassThrough();
  return { source, sink, out: buffer(sink) };
}

t.test('S1005: both directions carry bytes as they are, and each ends by itself', async (t) => {
  const pair = await servedPair(t);
  const { taken } = await accepting(pair);
  const there = randomBytes(2_000_000);
  const back = randomBytes(700_000);
  const caller = ends(Readable.from([there.subarray(0, 1), there.subarray(1)]));
  const calling = await called(pair);
  const late = new PassThrough();
  const callee = ends(late);
  const callerJoined = joinPipe(calling, caller);
  const calleeJoined = taken.then((pipe) => joinPipe(pipe, callee));
  // The callee answers only when the caller's direction is over: half-closed.
  void once(callee.sink, 'data').then(() => late.end(back));
  await Promise.all([callerJoined, calleeJoined]);
  caller.sink.end();
  callee.sink.end();
  t.ok((await callee.out).equals(there));
  t.ok((await caller.out).equals(back));
  t.match(await calling.talk.done(), { reason: 'done' });
  t.match(await (await taken).talk.done(), { reason: 'done' });
});

t.test('a reader that stops holds the writer at the other end', async (t) => {
  const pair = await servedPair(t);
  const { taken } = await accepting(pair);
  const calling = await called(pair);
  let written = 0;
  const source = new Readable({
    read() {
      written += 60_000;
      this.push(Buffer.alloc(60_000));
    },
  });
  const joined = joinPipe(calling, { source, sink: new PassThrough() });
  const slow = new PassThrough();
  const accepted = await taken;
  const calleeJoined = joinPipe(accepted, { source: new PassThrough(), sink: slow });
  const stands = await untilStill(() => written);
  t.ok(stands < 12_000_000, `${stands} bytes are on their way`);
  slow.resume();
  await until(() => written > stands + 5_000_000, 'it goes on when the reader does');
  accepted.talk.giveUp();
  t.equal(await joined.catch(errorCode), 'pipe-closed');
  t.equal(await calleeJoined.catch(errorCode), 'pipe-closed');
});

t.test('nobody accepts, somebody else is waited for, a caller who says nothing', async (t) => {
  const pair = await servedPair(t);
  const alone = await called(pair);
  const refused = joinPipe(alone, ends(new PassThrough()));
  t.match(await refused.catch((error: unknown) => error), {
    code: 'nobody-accepts',
    next: /nakodo pipe --accept/,
  });
  alone.talk.giveUp();
  const { taken } = await accepting(pair);
  const options = { home: pair.callerHome };
  const silent = await CommandTalk.begin({ to: 'TERM3', service: 'pipe' }, options);
  await silent.done();
  t.equal(await taken.catch(errorCode), 'peer-left');
  const second = acceptPipe({ service: 'pipe', from: 'TERM9' }, { home: pair.calleeHome });
  second.catch(() => {});
  const again = await called(pair);
  const joined = joinPipe(again, ends(new PassThrough()));
  t.equal(await joined.catch(errorCode), 'nobody-accepts', 'TERM9 is waited for, not TERM1');
  again.talk.giveUp();
});

t.test('S5007: a limit is the error of a pipe, a terminal ends with its peer', async (t) => {
  const pair = await servedPair(t);
  const { taken } = await accepting(pair);
  const calling = await called(pair, { bytes: 100_000, extend: false });
  const accepted = taken.then((pipe) => joinPipe(pipe, ends(new PassThrough())));
  accepted.catch(() => {});
  const joined = joinPipe(calling, ends(Readable.from([Buffer.alloc(300_000)])));
  t.match(await joined.catch((error: unknown) => error), { code: 'quota', exit: 4 });
  t.equal(await accepted.catch(errorCode), 'quota');
  const next = await accepting(pair);
  const typed = Object.assign(new PassThrough(), { isTTY: true });
  const callee = next.taken.then((pipe) =>
    joinPipe(pipe, { source: typed, sink: ends(typed).sink }),
  );
  const ended = await called(pair);
  await joinPipe(ended, ends(Readable.from(['bye'])));
  await callee;
  t.ok(typed.destroyed, 'nobody has to type ^D');
  await ended.talk.done();
});

t.test(
  'a command of the owner answers; it ends with the talk, the talk ends with it',
  async (t) => {
    const settings = '[pipe]\ncommand = "/bin/cat"\nat_once = 1\n';
    const pair = await servedPair(t, { settings, services: ['pipe'] });
    const first = await called(pair);
    const content = randomBytes(500_000);
    const caller = ends(Readable.from([content]));
    await joinPipe(first, caller);
    caller.sink.end();
    t.ok((await caller.out).equals(content));
    t.match(await first.talk.done(), { reason: 'done' });
    const holding = await called(pair);
    holding.stream.write('x');
    await once(holding.stream, 'data');
    const busy = await called(pair);
    const refused = joinPipe(busy, ends(Readable.from(['x'])));
    t.equal(await refused.catch(errorCode), 'nobody-accepts', 'one at once');
    busy.talk.giveUp();
    holding.talk.giveUp();
  },
);

t.test('a command that ends early, or badly, closes the pipe', async (t) => {
  const settings = '[pipe]\ncommand = "/usr/bin/head -c 3"\n';
  const pair = await servedPair(t, { settings, services: ['pipe'] });
  const endless = new Readable({ read: () => endless.push(Buffer.alloc(9_000, 'x')) });
  const first = await called(pair);
  const out = ends(endless);
  t.equal(await joinPipe(first, out).catch(errorCode), 'pipe-closed');
  out.sink.end();
  t.equal((await out.out).toString(), 'xxx', 'what it had to say came');
  writeFileSync(join(pair.calleeHome, 'agent.toml'), '[pipe]\ncommand = "/usr/bin/false"\n');
  const second = await called(pair);
  t.equal(await joinPipe(second, ends(new PassThrough())).catch(errorCode), 'pipe-closed');
  second.talk.giveUp();
});

t.test('live messages come in order, both ways, and are counted', async (t) => {
  const pair = await servedPair(t);
  const { taken } = await accepting(pair, 'live');
  const calling = await called(pair, { service: 'live' });
  const options = { frameBytes: 640, jitterMs: 20 };
  const content = randomBytes(640 * 20 + 100);
  const caller = ends(Readable.from([content.subarray(0, 1_000), content.subarray(1_000)]));
  const callee = ends(Readable.from([Buffer.from('beep')]));
  const accepted = taken.then((pipe) => joinLivePipe(pipe, callee, options));
  const sent = await joinLivePipe(calling, caller, options);
  t.match(sent, { sentMessages: 21, receivedMessages: 1, lostMessages: 0 });
  t.match(await accepted, { sentMessages: 1, receivedMessages: 21, lostMessages: 0 });
  for (const { sink } of [caller, callee]) sink.end();
  t.ok((await callee.out).equals(content));
  t.equal((await caller.out).toString(), 'beep');
  const { maxMessageBytes } = calling.talk.open;
  t.ok(LIVE_FRAME_BYTES + 4 <= maxMessageBytes);
  const tooLong = joinLivePipe(calling, ends(Readable.from([])), {
    frameBytes: 65_000,
    jitterMs: 0,
  });
  t.equal(await tooLong.catch(errorCode), 'frame-too-long');
  await calling.talk.done();
  const alone = await called(pair, { service: 'live' });
  const nobody = joinLivePipe(alone, ends(new PassThrough()), options);
  t.match(await nobody.catch((error: unknown) => error), {
    code: 'nobody-accepts',
    next: /pipe --live --accept/,
  });
  alone.talk.giveUp();
});

t.test('a flood that no path carries is thinned, not kept, and the losses are known', async (t) => {
  const pair = await servedPair(t);
  const { taken } = await accepting(pair, 'live');
  const calling = await called(pair, { service: 'live' });
  const options = { frameBytes: 1_000, jitterMs: 0 };
  const caller = ends(Readable.from([Buffer.alloc(4_000_000)]));
  const callee = ends(Readable.from([]));
  const accepted = taken.then((pipe) => joinLivePipe(pipe, callee, options));
  await joinLivePipe(calling, caller, options);
  const counts = await accepted;
  callee.sink.end();
  t.equal(counts.receivedMessages + counts.lostMessages, 4_000);
  t.ok(counts.lostMessages > 0, `${counts.lostMessages} of 4000`);
  t.equal((await callee.out).length, counts.receivedMessages * 1_000);
  await calling.talk.done();
});

t.test('a camera of the owner answers a live talk', async (t) => {
  const camera = join(folder(t), 'camera');
  writeFileSync(camera, '#!/bin/sh\nhead -c 5000 /dev/zero\ncat >/dev/null\n', { mode: 0o755 });
  const settings = `[live]\ncommand = "${camera}"\n`;
  const pair = await servedPair(t, { settings, services: ['live'] });
  const calling = await called(pair, { service: 'live' });
  const caller = ends(Readable.from([]));
  const counts = await joinLivePipe(calling, caller, { frameBytes: 640, jitterMs: 20 });
  t.match(counts, { sentMessages: 0, receivedMessages: 5, lostMessages: 0 });
  caller.sink.end();
  t.equal((await caller.out).length, 5_000);
  t.match(await calling.talk.done(), { reason: 'done' });
});
