// Deliberate bugs of the trigger broker: logins, memberships, revocations, rights, addresses,
// triggers.

import type { Sabotage } from './sabotage.ts';

/** In broker/. */
export const BROKER_SABOTAGES: readonly Sabotage[] = [
  {
    name: 'login-token-taken-twice',
    core: 'broker',
    file: 'broker/used-nonces.ts',
    find: 'if (this.#forgetAt.has(key)) return false;',
    replace: '',
    why: 'who recorded one login is let in with it for twelve minutes',
  },
  {
    name: 'revoked-device-logs-in',
    core: 'broker',
    file: 'broker/memberships.ts',
    find: "if (this.#revocations.isVoid(held)) return 'revoked';",
    replace: '',
    why: 'a terminal that was shut out comes back at once',
    source: 'invariant: revocation',
  },
  {
    name: 'revoked-device-stays-connected',
    core: 'broker',
    file: 'broker/memberships.ts',
    find: 'if (seated.held.manager === manager && this.#revocations.isVoid(seated.held))',
    replace: 'if (seated.held.manager !== manager && this.#revocations.isVoid(seated.held))',
    why: 'a terminal that was shut out stays until it leaves by itself',
    source: 'invariant: revocation',
  },
  {
    name: 'revocation-lists-nobody',
    core: 'broker',
    file: 'broker/revocations.ts',
    find: 'return issuedAt < newest.notBefore || newest.devices.has(device);',
    replace: 'return issuedAt < newest.notBefore;',
    why: 'the manager shuts a terminal out and the broker does not care',
    source: 'invariant: revocation',
  },
  {
    name: 'lets-in-without-a-list',
    core: 'broker',
    file: 'broker/memberships.ts',
    find: "if (this.#revocations.isStale(now, held.manager)) return 'no-list';",
    replace: '',
    why: 'a broker that was started anew lets in who was shut out an hour ago',
  },
  {
    name: 'only-one-connection-counts',
    core: 'broker',
    file: 'broker/triggers.ts',
    find: 'if (link.connections === 0) this.#links.delete(device);',
    replace: 'this.#links.delete(device);',
    why: 'the old connection of a terminal ends, and the new one is never handed a call',
  },
  {
    name: 'trigger-handed-twice',
    core: 'broker',
    file: 'broker/triggers.ts',
    find: 'this.#handed.set(triggerKey(device, request), at);',
    replace: '',
    under: { 'mqtt.kick': 30 },
    why: 'a manager that asks again after a lost link wakes the callee again',
  },
  {
    name: 'trigger-handed-after-its-deadline',
    core: 'broker',
    file: 'broker/triggers.ts',
    find: 'const due = after(now, ms(message.deadlineMs));',
    replace: 'const due = after(now, ms(LIMITS.waitMsMax));',
    why: 'a sleeper is asked about calls of yesterday, whose callers are long gone',
  },
  {
    name: 'waiting-trigger-kept-after-the-poll',
    core: 'broker',
    file: 'broker/triggers.ts',
    find:
      'for (const waiting of this.#waiting.get(device)?.values() ?? []) { ' +
      'this.#remove(waiting);',
    replace: 'for (const waiting of this.#waiting.get(device)?.values() ?? []) {',
    why: 'at each poll a sleeper is handed once more what it has had',
    source: 'invariant: memory under its bound',
  },
  {
    name: 'record-of-another-terminal-answered',
    core: 'broker',
    file: 'broker/addresses.ts',
    find: 'return held === undefined ? [] : [foundOf(held)];',
    replace:
      'const other = [...this.#records.values()].find((one) => one.candidates.length > 0); ' +
      'return held === undefined ? [] : [foundOf({ ...(other ?? held), device, record })];',
    why: 'the two are told the address of a third',
    source: 'invariant: to a refused address nothing',
  },
  {
    name: 'terminal-may-speak-for-another',
    core: 'broker',
    file: 'broker/rights.ts',
    find: "packet.topic === topic('up', party.device) ||",
    replace: "parseTopic(packet.topic)?.of === 'up' ||",
    why: 'a terminal says things to the manager in the name of another',
  },
  {
    name: 'terminal-may-listen-to-another',
    core: 'broker',
    file: 'broker/rights.ts',
    find: "const isOwn = (device, name) => name === topic('call', device) ||",
    replace: "const isOwn = (device, name) => parseTopic(name)?.of === 'call' ||",
    why: 'a terminal hears who calls another one, and when',
  },
  {
    name: 'address-query-of-anybody',
    core: 'broker',
    file: 'broker/rights.ts',
    find: "if (party.of === 'terminal') { return (packet.topic",
    replace:
      "if (packet.topic === QUERY_TOPIC) return true; if (party.of === 'terminal') { " +
      'return (packet.topic',
    why: 'a terminal asks the broker for addresses as if it were the manager',
  },
  {
    name: 'token-of-before-the-start-taken',
    core: 'broker',
    file: 'protocol/identity/token.ts',
    find: 'issuedAt >= notBefore &&',
    replace: '',
    why: 'a broker that was started anew takes a token once more that it took before',
    source: 'commit c535e5c',
    under: { 'broker.restart': 4, 'hostile.stranger': 60 },
  },
];
