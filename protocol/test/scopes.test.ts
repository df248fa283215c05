// Ports and commands of a device are allowed by name only (ADR 0018): what an entry without
// services covers, and what it does not.

import t from 'tap';
import { judge } from '../consent/allow-list.ts';
import type { ListEntry } from '../control/messages.ts';
import type { DeviceId, Name } from '../ids.ts';

const allow = (services?: readonly string[]): ListEntry => ({
  action: 'allow',
  pattern: 'TERM1',
  services,
});
const DENY: ListEntry = { action: 'deny', pattern: 'TERM1' };
const isAllowed = (entries: readonly ListEntry[], service: string): boolean =>
  judge(entries, {
    callerName: 'TERM1' as Name,
    callerId: 'a'.repeat(32) as DeviceId,
    service,
    want: {},
    kind: 'connect',
  }).allowed;

t.test('S2004: a scope behind a colon is named, or not allowed', async (t) => {
  for (const service of ['port:22', 'udp:5004', 'listen:80', 'run:update', 'x:y']) {
    t.equal(isAllowed([allow()], service), false, `${service}, nothing named`);
    t.equal(isAllowed([allow([service])], service), true, `${service} named`);
    t.equal(isAllowed([allow(['*'])], service), true, `${service}, all named`);
    t.equal(isAllowed([allow(['*']), DENY], service), false, `${service} denied`);
  }
  t.equal(isAllowed([allow(['port:*'])], 'port:22'), true);
  t.equal(isAllowed([allow(['port:*'])], 'run:update'), false);
});

t.test('S2004: the services without one are allowed along with the rest', async (t) => {
  for (const service of ['file', 'get', 'pipe', 'live', 'ping', 'chat'])
    t.equal(isAllowed([allow()], service), true, service);
});
