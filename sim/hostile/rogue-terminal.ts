// An enrolled terminal with a program of its own (threat model, T3, T4, T6, T11): the real core
// with its own keys, and somebody who sits between it and the world. What it seals is opened before
// it leaves and sealed again as something else, any number of times; the frames of its talks are
// written over before they are encrypted. It lies with its own signature, never with another's.

import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import { CHANNEL_ID_BYTES, type Message } from '../../protocol/control/messages.ts';
import {
  type AeadKey,
  type CryptoSuite,
  HASH_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
} from '../../protocol/crypto.ts';
import { packetNonce } from '../../protocol/data/packet.ts';
import { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { World } from '../world.ts';

/** Channels that are remembered: the newest two are in use. */
const PENS_MAX = 4;
/** Where a nonce has its 48 bits (docs/wire.md §9). */
const SEQUENCE_AT = 4;
const SEQUENCE_END = 10;
/** Sealed messages whose plain words are remembered until they leave. */
const DRAFTS_MAX = 64;

type Place = 'up' | 'allow-list';

/** What a rogue does instead of what its core says. */
interface Program {
  /** What is said in place of this message; `undefined`: the same. */
  rewrite(message: Message, of: Place): readonly Message[] | undefined;
  /** The address record that it publishes; `undefined`: the one it has. */
  readdress(bytes: Uint8Array): Uint8Array | undefined;
  /** The frames of one packet, `buffer[start, start + length)`, before they are sealed. */
  overwrite(buffer: Uint8Array, start: number, length: number): void;
  /** Whether what arrives by MQTT is taken at all. */
  hears(name: string): boolean;
}

/** A sealed channel, written into by hand. */
interface Pen {
  readonly key: AeadKey;
  readonly channel: Uint8Array;
  /** Of the core's own sequence: what it wanted to say. */
  readonly drafts: Map<number, Uint8Array>;
  next: number;
}

type Parts = ConstructorParameters<typeof VirtualTerminal>[1];

/** The machine of a rogue. Before `program` is set it is honest. */
export class RogueTerminal extends VirtualTerminal {
  program: Program | undefined;
  readonly #pens: Map<AeadKey, Pen>;
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  #pen: Pen | undefined;

  constructor(world: World, parts: Parts) {
    const pens = new Map<AeadKey, Pen>();
    const hands: Hands = { pens, program: () => undefined };
    super(world, {
      ...parts,
      identity: { ...parts.identity, suite: between(parts.identity.suite, hands) },
    });
    this.#pens = pens;
    hands.program = () => this.program;
  }

  override publish(of: 'address' | Place, bytes: Uint8Array): void {
    const { program } = this;
    if (of === 'address') return super.publish(of, program?.readdress(bytes) ?? bytes);
    const message = decodeMessage(bytes);
    if (message?.kind !== 'sealed') return super.publish(of, bytes);
    const pen = this.#penOf(message.channel, message.sequence);
    const draft = pen?.drafts.get(message.sequence);
    if (pen === undefined || draft === undefined) throw new Error(`${this.name} lost its draft`);
    pen.drafts.delete(message.sequence);
    this.#pen = pen;
    const said = decodeMessage(draft);
    const instead = said && program?.rewrite(said, of);
    if (instead === undefined) this.#write(pen, of, draft);
    else for (const other of instead) this.#write(pen, of, encodeMessage(other));
  }

  override onMessage(name: string, bytes: Uint8Array): void {
    if (this.program?.hears(name) !== false) super.onMessage(name, bytes);
  }

  override kill(): void {
    this.#pens.clear();
    this.#pen = undefined;
    super.kill();
  }

  /** Says something more to the manager; false without a channel. */
  whisper(message: Message, of: Place = 'up'): boolean {
    if (this.#pen === undefined || !this.isLinked) return false;
    this.#write(this.#pen, of, encodeMessage(message));
    return true;
  }

  #write(pen: Pen, of: Place, plain: Uint8Array): void {
    const { key, channel, next: sequence } = pen;
    pen.next += 1;
    const box = new Uint8Array(plain.length + TAG_BYTES);
    box.set(plain);
    packetNonce(sequence, this.#nonce);
    key.seal(this.#nonce, channel, box, 0, plain.length);
    super.publish(of, encodeMessage({ kind: 'sealed', channel, sequence, box }));
  }

  #penOf(channel: Uint8Array, sequence: number): Pen | undefined {
    for (const pen of this.#pens.values())
      if (isSame(pen.channel, channel) && pen.drafts.has(sequence)) return pen;
    return undefined;
  }
}

interface Hands {
  readonly pens: Map<AeadKey, Pen>;
  program: () => Program | undefined;
}

/** The suite of a core whose words are not the last ones. */
function between(suite: CryptoSuite, hands: Hands): CryptoSuite {
  const importKey = (bytes: Uint8Array): AeadKey => {
    const key = suite.aead.importKey(bytes);
    return {
      open: (nonce, aad, buffer, start, length) => key.open(nonce, aad, buffer, start, length),
      seal: (nonce, aad, buffer, start, length) => {
        if (aad.length === CHANNEL_ID_BYTES) {
          draft(hands.pens, key, { nonce, aad, plain: buffer.slice(start, start + length) });
          return;
        }
        // A Noise message has the hash of its transcript beside it; a packet its header.
        if (aad.length < HASH_BYTES) hands.program()?.overwrite(buffer, start, length);
        key.seal(nonce, aad, buffer, start, length);
      },
    };
  };
  return { ...suite, aead: { name: suite.aead.name, importKey } };
}

function draft(
  pens: Map<AeadKey, Pen>,
  key: AeadKey,
  said: { readonly nonce: Uint8Array; readonly aad: Uint8Array; readonly plain: Uint8Array },
): void {
  let pen = pens.get(key);
  if (pen === undefined) {
    pen = { key, channel: said.aad.slice(), drafts: new Map(), next: 0 };
    pens.set(key, pen);
    for (const oldest of pens.keys()) {
      if (pens.size <= PENS_MAX) break;
      pens.delete(oldest);
    }
  }
  pen.drafts.set(sequenceOf(said.nonce), said.plain);
  for (const oldest of pen.drafts.keys()) {
    if (pen.drafts.size <= DRAFTS_MAX) return;
    pen.drafts.delete(oldest);
  }
}

/** The number that `packetNonce` put there. */
function sequenceOf(nonce: Uint8Array): number {
  let sequence = 0;
  for (let at = SEQUENCE_END - 1; at >= SEQUENCE_AT; at--) sequence = sequence * 256 + nonce[at];
  return sequence;
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
