// Strangers at the broker's door (threat model, T1, T10): tokens that were used, of others, for
// others, from long ago; a membership that has run out; somebody who says that he is the manager.
// None of them may be let in; who is, is a violation. Nobody is hurt by it who has the keys.

import { makeMembership } from '../../protocol/identity/membership.ts';
import {
  NO_PIN,
  TOKEN_NONCE_BYTES,
  makeManagerToken,
  makeToken,
} from '../../protocol/identity/token.ts';
import { topic } from '../../protocol/control/topics.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { type Micros, MS_PER_SECOND, ms } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import { type BusUser, managerSubscriptions } from '../parties/virtual-broker.ts';
import { type Identity, makeIdentity } from '../parties/identity.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { type Deed, actAtRate } from './deeds.ts';
import { Overheard } from './overheard.ts';
import type { Name } from '../../protocol/ids.ts';

const HOUR_SECONDS = 3_600;
const DAYS_AGO_SECONDS = 3 * 86_400;
const JUNK_BYTES_MAX = 3_000;
/** The second in which a broker starts, a tenth for clocks that drift. */
const START_MICROS = ms(1_100);

interface Login {
  readonly clientId: string;
  readonly password: Uint8Array;
  /** Of the broker that let somebody in by it, and when: another one does not know of it. */
  readonly boot?: number;
  readonly usedAt?: Micros;
}

/** Begins at the rate of `hostile.stranger`. */
export function beginStrangers(world: World): readonly Watcher[] {
  if (world.options['hostile.stranger'] === 0) return [];
  const strangers = new Strangers(world);
  actAtRate(world, 'hostile.stranger', strangers.deeds);
  return [strangers];
}

class Strangers implements Watcher {
  readonly deeds: Readonly<Record<string, Deed>>;
  readonly #world: World;
  /** Somebody with keys of his own, whom nobody has enrolled. */
  readonly #own: Identity;
  readonly #used = new Overheard<Login>();

