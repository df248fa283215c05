// How many sockets one terminal may have at once: first ones, second rounds, ways to relays and a
// search together fit the files that a process may usually open.

import t from 'tap';
import { LIMITS } from '../../protocol/limits.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { Outbox } from '../outbox.ts';

const SERVER = { host: '192.0.2.1', port: 3_478 };
const { furtherEndpointsMax, openFilesOther, openFilesUsual, searchSockets } = MEETING_LIMITS;

t.test('all endpoints of a terminal fit the usual bound of open files', async (t) => {
  const outbox = new Outbox();
  let files = 0;
  // The first ones, and those of second rounds, have a socket of each IP version.
  for (let more = outbox.openSocket(); more !== undefined; more = outbox.openSocket()) files += 2;
  t.equal(files, 2 * LIMITS.callsMax);
  for (let talk = 0; talk < LIMITS.callsMax; talk++)
    if (outbox.openFurtherSocket(undefined) !== undefined) files += 2;
  // A search, and two ways to a relay for every talk, are there beside them.
  const wanted = searchSockets + 2 * LIMITS.callsMax;
  for (let one = 0; one < wanted; one++)
    if (outbox.openFurtherSocket(SERVER.host, SERVER) === undefined) t.fail('too few');
  files += wanted;
  let last = 0;
  for (let room = openFilesUsual; room > 0; room--) {
    const more = outbox.openFurtherSocket(SERVER.host);
    if (more === undefined) break;
    files += 1;
    last = more;
  }
  t.ok(files <= openFilesUsual - openFilesOther, `${files} files`);
  outbox.closeSocket(last);
  t.type(outbox.openFurtherSocket(SERVER.host), 'number', 'one that is closed makes room');
  t.ok(furtherEndpointsMax > wanted);
});
