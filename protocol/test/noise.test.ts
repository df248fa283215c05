// The handshake against the published vectors, against noise-c (an independent implementation, as
// WebAssembly; it knows KK, not KKpsk0), and against everything that is not genuine.

import { createRequire } from 'node:module';

import t, { type Test } from 'tap';

import type { DhKey } from '../crypto.ts';
import { Handshake } from '../data/handshake.ts';
import { NoiseState } from '../data/noise.ts';
import { packetNonce } from '../data/packet.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { nobleAead } from '../noble-aead.ts';
import { hex, readVectors, skip, unhex } from './vectors.ts';

const EMPTY = new Uint8Array(0);
const key = (fill: number): DhKey => nodeSuite.dhKey(new Uint8Array(32).fill(fill));
const bytesOf = (value: Uint8Array | undefined): Uint8Array => {
  if (value === undefined) throw new Error('refused');
  return value;
};

interface NoiseVector {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly init_psks?: readonly string[];
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly init_remote_static: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly resp_remote_static: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

function ends(vector: NoiseVector, suite: typeof nodeSuite): readonly [NoiseState, NoiseState] {
  const preSharedKey = vector.init_psks?.[0] === undefined ? undefined : unhex(vector.init_psks[0]);
  const common = {
    suite,
    prologue: unhex(vector.init_prologue),
    ...(preSharedKey && { preSharedKey }),
  };
  return [
    new NoiseState({
      ...common,
      initiator: true,
      localStatic: suite.dhKey(unhex(vector.init_static)),
      localEphemeral: suite.dhKey(unhex(vector.init_ephemeral)),
      remoteStatic: unhex(vector.init_remote_static),
    }),
    new NoiseState({
      ...common,
      initiator: false,
      localStatic: suite.dhKey(unhex(vector.resp_static)),
      localEphemeral: suite.dhKey(unhex(vector.resp_ephemeral)),
      remoteStatic: unhex(vector.resp_remote_static),
    }),
  ];
}

for (const pattern of ['KKpsk0', 'KK']) {
  t.test(
    `claim 7: the published ${pattern} vectors come out byte for byte`,
    { skip },
    async (t) => {
      const set = readVectors<
        { readonly vectors: readonly NoiseVector[] } | readonly NoiseVector[]
      >('noise_cacophony_25519_chachapoly.json');
      const all = 'vectors' in set ? set.vectors : set;
      const mine = all.filter(
        (v) => v.protocol_name === `Noise_${pattern}_25519_ChaChaPoly_BLAKE2s`,
      );
      t.ok(mine.length > 0, `${mine.length} vectors`);
      for (const vector of mine)
        for (const aead of [nodeSuite.aead, nobleAead]) replay(t, vector, { ...nodeSuite, aead });
    },
  );
}

function replay(t: Test, vector: NoiseVector, suite: typeof nodeSuite): void {
  const [caller, callee] = ends(vector, suite);
  const [first, second, ...rest] = vector.messages;
  const one = bytesOf(caller.writeMessage(unhex(first.payload)));
  t.equal(hex(one), first.ciphertext, 'message 1');
  t.equal(hex(bytesOf(callee.readMessage(one))), first.payload);
  const two = bytesOf(callee.writeMessage(unhex(second.payload)));
  t.equal(hex(two), second.ciphertext, 'message 2');
  t.equal(hex(bytesOf(caller.readMessage(two))), second.payload);
  const [sent, received] = [caller.split(), callee.split()];
  t.equal(hex(sent.hash), vector.handshake_hash);
  t.same([received.receive, received.send], [sent.send, sent.receive]);
  rest.forEach((message, at) => {
    const secret = at % 2 === 0 ? sent.send : sent.receive;
    const payload = unhex(message.payload);
    const sealed = new Uint8Array(payload.length + 16);
    sealed.set(payload);
    const nonce = new Uint8Array(12);
    packetNonce(Math.floor(at / 2), nonce);
    suite.aead.importKey(secret).seal(nonce, EMPTY, sealed, 0, payload.length);
    t.equal(hex(sealed), message.ciphertext, `transport message ${at + 1}`);
  });
}

t.test('claim 7: KK meets noise-c in both roles', async (t) => {
  const noise = await noiseC();
  const [ours, theirs] = [key(1), noise.CreateKeyPair(noise.constants.NOISE_DH_CURVE25519)];
  const prologue = Uint8Array.of(1, 2, 3);
  for (const initiator of [true, false]) {
    const mine = new NoiseState({
      suite: nodeSuite,
      initiator,
      prologue,
      localStatic: ours,
      localEphemeral: key(2),
      remoteStatic: theirs[1],
    });
    const { NOISE_ROLE_INITIATOR, NOISE_ROLE_RESPONDER } = noise.constants;
    const role = initiator ? NOISE_ROLE_RESPONDER : NOISE_ROLE_INITIATOR;
    const other = noise.HandshakeState('Noise_KK_25519_ChaChaPoly_BLAKE2s', role);
    other.Initialize(prologue, theirs[0], ours.publicKey);
    const [hello, answer] = [Uint8Array.of(7, 7), Uint8Array.of(8)];
    if (initiator) {
      const one = bytesOf(mine.writeMessage(hello));
      t.same(new Uint8Array(other.ReadMessage(one, true)), hello);
      t.same(mine.readMessage(new Uint8Array(other.WriteMessage(answer))), answer);
    } else {
      t.same(mine.readMessage(new Uint8Array(other.WriteMessage(hello))), hello);
      t.same(new Uint8Array(other.ReadMessage(bytesOf(mine.writeMessage(answer)), true)), answer);
    }
    const secrets = mine.split();
    t.same(new Uint8Array(other.GetHandshakeHash()), secrets.hash);
    const [theirSend] = other.Split();
    const sealed = new Uint8Array(theirSend.EncryptWithAd(EMPTY, hello));
    const nonce = new Uint8Array(12);
    const opens = nodeSuite.aead.importKey(secrets.receive).open(nonce, EMPTY, sealed, 0, 18);
    t.ok(opens, 'the secrets are the same');
    t.same(sealed.subarray(0, 2), hello);
  }
});

interface Changes {
  readonly sessionKey?: number;
  readonly localKey?: number;
  readonly remoteKey?: number;
  readonly prologue?: string;
}

const PROLOGUE = 'the grant';
const [CALLER, CALLEE] = [11, 22];

function handshake(role: 'caller' | 'callee', changes: Changes = {}): Handshake {
  const [local, remote] = role === 'caller' ? [CALLER, CALLEE] : [CALLEE, CALLER];
  return new Handshake({
    role,
    suite: nodeSuite,
    prologue: new TextEncoder().encode(changes.prologue ?? PROLOGUE),
    sessionKey: new Uint8Array(32).fill(changes.sessionKey ?? 5),
    localKey: key(changes.localKey ?? local),
    remotePublicKey: key(changes.remoteKey ?? remote).publicKey,
    ephemeral: key(role === 'caller' ? 33 : 44),
  });
}

const initiationOf = (end: Handshake): Uint8Array => {
  const packet = new Uint8Array(53);
  t.equal(end.writeInitiation(0xdeadbeef, packet), 53);
  return packet;
};
const responseOf = (end: Handshake): Uint8Array => {
  const packet = new Uint8Array(53);
  t.equal(end.writeResponse(0x01020304, packet), 53);
  return packet;
};

t.test('S1005, S4005: two ends with one session key arrive at the same secrets', async (t) => {
  const [caller, callee] = [handshake('caller'), handshake('callee')];
  const initiation = initiationOf(caller);
  t.same(initiationOf(caller), initiation, 'a repeated initiation is the same');
  t.equal(hex(initiation.subarray(0, 5)), '01deadbeef');
  t.equal(caller.secrets, undefined);
  t.equal(callee.readInitiation(initiation), 'fresh');
  t.equal(callee.readInitiation(initiation), 'repeat');
  const response = responseOf(callee);
  t.same(responseOf(callee), response, 'a repeated response is the same');
  t.equal(hex(response.subarray(0, 5)), '0201020304');
  t.ok(caller.readResponse(response));
  t.notOk(caller.readResponse(response), 'once');
  t.same(caller.secrets?.send, callee.secrets?.receive);
  t.same(caller.secrets?.receive, callee.secrets?.send);
  t.same(caller.secrets?.hash, callee.secrets?.hash);
  t.not(hex(caller.secrets?.send ?? EMPTY), hex(caller.secrets?.receive ?? EMPTY));
  t.same(initiationOf(caller), initiation, 'still the same when done');
});

t.test('claim 7: another key, grant or terminal gets no talk', async (t) => {
  const cases: Readonly<Record<string, Changes>> = {
    'session key': { sessionKey: 6 },
    'own static key': { localKey: 99 },
    'peer static key': { remoteKey: 99 },
    grant: { prologue: 'another grant' },
  };
  for (const [name, changes] of Object.entries(cases)) {
    const callee = handshake('callee', changes);
    t.equal(callee.readInitiation(initiationOf(handshake('caller'))), undefined, name);
    t.equal(callee.secrets, undefined, name);
    const honest = handshake('callee');
    t.equal(honest.readInitiation(initiationOf(handshake('caller', changes))), undefined, name);
    t.equal(honest.readInitiation(initiationOf(handshake('caller'))), 'fresh', `${name}: unharmed`);
  }
});

t.test('claim 7: a flipped bit anywhere in a handshake is refused and does no harm', async (t) => {
  const [caller, callee] = [handshake('caller'), handshake('callee')];
  const initiation = initiationOf(caller);
  const flips = (packet: Uint8Array): Uint8Array[] =>
    Array.from({ length: 53 - 5 }, (_, at) => {
      const flipped = packet.slice();
      flipped[5 + at] ^= 1 << (at % 8);
      return flipped;
    });
  for (const each of flips(initiation)) t.equal(callee.readInitiation(each), undefined);
  t.equal(callee.readInitiation(initiation), 'fresh');
  for (const each of flips(initiation)) t.equal(callee.readInitiation(each), undefined);
  const response = responseOf(callee);
  for (const each of flips(response)) t.notOk(caller.readResponse(each));
  t.notOk(caller.readResponse(initiation), 'not a response');
  t.notOk(caller.readResponse(response.subarray(0, 52)), 'cut off');
  t.ok(caller.readResponse(response));
});

t.test('S4005: a second genuine initiation starts no second talk', async (t) => {
  const callee = handshake('callee');
  t.equal(callee.readInitiation(initiationOf(handshake('caller'))), 'fresh');
  const secrets = callee.secrets;
  const second = new Handshake({
    role: 'caller',
    suite: nodeSuite,
    prologue: new TextEncoder().encode(PROLOGUE),
    sessionKey: new Uint8Array(32).fill(5),
    localKey: key(CALLER),
    remotePublicKey: key(CALLEE).publicKey,
    ephemeral: key(77),
  });
  t.equal(callee.readInitiation(initiationOf(second)), undefined);
  t.equal(callee.secrets, secrets);
  t.equal(handshake('callee').readInitiation(initiationOf(second)), 'fresh', 'it was genuine');
});

t.test('claim 7: keys of low order get no talk', async (t) => {
  const initiation = initiationOf(handshake('caller'));
  initiation.fill(0, 5, 37);
  t.equal(handshake('callee').readInitiation(initiation), undefined);
  const caller = new Handshake({
    role: 'caller',
    suite: nodeSuite,
    prologue: EMPTY,
    sessionKey: new Uint8Array(32),
    localKey: key(CALLER),
    remotePublicKey: new Uint8Array(32),
    ephemeral: key(1),
  });
  t.equal(caller.writeInitiation(1, new Uint8Array(53)), 0);
});

function noiseC(): Promise<NoiseC> {
  const load = createRequire(import.meta.url)('noise-c.wasm') as (
    ready: (library: NoiseC) => void,
  ) => void;
  return new Promise((resolve) => load(resolve));
}

// What this test needs of noise-c.wasm, which brings no types.
interface NoiseC {
  readonly constants: Readonly<Record<string, number>>;
  CreateKeyPair(curve: number): readonly [Uint8Array, Uint8Array];
  HandshakeState(
    protocol: string,
    role: number,
  ): {
    Initialize(prologue: Uint8Array, local: Uint8Array, remote: Uint8Array): void;
    WriteMessage(payload: Uint8Array): Uint8Array;
    ReadMessage(message: Uint8Array, payloadNeeded: boolean): Uint8Array;
    GetHandshakeHash(): Uint8Array;
    Split(): readonly [{ EncryptWithAd(aad: Uint8Array, plaintext: Uint8Array): Uint8Array }];
  };
}
