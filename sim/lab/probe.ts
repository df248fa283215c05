// One host's sockets in a lab: a process that its parent tells what to do, over its channel, and
// that does nothing else. Every socket answers a question with where it came from, as a STUN server
// does. Started by prober.ts in a host's namespace.

import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Address, Answer, Order, PunchOrder } from './prober.ts';

/** Milliseconds after which a question is asked again. */
const ASK_AGAIN_MS = 200;
/** Sockets of one host. */
const SOCKETS_MAX = 2_048;
const QUESTION = '?';
const REPLY = '!';

interface Ear {
  readonly socket: Socket;
  /** Words that came and nobody has taken yet. */
  readonly heard: Address[];
  wake: () => void;
  onReply: (address: Address) => void;
}

const ears: Ear[] = [];

process.on('message', (message) => {
  const order = message as Order;
  void carryOut(order).then((answer) => process.send?.({ ...answer, id: order.id }));
});
process.on('disconnect', () => process.exit(0));
process.send?.({ id: 0 });

async function carryOut(order: Order): Promise<Answer> {
  switch (order.what) {
    case 'bind':
      return bind(order.host, order.port);
    case 'ask':
      return { address: await ask(ears[order.socket], order.to, order.ms) };
    case 'say':
      say(ears[order.socket], 'word', order.to);
      return {};
    case 'hear':
      return { address: await hear(ears[order.socket], order.ms) };
    case 'punch':
      return punch(ears[order.socket], order);
  }
}

async function bind(host: string, port: number): Promise<Answer> {
  if (ears.length >= SOCKETS_MAX) throw new Error('too many sockets');
  const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', ipv6Only: isIPv6(host) });
  const ear: Ear = { socket, heard: [], wake: () => {}, onReply: () => {} };
  socket.on('message', (bytes, from) => onDatagram(ear, bytes.toString(), from));
  // What a router says of a datagram of ours concerns nobody here.
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.bind(port, host, resolve));
  ears.push(ear);
  return { socket: ears.length - 1, address: { host, port: socket.address().port } };
}

function onDatagram(
  ear: Ear,
  words: string,
  { address: host, port }: { address: string; port: number },
): void {
  if (words === QUESTION) return say(ear, `${REPLY}${host} ${port}`, { host, port });
  if (words.startsWith(REPLY)) {
    const [seenHost, seenPort] = words.slice(REPLY.length).split(' ');
    return ear.onReply({ host: seenHost, port: Number(seenPort) });
  }
  ear.heard.push({ host, port });
  ear.wake();
}

function say(ear: Ear, words: string, { host, port }: Address): void {
  ear.socket.send(words, port, host, () => {});
}

/** Where a server sees the socket; undefined: no answer. */
function ask(ear: Ear, to: Address, ms: number): Promise<Address | undefined> {
  return new Promise((resolve) => {
    const again = setInterval(() => say(ear, QUESTION, to), ASK_AGAIN_MS);
    const late = setTimeout(() => done(undefined), ms);
    const done = (address: Address | undefined): void => {
      clearInterval(again);
      clearTimeout(late);
      resolve(address);
    };
    ear.onReply = done;
    say(ear, QUESTION, to);
  });
}

/** Who said the next word, if anybody does in time. */
async function hear(ear: Ear, ms: number): Promise<Address | undefined> {
  if (ear.heard.length === 0) await somethingOr(ear, ms);
  return ear.heard.shift();
}

/** Words to one address, at a pace, until one came from there or the rounds are over. */
async function punch(
  ear: Ear,
  { to, everyMs, rounds, answersSeen, afterMs }: PunchOrder,
): Promise<Answer> {
  if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
  const begun = performance.now();
  let target = to;
  let sent = 0;
  let heardMs: number | undefined;
  // One round more after the first word: the other end may not have heard ours.
  for (let left = rounds; left > 0; left--) {
    say(ear, 'word', target);
    sent += 1;
    const until = performance.now() + everyMs;
    for (let ms = everyMs; ms > 0; ms = until - performance.now()) {
      const from = await hear(ear, ms);
      if (from === undefined) continue;
      if (heardMs === undefined) {
        heardMs = performance.now() - begun;
        left = Math.min(left, 3);
      }
      const isElsewhere = from.host !== target.host || from.port !== target.port;
      if (!answersSeen || !isElsewhere) continue;
      target = from;
      say(ear, 'word', target);
      sent += 1;
    }
  }
  return { heardMs, sent };
}

function somethingOr(ear: Ear, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, ms);
    ear.wake = () => {
      clearTimeout(late);
      resolve();
    };
  });
}
