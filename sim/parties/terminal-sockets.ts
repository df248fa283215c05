// The sockets of one terminal in virtual time: of UDP on the modelled Internet, and connections to
// a relay. Watchers are told what leaves and what comes: what a relay carries as what it is, and of
// the rest of STUN apart.

import { addressBytes, isIpv6Text } from '../../protocol/address.ts';
import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { SocketId } from '../../device/terminal-types.ts';
import { RelayedView } from '../network/relayed.ts';
import type { World } from '../world.ts';
import { RelayStream } from './relay-stream.ts';
import { seenOutside } from './virtual-broker.ts';
import type { VirtualTerminal } from './virtual-terminal.ts';

const PROBES = [1_452, 1_472];

/** All that are open, by the core's number and by the path that names them. */
export class TerminalSockets {
  readonly #world: World;
  readonly #terminal: VirtualTerminal;
  readonly #byId = new Map<SocketId, Path>();
  readonly #byPath = new Map<Path, SocketId>();
  /** Those that are connections to a relay. */
  readonly #streams = new Map<Path, RelayStream>();
  /** Those that speak to a relay. */
  readonly #views = new Map<Path, RelayedView>();

  constructor(world: World, terminal: VirtualTerminal) {
    this.#world = world;
    this.#terminal = terminal;
  }

  /** In the order of opening. */
  get paths(): readonly Path[] {
    return [...this.#byId.values()];
  }

  idOf(path: Path): SocketId | undefined {
    return this.#byPath.get(path);
  }

  /** `to`: it is only ever used to send there. */
  open(socket: SocketId, to: string | undefined): void {
    const { host, isForwarded } = this.#terminal;
    const path = this.#bind(socket);
    // Its router has a way in, for this socket.
    if (isForwarded && to === undefined) this.#world.internet.forward(host, path);
    const candidates = to === undefined ? this.#candidates(path) : [];
    const link = { datagramBytesProbes: PROBES };
    this.#terminal.input({ kind: 'socketOpen', socket, candidates, link });
  }

  /** To a relay, by TCP: its router translates that as well, and does not block it. */
  connect(socket: SocketId, to: { readonly host: string; readonly port: number }): void {
    const { paths } = this.#world.internet;
    const terminal = this.#terminal;
    const path = this.#bind(socket);
    const server = paths.intern(to);
    const hears = (run: () => void): void => {
      if (this.#streams.get(path) !== stream) return;
      if (terminal.isSuspended) terminal.postpone(() => hears(run));
      else run();
    };
    const place = terminal.host.placeFor(to.host);
    if (place === undefined) {
      terminal.input({ kind: 'socketFailed', socket, code: 'ENETUNREACH' });
      return;
    }
    const isIpv6 = isIpv6Text(to.host);
    const client = paths.of(isIpv6 ? place.address : seenOutside(terminal.host), path.port);
    const stream = new RelayStream(this.#world, client, {
      onOpen: () => hears(() => terminal.input({ kind: 'socketOpen', socket, candidates: [] })),
      onFrame: (bytes) => hears(() => terminal.receive(path, server, bytes)),
      onEnd: () =>
        hears(() => {
          this.#streams.delete(path);
          terminal.input({ kind: 'socketFailed', socket, code: 'ECONNRESET' });
        }),
    });
    this.#streams.set(path, stream);
  }

  /** Looks at this machine's addresses again. */
  gather(socket: SocketId): void {
    const path = this.#byId.get(socket);
    if (path === undefined) return;
    this.#terminal.input({ kind: 'gathered', socket, candidates: this.#candidates(path) });
  }

  close(socket: SocketId): void {
    const path = this.#byId.get(socket);
    if (path === undefined) return;
    this.#byId.delete(socket);
    this.#byPath.delete(path);
    this.#views.delete(path);
    this.#streams.get(path)?.close();
    this.#streams.delete(path);
    this.#terminal.host.unbind(path);
    this.#world.happen({ kind: 'socketClosed', terminal: this.#terminal, path });
  }

  /** Its process is gone. */
  closeAll(): void {
    for (const path of this.#byId.values()) this.#terminal.host.unbind(path);
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    this.#views.clear();
    this.#byId.clear();
    this.#byPath.clear();
  }

  /** Its machine has another address: what was connected is not any more. */
  onMoved(): void {
    for (const stream of this.#streams.values()) stream.die();
  }

  send(socket: SocketId, to: Path, bytes: Uint8Array): void {
    const path = this.#byId.get(socket);
    if (path === undefined) return;
    const peer = this.#world.internet.paths.intern(to);
    this.tell('Sent', path, peer, bytes);
    const stream = this.#streams.get(path);
    if (stream === undefined) this.#terminal.host.send(path, peer, bytes);
    else stream.send(bytes);
  }

  /** Says what left a socket, or came to it. */
  tell(way: 'Sent' | 'Received', socket: Path, other: Path, bytes: Uint8Array): void {
    const world = this.#world;
    const view = this.#views.get(socket) ?? new RelayedView(world.internet.paths);
    const inside = view.look(bytes);
    const of = { terminal: this.#terminal, socket };
    if (inside === undefined)
      return world.happen({ kind: `datagram${way}`, ...of, peer: other, bytes });
    this.#views.set(socket, view);
    if (inside === 'stun') return world.happen({ kind: `stun${way}`, ...of, peer: other, bytes });
    return world.happen({ kind: `datagram${way}`, ...of, ...inside, relay: other });
  }

  #bind(socket: SocketId): Path {
    const path = this.#terminal.host.bind();
    this.#byId.set(socket, path);
    this.#byPath.set(path, socket);
    this.#world.happen({ kind: 'socketOpened', terminal: this.#terminal, path });
    return path;
  }

  /** This machine's own addresses with the socket's port; what a router makes of it STUN shows. */
  #candidates({ port }: Path): readonly Candidate[] {
    return this.#terminal.host.places.flatMap(({ address: text }) => {
      const address = addressBytes(text);
      return address === undefined ? [] : [{ address, port, type: 'host' as const }];
    });
  }
}
