// What STUN servers see of this machine (RFC 8489): one Binding request each, from a socket of its
// own. Answers show that UDP leaves this network and comes back, and whether a NAT stands before it
// that gives each destination another port (RFC 4787 §4.1), past which direct talks are hard.

import { addressBytes, addressScope } from '../../protocol/address.ts';
import type { Path } from '../../protocol/core.ts';
import { Clock, WakeUp } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { addressesOf, targetOf } from '../../protocol/io/host-port.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { BufferPool } from '../../protocol/io/udp.ts';
import { BindingRequests } from '../../protocol/stun/binding.ts';
import { STUN_LIMITS } from '../../protocol/stun/limits.ts';
import { NEVER } from '../../protocol/time.ts';
import { bindsFor, openEndpoint } from '../../device/shell/endpoint.ts';
import { pathWords } from '../../device/shell/way.ts';
import { type Finding, fail, ok, warn } from './finding.ts';

/** What the servers saw. */
export interface Seen {
  readonly asked: number;
  /** Of each that answered, in the order of the servers. */
  readonly answers: readonly { readonly server: Path; readonly mapped: Path }[];
  /** Undefined: no two ports of one server have answered. */
  readonly varies: boolean | undefined;
}

const BLOCKED_NEXT =
  'ask for outgoing UDP on this network, or use another one; talks within it may still work';
const BUFFER_BYTES = 2_048;

/**
 * Asks all servers, and waits for the slowest, some seconds at most. `bind`: the literal address
 * that the agent would bind to. @throws NakodoError `address-unusable`.
 */
export async function askStun(servers: readonly Path[], bind?: string): Promise<Seen> {
  const asked = servers.slice(0, STUN_LIMITS.serversMax);
  const clock = new Clock();
  const pool = new BufferPool(BUFFER_BYTES);
  const requests = new BindingRequests({ rng: entropy, servers: [], foreignServers: asked });
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const endpoint = await openEndpoint({
    binds: bindsFor({ literal: bind }),
    pool,
    receiveBuffer: 'later',
    onDatagram: (path, bytes) => {
      requests.handleDatagram(clock.now(), path, bytes);
      wake.arm(clock.now());
    },
    // A network that cannot be reached gives no answer, which is what we ask for.
    onError: () => {},
  });
  const wake: WakeUp = new WakeUp(clock, () => {
    const now = clock.now();
    requests.handleTimeout(now);
    for (let sent = 0; sent <= STUN_LIMITS.serversMax; sent++) {
      const buffer = pool.borrow();
      const transmit = requests.pollTransmit(now, buffer);
      if (transmit === undefined) {
        pool.release(buffer);
        break;
      }
      endpoint.send(transmit.path, transmit.size, buffer);
    }
    const next = requests.nextTimeout();
    if (next === NEVER) finish();
    else wake.arm(next);
  });
  wake.arm(clock.now());
  await finished;
  wake.stop();
  await endpoint.close();
  return { asked: asked.length, answers: requests.answers(), varies: requests.mappingVaries };
}

/** Servers written as `HOST:PORT` as paths, one for each family; a name not found is left out. */
export async function stunPaths(servers: readonly string[]): Promise<readonly Path[]> {
  const found = await Promise.all(
    servers.map(async (text) => {
      const target = targetOf(text);
      if (target === undefined) return [];
      const { host, port } = target;
      const addresses = await addressesOf(host).catch(() => []);
      return addresses.map((address) => ({ host: address, port }));
    }),
  );
  return found.flat();
}

/** What that means. `own`: this machine's addresses; `isCertain`: there are such servers. */
export function natFinding(
  { asked, answers, varies }: Seen,
  { own, isCertain }: { readonly own: readonly string[]; readonly isCertain: boolean },
): Finding {
  if (answers.length === 0) {
    const count = asked === 1 ? 'the STUN server' : `any of ${asked} STUN servers`;
    const says = `nothing came back from ${count}: UDP seems to be blocked`;
    if (isCertain) return fail(says, BLOCKED_NEXT);
    return warn(`${says}, or the server has none`, 'start the agent, which is told of them');
  }
  const seen = [...new Set(answers.map(({ mapped }) => mapped.host))];
  const [{ mapped }] = answers;
  const count = `${answers.length} of ${asked} STUN servers`;
  if (varies === true) {
    return warn(
      `${count} answered, and saw other ports: a carrier's or a symmetric NAT`,
      'direct talks need an ordinary home router at the other end, or else a relay',
    );
  }
  const places = seen.join(' and ');
  if (seen.every(isLoopback)) return ok(`${count} answered, on this machine`);
  if (seen.every((host) => own.includes(host))) {
    return ok(`${count} answered: no NAT, this machine is ${places}`);
  }
  const scope = addressScope(addressBytes(mapped.host) ?? new Uint8Array());
  const inner = scope === 'global' ? '' : ', which is not a public address either';
  const kind =
    varies === false
      ? "one port for all, as home routers' do"
      : 'how it treats others one port alone does not show';
  return ok(`${count} answered: behind a NAT at ${pathWords(mapped)}${inner}; ${kind}`);
}
