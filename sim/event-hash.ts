// One number for everything that happened: two runs of a seed that differ anywhere, even in the
// order of two things of one instant, differ here.

import type { Happening } from './happenings.ts';
import type { Watcher, World } from './world.ts';

const PRIME = 0x01000193;

/** Hears everything; 64 bits in two lanes. */
export class EventHash implements Watcher {
  readonly #world: World;
  readonly #numbers = new Map<string, number>();
  #a = 0x811c9dc5;
  #b = 0x9e3779b9;

  constructor(world: World) {
    this.#world = world;
  }

  /** Sixteen hexadecimal digits. */
  get value(): string {
    const digits = (lane: number): string => (lane >>> 0).toString(16).padStart(8, '0');
    return digits(this.#a) + digits(this.#b);
  }

  onHappening(happening: Happening): void {
    this.#mix(this.#number(happening.kind));
    this.#mix(Math.floor(this.#world.now) | 0);
    if ('terminal' in happening) this.#mix(happening.terminal.index);
    if ('session' in happening) this.#mixText(happening.session);
    if ('topic' in happening) this.#mixText(happening.topic);
    if ('event' in happening) this.#mix(this.#number(happening.event.kind));
    if ('bytes' in happening) this.#mixBytes(happening.bytes);
  }

  #mixBytes(bytes: Uint8Array): void {
    this.#mix(bytes.length);
    // A sealed message that differs anywhere differs in its tag, which is at its end.
    for (let at = Math.max(0, bytes.length - 16); at < bytes.length; at++) this.#mix(bytes[at]);
  }

  #mixText(text: string): void {
    for (let at = 0; at < text.length; at++) this.#mix(text.charCodeAt(at));
  }

  /** Words get their numbers in the order in which they are heard first. */
  #number(word: string): number {
    const known = this.#numbers.get(word);
    if (known !== undefined) return known;
    this.#numbers.set(word, this.#numbers.size + 1);
    return this.#numbers.size;
  }

  #mix(value: number): void {
    this.#a = Math.imul(this.#a ^ value, PRIME);
    this.#b = Math.imul(this.#b ^ (value + (this.#a >>> 15)), 0x85ebca6b);
  }
}
