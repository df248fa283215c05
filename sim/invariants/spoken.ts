// What terminals, broker and manager say to one another, in plain words, for the invariants of the
// control plane: sealed messages as they are sealed and opened, the few plain ones as they pass
// the broker. Each message is decoded once, and only if somebody judges its kind.

import { decodeMessage } from '../../protocol/control/codec.ts';
import { KIND_NUMBERS, type Kind, type Message } from '../../protocol/control/messages.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher } from '../world.ts';

/** One message, said or heard. */
export interface Word {
  /** Through the seal, or plain on the bus. */
  readonly how: 'sealed' | 'opened' | 'published' | 'delivered';
  /** `manager`, or the name of a terminal (of a clone: its original's). */
  readonly party: string;
  /** The machine that hears it; unknown of what is sealed. */
  readonly machine: VirtualTerminal | undefined;
  /** Of a plain message. */
  readonly topic: string | undefined;
  readonly message: Message;
  /** Bytes of it, without the seal. */
  readonly size: number;
}

/** Somebody who judges what is said. */
export interface WordHearer {
  onWord(word: Word): void;
}

const numbersOf = (...kinds: readonly Kind[]): ReadonlySet<number> =>
  new Set(kinds.map((kind) => KIND_NUMBERS[kind]));

/** What anybody judges. */
const BEHIND_THE_SEAL = numbersOf(
  'register',
  'registered',
  'connect',
  'allowList',
  'extend',
  'ask',
  'askExtend',
  'addressNotice',
  'candidates',
  'peerCandidates',
  'endRequest',
  'refusal',
  'ended',
);
const PUBLISHED = numbersOf('address', 'addressQuery', 'welcome');
const DELIVERED = numbersOf('call', 'addressAnswer');
/** Sealed messages that nobody has opened yet; beyond it the oldest is decoded twice. */
const KNOWN_MAX = 64;

/** Decodes, and tells those who judge, in their order. */
export class Spoken implements Watcher {
  readonly #hearers: readonly WordHearer[];
  readonly #known: { readonly bytes: Uint8Array; readonly message: Message | undefined }[] = [];
  #machine: VirtualTerminal | undefined;

  constructor(hearers: readonly WordHearer[]) {
    this.#hearers = hearers;
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'sealed':
      case 'opened':
        return this.#onSealed(happening.kind, happening.owner, happening.bytes);
      case 'delivered': {
        const { party, topic, bytes } = happening;
        this.#machine = party === 'manager' ? undefined : party;
        if (!DELIVERED.has(kindOf(bytes))) return;
        return this.#tell('delivered', { party, topic }, bytes);
      }
      case 'published': {
        const { party, topic, bytes } = happening;
        if (!PUBLISHED.has(kindOf(bytes))) return;
        return this.#tell('published', { party, topic }, bytes);
      }
      default:
        return;
    }
  }

  #onSealed(how: 'sealed' | 'opened', party: string, bytes: Uint8Array): void {
    if (!BEHIND_THE_SEAL.has(kindOf(bytes))) return;
    const message = how === 'sealed' ? this.#keep(bytes) : this.#find(bytes);
    if (message === undefined) return;
    const heard = how === 'opened' && this.#machine?.name === party ? this.#machine : undefined;
    const word = { how, party, machine: heard, topic: undefined, message, size: bytes.length };
    for (const hearer of this.#hearers) hearer.onWord(word);
  }

  #tell(
    how: 'published' | 'delivered',
    at: { readonly party: VirtualTerminal | 'manager'; readonly topic: string },
    bytes: Uint8Array,
  ): void {
    const message = decodeMessage(bytes);
    if (message === undefined) return;
    const machine = at.party === 'manager' ? undefined : at.party;
    const party = machine?.name ?? 'manager';
    const word = { how, party, machine, topic: at.topic, message, size: bytes.length };
    for (const hearer of this.#hearers) hearer.onWord(word);
  }

  #keep(borrowed: Uint8Array): Message | undefined {
    const bytes = borrowed.slice();
    const message = decodeMessage(bytes);
    this.#known.push({ bytes, message });
    if (this.#known.length > KNOWN_MAX) this.#known.shift();
    return message;
  }

  /** What is opened was sealed a moment ago, nearly always. */
  #find(borrowed: Uint8Array): Message | undefined {
    for (let at = this.#known.length - 1; at >= 0; at--) {
      const { bytes, message } = this.#known[at];
      if (bytes.length === borrowed.length && sameBytes(bytes, borrowed)) return message;
    }
    return decodeMessage(borrowed.slice());
  }
}

/**
 * The number of a message's kind, by its place: {0: version, 1: kind …} is a map head of one or two
 * bytes, key, version, key, kind.
 */
export function kindOf(bytes: Uint8Array): number {
  const at = (bytes[0] < 0xb8 ? 1 : 2) + 3;
  return bytes[at] === 0x18 ? bytes[at + 1] : bytes[at];
}
