// What a seed expands to: one flat table of named numbers, most of them faults. Each fault has the
// value at which it is off, so that a failing seed is shrunk by switching one after the other off;
// in a drawn world each is off with probability 1/2, so that rare mixtures occur ("swarm").
// Rates are times a virtual minute for the whole world, shares are 0 to 1.

import { type Rng, randomBelow, randomFraction } from '../protocol/random.ts';

/** One option. */
interface OptionSpec {
  /** Where it does nothing; where a world without faults stands. */
  readonly off: number;
  /** A value of a world that has it. */
  readonly draw: (rng: Rng) => number;
  /** Smallest and largest that can be meant. */
  readonly range: readonly [number, number];
  /** What it does, for `nakodo sim --help` and docs/simulator.md. */
  readonly says: string;
}

/** Between two values, evenly in their logarithm. */
const between =
  (least: number, most: number) =>
  (rng: Rng): number =>
    Number((least * (most / least) ** randomFraction(rng)).toPrecision(3));
const oneOf =
  (...values: readonly number[]) =>
  (rng: Rng): number =>
    values[randomBelow(rng, values.length)];

const share = (least: number, most: number, says: string): OptionSpec => ({
  off: 0,
  draw: between(least, most),
  range: [0, 1],
  says,
});
const rate = (least: number, most: number, says: string): OptionSpec => ({
  off: 0,
  draw: between(least, most),
  range: [0, 100_000],
  says: `${says}, times a minute`,
});
const millis = (least: number, most: number, says: string): OptionSpec => ({
  off: 0,
  draw: between(least, most),
  range: [0, 86_400_000],
  says: `${says}, milliseconds`,
});

