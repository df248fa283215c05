// Probes: nobody but the peer of this very session can make one, an answer is as long as its
// question, and any bytes are either a probe of the peer's or nothing.

import fc from 'fast-check';
import t from 'tap';
import type { Role } from '../data/connection-types.ts';
import type { NoiseSecrets } from '../data/noise.ts';
import { PROBE_BYTES, PROBE_TOKEN_BYTES, type Probe, Probes, isProbe } from '../data/probe.ts';
import { type SessionId, randomSessionId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import { dose } from './dose.ts';

const rng = seededRng(5);
const session = randomSessionId(rng);
const sessionKey = randomBytes(rng, 32);
const [forth, back, hash] = [randomBytes(rng, 32), randomBytes(rng, 32), randomBytes(rng, 32)];
const SECRETS: Record<Role, NoiseSecrets> = {
  caller: { send: forth, receive: back, hash },
  callee: { send: back, receive: forth, hash },
};

interface How {
  readonly session?: SessionId;
  readonly sessionKey?: Uint8Array;
  readonly secrets?: NoiseSecrets | undefined;
}
const probes = (role: Role, how: How = {}): Probes =>
  new Probes({ suite: nodeSuite, session, sessionKey, secrets: undefined, role, rng, ...how });
const written = (from: Probes, kind: Probe['kind'], token = randomBytes(rng, 8)): Uint8Array => {
  const into = new Uint8Array(100);
  return into.slice(0, from.write(into, { kind, token }));
};

for (const isKeyed of [false, true]) {
  const secrets = (role: Role): How => (isKeyed ? { secrets: SECRETS[role] } : {});
  const name = isKeyed ? 'with the secrets of the handshake' : 'with the session key alone';
  const [caller, callee] = [
    probes('caller', secrets('caller')),
    probes('callee', secrets('callee')),
  ];

  t.test(`S1005, S4005: ${name} each reads what the other says, and nothing of its own`, (t) => {
    for (const [from, to] of [
      [caller, callee],
      [callee, caller],
    ] as const) {
      for (const kind of ['probe', 'answer'] as const) {
        const token = randomBytes(rng, PROBE_TOKEN_BYTES);
        const bytes = written(from, kind, token);
        t.equal(bytes.length, PROBE_BYTES, 'an answer is as long as a probe');
        t.ok(isProbe(bytes));
        t.equal(from.read(bytes.slice()), undefined, 'sent back to whom it came from');
        t.strictSame(to.read(bytes.slice()), { kind, token });
        t.notSame(written(from, kind, token), bytes, 'the same words look different each time');
        t.notOk(
          Buffer.from(bytes).includes(Buffer.from(token)),
          'the token is not seen on the way',
        );
      }
    }
    t.end();
  });

  t.test(`claim 7: ${name} a changed bit, another length, another kind is no probe`, (t) => {
    const bytes = written(caller, 'probe');
    for (let bit = 0; bit < PROBE_BYTES * 8; bit++) {
      const changed = bytes.slice();
      changed[bit >> 3] ^= 1 << (bit & 7);
      if (callee.read(changed) !== undefined) t.fail(`bit ${bit}`);
    }
    for (let length = 0; length < PROBE_BYTES; length++) {
      t.equal(callee.read(bytes.slice(0, length)), undefined);
    }
    t.equal(callee.read(new Uint8Array([...bytes, 0])), undefined);
    t.ok(callee.read(bytes.slice()), 'and as it was it is one');
    t.end();
  });

  t.test(`claim 7: ${name} nobody else makes one`, (t) => {
    const others: readonly (readonly [string, Probes])[] = [
      [
        'another session',
        probes('caller', { ...secrets('caller'), session: randomSessionId(rng) }),
      ],
      [
        'another key',
        probes('caller', {
          sessionKey: randomBytes(rng, 32),
          secrets: isKeyed ? { send: randomBytes(rng, 32), receive: back, hash } : undefined,
        }),
      ],
      ['the other direction', probes('callee', secrets('callee'))],
      [
        isKeyed ? 'a manager, who knows the session key' : 'who has secrets where we have none',
        probes('caller', isKeyed ? {} : { secrets: SECRETS.caller }),
      ],
    ];
    for (const [who, from] of others) {
      for (const kind of ['probe', 'answer'] as const) {
        const forged = written(from, kind);
        // Whoever saw a probe knows the index.
        forged.set(written(caller, kind).subarray(0, 5));
        t.equal(callee.read(forged), undefined, `${who}: ${kind}`);
      }
    }
    t.ok(callee.read(written(caller, 'probe')), 'the peer does');
    t.end();
  });
}

t.test('any bytes are a probe of the peer’s or nothing, and never an error', (t) => {
  const callee = probes('callee', { secrets: SECRETS.callee });
  const genuine = written(probes('caller', { secrets: SECRETS.caller }), 'probe');
  const head = fc.constantFrom(genuine.subarray(0, 5), genuine.subarray(0, 17), new Uint8Array());
  let looked = 0;
  fc.assert(
    fc.property(
      head,
      fc.uint8Array({ minLength: 20, maxLength: 41, size: 'max' }),
      (start, rest) => {
        const bytes = Uint8Array.from([...start, ...rest]).slice(0, PROBE_BYTES);
        if (isProbe(bytes)) looked += 1;
        return callee.read(bytes) === undefined;
      },
    ),
    { numRuns: dose(2_000) },
  );
  t.ok(looked > 50, `${looked} looked like one`);
  t.end();
});
