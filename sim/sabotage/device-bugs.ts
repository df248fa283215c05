// Deliberate bugs of a terminal: how it judges its owner's list, calls, answers, sleeps, ends, and
// what it remembers. The evaluator of lists, which the manager shares, counts here: it is the
// owner's word.

import type { Sabotage } from './sabotage.ts';

/** In device/ and protocol/consent. */
export const DEVICE_SABOTAGES: readonly Sabotage[] = [
  {
    name: 'allow-list-cached',
    core: 'device',
    file: 'device/list-readings.ts',
    find: 'then(now, list, at);',
    replace: 'this.first ??= list; then(now, this.first, at);',
    why: 'the owner takes somebody off the list, and that somebody still gets through',
    source: 'classic: allow-list cached',
  },
  {
    name: 'list-not-read-again-at-the-notice',
    core: 'device',
    file: 'device/allow-list-answers.ts',
    find: 'else if (this.#stillAllows(later, answer, grant, list, at)) {',
    replace: 'else if (grant !== undefined) {',
    why: 'a talk begins with somebody who was taken off the list a moment before',
    source: 'invariant: named when the introduction was made',
  },
  {
    name: 'first-entry-decides-whatever-is-denied',
    core: 'device',
    file: 'protocol/consent/allow-list.ts',
    find: "if (matching.some((entry) => entry.action === 'deny')) return undefined;",
    replace:
      "if (matching[0]?.action === 'deny') return undefined; " +
      "matching.splice(0, matching.length, ...matching.filter(({ action }) => action !== 'deny'));",
    why: 'a deny below an allow of everybody is not read',
    source: 'invariant: named by the list',
  },
  {
    name: 'ports-allowed-along-with-the-rest',
    core: 'device',
    file: 'protocol/consent/allow-list.ts',
    find: "return action === 'deny' || !service.includes(':');",
    replace: 'return true;',
    why: 'an entry that names no service opens every port of the device',
    source: 'invariant: named by the list',
  },
  {
    name: 'owner-not-asked-means-yes',
    core: 'device',
    file: 'protocol/consent/allow-list.ts',
    find: '(entry.ask === true && ask.approved !== true)',
    replace: '(entry.ask === true && ask.approved === null)',
    why: 'an entry that says "ask me" lets in without asking',
    source: 'invariant: named by the list',
  },
  {
    name: 'owners-no-means-yes',
    core: 'device',
    file: 'device/allow-list-answers.ts',
    find: 'else if (!approved) { outbox.event(',
    replace: 'else if (answer === undefined) { outbox.event(',
    why: 'the owner says no, and the caller is let in',
    source: 'invariant: named by the list',
  },
  {
    name: 'refused-callee-records-its-address',
    core: 'device',
    file: 'device/allow-list-answers.ts',
    find: "#refuse(answer, list) { answer.state = 'refused'; answer.approved = false;",
    replace:
      '#refuse(answer, list) { answer.approved = false; ' +
      'answer.record = randomRecordId(this.#options.rng); ' +
      "answer.socket = this.#options.outbox.openSocket(); answer.state = 'agreed';",
    why: 'the address of a terminal that said no lies at the broker',
    source: 'invariant: to a refused address nothing',
  },
  {
    name: 'published-call-asked-anew-on-every-link',
    core: 'device',
    file: 'device/address-resolution.ts',
    find: 'this.#requests.settle(call.request); this.#ask(now, call); } if (call.candidates',
    replace:
      'this.#requests.settle(call.request); this.#ask(now, call); } ' +
      'else if (now < call.until) { this.#requests.settle(call.request); ' +
      'call.request = randomRequestId(this.#rng); this.#ask(now, call); } if (call.candidates',
    why: 'a link that comes back makes a second call of one, and the callee is woken twice',
  },
  {
    name: 'socket-kept-after-a-refusal',
    core: 'device',
    file: 'device/address-resolution.ts',
    find: 'this.#forget(call); this.#outbox.closeSocket(call.socket);',
    replace: 'this.#forget(call);',
    why: 'after 64 refusals a terminal can call nobody any more',
    source: 'invariant: memory under its bound',
  },
  {
    name: 'socket-kept-after-a-talk',
    core: 'device',
    file: 'device/talks.ts',
    find: 'of [socket, ...meeting.endpoints]) outbox.closeSocket(each); this.#byFirst',
    replace: 'of meeting.endpoints) outbox.closeSocket(each); this.#byFirst',
    why: 'after 64 talks a terminal can neither call nor answer',
    source: 'invariant: memory under its bound',
  },
  {
    name: 'end-request-not-obeyed',
    core: 'device',
    file: 'device/talks.ts',
    find: 'return this.end(now, message.session, message.reason);',
    replace: 'return this.find(message.session) !== undefined;',
    why: 'the operator ends a talk, or revokes a terminal, and the talk goes on',
    source: 'invariant: ends within 30 s of a revocation',
  },
  {
    name: 'restart-forgets-talks-under-way',
    core: 'device',
    file: 'device/ending.ts',
    find: "this.#outbox.push({ kind: 'store', session, record });",
    replace: '',
    why: 'a terminal that was restarted in mid-talk never reports its end',
    source: 'invariant: every session has an end',
  },
  {
    name: 'end-notice-dropped-with-the-link',
    core: 'device',
    file: 'device/requests.ts',
    find: "this.#gate = 'closed'; for (const pending of this.#pending.values()) rest(pending);",
    replace: "this.#gate = 'closed'; this.#pending.clear();",
    why: 'what was said while the link was down is never said again: ends stay unreported',
    source: 'invariant: what terminals know agrees',
  },
  {
    name: 'end-notice-repeated-once',
    core: 'device',
    file: 'device/requests.ts',
    find: 'pending.nextAt = after(now, Math.round(ms(pending.waitMs) * jitter));',
    replace:
      'pending.nextAt = pending.waitMs > LIMITS.retryFirstMs ? NEVER ' +
      ': after(now, Math.round(ms(pending.waitMs) * jitter));',
    why: 'two lost messages, and the request is never made again on this link',
    source: 'classic: timer not re-armed',
  },
  {
    name: 'end-counts-the-wrong-way-round',
    core: 'device',
    file: 'device/ending.ts',
    find: 'sentBytes: whole(counts.sentBytes),',
    replace: 'sentBytes: whole(counts.receivedBytes),',
    why: 'the log says that the one who received a file has sent it',
    source: 'invariant: both ends count the same',
  },
  {
    name: 'hello-never-repeated',
    core: 'device',
    file: 'device/sealed-channels.ts',
    find: "topic: 'up', bytes: encodeMessage(hello.message) }); this.#arm(now);",
    replace: "topic: 'up', bytes: encodeMessage(hello.message) }); this.#nextHelloAt = NEVER;",
    why: 'one lost message at the start, and the terminal is never registered',
    source: 'classic: timer not re-armed',
  },
  {
    name: 'sleeper-counts-its-poll-in-minutes',
    core: 'device',
    file: 'device/polling.ts',
    find: 'this.#wakeAt = after(now, seconds(pollSeconds));',
    replace: 'this.#wakeAt = after(now, seconds(60 * pollSeconds));',
    why: 'who sleeps between polls is called in vain all day',
  },
  {
    name: 'sleeper-leaves-in-the-middle-of-a-talk',
    core: 'device',
    file: 'device/polling.ts',
    find: 'if (!isRegistered || isBusy) return;',
    replace: 'if (!isRegistered) return;',
    why: 'it says yes, and sleeps before the notice comes: the session is for nothing',
  },
  {
    name: 'sleeper-waits-for-what-never-comes',
    core: 'device',
    file: 'device/polling.ts',
    find: 'this.#handedUntil = after(now, ms(LIMITS.handedWaitMs));',
    replace: 'this.#handedUntil = NEVER;',
    why: 'one lost message, and a terminal on a battery never sleeps again',
    source: 'commit e9996d6',
  },
  {
    name: 'expiry-told-that-the-talk-does-not-take',
    core: 'device',
    file: 'device/extension.ts',
    find: 'if (!talk.connection.extend(now, { revision, seconds, bytes, message })) return;',
    replace: 'talk.connection.extend(now, { revision, seconds, bytes, message });',
    why: 'an extension that comes a moment too late: the owner is told of time that is not there',
    source: 'commit c4d1399',
    under: { 'work.extend': 1, 'work.hold': 0.8, 'work.quota': 0.8, 'udp.delay': 300 },
  },
];
