// A talk as a command holds it: introduced by the agent of the home, with streams and messages that
// run through it. The command speaks the service's own protocol and opens its user's files; the
// agent carries bytes (design §7). One local connection holds the talk, each stream has one more.

import { join } from 'node:path';
import { Duplex } from 'node:stream';
import type { MeetingReport } from '../device/terminal-types.ts';
import type { PathClass } from '../protocol/address.ts';
import { NakodoError } from '../protocol/errors.ts';
import { toBase64 } from '../protocol/io/base64.ts';
import { type LocalCall, openLocal } from '../protocol/io/local-socket.ts';
import { AGENT_SOCKET, agentError } from './ask.ts';
import { terminalFolder } from './home.ts';

/** What a command wants of a peer; see Wish of the agent. */
export interface TalkWish {
  readonly to: string;
  readonly service: string;
  readonly waitMs?: number | undefined;
  /** At most this much, of both ends together. */
  readonly bytes?: number | undefined;
  readonly seconds?: number | undefined;
  readonly extend?: boolean | undefined;
}

/** Something the agent tells of a talk: `event` and what belongs to it. */
export type TalkTold = Readonly<Record<string, unknown>> & { readonly event: string };

/** What a talk was when it opened. */
export interface OpenTalk {
  readonly session: string;
  readonly peer: { readonly name: string; readonly id: string };
  readonly service: string;
  /** The grant. */
  readonly seconds: number;
  readonly bytes?: number;
  /** From the request to the proven path; not there for a talk that a peer asked for. */
  readonly setupSeconds?: number;
  readonly path?: { readonly host: string; readonly port: number };
  readonly way?: PathClass;
  /** The relay of this terminal that it goes through. */
  readonly relayAt?: MeetingReport['relayAt'];
  readonly rttMs?: number;
  readonly maxMessageBytes: number;
}

/** How it ended: reason, counts, path. */
export type TalkEnd = Readonly<Record<string, unknown>>;

interface TalkOptions {
  /** `--home`. */
  readonly home: string | undefined;
  /** Hears everything from `waiting` to `ended`. */
  readonly onEvent?: (told: TalkTold) => void;
  /** Streams that the peer opens, each to be taken with `takeStream`. */
  readonly onStream?: (take: number, parameters: Uint8Array) => void;
}

/** One talk of a command. */
export class CommandTalk {
  readonly open: OpenTalk;
  /**
   * Resolves when the talk ended as `done` or `local`, rejects with the error of any other end
   * (exit 4 for a limit).
   */
  readonly ended: Promise<TalkEnd>;
  readonly #home: string | undefined;
  readonly #call: LocalCall;

  private constructor(home: string | undefined, call: LocalCall, open: OpenTalk) {
    this.open = open;
    this.ended = call.result;
    this.#home = home;
    this.#call = call;
  }

  /**
   * [S1002]: has the agent introduce itself to a peer; resolves when both ends have proven
   * themselves.
   * @throws NakodoError `agent-not-running`, `refused` (exit 3), `path-lost` (exit 5) …
   */
  static begin(wish: TalkWish, options: TalkOptions): Promise<CommandTalk> {
    return CommandTalk.#hold({ op: 'talk', ...wish }, options);
  }

  /** Waits for the next talk of a service that a peer asks for, of `from` or of anybody. */
  static accept(
    wish: { readonly service: string; readonly from?: string | undefined },
    options: TalkOptions,
  ): Promise<CommandTalk> {
    return CommandTalk.#hold({ op: 'accept', ...wish }, options);
  }

