// Interned paths: the same address and port are the same object (protocol/core.ts asks for it), so
// that the modelled network can keep its tables by identity. One world has one collection; nothing
// is forgotten while it lives, because a path that came back as another object would be a lie.

import type { Path } from '../../protocol/core.ts';

/** Paths in one world: 10,000 hosts with some hundred sockets each; more is a runaway. */
const PATHS_MAX = 4_000_000;
/** Highest UDP port. */
export const PORT_MAX = 65_535;

/** All the paths of one world. */
export class Paths {
  readonly #byHost = new Map<string, Map<number, Path>>();
  #size = 0;

  /**
   * The one path of this address and port. `host`: IPv4 dotted or IPv6 in its shortest form
   * (RFC 5952), taken literally.
   *
   * @throws Error when the port is none, or when there are absurdly many paths.
   */
  of(host: string, port: number): Path {
    let ports = this.#byHost.get(host);
    if (ports === undefined) this.#byHost.set(host, (ports = new Map()));
    const known = ports.get(port);
    if (known !== undefined) return known;
    if (!Number.isInteger(port) || port < 1 || port > PORT_MAX)
      throw new Error(`${port} is no UDP port`);
    if (this.#size >= PATHS_MAX) throw new Error(`more than ${PATHS_MAX} paths in one world`);
    this.#size += 1;
    const path: Path = Object.freeze({ host, port });
    ports.set(port, path);
    return path;
  }

  /** The one path that equals `path`, whoever made it. */
  intern(path: Path): Path {
    return this.of(path.host, path.port);
  }
}

/** Whether two addresses are of one family: nothing goes from IPv4 to IPv6 or back. */
export function isOneFamily(a: string, b: string): boolean {
  return a.includes(':') === b.includes(':');
}
