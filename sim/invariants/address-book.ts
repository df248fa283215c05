// Where everybody is, and a quick look whether that stands in some bytes: the bytes of an address
// with its port close behind, as candidates are written, or `host` as text. Four bytes alone are
// found by chance in what is encrypted; with a port behind them they are not. IPv6 addresses of a
// world begin alike: the first four bytes are looked for, then the rest is compared.

import { asciiBytes } from '../../protocol/bytes.ts';
import { addressBytes } from '../../protocol/address.ts';
import type { Path } from '../../protocol/core.ts';
import type { DeviceId } from '../../protocol/ids.ts';

/** Bytes behind an address in which its port stands: a CBOR key and head lie between. */
const PORT_WITHIN_BYTES = 8;
const PORTS_MAX = 4_096;

interface Place {
  readonly bytes: Uint8Array;
  readonly owners: Set<DeviceId>;
  readonly text: Uint8Array;
  readonly ports: Set<number>;
}

/** Addresses that somebody has, and who. */
export class AddressBook {
  /** By the first four bytes. */
  readonly #places = new Map<number, Place[]>();
  readonly #byHost = new Map<string, Place>();
  /** Whether any address, or its text, begins with this byte. */
  readonly #first = new Uint8Array(256);

  add(owner: DeviceId, { host, port }: Path): void {
    const place = this.#byHost.get(host) ?? this.#make(host);
    if (place === undefined) return;
    place.owners.add(owner);
    if (place.ports.size < PORTS_MAX) place.ports.add(port);
  }

  /** Whose address stands there, `except` whoever hears it. */
  find(bytes: Uint8Array, except: DeviceId | undefined): DeviceId | undefined {
    const first = this.#first;
    const end = bytes.length - 4;
    for (let at = 0; at <= end; at++) {
      const kind = first[bytes[at]];
      if (kind === 0) continue;
      const found = this.#findAt(bytes, at, kind, except);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #make(host: string): Place | undefined {
    const own = addressBytes(host);
    if (own === undefined) return undefined;
    const text = asciiBytes(host);
    const place: Place = { bytes: own, owners: new Set(), text, ports: new Set() };
    this.#byHost.set(host, place);
    const word = wordOf(own, 0);
    const known = this.#places.get(word);
    if (known === undefined) this.#places.set(word, [place]);
    else known.push(place);
    this.#first[own[0]] |= AS_BYTES;
    this.#first[text[0]] |= AS_TEXT;
    return place;
  }

  #findAt(
    bytes: Uint8Array,
    at: number,
    kind: number,
    except: DeviceId | undefined,
  ): DeviceId | undefined {
    if ((kind & AS_BYTES) !== 0) {
      for (const place of this.#places.get(wordOf(bytes, at)) ?? []) {
        const isThere = place.bytes.length === 4 || standsAt(bytes, at, place.bytes);
        if (isThere && hasPort(place, bytes, at + place.bytes.length))
          return ownerOf(place, except);
      }
    }
    if ((kind & AS_TEXT) === 0) return undefined;
    for (const place of this.#byHost.values())
      if (standsAt(bytes, at, place.text)) return ownerOf(place, except);
    return undefined;
  }
}

const AS_BYTES = 1;
const AS_TEXT = 2;

function wordOf(bytes: ArrayLike<number>, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

function hasPort({ ports }: Place, bytes: Uint8Array, from: number): boolean {
  const end = Math.min(bytes.length - 2, from + PORT_WITHIN_BYTES);
  for (let at = from; at <= end; at++) if (ports.has((bytes[at] << 8) | bytes[at + 1])) return true;
  return false;
}

function standsAt(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  if (at + text.length > bytes.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

function ownerOf({ owners }: Place, except: DeviceId | undefined): DeviceId | undefined {
  if (except !== undefined && owners.has(except)) return undefined;
  for (const owner of owners) return owner;
  return undefined;
}