/** Every option; the order is that of the printed line. */
export const OPTION_SPECS = {
  'udp.loss': share(0.002, 0.5, 'datagrams lost'),
  'udp.burst': share(0.1, 0.9, 'chance that a loss goes on with the next datagram'),
  'udp.delay': millis(0.1, 2_000, 'one-way delay'),
  'udp.jitter': millis(0.1, 200, 'random delay added to each datagram'),
  'udp.reorder': share(0.001, 0.2, 'datagrams held back behind later ones'),
  'udp.duplicate': share(0.001, 0.2, 'datagrams that arrive twice'),
  'udp.replay': share(0.001, 0.1, 'datagrams that arrive once more, up to a day later'),
  'udp.corrupt': share(0.001, 0.1, 'datagrams with a bit flipped'),
  'udp.truncate': share(0.001, 0.05, 'datagrams cut short'),
  'udp.grow': share(0.001, 0.05, 'datagrams with bytes added'),
  'udp.mtu': {
    off: 65_535,
    draw: oneOf(576, 1_228, 1_280, 1_400, 1_480),
    range: [576, 65_535],
    says: 'larger IP packets vanish, bytes',
  },
  'udp.rate': {
    off: 0,
    draw: between(2_000, 1e8),
    range: [0, 1e9],
    says: 'bottleneck of each access link, bytes a second; 0: none',
  },
  'udp.queue': { off: 1_000, draw: between(1, 1_000), range: [1, 10_000], says: 'its queue, ms' },
  'udp.hole': rate(0.5, 10, 'nothing passes an access link for 0.1 to 30 s'),
  'udp.partition': rate(0.5, 10, 'nothing passes from one terminal to another for a while'),
  'udp.clog': rate(0.2, 2, 'links stop one by one and start again in another order'),
  'nat.share': share(0.2, 1, 'terminals behind a NAT'),
  'nat.carrier': share(0.2, 1, 'of these, those behind a carrier’s NAT as well'),
  'nat.timeout': {
    off: 600,
    draw: between(10, 600),
    range: [1, 86_400],
    says: 'seconds after which a NAT forgets a mapping',
  },
  'nat.rebind': rate(0.5, 20, 'a NAT changes its port or address'),
  'host.move': rate(0.5, 12, 'a terminal gets another address in another network'),
  'mqtt.delay': millis(0.1, 500, 'one-way delay of each connection to the broker'),
  'mqtt.jitter': millis(0.1, 300, 'random delay added to each message'),
  'mqtt.drop': share(0.001, 0.2, 'messages that the broker drops'),
  'mqtt.duplicate': share(0.001, 0.2, 'messages that it delivers twice'),
  'mqtt.reorder': share(0.001, 0.2, 'messages that it delivers late'),
  'mqtt.kick': rate(0.5, 30, 'the broker ends a connection'),
  'mqtt.cut': rate(0.2, 10, 'a connection dies without a word'),
  'broker.restart': rate(0.2, 4, 'the broker is killed and started again'),
  'manager.crash': rate(0.2, 6, 'the session manager is killed and started again'),
  'manager.slow': millis(1, 3_000, 'what its disk takes'),
  'manager.fail': share(0.01, 0.3, 'batches that its disk refuses'),
  'terminal.crash': rate(0.5, 12, 'a terminal is killed and started again'),
  'terminal.suspend': rate(0.2, 5, 'a terminal is suspended for 1 s to a day'),
  'disk.lost': share(0.05, 0.6, 'crashes that lose what was written last, synced or not'),
  'disk.torn': share(0.05, 0.6, 'crashes that leave a record unreadable'),
  'disk.full': share(0.01, 0.3, 'writes of a terminal that fail'),
  'clock.drift': {
    off: 0,
    draw: between(1, 500),
    range: [0, 100_000],
    says: 'how much clocks run fast or slow, at most, ppm',
  },
  'clock.jump': rate(0.2, 6, 'the wall clock of a party jumps, up to ten years'),
  'clock.late': millis(0.1, 5_000, 'how late a timer may come'),
  'list.edit': rate(1, 60, 'an owner changes who may call'),
  'list.torn': share(0.01, 0.2, 'readings of a list that fail'),
  'owner.ask': share(0.05, 0.5, 'permitted callers about whom the owner is asked each time'),
  'operator.end': rate(0.5, 20, 'the operator ends a session'),
  'operator.revoke': rate(0.2, 1.5, 'the operator revokes a terminal'),
  'terminal.clone': rate(0.1, 1, 'a second machine starts with the keys of a terminal'),
  'terminal.polling': share(0.1, 0.6, 'terminals that sleep between polls'),
  'hostile.terminal': rate(2, 600, 'an enrolled terminal with a program of its own misbehaves'),
  'hostile.network': rate(10, 3_000, 'somebody on the network forges or replays a datagram'),
  'hostile.broker': rate(2, 600, 'the broker forges, replays or misdirects a message'),
  'work.calls': {
    off: 6,
    draw: between(1, 30),
    range: [0.001, 600],
    says: 'calls of each terminal a minute',
  },
  'work.bytes': {
    off: 4_000,
    draw: between(300, 400_000),
    range: [0, 1e9],
    says: 'bytes of a transfer, at most',
  },
  'work.datagrams': share(0.05, 0.8, 'talks that send unreliable datagrams as well'),
  'work.extend': share(0.1, 1, 'calls that ask for more before their end'),
  'work.hold': share(0.1, 0.8, 'talks that go on until something ends them'),
  'work.quota': share(0.05, 0.8, 'calls that ask for fewer bytes than they want to send'),
  'work.streams': {
    off: 1,
    draw: oneOf(2, 3, 5, 8),
    range: [1, 32],
    says: 'streams of a talk, at most, opened by either end',
  },
  'work.abort': share(0.1, 0.6, 'streams that their writer or their reader gives up'),
  'work.slow': share(0.05, 0.6, 'streams whose reader takes its time'),
  'work.idle': {
    off: 0,
    draw: oneOf(5, 10),
    range: [0, 3_600],
    says: 'seconds after which a silent peer is gone; 0: as many as a terminal has',
  },
  'work.window': {
    off: 0,
    draw: oneOf(8_192, 16_384, 65_536, 1_048_576),
    range: [0, 8_388_608],
    says: 'bytes that a stream may hold at either end; 0: as much as a terminal lets it',
  },
  'hostile.frames': share(0.005, 0.3, 'packets of a hostile terminal whose frames it makes up'),
  'hostile.greed': share(0.2, 1, 'talks of a hostile terminal in which it forgets time and quota'),
  'hostile.collusion': rate(0.5, 3, 'several terminals ask for one that sleeps at once'),
  'hostile.stranger': rate(
    2,
    200,
    'somebody logs in with what is not his, or speaks as the manager',
  ),
  'hostile.forwarder': rate(0.5, 8, 'somebody carries the packets of a talk from another address'),
  'hostile.flood': rate(0.5, 10, 'a flood of small datagrams at a new socket'),
  'nat.lan': share(0.2, 0.8, 'of those behind a NAT, those in the network of an earlier one'),
  'nat.hairpin': share(0.2, 1, 'of these NATs, those that lead back to their own network'),
  'nat.early': share(0.2, 1, 'of these NATs, those in which an early datagram takes a port'),
  'host.dual': share(0.2, 1, 'terminals with an IPv6 address as well'),
  'host.told': share(0.2, 1, 'of those that move, those that notice it at once'),
  'relay.there': {
    off: 0,
    draw: () => 1,
    range: [0, 1],
    says: '1: there is a relay',
  },
  'relay.gone': rate(0.5, 10, 'the relay is killed and started again'),
  'relay.stale': rate(0.5, 20, 'the relay takes its nonce back'),
  'relay.only': share(0.1, 0.6, 'terminals that talk through the relay only'),
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The name of one option. */
export type OptionName = keyof typeof OPTION_SPECS;
/** A value for each. */
export type Options = Readonly<Record<OptionName, number>>;

/** All names, in the order in which they are printed. */
export const OPTION_NAMES = Object.keys(OPTION_SPECS) as readonly OptionName[];

/** A world in which everything works. */
export const CALM: Options = Object.fromEntries(
  OPTION_NAMES.map((name) => [name, OPTION_SPECS[name].off]),
) as Options;

const OFF_CHANCE = 0.5;

/**
 * What a seed's generator says: each option off with probability 1/2. The same number of values is
 * taken for each option whether it is off or not, so that a new option changes only those behind.
 */
export function drawOptions(rng: Rng): Options {
  const drawn: Record<string, number> = {};
  for (const name of OPTION_NAMES) {
    const spec: OptionSpec = OPTION_SPECS[name];
    const isOff = randomFraction(rng) < OFF_CHANCE;
    const value = spec.draw(rng);
    drawn[name] = isOff ? spec.off : value;
  }
  return drawn as Options;
}

/** Those that are not off. */
export const optionsOn = (options: Options): readonly OptionName[] =>
  OPTION_NAMES.filter((name) => options[name] !== OPTION_SPECS[name].off);
