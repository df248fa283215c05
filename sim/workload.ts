// What people and programs do in a world: terminals call one another, send bytes and messages, hold
// talks until something ends them. What is sent is a function of session, stream and side, so that
// whoever checks what arrives need not keep it.

import type { TerminalEvent } from '../device/terminal-types.ts';
import type { ConnectionEvent, StreamId } from '../protocol/data/connection-types.ts';
import type { Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Rng, randomBelow, randomFraction, seededRng } from '../protocol/random.ts';
import { after, ms, seconds } from '../protocol/time.ts';
import type { Application, VirtualTerminal } from './parties/virtual-terminal.ts';
import { ANY_SERVICE } from './permissions.ts';
import { gap, pick } from './strikes.ts';
import type { World } from './world.ts';

const CHUNK_BYTES = 16_384;
const HOLD_SECONDS = 8;
const MESSAGE_EVERY_MS = 50;
const MESSAGE_BYTES_MAX = 900;
const NOBODY = 'nobody-of-that-name' as Name;

/** What one end of a talk still wants to say. */
interface Errand {
  readonly session: SessionId;
  readonly role: 'caller' | 'callee';
  /** Bytes still to be written on its stream; the caller's, then the callee's answer. */
  left: number;
  written: number;
  stream: StreamId | undefined;
  isHeld: boolean;
  hasMessages: boolean;
}

