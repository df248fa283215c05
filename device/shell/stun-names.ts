// The owner's own STUN servers (RFC 8489) as paths to ask. Names are looked up in the background,
// when the link comes up and when what is known has grown old while it is used: no set-up ever
// waits for DNS. Without such servers nothing is done at all.

import { isIP } from 'node:net';
import type { Path } from '../../protocol/core.ts';
import { UsageError, errorCode } from '../../protocol/errors.ts';
import { type LookUp, addressesOf, targetOf } from '../../protocol/io/host-port.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { Log } from '../../protocol/io/log.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { pathWords } from './way.ts';

const OLD_MS = IO_LIMITS.stunNameSeconds * MS_PER_SECOND;

interface StunNamesOptions {
  /** `HOST:PORT`, `[IPv6]:PORT`; at most IO_LIMITS.ownStunMax. */
  readonly servers: readonly string[];
  readonly log: Log;
  /** Default: the system's resolver. */
  readonly lookUp?: LookUp | undefined;
}

interface Server {
  readonly host: string;
  readonly port: number;
  paths: readonly Path[];
}

/** The owner's STUN servers. */
export class StunNames {
  readonly #servers: readonly Server[];
  readonly #log: Log;
  readonly #lookUp: LookUp | undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  /** @throws UsageError `bad-stun-server` for text that is no `HOST:PORT`, or too many. */
  constructor({ servers, log, lookUp }: StunNamesOptions) {
    if (servers.length > IO_LIMITS.ownStunMax) {
      throw new UsageError('bad-stun-server', `more than ${IO_LIMITS.ownStunMax} STUN servers`);
    }
    this.#servers = servers.map(serverOf);
    this.#log = log;
    this.#lookUp = lookUp;
  }

  /** As the owner wrote them. */
  get servers(): readonly string[] {
    return this.#servers.map(({ host, port }) => pathWords({ host, port }));
  }

  /** As last known, at most IO_LIMITS.ownStunPathsMax; what is old is looked up meanwhile. */
  paths(): readonly Path[] {
    if (performance.now() - this.#lookedAtMs >= OLD_MS) void this.refresh();
    return this.#servers.flatMap(({ paths }) => paths);
  }

  /** Looks all names up; never rejects. One look at a time. */
  refresh(): Promise<void> {
    const named = this.#servers.filter(({ host }) => isIP(host) === 0);
    if (named.length === 0) return Promise.resolve();
    this.#looking ??= Promise.all(named.map((server) => this.#look(server))).then(() => {
      this.#looking = undefined;
      this.#lookedAtMs = performance.now();
    });
    return this.#looking;
  }

  /** What was known of a name that is not found now is kept. */
  async #look(server: Server): Promise<void> {
    const { host, port } = server;
    try {
      const found = await addressesOf(host, this.#lookUp);
      server.paths = found.map((address) => pathLike(server.paths, { host: address, port }));
    } catch (error) {
      this.#log.info('stun-name-unknown', { server: host, code: errorCode(error) });
    }
  }
}

/** The same object for the same path. */
function pathLike(known: readonly Path[], path: Path): Path {
  return known.find(({ host }) => host === path.host) ?? path;
}

function serverOf(text: string): Server {
  const target = targetOf(text);
  if (target === undefined) {
    throw new UsageError('bad-stun-server', `"${text}" is not HOST:PORT of a STUN server`);
  }
  return { ...target, paths: isIP(target.host) === 0 ? [] : [target] };
}
