// Each invariant about what talks deliver and count fires when it is broken, by what a test makes
// happen; worlds in which it holds are in invariants-data-worlds.test.ts.

import t from 'tap';
import type { StreamId } from '../../protocol/data/connection-types.ts';
import { randomSessionId } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { type TalkStage, foundIn, talking } from './talk-stage.ts';

const STREAM = 0 as StreamId;

/** What is found after these things happened on a stage in mid-talk. */
const found = (run: (stage: TalkStage) => void): string | undefined => {
  const stage = talking();
  return foundIn(() => run(stage));
};

t.test('claim 7: what is written is read, in pieces of any size, to its end', async (t) => {
  const says = found((stage) => {
    stage.bytes('caller', 'wrote', 'one two ');
    stage.bytes('caller', 'wrote', 'three');
    stage.bytes('callee', 'read', 'one');
    stage.bytes('callee', 'read', ' two thr');
    stage.bytes('callee', 'read', 'ee');
    stage.stream('caller', 'finished');
    stage.stream('callee', 'readEnd');
    stage.message('callee', 'messageSent', 'a message');
    stage.message('caller', 'messageRead', 'a message');
    stage.says('caller', { kind: 'delivered', stream: STREAM });
    stage.ends('caller', 'done', { sentBytes: 13, receivedBytes: 9 });
    stage.ends('callee', 'done', { sentBytes: 9, receivedBytes: 13 });
  });
  t.equal(says, undefined);
});

const BROKEN: Readonly<Record<string, readonly [RegExp, (stage: TalkStage) => void]>> = {
  'a byte altered': [
    /is altered/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one two');
      stage.bytes('callee', 'read', 'one');
      stage.bytes('callee', 'read', ' twO');
    },
  ],
  'bytes twice': [
    /more bytes than were written/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.bytes('callee', 'read', 'one');
      stage.bytes('callee', 'read', 'one');
    },
  ],
  'bytes out of order': [
    /is altered/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one two');
      stage.bytes('callee', 'read', ' two');
    },
  ],
  'bytes of its own direction': [
    /more bytes than were written/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.bytes('caller', 'read', 'one');
    },
  ],
  'an end that was not finished': [
    /was not finished/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.bytes('callee', 'read', 'one');
      stage.stream('callee', 'readEnd');
    },
  ],
  'an end before everything': [
    /ends after 2 of 3 bytes/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.bytes('callee', 'read', 'on');
      stage.stream('caller', 'finished');
      stage.stream('callee', 'readEnd');
    },
  ],
  'bytes after a stop': [
    /after its reader stopped it/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.stream('callee', 'stopSent');
      stage.bytes('callee', 'read', 'one');
    },
  ],
  'a reset by nobody': [
    /reset by nobody/,
    (stage) => stage.says('callee', { kind: 'reset', stream: STREAM, code: 1 }),
  ],
  'a stop by nobody': [
    /has no stopper/,
    (stage) => stage.says('caller', { kind: 'stopped', stream: STREAM, code: 1 }),
  ],
  'a message twice': [
    /came twice/,
    (stage) => {
      stage.message('caller', 'messageSent', 'a message');
      stage.message('callee', 'messageRead', 'a message');
      stage.message('callee', 'messageRead', 'a message');
    },
  ],
  'a message altered': [
    /is altered/,
    (stage) => {
      stage.message('caller', 'messageSent', 'a message');
      stage.message('callee', 'messageRead', 'a massage');
    },
  ],
  'bytes received after the end': [
    /reads what came after its end/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one two');
      stage.bytes('callee', 'read', 'one');
      stage.ends('callee', 'local', { receivedBytes: 4 });
      stage.bytes('callee', 'read', ' two');
    },
  ],
  'delivery that the other end does not count': [
    /count as delivered, 2 were received/,
    (stage) => {
      stage.bytes('caller', 'wrote', 'one');
      stage.stream('caller', 'finished');
      stage.says('caller', { kind: 'delivered', stream: STREAM });
      stage.ends('callee', 'local', { receivedBytes: 2 });
    },
  ],
};

for (const [name, [says, run]] of Object.entries(BROKEN)) {
  t.test(`claim 7: ${name} is found`, async (t) => {
    t.match(found(run), /^streams: /);
    t.match(found(run), says);
  });
}

t.test('claim 7: what is written in one talk is not read in another', async (t) => {
  const stage = talking();
  stage.bytes('caller', 'wrote', 'one');
  const other = randomSessionId(seededRng(8));
  t.match(
    foundIn(() => stage.bytes('callee', 'read', 'one', other)),
    /^talks: .* without a notice/,
  );
  const says = foundIn(() => stage.bytes('caller', 'read', 'one'));
  t.match(says, /^streams: stream 0 to the caller/);
});

t.test('claim 7: a stream that holds more than its windows is found', async (t) => {
  const stage = talking({}, { 'work.window': 65_536 });
  const chunk = 'x'.repeat(200_000);
  t.equal(
    foundIn(() => stage.bytes('caller', 'wrote', chunk)),
    undefined,
  );
  t.match(
    foundIn(() => {
      stage.bytes('caller', 'wrote', chunk);
      stage.bytes('caller', 'wrote', chunk);
    }),
    /^memory: /,
  );
});

t.test('S5007: what nobody sent is not received, and done means that all arrived', async (t) => {
  const lost = talking();
  lost.ends('caller', 'done', { sentBytes: 100, lostBytes: 20 });
  t.equal(
    foundIn(() => lost.ends('callee', 'done', { receivedBytes: 80 })),
    undefined,
  );
  const missing = talking();
  missing.ends('caller', 'done', { sentBytes: 100, lostBytes: 20 });
  t.match(
    foundIn(() => missing.ends('callee', 'done', { receivedBytes: 79 })),
    /^counts: /,
  );
  const invented = talking();
  invented.ends('caller', 'local', { sentBytes: 100 });
  t.match(
    foundIn(() => invented.ends('callee', 'local', { receivedBytes: 101 })),
    /^counts: .* received 101 bytes of 100/,
  );
  t.match(
    foundIn(() => talking().ends('caller', 'local', { sentBytes: 1, lostBytes: 2 })),
    /^counts: /,
  );
});

t.test('claim 1: a talk has two ends, each of them once', async (t) => {
  const stage = talking();
  const [, , third] = stage.world.terminals;
  const happen = (): void =>
    stage.world.happen({
      kind: 'event',
      terminal: third,
      event: {
        kind: 'introduced',
        session: stage.session,
        call: undefined,
        peer: stage.caller.identity,
        service: 'pipe',
        terms: { seconds: 10, bytes: undefined },
      },
    });
  t.match(foundIn(happen), /^talks: .* both are the callee/);
});

t.test('S5007: a talk does not go on in the next process', async (t) => {
  const stage = talking();
  stage.world.happen({ kind: 'killed', terminal: stage.caller });
  t.match(
    foundIn(() => stage.sends('caller', stage.datagram('caller'))),
    /^talks: .* after a restart/,
  );
});