  static async #hold(request: object, options: TalkOptions): Promise<CommandTalk> {
    let opened: (open: OpenTalk) => void = () => {};
    const open = new Promise<OpenTalk>((resolve) => {
      opened = resolve;
    });
    const call = await callAgent(options.home, request, (event) => {
      if (event.event === 'open') opened(event as unknown as OpenTalk);
      if (event.event === 'stream') {
        const parameters = Buffer.from(String(event.parameters), 'base64url');
        options.onStream?.(Number(event.take), parameters);
      }
      options.onEvent?.(event as TalkTold);
    });
    const early = call.result.then(() => {
      throw new NakodoError('ended-early', 'the talk ended as soon as it began', 'try again');
    });
    return new CommandTalk(options.home, call, await Promise.race([open, early]));
  }

  /**
   * Opens a stream of the talk: a Duplex, half-closed by `end()`, whose `finish` says that the peer
   * has everything; its errors are NakodoErrors (`stream-refused`, `stream-reset`, the reason of
   * the talk's end). `parameters`: the service's own, at most 1024 bytes.
   */
  openStream(parameters: Uint8Array = new Uint8Array()): Promise<Duplex> {
    return this.#stream({ parameters: toBase64(parameters) });
  }

  /** Takes a stream that the peer opened, once. */
  takeStream(take: number): Promise<Duplex> {
    return this.#stream({ take });
  }

  async #stream(which: object): Promise<Duplex> {
    const request = { op: 'stream', session: this.open.session, ...which };
    let deliver: () => void = () => {};
    const delivered = new Promise<void>((resolve) => {
      deliver = resolve;
    });
    const call = await callAgent(this.#home, request, ({ event }) => {
      if (event === 'delivered') deliver();
    });
    return new AgentStream(call, delivered);
  }

  /** Opens the way for datagram messages, both ways; of one talk once. */
  async messages(): Promise<Messages> {
    const request = { op: 'messages', session: this.open.session };
    return new Messages(await callAgent(this.#home, request));
  }

  /** Ends the talk when everything written is delivered; resolves when it has ended. */
  done(): Promise<TalkEnd> {
    this.#call.endData();
    return this.ended;
  }

  /** Lets go at once: the peer hears `local`. */
  giveUp(): void {
    this.#call.close();
  }
}

type Done = (error?: Error) => void;

/** A stream of a talk in a command; allows half-open. */
class AgentStream extends Duplex {
  readonly #call: LocalCall;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #delivered: Promise<void>;
  #isReading = false;

  constructor(call: LocalCall, delivered: Promise<void>) {
    super({ allowHalfOpen: true });
    this.#call = call;
    this.#delivered = delivered;
    this.#chunks = call.incoming[Symbol.asyncIterator]();
    // Whoever uses the stream hears of its failure by its own means; nobody must die of it.
    this.on('error', () => {});
    // A reader hears of it when it has read what there was; with nothing left to read, at once.
    call.result.catch((error: Error) => {
      if (this.readableEnded && !this.writableFinished) this.destroy(error);
    });
  }

  override _read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#chunks.next().then(
      (next) => {
        this.#isReading = false;
        const failure = this.#call.failure();
        if (next.done !== true) this.push(next.value);
        else if (failure === undefined) this.push(null);
        else this.destroy(failure);
      },
      (error: Error) => this.destroy(this.#call.failure() ?? error),
    );
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    void this.#settle(this.#call.write(chunk), done);
  }

  /** `finish` says that the peer has everything: so pipeline() means what it says. */
  override _final(done: Done): void {
    this.#call.endData();
    void this.#settle(Promise.race([this.#delivered, this.#call.result]), done);
  }

  /** Why the agent failed explains more than that it has gone. */
  async #settle(work: Promise<unknown>, done: Done): Promise<void> {
    let failure: Error | undefined;
    try {
      await work;
    } catch (error) {
      failure = this.#call.failure() ?? (error as Error);
    }
    done(failure);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#call.close();
    done(error);
  }
}

const LENGTH_BYTES = 2;

/** The datagram messages of a talk: each arrives once, late or never. */
class Messages {
  readonly #call: LocalCall;

  constructor(call: LocalCall) {
    this.#call = call;
  }

  /** Hands one message on; resolves when the next may follow. 1 to `maxMessageBytes` bytes. */
  send(message: Uint8Array): Promise<void> {
    const head = Buffer.alloc(LENGTH_BYTES);
    head.writeUInt16BE(message.length);
    return this.#call.write(Buffer.concat([head, message]));
  }

  /** No further one will be sent. */
  end(): void {
    this.#call.endData();
  }

  /** The peer's, until the talk ends. */
  async *arriving(): AsyncGenerator<Uint8Array, void, undefined> {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of this.#call.incoming) {
      rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
      while (rest.length >= LENGTH_BYTES && rest.length >= LENGTH_BYTES + rest.readUInt16BE()) {
        const end = LENGTH_BYTES + rest.readUInt16BE();
        yield rest.subarray(LENGTH_BYTES, end);
        rest = rest.subarray(end);
      }
    }
  }

  /** Stops listening. */
  close(): void {
    this.#call.close();
  }
}

/** Opens a local call to the agent of a home. @throws NakodoError `agent-not-running` (exit 5). */
async function callAgent(
  home: string | undefined,
  request: object,
  onEvent?: (event: Record<string, unknown>) => void,
): Promise<LocalCall> {
  try {
    return await openLocal(join(terminalFolder(home), AGENT_SOCKET), request, onEvent);
  } catch (error) {
    throw agentError(error, home);
  }
}
