// Every bound of the control plane and of the parties: value, unit, why. Data plane bounds are in
// `data/limits.ts`. Relations between them are asserted when the module loads.

import { assert } from './assert.ts';

export const LIMITS = {
  /** Bytes of a control message in plaintext (design §4). */
  messageBytesMax: 15 * 1024,
  /** Bytes of the message inside a trigger: the longest, `askExtend`, comes to about 300. */
  payloadBytesMax: 2_048,
  /** Bytes of a sealed message: the longest plaintext and its envelope. */
  sealedBytesMax: 15 * 1024 + 64,
  /** Nesting of a control message (design §4). */
  messageDepthMax: 8,
  /** Bytes of a signed grant or expiry. Chosen by us: all fields at their longest come to 420. */
  grantMessageBytesMax: 1024,
  /** Bytes of a signed membership statement. */
  membershipBytesMax: 1024,
  /** Bytes of a signed request or verdict: all fields at their longest come to 400. */
  statementBytesMax: 1024,
  /** Bytes of the wrapped statement about the server's TLS keys, and keys in it. */
  serverKeysBytesMax: 512,
  serverKeysMax: 4,
  /** Bytes of a receipt for the log. */
  receiptBytesMax: 256,
  /** Device IDs in one revocation list; beyond it all older memberships are void at once. */
  revokedMax: 400,
  /** Bytes of a revocation list: 34 for each ID, and its head. */
  revocationBytesMax: 14 * 1024,
  /** Seconds between two revocation lists, and the age at which a broker admits nobody new. */
  revocationEverySeconds: 2,
  revocationAgeSecondsMax: 60,
  /** Channels that the manager keeps of one terminal: the newest, and those on their way out. */
  channelsPerDeviceMax: 3,
  /** Seconds until a terminal makes a new channel: half a membership, with its renewal. */
  channelSeconds: 43_200,
  /** Milliseconds between two handshakes that somebody without a seal can make a terminal do. */
  resealPauseMs: 1_000,
  /** Milliseconds in which a hello may still be answered: until then a reseal changes nothing. */
  helloAnswerMs: 5_000,
  /** Milliseconds that a polling terminal stays after a new channel: questions are asked again. */
  resealStayMs: 1_000,
  /** Milliseconds that it waits for requests that the broker announced, or for that word itself. */
  handedWaitMs: 5_000,
  /** Sequence numbers of a channel that are told apart: the highest and those below, bit by bit. */
  sealWindow: 32,
  /**
   * Boots of one terminal that the manager remembers, to tell a clone from a restart: as many as a
   * thief can register in the seconds in which the terminal that it displaced is back.
   */
  bootsPerDeviceMax: 16,
  /** Questions open at one callee; half of them kept for callers that it accepted before. */
  asksPerCalleeMax: 24,
  /** The same of one caller that the callee never accepted: a third of what strangers have. */
  asksPerStrangerMax: 4,
  /** Names whose IDs a terminal remembers. */
  pinsMax: 10_000,
  /** Peers that were refused since their ID is another: the newest are shown. */
  changedPeersMax: 64,
  /** Questions that wait for an owner's word, and approvals that are remembered. */
  ownerAsksMax: 32,
  approvalsMax: 1_000,
  /** Characters of the command that asks in an owner's place. */
  askCommandMax: 1_024,
  /** Seconds that an approval can be remembered. */
  approvalSecondsMax: 30 * 86_400,
  /** Candidates of one terminal in one record. */
  candidatesMax: 16,
  /** Milliseconds of one way between a terminal and the manager that are believed. */
  delayMsMax: 1_000,
  /** Milliseconds that the nearer of two terminals waits for the other's go, at most. */
  startMsMax: 500,
  /** Servers of one kind (STUN, TURN) that a terminal is told of. */
  meetingServersMax: 4,
  /** Characters of a relay's credentials: an expiry and a session ID; base64 of 20 bytes. */
  relayTextMax: 64,
  /** Times that the candidates of one end of a talk may be told anew. */
  generationsMax: 1_000_000,
  /** Probes of one talk that are reported. */
  probesMax: 1_000_000,
  /** UDP and TCP ports are 16 bits. */
  portMax: 65_535,
  /** Characters of a service name (`file`, `port:22`). */
  serviceNameMax: 48,
  /** Characters of a name pattern in an allow-list. */
  patternMax: 64,
  /** Services in one allow-list entry. */
  entryServicesMax: 16,
  /** Entries of an allow-list as it travels; a longer list goes reduced (design §4). */
  listEntriesMax: 100,
  /** Entries of an allow-list file. */
  listFileEntriesMax: 10_000,
  /** Bytes of an allow-list file. */
  listFileBytesMax: 1024 * 1024,
  /** Vendor windows of which something is used: a line each in a file of a home. */
  windowsMax: 1_000,
  /** Seconds of a grant: 366 days, so that a limit is never forgotten for good. */
  grantSecondsMax: 366 * 86_400,
  /** Bytes of a grant: what a JavaScript number holds exactly. */
  grantBytesMax: Number.MAX_SAFE_INTEGER,
  /** New expiries of one session. */
  revisionsMax: 10_000,
  /** Milliseconds that a caller may wait for consent: a polling callee may sleep for a day. */
  waitMsMax: 86_400_000,
  /** Default of a caller's --wait (design §4). */
  waitMsDefault: 5_000,
  /** Seconds granted when nobody asked for a time: the patent's 60 minutes (¶0016). */
  grantSecondsDefault: 3_600,
  /** Share of the expiry that is used up when an extension is asked for (¶0036). */
  extendAtShare: 0.7,
  /** Milliseconds in which the callee of a refused extension is not asked again: our choice. */
  extendPauseMs: 5_000,
  /** Seconds by which a talk may outlast `until`: what an answer and its notice take at most. */
  untilSlackSeconds: 10,
  /** Milliseconds that the broker waits for the address record a query names (design §5). */
  recordWaitMs: 1_000,
  /** Milliseconds until an unanswered request of a terminal is sent again; doubles, jittered. */
  retryFirstMs: 1_000,
  retryMaxMs: 30_000,
  /** Address records that the broker keeps of one terminal: its talks that are being introduced. */
  recordsPerDeviceMax: 64,
  /** Seconds after which an address record is forgotten: nobody asks for it after the notice. */
  recordSecondsMax: 120,
  /** Triggers that wait for one terminal. */
  triggersPerDeviceMax: 32,
  /** Triggers that wait in all. */
  triggersMax: 100_000,
  /** Terminals that a broker or a manager knows. */
  devicesMax: 100_000,
  /** Introductions under way at a manager. */
  introductionsMax: 20_000,
  /** The same, of one caller: chosen by us, a terminal with more than this is a flood. */
  introductionsPerCallerMax: 64,
  /** Live sessions of a manager. */
  sessionsMax: 100_000,
  /** Calls, incoming and outgoing, that one terminal has under way. */
  callsMax: 64,
  /** Answers to communication requests that a terminal remembers, to give the same one again. */
  answersMax: 256,
  /** End notices that a terminal keeps for a manager that is away. */
  endNoticesMax: 1_000,
  /** End notices under way at once: a manager that comes back is not flooded. */
  endNoticesInFlight: 16,
  /** Unanswered requests of a terminal: two a call and an answer, one a talk, the notices. */
  requestsMax: 512,
  /** Milliseconds beyond its own wait that a terminal waits for the manager's word. */
  answerGraceMs: 2_000,
  /** Outputs that one core queues before it drops its oldest optional one. */
  outputsMax: 4_096,
  /** Seconds after the last granted expiry at which the manager closes a session (design §5). */
  unreportedSeconds: 60,
  /** Milliseconds for one terminal to answer an end request before the operator is told. */
  endAnswerMs: 5_000,
  /** Minutes of a login token (design §3). */
  tokenSeconds: 600,
  /** Seconds of a membership statement (design §3). */
  membershipSeconds: 86_400,
  /** Seconds that two clocks may differ when a token is judged (design §3 asks for small). */
  clockSkewSeconds: 120,
  /** Unix seconds on the wire: the end of the year 9999. */
  unixSecondsMax: 253_402_300_799,
  /** Bytes of what is signed and wrapped (membership, token, enrolment): a token's, and room. */
  signedBodyBytesMax: 2_048,
  /** Characters of a URL in a ticket or an enrolment. */
  urlMax: 256,
  /** Characters of a ticket as somebody pastes it, blanks included. */
  ticketTextMax: 2_048,
  /** Bytes of the entries in one allow-list message: the rest of the message takes under 200. */
  listBytesMax: 14 * 1024,
} as const;

