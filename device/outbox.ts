// What the terminal's parts say to the shell: one bounded queue of outputs, the counters, and the
// sockets that are wanted. What is meant for the manager is sealed here, at every send anew.
// Assumes that the shell drains after every input (protocol/core.ts).

import { assert } from '../protocol/assert.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { Message } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';
import type { SealedChannel } from '../protocol/control/seal.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MEETING_LIMITS } from './meeting/limits.ts';
import {
  type SocketId,
  TERMINAL_COUNTERS,
  type TerminalCounter,
  type TerminalEvent,
  type TerminalOutput,
} from './terminal-types.ts';

/** The three topics that a terminal may publish on (design §4). */
export type PublishTopic = Extract<TerminalOutput, { kind: 'publish' }>['topic'];

/** The queue of outputs, the counters and the open sockets of one terminal. */
export class Outbox {
  readonly #queue: TerminalOutput[] = [];
  readonly #counters = new Map<TerminalCounter, number>();
  readonly #sockets = new Set<SocketId>();
  /** Those beside a talk's first one. */
  readonly #further = new Set<SocketId>();
  /** Hears of each socket that nobody wants any more. */
  onClosed: (socket: SocketId) => void = () => {};
  #lastSocket = 0;
  #channel: SealedChannel | undefined;

  /** Queues an output; at LIMITS.outputsMax the oldest one that can be spared goes. */
  push(output: TerminalOutput): void {
    if (this.#queue.length >= LIMITS.outputsMax) {
      const spared = this.#queue.findIndex(isOptional);
      assert(spared >= 0, 'the shell drains the outputs of a terminal');
      this.#queue.splice(spared, 1);
    }
    this.#queue.push(output);
  }

  event(event: TerminalEvent): void {
    this.push({ kind: 'event', event });
  }

  /** From now on this channel seals what goes to the manager. */
  useChannel(channel: SealedChannel): void {
    this.#channel = channel;
  }

  publish(topic: PublishTopic, message: Message): void {
    this.publishBytes(topic, encodeMessage(message));
  }

  /** Publishes an encoded message: to the broker (`address`) as it is, to the manager sealed. */
  publishBytes(topic: PublishTopic, message: Uint8Array): void {
    if (topic === 'address') {
      this.push({ kind: 'publish', topic, bytes: message });
      return;
    }
    // Requests wait for the channel; an answer follows a question that came through it.
    assert(this.#channel !== undefined, 'nothing is said to the manager before the channel');
    this.push({ kind: 'publish', topic, bytes: this.#channel.seal(message) });
  }

  shift(): TerminalOutput | undefined {
    return this.#queue.shift();
  }

  isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  count(counter: TerminalCounter): void {
    this.#counters.set(counter, (this.#counters.get(counter) ?? 0) + 1);
  }

  /** A copy of all counters. */
  counters(): Readonly<Record<TerminalCounter, number>> {
    return Object.fromEntries(
      TERMINAL_COUNTERS.map((counter) => [counter, this.#counters.get(counter) ?? 0]),
    ) as Record<TerminalCounter, number>;
  }

  /**
   * Wants one socket more, or undefined at LIMITS.callsMax: a socket is open only while a session
   * is wanted (design §5, Silence), so this bounds calls, answers and talks together.
   */
  openSocket(): SocketId | undefined {
    if (this.#sockets.size >= LIMITS.callsMax) return undefined;
    const socket = ++this.#lastSocket;
    this.#sockets.add(socket);
    this.push({ kind: 'openSocket', socket });
    return socket;
  }

  /**
   * Wants a further socket for a talk that looks for its way, or undefined at
   * MEETING_LIMITS.furtherEndpointsMax. `to`: it is only used to send there. `tcp`: not a socket of
   * UDP, but a connection to this server.
   */
  openFurtherSocket(to: string | undefined, tcp?: Path): SocketId | undefined {
    if (this.#further.size >= MEETING_LIMITS.furtherEndpointsMax) return undefined;
    const socket = ++this.#lastSocket;
    this.#further.add(socket);
    this.push({
      kind: 'openSocket',
      socket,
      ...(to !== undefined && { to }),
      ...(tcp !== undefined && { tcp: { host: tcp.host, port: tcp.port } }),
    });
    return socket;
  }

  /** Whether a session is wanted behind this socket. */
  isWanted(socket: SocketId): boolean {
    return this.#sockets.has(socket) || this.#further.has(socket);
  }

  /** Closes a socket once; repeated calls are harmless. */
  closeSocket(socket: SocketId): void {
    const isOpen = this.#sockets.delete(socket) || this.#further.delete(socket);
    if (!isOpen) return;
    this.push({ kind: 'closeSocket', socket });
    this.onClosed(socket);
  }
}

/** A publish is answered or sent again; a newer receipt comes; these events only inform. */
function isOptional(output: TerminalOutput): boolean {
  if (output.kind === 'publish' || output.kind === 'receipt') return true;
  if (output.kind !== 'event') return false;
  return output.event.kind === 'turnedAway' || output.event.kind === 'listUnreadable';
}
