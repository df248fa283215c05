// What is asked of the servers: when it leaves, and in which channel. What a talk under way has to
// say does not wait for the registration, which a new link begins with.

import t from 'tap';
import { SealedChannel } from '../../protocol/control/seal.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { micros } from '../../protocol/time.ts';
import { Outbox } from '../outbox.ts';
import { Requests } from '../requests.ts';

const NOW = micros(1_000_000);

function bench(): { requests: Requests; left: () => number; tell: () => void; renew: () => void } {
  const rng = seededRng(3);
  const outbox = new Outbox();
  const requests = new Requests(outbox, rng);
  const renew = (): void => {
    const secrets = {
      send: randomBytes(rng, 32),
      receive: randomBytes(rng, 32),
      hash: randomBytes(rng, 32),
    };
    outbox.useChannel(new SealedChannel(nodeSuite, randomBytes(rng, 8), secrets));
  };
  renew();
  const session = randomSessionId(rng);
  const tell = (): void => {
    const request = randomRequestId(rng);
    const message = {
      kind: 'candidates',
      request,
      session,
      generation: 1,
      candidates: [],
    } as const;
    requests.send(NOW, request, 'up', message, { early: true });
  };
  const left = (): number => {
    let count = 0;
    for (let output = outbox.shift(); output !== undefined; output = outbox.shift()) {
      if (output.kind === 'publish') count += 1;
    }
    return count;
  };
  return { requests, left, tell, renew };
}

t.test(
  'S3000: where a terminal is now is told with the link, before it is registered',
  async (t) => {
    const { requests, left, tell } = bench();
    tell();
    t.equal(left(), 0, 'there is no link');
    requests.onLinkUp(NOW);
    t.equal(left(), 1);
    requests.onRegistered(NOW);
    t.equal(left(), 0, 'once a link');
    requests.onLinkDown();
    requests.onLinkUp(NOW);
    t.equal(left(), 1, 'and anew on the next');
  },
);

t.test('what left in a channel that is no more goes again in the next one', async (t) => {
  const { requests, left, tell, renew } = bench();
  requests.onLinkUp(NOW);
  tell();
  t.equal(left(), 1);
  renew();
  requests.onChannel();
  t.equal(left(), 0, 'the manager has to know first whose channel it is');
  requests.onRegistered(NOW);
  t.equal(left(), 1);
});
