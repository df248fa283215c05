// The many-socket search goes to nobody but the peer: whatever the notice says, only to an address
// that is among the peer's candidates and that datagrams may be sent to.

import t from 'tap';
import type { MessageOf } from '../../protocol/control/messages.ts';
import type { Grant } from '../../protocol/grant.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { type Name, randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { introduction } from '../address-notice.ts';

const rng = seededRng(7);
const PEER = Uint8Array.of(198, 51, 100, 9);
const VICTIM = Uint8Array.of(203, 0, 113, 5);
const LOOPBACK = Uint8Array.of(127, 0, 0, 1);
const BROADCAST = Uint8Array.of(255, 255, 255, 255);

function keys() {
  const signing = nodeSuite.signingKey(randomBytes(rng, 32));
  const agreement = nodeSuite.dhKey(randomBytes(rng, 32));
  return { signing, public: { ed25519: signing.publicKey, x25519: agreement.publicKey } };
}

t.test('S1004: what is searched is an address of the peer’s, whoever says so', async (t) => {
  const [own, peer] = [keys(), keys()];
  const names = { callerName: 'TERM1' as Name, calleeName: 'TERM3' as Name };
  const ids = [own, peer].map((each) => deviceIdOf(nodeSuite, each.public));
  const grant: Grant = {
    version: 1,
    session: randomSessionId(rng),
    callerId: ids[0],
    calleeId: ids[1],
    ...names,
    service: 'file',
    seconds: 60,
    bytes: undefined,
    verdict: new Uint8Array(32),
  };
  const self = {
    id: ids[0],
    name: names.callerName,
    managerKey: new Uint8Array(32),
    signingKey: own.signing,
    suite: nodeSuite,
  };
  const searched = (searchAt: Uint8Array | undefined, listed: readonly Uint8Array[]) => {
    const notice: MessageOf<'addressNotice'> = {
      kind: 'addressNotice',
      request: randomRequestId(rng),
      grant: new Uint8Array(1),
      signature: new Uint8Array(64),
      key: new Uint8Array(32),
      peerKeys: peer.public,
      peerCandidates: listed.map((address) => ({ address, port: 9, type: 'reflexive' })),
      searchAt,
    };
    const place = {
      role: 'caller',
      socket: 1,
      call: 1,
      extend: false,
      isOnLoopback: false,
    } as const;
    const introduced = introduction(self, notice, grant, place);
    t.ok(introduced, 'it is an introduction');
    return introduced?.searchAt;
  };
  t.equal(searched(PEER, [PEER]), '198.51.100.9', 'the control');
  t.equal(searched(undefined, [PEER]), undefined);
  for (const told of [VICTIM, LOOPBACK, BROADCAST]) {
    t.equal(searched(told, [PEER]), undefined, `${told.join('.')} is none of its addresses`);
  }
  for (const told of [LOOPBACK, BROADCAST]) {
    t.equal(searched(told, [PEER, told]), undefined, `${told.join('.')} is nobody’s address`);
  }
});