/** Calls and talks of all terminals. */
export class Workload implements Application {
  readonly #world: World;
  readonly #rng: Rng & { next(): number };
  /** By terminal and session. */
  readonly #errands = new Map<VirtualTerminal, Map<SessionId, Errand>>();
  readonly #into = new Uint8Array(CHUNK_BYTES);
  #isOver = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('work');
  }

  /** Every terminal calls at the rate of the options until `stop`. */
  begin(): void {
    for (const terminal of this.#world.terminals) {
      terminal.application = this;
      this.#callAgain(terminal);
    }
  }

  /** Nobody calls any more; held talks are ended. */
  stop(): void {
    this.#isOver = true;
    for (const [terminal, errands] of this.#errands) {
      for (const { session, isHeld } of errands.values()) if (isHeld) terminal.end(session, 'done');
    }
  }

  /** One call, as the options say; of what it asks for, the random part is drawn here. */
  call(terminal: VirtualTerminal, callee: Name, service: string): number | undefined {
    const { options } = this.#world;
    const isShort = randomFraction(this.#rng) < options['work.quota'];
    const bytes = 1 + randomBelow(this.#rng, Math.max(1, Math.floor(options['work.bytes'])));
    return terminal.call({
      callee,
      service,
      want: isShort ? { bytes } : {},
      waitMs: LIMITS.waitMsDefault,
      extend: randomFraction(this.#rng) < options['work.extend'],
    });
  }

  onEvent(terminal: VirtualTerminal, event: TerminalEvent): void {
    if (event.kind === 'introduced') this.#onIntroduced(terminal, event);
    else if (event.kind === 'talk') this.#onTalk(terminal, event.session, event.event);
    else if (event.kind === 'ended') this.#of(terminal).delete(event.session);
  }

  #callAgain(terminal: VirtualTerminal): void {
    const world = this.#world;
    const perMinute = world.options['work.calls'];
    world.schedule(after(world.now, gap(this.#rng, perMinute)), () => {
      if (this.#isOver) return;
      const others = world.terminals;
      const callee = pick(this.#rng, others);
      const isNobody = randomBelow(this.#rng, 16) === 0;
      if (callee.name !== terminal.name)
        this.call(terminal, isNobody ? NOBODY : callee.name, pick(this.#rng, ANY_SERVICE));
      this.#callAgain(terminal);
    });
  }

  #onIntroduced(terminal: VirtualTerminal, event: TerminalEvent & { kind: 'introduced' }): void {
    const { session, call } = event;
    const { options } = this.#world;
    // The same at both ends, and whatever else happens in the world.
    const rng = contentRng(session, 0);
    const bytes = Math.floor(randomFraction(rng) * options['work.bytes']);
    const errand: Errand = {
      session,
      role: call === undefined ? 'callee' : 'caller',
      left: bytes,
      written: 0,
      stream: undefined,
      isHeld: randomFraction(rng) < options['work.hold'] && !this.#isOver,
      hasMessages: randomFraction(rng) < options['work.datagrams'],
    };
    this.#of(terminal).set(session, errand);
  }

  #onTalk(terminal: VirtualTerminal, session: SessionId, event: ConnectionEvent): void {
    const errand = this.#of(terminal).get(session);
    if (errand === undefined) return;
    switch (event.kind) {
      case 'established':
        if (errand.role === 'caller') this.#openStream(terminal, errand);
        if (errand.hasMessages) this.#sayMore(terminal, errand, 0);
        return;
      case 'stream':
        errand.stream ??= event.stream;
        return;
      case 'readable':
        return this.#read(terminal, errand, event.stream);
      case 'writable':
        return this.#write(terminal, errand);
      case 'datagram':
        while (terminal.readMessage(session) !== undefined);
        return;
      default:
        return;
    }
  }

  #openStream(terminal: VirtualTerminal, errand: Errand): void {
    errand.stream = terminal.talk(errand.session)?.openStream();
    this.#write(terminal, errand);
    if (!errand.isHeld) return;
    const { session } = errand;
    this.#world.schedule(after(this.#world.now, seconds(HOLD_SECONDS)), () => {
      if (this.#of(terminal).has(session)) terminal.end(session, 'done');
    });
  }

  #write(terminal: VirtualTerminal, errand: Errand): void {
    const { session, stream, role } = errand;
    if (stream === undefined || errand.left < 0) return;
    while (errand.left > 0) {
      const length = Math.min(errand.left, CHUNK_BYTES);
      const bytes = new Uint8Array(length);
      contentOf(session, stream, role, errand.written, bytes);
      const taken = terminal.write(session, stream, bytes);
      errand.left -= taken;
      errand.written += taken;
      if (taken < length) return;
    }
    errand.left = -1;
    terminal.finish(session, stream);
  }

  #read(terminal: VirtualTerminal, errand: Errand, stream: StreamId): void {
    for (;;) {
      const count = terminal.read(errand.session, stream, this.#into);
      if (count > 0) continue;
      if (count === 0) return;
      break;
    }
    // The callee answers with as much; the caller has heard everything.
    if (errand.role === 'callee') this.#write(terminal, errand);
    else if (!errand.isHeld) terminal.end(errand.session, 'done');
  }

  #sayMore(terminal: VirtualTerminal, errand: Errand, number: number): void {
    const { session, role } = errand;
    if (this.#of(terminal).get(session) !== errand) return;
    const length = 8 + (contentRng(session, number).next() % MESSAGE_BYTES_MAX);
    const bytes = new Uint8Array(length);
    contentOf(session, number, role, 0, bytes);
    new DataView(bytes.buffer).setUint32(0, number);
    terminal.sendMessage(session, bytes);
    this.#world.schedule(after(this.#world.now, ms(MESSAGE_EVERY_MS)), () =>
      this.#sayMore(terminal, errand, number + 1),
    );
  }

  #of(terminal: VirtualTerminal): Map<SessionId, Errand> {
    let errands = this.#errands.get(terminal);
    if (errands === undefined) this.#errands.set(terminal, (errands = new Map()));
    return errands;
  }
}

/** A generator that both ends of a session can make. */
function contentRng(session: SessionId, number: number): Rng & { next(): number } {
  return seededRng(seedOf(session) ^ Math.imul(number + 1, 0x9e3779b1));
}

function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/**
 * Fills `into` with what one side says on a stream (or in a numbered message) from `offset` on: the
 * same bytes for the same place, whatever pieces it is asked for in.
 */
export function contentOf(
  session: SessionId,
  stream: number,
  role: 'caller' | 'callee',
  offset: number,
  into: Uint8Array,
): void {
  const seed =
    seedOf(session) ^ Math.imul(stream * 2 + (role === 'caller' ? 0 : 1) + 1, 0x85ebca6b);
  for (let at = 0; at < into.length; at++) {
    const place = offset + at;
    const word = Math.imul((place >>> 2) ^ seed, 0x9e3779b1);
    const mixed = Math.imul(word ^ (word >>> 15), 0x85ebca77);
    into[at] = (mixed ^ (mixed >>> 13)) >>> ((place & 3) * 8);
  }
}
