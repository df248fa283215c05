// What an agent took from its settings, beside what the file says now: unreadable settings go
// through a relay only, and a change that does not hold yet is said.

import t from 'tap';
import {
  agentAtStart,
  isRelayOnlyUnread,
  relaySource,
  settingsDrift,
} from '../services/agent-settings.ts';

const none = new Set<never>();

t.test('unreadable settings: a relay only, unless an option says otherwise', async (t) => {
  const unread = agentAtStart(undefined, none);
  t.equal(unread.settings.relay, 'only');
  t.ok(isRelayOnlyUnread(unread));
  t.equal(relaySource(unread), 'unreadable');
  const told = agentAtStart(undefined, new Set(['relay'] as const));
  t.notOk(isRelayOnlyUnread(told));
  t.equal(relaySource(told), 'option');
  t.equal(relaySource(agentAtStart({ relay: 'never' }, none)), 'settings');
  t.equal(relaySource(agentAtStart({}, none)), 'default');
});

t.test('what the file says otherwise than the agent does is said, nothing else', async (t) => {
  const running = agentAtStart({ keepalive: 300 }, none);
  t.equal(
    settingsDrift({ relay: 'only', keepalive: 300 }, running),
    '[agent] relay is "only" in agent.toml, "if-needed" in the running agent: restart it',
  );
  t.equal(settingsDrift({ relay: 'if-needed', stun: [], keepalive: 300 }, running), undefined);
  t.match(settingsDrift({}, running), /keepalive is 1 min in agent\.toml, 5 min in the running/);
  t.match(
    settingsDrift({ keepalive: 300, address: '::1', stun: ['a:1'] }, running),
    /address is "::1" in agent\.toml, not set in .*; stun is \["a:1"\] in .*, \[\] in .*: restart/,
  );
  const broker = settingsDrift({ keepalive: 300, broker: 'mqtts://u:secret@a:1' }, running);
  t.match(broker, /broker is another one/);
  t.notMatch(broker, /secret/);
  const optioned = agentAtStart({}, new Set(['relay'] as const));
  t.equal(settingsDrift({ relay: 'never' }, optioned), undefined, 'a restart changes nothing');
  const unread = agentAtStart(undefined, none);
  t.match(settingsDrift({}, unread), /relay is "if-needed" in agent\.toml, "only" in the running/);
  t.equal(settingsDrift({ relay: 'only' }, unread), undefined);
});
