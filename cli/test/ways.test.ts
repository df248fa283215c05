// What a person reads of ways, from the real program: in `nakodo status`, from a talk's command,
// and of settings that are none.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CommandTalk, type OpenTalk } from '../talk.ts';
import { openWayWords } from '../way-words.ts';
import { folder, run } from './program.ts';
import { servedPair } from './served-pair.ts';

t.test('status shows which way each talk takes, and where it leads', async (t) => {
  const { callerHome } = await servedPair(t);
  const told: string[] = [];
  const talk = await CommandTalk.begin(
    { to: 'TERM3', service: 'ping' },
    { home: callerHome, onEvent: ({ event, way }) => told.push(`${event} ${String(way)}`) },
  );
  t.match(talk.open, { way: 'lan', path: { host: '127.0.3.1' } });
  t.ok(told.includes('way lan'), told.join(', '));
  const words = await run(['status', '--home', callerHome]);
  t.match(
    words.stdout,
    new RegExp(`^${talk.open.session}: on the LAN 127\\.0\\.3\\.1:\\d+, `, 'm'),
  );
  const { said } = await run(['status', '--home', callerHome, '--json']);
  t.match(said, { relay: 'if-needed', ownStun: [], talks: [{ class: 'lan' }] });
  t.match(await talk.done(), { reason: 'done', way: 'lan' });
});

t.test('a relay is never, if-needed or only; anything else is wrong use', async (t) => {
  const home = folder(t);
  const wrong = await run(['agent', '--home', home, '--relay', 'sometimes']);
  t.equal(wrong.exit, 2);
  t.match(wrong.stderr, /never.*if-needed.*only/);
  writeFileSync(join(home, 'agent.toml'), '[agent]\nrelay = "sometimes"\n');
  const doctor = await run(['doctor', '--home', home]);
  t.match(doctor.stdout + doctor.stderr, /agent relay: wanted "never", "if-needed", "only"/);
});

t.test('a talk through our relay names the relay server, as status does', async (t) => {
  const open = { way: 'relay', path: { host: '192.0.2.9', port: 50_001 } } as OpenTalk;
  const server = { host: '192.0.2.5', port: 3_478 };
  t.equal(openWayWords(open), 'through the relay 192.0.2.9:50001', 'the relay is the peer’s');
  const ours = { ...open, relayAt: { server, transport: 'tcp' } } as const;
  t.equal(openWayWords(ours), 'through the relay 192.0.2.5:3478 over TCP');
});
