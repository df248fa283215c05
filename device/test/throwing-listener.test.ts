// An error in a listener of the application: the agent's loop goes on, and the error is told as
// Node tells such errors. In a process of its own, since it would be this one's end.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';

const SESSION = join(import.meta.dirname, '..', 'shell', 'session.js');
const OPENING = join(import.meta.dirname, '..', 'shell', 'stream-opening.js');
const PROGRAM = `
  const { Session } = await import(${JSON.stringify(SESSION)});
  const host = { talk: () => undefined, drain() {}, end() {}, state: () => undefined };
  const session = new Session({ session: 'x', service: 'x' }, host);
  process.on('uncaughtException', (error) => console.log('told:', error.message));
  session.on('path', () => { throw new Error('a fault of the application'); });
  session.on('end', () => console.log('end'));
  session.onTalkEvent({ kind: 'path', path: { host: '192.0.2.1', port: 7 } });
  console.log('the loop goes on');
  session.onEnded({ reason: 'done' });
`;
/** Two streams of the peer wait until the session is handed over; the first one's handler fails. */
const STREAMS = `
  const { Session } = await import(${JSON.stringify(SESSION)});
  const { encodeOpening } = await import(${JSON.stringify(OPENING)});
  const opening = encodeOpening({ service: 'x', parameters: new Uint8Array() });
  const left = new Map([[1, opening], [3, opening]]);
  const talk = {
    read(id, into) {
      const bytes = left.get(id).subarray(0, into.length);
      into.set(bytes);
      left.set(id, left.get(id).subarray(bytes.length));
      return bytes.length;
    },
  };
  const host = { talk: () => talk, drain() {}, end() {}, state: () => undefined };
  const session = new Session({ session: 'x', service: 'x' }, host);
  process.on('uncaughtException', (error) => console.log('told:', error.message));
  session.onStream = ({ id }) => { console.log('stream', id); if (id === 1) throw new Error('1'); };
  session.hold();
  for (const stream of left.keys()) session.onTalkEvent({ kind: 'stream', stream });
  session.handOver();
`;

async function output(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)('env', [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    '--input-type=module',
    '-e',
    program,
  ]);
  return stdout;
}

t.test('S1005: an error of a listener does not stop the loop that called it', async (t) => {
  const told = 'the loop goes on\nend\ntold: a fault of the application\n';
  t.equal(await output(PROGRAM), told);
});

t.test('S1005: a handler that fails costs the streams behind it nothing', async (t) => {
  t.equal(await output(STREAMS), 'stream 1\nstream 3\ntold: 1\n');
});
