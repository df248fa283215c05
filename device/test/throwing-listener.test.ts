// An error in a listener of the application: the agent's loop goes on, and the error is told as
// Node tells such errors. In a process of its own, since it would be this one's end.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';

const SESSION = join(import.meta.dirname, '..', 'shell', 'session.js');
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

t.test('S1005: an error of a listener does not stop the loop that called it', async (t) => {
  const { stdout } = await promisify(execFile)('env', [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    '--input-type=module',
    '-e',
    PROGRAM,
  ]);
  t.equal(stdout, 'the loop goes on\nend\ntold: a fault of the application\n');
});