assert(LIMITS.sealedBytesMax > LIMITS.messageBytesMax + 48, 'a sealed message holds any message');
assert(LIMITS.sealWindow <= 32, 'what came through a channel fits the bits of one number');
assert(
  LIMITS.channelSeconds <= LIMITS.membershipSeconds / 2,
  'a membership is renewed, with the channel, long before it is over',
);
assert(
  LIMITS.revokedMax * 34 + 64 < LIMITS.revocationBytesMax,
  'a revocation list holds all its IDs',
);
assert(
  LIMITS.asksPerCalleeMax + 4 < LIMITS.triggersPerDeviceMax,
  'end requests find room beside the questions',
);
assert(LIMITS.waitMsDefault < LIMITS.waitMsMax, 'the default wait fits');
assert(LIMITS.grantMessageBytesMax < LIMITS.messageBytesMax / 4, 'a notice holds a grant');
assert(LIMITS.answersMax > 2 * LIMITS.callsMax, 'refused answers can make room for open ones');
assert(
  LIMITS.requestsMax > 4 * LIMITS.callsMax + LIMITS.endNoticesInFlight + 2,
  'every call, talk and end notice of a terminal can ask',
);
assert(LIMITS.membershipBytesMax < LIMITS.signedBodyBytesMax - 256, 'a token holds a membership');
assert(LIMITS.listBytesMax < LIMITS.messageBytesMax - 256, 'an allow-list message holds its list');
assert(LIMITS.extendAtShare > 0 && LIMITS.extendAtShare < 1, 'asked before the end');
