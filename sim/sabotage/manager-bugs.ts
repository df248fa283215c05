// Deliberate bugs of the session manager: introductions, grants, sessions and their ends, the log,
// revocations, channels.

import type { Sabotage } from './sabotage.ts';

/** In session-manager/. */
export const MANAGER_SABOTAGES: readonly Sabotage[] = [
  {
    name: 'addresses-queried-after-a-no',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find:
      'if (answer !== undefined) this.#query(now, introduction, parties, ' +
      'answer.record); return true;',
    replace:
      'this.#query(now, introduction, parties, answer?.record ?? introduction.connect.record); ' +
      'return true;',
    why: 'the manager asks where somebody is who has said no',
    source: 'invariant: to a refused address nothing',
  },
  {
    name: 'refusal-leaves-at-once',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find:
      'if (answer !== undefined) this.#query(now, introduction, parties, ' +
      'answer.record); return true;',
    replace:
      'if (answer !== undefined) this.#query(now, introduction, parties, answer.record); ' +
      'else this.#refuse(now, introduction); return true;',
    why: 'who is refused within a second knows that the callee is there and does not want',
  },
  {
    name: 'unknown-name-refused-at-once',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find:
      'if (introduction.parties !== undefined) this.#ask(now, introduction, ' +
      'introduction.parties);',
    replace:
      'if (introduction.parties !== undefined) this.#ask(now, introduction, ' +
      'introduction.parties); ' +
      'else this.#refuse(now, introduction);',
    why: 'anybody finds out which names there are',
  },
  {
    name: 'answered-request-begins-again',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find: 'if (this.#underWay.has(key) || this.#repeat(now, from, key)) return;',
    replace: 'if (this.#underWay.has(key)) return;',
    why: 'an answer that was lost costs a second introduction: the callee is woken twice',
    source: 'commit 15cfd63',
  },
  {
    name: 'notice-repeated-after-the-end',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find: 'if (session === undefined || isLive) this.#context.sendDownBytes(from, bytes);',
    replace: 'this.#context.sendDownBytes(from, bytes);',
    why: 'a caller whose notice was late begins a talk that the operator has ended',
    source: 'found by sim seed 142',
    under: { 'operator.end': 20, 'mqtt.drop': 0.2 },
  },
  {
    name: 'request-repeated-while-open-asks-again',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find: 'if (this.#underWay.has(key) || this.#repeat(now, from, key)) return;',
    replace:
      'const open = this.#underWay.get(key); ' +
      "if (open?.state === 'asked' && open.parties !== undefined) " +
      'this.#trigger(now, open, open.parties, randomRequestId(this.#context.options.rng)); ' +
      'if (open !== undefined || this.#repeat(now, from, key)) return;',
    why: 'each repetition of a call wakes the callee once more',
  },
  {
    name: 'question-never-leaves-the-desk',
    core: 'session-manager',
    file: 'session-manager/friends.ts',
    find: 'close(desk, question); const friend',
    replace: 'const friend',
    why: 'after two dozen calls nobody reaches that callee any more',
    source: 'invariant: memory under its bound',
  },
  {
    name: 'seconds-of-the-callee-ignored',
    core: 'session-manager',
    file: 'protocol/consent/allow-list.ts',
    find:
      'const seconds = Math.min(secondsWanted, verdict.seconds ?? Infinity, ' +
      'operator.secondsMax,',
    replace: 'const seconds = Math.min(secondsWanted, operator.secondsMax,',
    why: 'the caller’s wish wins over the callee’s list',
    source: 'invariant: the grant',
  },
  {
    name: 'bytes-of-the-callee-ignored',
    core: 'session-manager',
    file: 'protocol/consent/allow-list.ts',
    find: 'const bytes = least(want.bytes ?? current?.bytes, verdict.bytes, operator.bytesMax);',
    replace: 'const bytes = least(want.bytes ?? current?.bytes, operator.bytesMax);',
    why: 'the caller’s wish wins over the callee’s list',
    source: 'invariant: the grant',
  },
  {
    name: 'each-end-its-own-key',
    core: 'session-manager',
    file: 'session-manager/address-notices.ts',
    find: '...of.notice, peerKeys',
    replace: "...of.notice, ...(side === 'callee' && { key: own.device.keys.x25519 }), peerKeys",
    why: 'both are told of a talk that cannot come about',
  },
  {
    name: 'told-before-it-is-on-disk',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: "this.#emit({ kind: 'persist', batch: this.#batch, writes }); return;",
    replace:
      "this.#emit({ kind: 'persist', batch: this.#batch, writes }); " +
      'this.onPersisted(now, this.#batch); return;',
    why: 'a crash at the wrong moment, and two talk of whom the log knows nothing',
    source: 'invariant: every session has its begin',
  },
  {
    name: 'full-disk-loses-ends',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: 'this.#queue = lost.filter((fact) => fact.failed === undefined);',
    replace: 'this.#queue = [];',
    why: 'what could not be written once is never in the log',
    source: 'invariant: every session has an end',
  },
  {
    name: 'chain-broken-inside-a-batch',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: 'const appended = appendLog(this.#suite, head, this.#wall.at(now), entry);',
    replace:
      'const before = { ...head, hash: this.#span.head.hash }; ' +
      'const appended = appendLog(this.#suite, before, this.#wall.at(now), entry);',
    why: 'a log of a busy day does not verify: an auditor takes it for forged',
    source: 'invariant: the log verifies',
  },
  {
    name: 'receipt-for-the-entry-after',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: 'this.#receipt ??= makeReceipt(this.#key, { ...this.#span.head, at });',
    replace:
      'const sequence = this.#span.head.sequence + 1; ' +
      'this.#receipt ??= makeReceipt(this.#key, { ...this.#span.head, sequence, at });',
    why: 'terminals hold receipts by which an honest log looks cut',
    source: 'invariant: the log verifies',
  },
  {
    name: 'receipt-never-renewed',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: 'this.#span = this.#nextSpan; this.#receipt = undefined;',
    replace: 'this.#span = this.#nextSpan;',
    why: 'the receipts of a year all speak of its first day: the rest can be cut off unseen',
  },
  {
    name: 'end-logged-twice',
    core: 'session-manager',
    file: 'session-manager/sessions.ts',
    find: 'if (row.reason !== undefined) return []; session.row',
    replace: 'session.row',
    why: 'each report is another end of the same session',
    source: 'invariant: exactly one end',
  },
  {
    name: 'end-said-by-the-callee-not-logged',
    core: 'session-manager',
    file: 'session-manager/sessions.ts',
    find: "return [{ kind: 'ended', session: row.session, reason, by }];",
    replace: "return by === 'callee' ? [] : [{ kind: 'ended', session: row.session, reason, by }];",
    why: 'where the callee is the first to report, the log has no end of the session',
    source: 'invariant: exactly one end',
  },
  {
    name: 'report-acknowledged-and-forgotten',
    core: 'session-manager',
    file: 'session-manager/sessions.ts',
    find: 'session.row = { ...row, [`${side}Report`]: report };',
    replace: '',
    why: 'terminals forget ends that the manager has not kept; it waits for them in vain',
    source: 'invariant: what terminals know agrees',
  },
  {
    name: 'session-never-closed-by-time',
    core: 'session-manager',
    file: 'session-manager/sessions.ts',
    find: 'this.#context.deadlines.set(session.closing, after(session.begun, seconds(last)));',
    replace: '',
    why: 'a talk whose terminals are both gone is open for ever',
    source: 'classic: timer not re-armed',
  },
  {
    name: 'operators-end-said-once',
    core: 'session-manager',
    file: 'session-manager/end-orders.ts',
    find: 'for (const session of this.#sessions) this.#request(now, session, SIDES);',
    replace: '',
    why: 'an order that a broker lost with its memory is not given again',
    under: { 'operator.end': 20, 'broker.restart': 4, 'work.hold': 0.8 },
  },
  {
    name: 'talks-of-a-revoked-device-go-on',
    core: 'session-manager',
    file: 'session-manager/sessions.ts',
    find: "const entries = sessions.flatMap((session) => this.#order(now, session, 'revoked'));",
    replace: 'const entries = [];',
    why: 'who was shut out talks on until the talk’s own expiry',
    source: 'invariant: ends within 30 s of a revocation',
  },
  {
    name: 'revoked-while-written-introduced-all-the-same',
    core: 'session-manager',
    file: 'session-manager/introductions.ts',
    find: 'const isHere = (device) => this.#names.byId(device.id) !== undefined;',
    replace: 'const isHere = (device) => device.id !== undefined;',
    why: 'a terminal that was revoked while the disk was busy still gets its introduction',
    source: 'invariant: a session only if',
    under: { 'operator.revoke': 1.5, 'manager.slow': 3_000 },
  },
  {
    name: 'revocation-list-published-once',
    core: 'session-manager',
    file: 'session-manager/revocations.ts',
    find:
      'this.#context.deadlines.set(this.#next, after(now, ' +
      'seconds(LIMITS.revocationEverySeconds)));',
    replace: '',
    why: 'after a minute every broker takes its list for stale and lets nobody in',
    source: 'classic: timer not re-armed',
  },
  {
    name: 'revoked-devices-forgotten-at-a-restart',
    core: 'session-manager',
    file: 'session-manager/revocations.ts',
    find: 'rows.sort((a, b) => a.revoked.revoked - b.revoked.revoked);',
    replace: 'for (const { id, revoked } of rows) this.#rows.set(id, revoked); rows.length = 0;',
    why: 'the server is restarted, and who was shut out is back',
    source: 'invariant: revocation',
  },
  {
    name: 'lost-channel-never-said',
    core: 'session-manager',
    file: 'session-manager/channels.ts',
    find: "sendPlain(device, { kind: 'reseal', request: randomRequestId(rng) });",
    replace: '',
    why: 'after a restart of the manager terminals talk into channels that nobody has',
  },
  {
    name: 'open-questions-not-put-again',
    core: 'session-manager',
    file: 'session-manager/manager.ts',
    find: 'this.#introductions.onChannel(now, device); this.#extensions',
    replace: 'this.#extensions',
    why: 'a sleeper that makes a new channel never hears who called meanwhile',
  },
  {
    name: 'copy-of-an-identity-not-noticed',
    core: 'session-manager',
    file: 'session-manager/clones.ts',
    find: "return { verdict: 'returned', boots: after };",
    replace: "return { verdict: 'same', boots: after };",
    why: 'two machines with the same keys take turns and nobody is told',
  },
  {
    name: 'later-copy-wins',
    core: 'session-manager',
    file: 'session-manager/clones.ts',
    find: "if (state === 'banned') return { verdict: 'banned', boots };",
    replace: '',
    why: 'a thief that comes back again and again shuts the owner out',
  },
  {
    name: 'extension-beyond-what-is-open',
    core: 'session-manager',
    file: 'session-manager/extensions.ts',
    find:
      'if (session.row.reason !== undefined) return this.#fail(extension, ' +
      "'no-session'); this.#forget",
    replace: 'this.#forget',
    why: 'a talk that the operator has just ended is prolonged',
    source: 'commit 2d4eaf8',
    under: { 'operator.end': 20, 'work.extend': 1, 'work.hold': 0.8, 'manager.slow': 1_000 },
  },
  {
    name: 'extension-limit-of-the-entry-ignored',
    core: 'session-manager',
    file: 'protocol/consent/allow-list.ts',
    find:
      'if (limited && entry.extend !== true) return REFUSED; const verdict = ' +
      'bounded(entry, ask.want,',
    replace:
      'const verdict = bounded({ ...entry, seconds: undefined, bytes: undefined }, ask.want,',
    why: 'an entry for ten minutes lets a talk go on all day',
    source: 'invariant: the grant',
  },
  {
    name: 'old-hello-names-a-channel-anew',
    core: 'session-manager',
    file: 'session-manager/channels.ts',
    find: 'if (line === undefined || line === peer.pending) this.#reseal(',
    replace: 'if (line === undefined) this.#reseal(',
    why: 'a hello repeated to a restarted manager gives a living channel another key, untold',
    source: 'commit f5aec11',
  },
  {
    name: 'list-number-runs-ahead-of-the-disk',
    core: 'session-manager',
    file: 'session-manager/revocations.ts',
    find: 'Math.min(wall, this.#ceiling)',
    replace: 'wall',
    why: 'a clock that ran ahead on a full disk leaves brokers with a number never reached again',
    source: 'commit f5aec11',
    under: { 'clock.jump': 60, 'manager.fail': 1, 'manager.crash': 6, 'terminal.polling': 0.6 },
  },
  {
    name: 'revocation-over-as-soon-as-the-clock-says',
    core: 'session-manager',
    file: 'session-manager/revocations.ts',
    find: '(now < heldUntil || !this.#isOver(now, row))',
    replace: '!this.#isOver(now, row)',
    why: 'the clock of the server runs ahead, and a broker with the right time lets the revoked in',
    source: 'found by sim seed 820294',
    under: {
      'clock.jump': 12,
      'operator.revoke': 2,
      'mqtt.drop': 0,
      'mqtt.reorder': 0,
      'mqtt.cut': 0,
      'hostile.broker': 0,
    },
  },
  {
    name: 'batch-begun-in-the-middle-of-another',
    core: 'session-manager',
    file: 'session-manager/ledger.ts',
    find: 'for (const fact of facts) fact.persisted(now); this.#writing = undefined;',
    replace: 'this.#writing = undefined; for (const fact of facts) fact.persisted(now);',
    why: 'killed in between, a revoked terminal’s talk is open in the log until its time is up',
    source: 'found by sim seed 25057',
    under: { 'operator.revoke': 6, 'manager.slow': 2_000, 'work.calls': 60 },
  },
];