  constructor(world: World) {
    this.#world = world;
    this.#own = makeIdentity(world, 'stranger' as Name);
    world.broker.hearLogin = (login) =>
      this.#used.hear({ ...login, boot: world.broker.restarts, usedAt: world.now });
    this.deeds = {
      'a used token': (rng) => this.#try(this.#used.recall(rng)),
      'a used token for somebody else': (rng) => {
        const used = this.#used.recall(rng);
        return this.#try(used && { ...used, clientId: pick(rng, world.terminals).id });
      },
      'a token of keys that nobody has enrolled': (rng) =>
        this.#try(this.#token(rng, { membership: pick(rng, world.terminals).membership })),
      'a membership that it made itself': (rng) =>
        this.#try(this.#token(rng, { membership: this.#membership(rng, this.#own.signingKey) })),
      'a membership that has run out': (rng) => this.#thief(rng),
      'a token from long ago': (rng) => this.#oldToken(rng),
      'a token of nobody': (rng) => {
        const clientId = pick(rng, ['', '#', '+', 'x'.repeat(300), pick(rng, world.terminals).id]);
        return this.#try({
          clientId,
          password: randomBytes(rng, randomBelow(rng, JUNK_BYTES_MAX)),
        });
      },
      'a second manager': (rng) => this.#manager(rng),
    };
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'calm') this.#world.broker.hearLogin = undefined;
  }

  /** The keys of a terminal, on a card that was lost before its membership ran out. */
  #thief(rng: Rng): boolean {
    const { identity } = this.#anybody(rng);
    if (!this.#isClockRight) return false;
    const membership = this.#membership(rng, this.#world.manager.keys.signing, identity);
    return this.#try(this.#token(rng, { membership, identity }));
  }

  #oldToken(rng: Rng): boolean {
    const terminal = this.#anybody(rng);
    if (!this.#isClockRight) return false;
    const { identity, membership } = terminal;
    return this.#try(this.#token(rng, { membership, identity, ageSeconds: HOUR_SECONDS }));
  }

  #manager(rng: Rng): boolean {
    const { clientId } = this.#world.manager;
    const issuedAt = this.#seconds;
    const nonce = randomBytes(rng, 16);
    const password = makeManagerToken(this.#own.signingKey, { client: clientId, issuedAt, nonce });
    return this.#try({ clientId, password }, 'manager');
  }

  #token(
    rng: Rng,
    parts: {
      readonly membership: Uint8Array;
      readonly identity?: Identity;
      readonly ageSeconds?: number;
    },
  ): Login | undefined {
    const { membership, identity = this.#own, ageSeconds = 0 } = parts;
    if (membership.length === 0) return undefined;
    const password = makeToken(identity.signingKey, {
      device: identity.id,
      audience: this.#world.manager.keys.signing.publicKey,
      issuedAt: this.#seconds - ageSeconds,
      nonce: randomBytes(rng, TOKEN_NONCE_BYTES),
      membership,
      server: NO_PIN,
    });
    return { clientId: identity.id, password };
  }

  /** Of the manager's key it is one that was good until two days ago. */
  #membership(_: Rng, key: Identity['signingKey'], identity: Identity = this.#own): Uint8Array {
    const isOld = key === this.#world.manager.keys.signing;
    const issuedAt = this.#seconds - (isOld ? DAYS_AGO_SECONDS : 0);
    const expiresAt = issuedAt + LIMITS.membershipSeconds;
    return makeMembership(key, { device: identity.id, keys: identity.keys, issuedAt, expiresAt });
  }

  #try(login: Login | undefined, username: BusUser['username'] = 'terminal'): boolean {
    if (login === undefined || !this.#world.broker.isUp) return false;
    const { clientId, password } = login;
    const world = this.#world;
    const of = username === 'manager' || clientId === world.manager.clientId;
    const claimed = world.terminals.find(({ id }) => id === clientId) ?? world.terminals[0];
    world.broker.open({
      // Nobody in this world has a name for him: he comes as whom he claims to be.
      party: claimed,
      clientId,
      username: of ? 'manager' : 'terminal',
      subscriptions: of ? managerSubscriptions(clientId) : subscriptionsOf(claimed),
      password: () => password,
      onUp: () => this.#onUp(claimed, login),
      onDown: (code) => world.mark(`hostile.stranger: turned away with ${code ?? 'nothing'}`),
      onMessage: () => world.mark('hostile.stranger: hears what is sealed for somebody else'),
    });
    return true;
  }

  #onUp(as: VirtualTerminal, login: Login): void {
    if (!this.#isOfTheStart(login))
      this.#world.violate('strangers', `a stranger is let in as ${as.name}`);
    this.#world.mark('hostile.stranger: let in by a token of before a restart');
  }

  /**
   * What a broker forgets is what was used before it was started again; nothing older than its
   * start is taken, in whole seconds, by clocks that may have jumped (docs/threat-model.md, T10).
   */
  #isOfTheStart({ boot, usedAt }: Login): boolean {
    const { broker, options } = this.#world;
    if (boot === undefined || usedAt === undefined || boot === broker.restarts) return false;
    return options['clock.jump'] > 0 || broker.startedAt - usedAt < START_MICROS;
  }

  #anybody(rng: Rng): VirtualTerminal {
    return pick(rng, this.#world.terminals);
  }

  /** A broker whose clock was set back by years takes what was good then. */
  get #isClockRight(): boolean {
    const { broker, wall, now } = this.#world;
    return Math.abs(broker.clock.wall(now) - wall) < MS_PER_SECOND * 60;
  }

  get #seconds(): number {
    return Math.floor(this.#world.wall / MS_PER_SECOND);
  }
}

const subscriptionsOf = ({ id }: VirtualTerminal): readonly string[] => [
  topic('call', id),
  topic('down', id),
];
