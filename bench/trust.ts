// What trust costs by itself: an enrolment over HTTPS, a sealed message, a signature. The first is
// done as a user does it, and again by a process that is warm; the others are the very functions
// that terminals and managers call, on messages of the usual size, thousands of times.

import { join } from 'node:path';
import type { Children } from '../cli/demo/children.ts';
import { enrol } from '../device/shell/enrol.ts';
import { encodeRequest, isRequestOf, signRequest } from '../protocol/consent/statements.ts';
import { decodeMessage, encodeMessage } from '../protocol/control/codec.ts';
import { Hello, type SealedChannel, answerHello } from '../protocol/control/seal.ts';
import { KEY_BYTES } from '../protocol/crypto.ts';
import { deviceIdOf } from '../protocol/identity/device-id.ts';
import { type Name, randomRequestId } from '../protocol/ids.ts';
import { entropy } from '../protocol/io/entropy.ts';
import { nodeSuite } from '../protocol/io/node-crypto.ts';
import { randomBytes } from '../protocol/random.ts';
import { type Figure, median } from './figures.ts';

const COLD_ENROLMENTS = 5;
const WARM_ENROLMENTS = 40;
/** The first ones load and compile. */
const WARM_UP_ENROLMENTS = 10;
const ROUNDS = 4_000;
const WARM_UP_ROUNDS = 1_000;
const MICROS_PER_MS = 1_000;

const terminal = party();
const manager = party();
const request = {
  nonce: randomRequestId(entropy),
  callerId: terminal.id,
  callerName: 'CALLER' as Name,
  calleeName: 'CALLEE' as Name,
  service: 'file',
  want: { seconds: 60, bytes: 1_000_000 },
};

/** Ticket → enrolled: `nakodo enroll` from its start to its end, and the same in a warm process. */
export async function enrolments(
  children: Children,
  where: { readonly server: string; readonly folder: string },
): Promise<readonly Figure[]> {
  const count = COLD_ENROLMENTS + WARM_UP_ENROLMENTS + WARM_ENROLMENTS;
  const uses = ['--uses', String(count), '--home', where.server, '--json'];
  const { said } = await children.run(['ticket', ...uses]);
  const { ticket } = said as { ticket: string };
  const timed = async (at: number, work: (home: string) => Promise<unknown>): Promise<number> => {
    const begun = performance.now();
    await work(join(where.folder, `e${at}`));
    return performance.now() - begun;
  };
  const cold: number[] = [];
  const warm: number[] = [];
  for (let at = 0; at < count; at++) {
    const name = `E${at}` as Name;
    if (at < COLD_ENROLMENTS) {
      const enroll = (home: string): Promise<unknown> =>
        children.run(['enroll', ticket, '--name', name, '--home', home]);
      cold.push(await timed(at, enroll));
      continue;
    }
    const tookMs = await timed(at, (home) =>
      enrol({ home, ticket, name, suite: nodeSuite, rng: entropy }),
    );
    if (at >= COLD_ENROLMENTS + WARM_UP_ENROLMENTS) warm.push(tookMs);
  }
  const meaning = 'keys made, TLS, one request, name and membership on disk at both ends';
  return [
    {
      name: 'enrolment, cold',
      value: median(cold),
      unit: 'ms',
      meaning: `nakodo enroll: ${meaning}`,
    },
    { name: 'enrolment, warm', value: median(warm), unit: 'ms', meaning },
  ];
}

/** What a message pays for being sealed, and a terminal for a new channel. */
export function seals(): readonly Figure[] {
  const { here, there } = channels();
  const message = encodeRequest(request);
  const sealMicros = each(() => here.seal(message));
  const sealed = Array.from({ length: ROUNDS + WARM_UP_ROUNDS }, () => here.seal(message));
  const openMicros = each((round) => {
    const wire = decodeMessage(sealed[round]);
    if (wire?.kind !== 'sealed' || there.open(wire) === undefined) throw new Error('not sealed');
  });
  const shakeMicros = each(() => channels());
  const what = `a message of ${message.length} bytes`;
  return [
    { name: 'seal', value: sealMicros, unit: 'µs', meaning: `${what}, encoded` },
    { name: 'unseal', value: openMicros, unit: 'µs', meaning: `${what}, decoded` },
    {
      name: 'new channel',
      value: shakeMicros,
      unit: 'µs',
      meaning: 'hello and welcome, both ends together; once in 12 hours',
    },
  ];
}

/** What a signed request costs who makes it and who checks it. */
export function signatures(): readonly Figure[] {
  const signature = signRequest(terminal.signing, request);
  const signMicros = each(() => signRequest(terminal.signing, request));
  const checkMicros = each(() => {
    if (!isRequestOf(nodeSuite, terminal.keys, request, signature)) throw new Error('not signed');
  });
  const meaning = 'of a request: its bytes made, Ed25519';
  return [
    { name: 'signature', value: signMicros, unit: 'µs', meaning },
    { name: 'its check', value: checkMicros, unit: 'µs', meaning: `${meaning}, a known key` },
  ];
}

function party() {
  const signing = nodeSuite.signingKey(randomBytes(entropy, KEY_BYTES));
  const agreement = nodeSuite.dhKey(randomBytes(entropy, KEY_BYTES));
  const keys = { ed25519: signing.publicKey, x25519: agreement.publicKey };
  return { signing, agreement, keys, id: deviceIdOf(nodeSuite, keys) };
}

/** Both ends of a fresh channel. */
function channels(): { readonly here: SealedChannel; readonly there: SealedChannel } {
  const device = terminal.id;
  const shared = { suite: nodeSuite, rng: entropy, device };
  const localKey = terminal.agreement;
  const hello = new Hello({ ...shared, localKey, managerKey: manager.keys.x25519 });
  const said = hello.message && decodeMessage(encodeMessage(hello.message));
  const answer =
    said?.kind === 'hello'
      ? answerHello(
          { ...shared, deviceKey: terminal.keys.x25519, localKey: manager.agreement },
          said,
        )
      : undefined;
  const here = answer && hello.finish(answer.welcome);
  if (answer === undefined || here === undefined) throw new Error('no channel');
  return { here, there: answer.channel };
}

/** Median microseconds of one round. */
function each(work: (round: number) => unknown): number {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS + WARM_UP_ROUNDS; round++) {
    const begun = performance.now();
    work(round);
    if (round >= WARM_UP_ROUNDS) times.push((performance.now() - begun) * MICROS_PER_MS);
  }
  return median(times);
}
