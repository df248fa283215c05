// Invariant 2: nobody learns an address before its owner has agreed. Addresses are what terminals
// publish for a record, or our STUN server saw for it, or what they say of themselves in a session;
// a record counts only if its terminal named it in a call of its own or in a yes. What the manager
// asks the broker, what the broker answers, what a notice says and what follows it while the
// session lasts, what passes to a terminal as bytes or as text, and where datagrams go, is held
// against that. What only a site knows is told where both were seen at one public address, and
// nowhere else.

import { addressScope, addressText } from '../../protocol/address.ts';
import { decodeGrant } from '../../protocol/grant.ts';
import { type Candidate, KIND_NUMBERS, type MessageOf } from '../../protocol/control/messages.ts';
import { topic } from '../../protocol/control/topics.ts';
import type { Path } from '../../protocol/core.ts';
import { isProbe } from '../../protocol/data/probe.ts';
import type { DeviceId, RecordId, RequestId, SessionId } from '../../protocol/ids.ts';
import { seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import { AddressBook } from './address-book.ts';
import { isBusHonest } from './bus.ts';
import { KeptMap } from './kept-map.ts';
import type { SeenFrom } from './seen-from.ts';
import { type Word, type WordHearer, kindOf } from './spoken.ts';

const KEPT = 20_000;
/** A callee publishes its record at once; its answer may wait for a channel, but not longer. */
const ANSWER_MICROS = seconds(120);

/** An address record and why it is there: the caller's own question, or a callee's yes to one. */
interface Named {
  readonly owner: string;
  /** The caller's request that it stands for. */
  readonly nonce: RequestId | undefined;
  readonly as: 'caller' | 'callee';
}

/** Holds every address that travels against who agreed to it. */
export class Addresses implements Watcher, WordHearer {
  readonly #world: World;
  /** A hostile broker has all addresses, and tells whom it likes. */
  readonly #isLying: boolean;
  /** A hostile terminal says again what others have said. */
  readonly #isRepeated: boolean;
  readonly #named = new KeptMap<RecordId, Named>(KEPT);
  /** What terminals have published for a record, as `host:port`. */
  readonly #published = new KeptMap<RecordId, Set<string>>(KEPT);
  /** What our STUN server was asked for a record from, the same way. */
  readonly #sighted = new KeptMap<RecordId, Set<string>>(KEPT);
  readonly #seen: SeenFrom;
  /** Both ends of each session that somebody was told of, until its end is decided. */
  readonly #sessions = new KeptMap<SessionId, readonly [DeviceId, DeviceId]>(KEPT);
  readonly #over = new KeptMap<SessionId, true>(KEPT);
  /** Whose a record is. */
  readonly #owners = new KeptMap<RecordId, DeviceId>(KEPT);
  /** Everything that a terminal ever published. */
  readonly #of = new Map<DeviceId, Set<string>>();
  /** The caller's request behind each question. */
  readonly #asked = new KeptMap<RequestId, RequestId>(KEPT);
  /** Records that nobody has named yet, and when they were published. */
  readonly #early = new Map<RecordId, number>();
  readonly #book = new AddressBook();
  /** Notices that a machine has opened and perhaps not accepted. */
  readonly #notices = new Map<VirtualTerminal, Map<SessionId, readonly string[]>>();
  /** Where each machine may send: same path, same object, nearly always. */
  readonly #mayReach = new Map<
    VirtualTerminal,
    { readonly paths: Set<Path>; readonly texts: Set<string>; readonly searched: Set<string> }
  >();

  constructor(world: World, seen: SeenFrom) {
    this.#world = world;
    this.#seen = seen;
    this.#isLying = !isBusHonest(world.options);
    this.#isRepeated = world.options['hostile.terminal'] > 0;
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'socketOpened': {
        const { terminal, path } = happening;
        for (const { address: host } of terminal.host.places)
          this.#book.add(terminal.id, { host, port: path.port });
        return;
      }
      case 'sighted':
        return this.#onSighted(happening.record, happening.from);
      case 'change': {
        const { event, session } = happening.change;
        if (event === 'ending' || event === 'ended') this.#over.set(session.session, true);
        return;
      }
      case 'delivered': {
        const { party, bytes } = happening;
        if (party === 'manager' || this.#isLying) return;
        const owner = this.#book.find(bytes, party.id);
        if (owner !== undefined) this.#fail(`${party.name} hears where ${owner} is`);
        return;
      }
      case 'opened': {
        if (happening.owner === 'manager' || MAY_TELL.has(kindOf(happening.bytes))) return;
        const self = this.#world.terminal(happening.owner)?.id;
        const owner = this.#book.find(happening.bytes, self);
        if (owner !== undefined) this.#fail(`${happening.owner} is told where ${owner} is`);
        return;
      }
      case 'killed':
        this.#notices.delete(happening.terminal);
        this.#mayReach.delete(happening.terminal);
        return;
      case 'event':
        if (happening.event.kind === 'introduced')
          this.#onIntroduced(happening.terminal, happening.event.session);
        else if (happening.event.kind === 'searching')
          this.#reach(happening.terminal).searched.add(happening.event.address);
        return;
      case 'datagramReceived':
        this.#reach(happening.terminal).paths.add(happening.peer);
        return;
      case 'datagramSent':
        return this.#onSent(happening.terminal, happening.peer, happening.bytes);
      default:
        return;
    }
  }

  onWord({ how, party, machine, topic: on, message }: Word): void {
    if (how === 'sealed') {
      if (message.kind === 'connect') {
        this.#name(message.record, { owner: party, nonce: message.request, as: 'caller' });
      } else if (message.kind === 'allowList' && message.record !== undefined) {
        const nonce = this.#asked.get(message.request);
        this.#name(message.record, { owner: party, nonce, as: 'callee' });
      } else if (message.kind === 'ask') {
        this.#asked.set(message.request, message.nonce);
      } else if (message.kind === 'addressNotice') this.#onNoticeMade(message);
      else if (message.kind === 'candidates') this.#onSaid(party, message);
      else if (message.kind === 'peerCandidates') this.#onToldMore(message);
    } else if (how === 'opened') {
      if (message.kind === 'addressNotice' && machine !== undefined)
        this.#onNoticeHeard(machine, message);
      else if (message.kind === 'peerCandidates' && machine !== undefined)
        this.#onHeardMore(machine, message);
    } else if (message.kind === 'address' && machine !== undefined) {
      // Where a hostile one has no right to speak nobody hears it.
      if (on === topic('address', machine.id)) this.#onPublished(machine, message);
    } else if (message.kind === 'addressQuery' && party === 'manager') this.#onQuery(message);
    else if (message.kind === 'addressAnswer' && !this.#isLying) this.#onAnswer(message);
  }

  /** A record that was published must have been named by the time when that answer was read. */
  atEnd(): void {
    for (const [record, at] of this.#early) {
      if (this.#world.now > at + ANSWER_MICROS && !this.#named.has(record))
        this.#world.mark('address recorded for an answer that was lost');
    }
  }

  #name(record: RecordId, named: Named): void {
    this.#early.delete(record);
    if (!this.#named.has(record)) this.#named.set(record, named);
  }

  #onPublished(machine: VirtualTerminal, message: MessageOf<'address'>): void {
    const { record, candidates } = message;
    if (candidates.length === 0) return;
    const known = this.#published.get(record) ?? new Set();
    this.#published.set(record, known);
    for (const path of [...candidates].map(pathOf)) {
      this.#isAt(machine.id, path);
      known.add(textOf(path));
    }
    this.#owners.set(record, machine.id);
    for (const text of this.#sighted.get(record) ?? []) this.#ownOf(machine.id).add(text);
    const named = this.#named.get(record);
    if (named === undefined) this.#early.set(record, this.#world.now);
    else if (named.owner !== machine.name && !this.#isRepeated)
      this.#fail(`${machine.name} publishes addresses for a record of ${named.owner}`);
  }

  /** The manager asks where two terminals are: the one that called, and the one that said yes. */
  #onQuery({ wanted }: MessageOf<'addressQuery'>): void {
    const named = wanted.map(({ device, record }) => {
      const one = this.#named.get(record);
      const isOwners = one !== undefined && this.#idOf(one.owner) === device;
      if (!isOwners) this.#fail(`the manager asks where ${device} is, which has not agreed`);
      return one;
    });
    const [caller, callee] = named;
    const isPair = caller?.as === 'caller' && callee?.as === 'callee';
    if (!isPair || caller.nonce !== callee.nonce)
      this.#fail('the manager asks for addresses without a yes to this very call');
    this.#world.mark('addresses asked');
  }

  #onAnswer({ found }: MessageOf<'addressAnswer'>): void {
    for (const { device, record, candidates } of found) {
      const [known, seen] = [this.#published.get(record), this.#sighted.get(record)];
      for (const text of [...candidates].map((candidate) => textOf(pathOf(candidate))))
        if (known?.has(text) !== true && seen?.has(text) !== true)
          this.#fail(`the broker tells of ${device} what it never published for this record`);
    }
  }

  /** Each end is told where the other is, and nobody else. */
  #onNoticeMade(message: MessageOf<'addressNotice'>): void {
    const grant = decodeGrant(message.grant);
    if (grant === undefined) return;
    const { session, callerId, calleeId } = grant;
    this.#sessions.set(session, [callerId, calleeId]);
    const peer = message.verdict === undefined ? callerId : calleeId;
    const own = this.#of.get(peer);
    if (this.#isLying) return;
    for (const candidate of message.peerCandidates)
      if (own?.has(textOf(pathOf(candidate))) !== true)
        this.#fail(`${session}: an address that is not of its other end`);
    this.#areForThem(session, message.peerCandidates);
  }

  /** An end of a session says where else it is; the manager may tell the other one. */
  #onSaid(party: string, { candidates }: MessageOf<'candidates'>): void {
    const id = this.#idOf(party);
    if (id !== undefined) for (const candidate of candidates) this.#isAt(id, pathOf(candidate));
  }

  /** Only while the session lasts, and only what one of its ends has said. */
  #onToldMore({ session, candidates }: MessageOf<'peerCandidates'>): void {
    const ends = this.#sessions.get(session);
    if (ends === undefined) return this.#fail(`${session}: addresses before its notice`);
    if (this.#over.has(session)) this.#fail(`${session}: addresses after its end`);
    for (const text of candidates.map((candidate) => textOf(pathOf(candidate))))
      if (!ends.some((id) => this.#of.get(id)?.has(text) === true))
        this.#fail(`${session}: an address that neither end has named`);
    this.#areForThem(session, candidates);
    this.#world.mark('addresses told in mid-session');
  }

  #onHeardMore(machine: VirtualTerminal, message: MessageOf<'peerCandidates'>): void {
    const { session, candidates } = message;
    const peer = this.#sessions.get(session)?.find((id) => id !== machine.id);
    const { texts } = this.#reach(machine);
    for (const text of candidates.map((candidate) => textOf(pathOf(candidate)))) {
      if (peer === undefined || this.#of.get(peer)?.has(text) !== true)
        this.#fail(`${machine.name} is told ${text}, where its peer of ${session} is not`);
      texts.add(text);
    }
  }

  /** Addresses of a site: of those who were seen at one public address. */
  #areForThem(session: SessionId, candidates: readonly Candidate[]): void {
    const ends = this.#sessions.get(session);
    if (ends === undefined || this.#isLying || this.#isLiar(ends)) return;
    const near = candidates.find(({ address }) => isOfASite(address));
    if (near === undefined) return;
    this.#world.mark('addresses of a site told');
    if (!this.#seen.areTogether(...ends))
      this.#fail(`${session}: ${textOf(pathOf(near))} is told to somebody elsewhere`);
  }

  /** Who runs a program of its own may say that it is where it is not. */
  #isLiar(ends: readonly DeviceId[]): boolean {
    const { terminals, hostile } = this.#world;
    return terminals.some(({ id, name }) => hostile.has(name) && ends.includes(id));
  }

  #onSighted(record: RecordId, from: Path): void {
    const known = this.#sighted.get(record) ?? new Set();
    this.#sighted.set(record, known.add(textOf(from)));
    const owner = this.#owners.get(record);
    if (owner !== undefined) this.#isAt(owner, from);
  }

  #isAt(id: DeviceId, path: Path): void {
    this.#ownOf(id).add(textOf(path));
    this.#book.add(id, path);
  }

  #ownOf(id: DeviceId): Set<string> {
    const own = this.#of.get(id) ?? new Set();
    this.#of.set(id, own);
    return own;
  }

  #onNoticeHeard(machine: VirtualTerminal, message: MessageOf<'addressNotice'>): void {
    const session = decodeGrant(message.grant)?.session;
    if (session === undefined) return;
    const own = this.#notices.get(machine) ?? new Map<SessionId, readonly string[]>();
    const texts = message.peerCandidates.map((candidate) => textOf(pathOf(candidate)));
    this.#notices.set(machine, own.set(session, texts));
  }

  #onIntroduced(machine: VirtualTerminal, session: SessionId): void {
    const { texts } = this.#reach(machine);
    for (const text of this.#notices.get(machine)?.get(session) ?? []) texts.add(text);
    this.#notices.get(machine)?.delete(session);
  }

  /** To whom a terminal was not introduced it sends nothing, unless that one wrote first. */
  #onSent(machine: VirtualTerminal, peer: Path, bytes: Uint8Array): void {
    if (this.#world.isRogue(machine)) return;
    const reach = this.#reach(machine);
    if (reach.paths.has(peer)) return;
    // Where a search may go is judged in searches.ts.
    if (isProbe(bytes) && reach.searched.has(peer.host)) return;
    if (!reach.texts.has(textOf(peer)))
      this.#fail(`${machine.name} sends to ${textOf(peer)}, where nobody agreed to be`);
    reach.paths.add(peer);
  }

  #reach(machine: VirtualTerminal): {
    readonly paths: Set<Path>;
    readonly texts: Set<string>;
    readonly searched: Set<string>;
  } {
    const known = this.#mayReach.get(machine);
    if (known !== undefined) return known;
    const made = {
      paths: new Set<Path>(),
      texts: new Set<string>(),
      searched: new Set<string>(),
    };
    this.#mayReach.set(machine, made);
    return made;
  }

  #idOf(name: string): DeviceId | undefined {
    return this.#world.terminal(name)?.id;
  }

  #fail(says: string): void {
    this.#world.violate('addresses', says);
  }
}

const textOf = ({ host, port }: Path): string => `${host}:${port}`;
const pathOf = ({ address, port }: Candidate): Path => ({
  host: addressText(address) ?? '',
  port,
});
const isOfASite = (address: Uint8Array): boolean => {
  const scope = addressScope(address);
  return scope === 'private' || scope === 'shared';
};
/** What tells a terminal where its peer is. */
const MAY_TELL: ReadonlySet<number> = new Set([
  KIND_NUMBERS.addressNotice,
  KIND_NUMBERS.peerCandidates,
]);
