// How a terminal comes to its keys, its name and the knowledge whom to trust: keys are made when it
// enrols and not before, a copied disk makes its own, a server that changed its TLS key is
// followed, one that is not ours is told nothing, and files that were tampered with are refused by
// name.

import { cp, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { type Server, createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { NakodoError } from '../../protocol/errors.ts';
import { makeServerKeys } from '../../protocol/identity/server-keys.ts';
import { formatTicket, parseTicket } from '../../protocol/identity/ticket.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { randomBytes } from '../../protocol/random.ts';
import { Agent } from '../agent.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { enrol } from '../shell/enrol.ts';
import { loadIdentity, openHome, ownIdentity } from '../shell/home.ts';
import { machineMark } from '../shell/machine-mark.ts';
import { ServerTrust } from '../shell/server-trust.ts';
import { RealWorld } from './real-world.ts';

const TOOLS = { suite: nodeSuite, rng: entropy };

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk-en-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('a terminal that is started before it enrolled makes no keys', async (t) => {
  const home = join(await folder(t), 'new');
  await t.rejects(Agent.start({ home, log: silentLog }), {
    code: 'not-enrolled',
    next: /nakodo enroll/,
  });
  t.notOk((await readdir(home)).includes('identity.json'));
  t.equal((await stat(home)).mode & 0o777, 0o700);
});

t.test('keys are made once, 0600; a copied disk that never enrolled makes its own', async (t) => {
  const base = await folder(t);
  const image = await openHome(join(base, 'image'));
  const made = await ownIdentity(image, { ...TOOLS, machine: 'a'.repeat(64) });
  t.equal((await stat(image.identity)).mode & 0o777, 0o600);
  const again = await ownIdentity(image, { ...TOOLS, machine: 'a'.repeat(64) });
  t.equal(again.id, made.id, 'an attempt that failed is tried again with the same keys');
  const ids = new Set([made.id]);
  for (const clone of ['b', 'c']) {
    await cp(image.folder, join(base, clone), { recursive: true });
    const home = await openHome(join(base, clone));
    const own = await ownIdentity(home, { ...TOOLS, machine: clone.repeat(64) });
    ids.add(own.id);
    t.equal((await loadIdentity(home, nodeSuite)).id, own.id);
  }
  t.equal(ids.size, 3, 'two clones, three pairs of keys');
  const nameless = await openHome(join(base, 'nameless'));
  const first = await ownIdentity(nameless, { ...TOOLS, machine: undefined });
  const second = await ownIdentity(nameless, { ...TOOLS, machine: undefined });
  t.not(first.id, second.id, 'what cannot be told from its clones counts as one');
});

t.test('S1001: a card that moves to another machine keeps its identity', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  const home = await openHome(world.home('TERM1'));
  const before = await loadIdentity(home, nodeSuite);
  const after = await ownIdentity(home, { ...TOOLS, machine: 'f'.repeat(64) });
  t.equal(after.id, before.id);
  const agent = await world.agent('TERM1');
  await agent.registered;
  t.equal(agent.id, before.id);
});

t.test('the mark of a machine is stable, differs, and does not show its ID', async (t) => {
  const base = await folder(t);
  const [id, serial] = [join(base, 'machine-id'), join(base, 'serial-number')];
  t.equal(await machineMark(nodeSuite, [id, serial]), undefined);
  await writeFile(id, 'f00dfeedf00dfeedf00dfeedf00dfeed\n');
  const one = await machineMark(nodeSuite, [id, serial]);
  t.match(one, /^[0-9a-f]{64}$/);
  t.equal(await machineMark(nodeSuite, [id, serial]), one);
  t.notMatch(one, /f00dfeed/);
  await writeFile(serial, '10000000abcdef01\0');
  const two = await machineMark(nodeSuite, [id, serial]);
  t.not(two, one, 'the same image on another board');
});

t.test('files of a home that were tampered with are refused by name', async (t) => {
  const world = await RealWorld.start(t);
  await Promise.all([world.enrol('TERM1'), world.enrol('TERM2')]);
  const home = await openHome(world.home('TERM1'));
  const other = await openHome(world.home('TERM2'));
  const identity = await readFile(home.identity, 'utf8');
  const enrolment = await readFile(home.enrolment, 'utf8');
  const start = async (): Promise<void> => {
    const agent = await Agent.start({ home: home.folder, log: silentLog });
    await agent.stop();
  };
  const say = (path: string): { code: string; message: RegExp; next: RegExp } => ({
    code: 'file-damaged',
    message: new RegExp(path),
    next: /restore|move it away/,
  });
  const altered = (field: string, make: (value: string) => unknown): string => {
    const whole = JSON.parse(enrolment) as Record<string, string>;
    return JSON.stringify({ ...whole, [field]: make(whole[field]) });
  };
  const swapped = (value: string): string => (value[20] === 'A' ? 'B' : 'A');
  const flipped = (value: string): string => value.slice(0, 20) + swapped(value) + value.slice(21);
  const [inIdentity, inEnrolment] = [say('identity\\.json'), say('enrolment\\.json')];
  await t.rejects(
    Agent.start({ home: home.folder, log: silentLog, connection: { windowBytes: 0.5 } }),
    { code: 'connection-config', message: /windowBytes/ },
    "a caller's configuration is not a damaged file",
  );

  for (const text of ['{}', '', identity.replace(/"id": "../, '"id": "zz'), '[1]']) {
    await writeFile(home.identity, text);
    await t.rejects(start(), inIdentity, text);
  }
  await rm(home.identity);
  await t.rejects(start(), inIdentity, 'missing');
  await writeFile(home.identity, await readFile(other.identity, 'utf8'));
  await t.rejects(start(), inEnrolment, "another terminal's keys");
  await writeFile(home.identity, identity);
  const bad: readonly (readonly [string, (value: string) => unknown])[] = [
    ['managerKey', flipped],
    ['membership', flipped],
    ['serverKeys', flipped],
    ['name', () => 'a/b'],
    ['agreementKey', () => ''],
    ['agreementKey', () => 'A'.repeat(43)],
    ['enrolUrl', () => 'nowhere'],
    ['version', () => 3],
    ['more', () => 1],
  ];
  for (const [field, make] of bad) {
    await writeFile(home.enrolment, altered(field, make));
    await t.rejects(start(), inEnrolment, field);
  }
  await writeFile(
    home.enrolment,
    altered('version', () => 1),
  );
  await t.rejects(start(), { code: 'enrolment-old', next: /nakodo enroll/ });
  await writeFile(
    home.enrolment,
    altered('brokerUrl', () => 'mqtt://192.0.2.1:1883'),
  );
  await t.rejects(start(), { code: 'plain-not-loopback' });
  await writeFile(home.enrolment, enrolment);
  await t.resolves(start(), 'as it was: it starts');
});

/** A server of its own that answers GET and POST with TLS; `key` names its folder. */
async function impostor(
  test: Test,
  answer: (method: string) => Uint8Array | undefined,
  status = 200,
): Promise<{ url: string; pin: Uint8Array; heard: string[] }> {
  const home = await folder(test);
  const { key, cert, pin } = await loadServerCertificate({ home, clock: new Clock() });
  const heard: string[] = [];
  const server: Server = createServer({ key, cert }, (request, response) => {
    const method = request.method ?? '';
    request.on('data', () => heard.push(method));
    request.resume();
    const body = answer(method);
    response.writeHead(body === undefined ? 404 : status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}/nakodo/1/enrol`, pin, heard };
}

const MANAGER = nodeSuite.signingKey(randomBytes(entropy, 32));

t.test(
  'a key that the manager signed for is followed; no other, and nothing is told',
  async (t) => {
    let statement: Uint8Array | undefined;
    const server = await impostor(t, (method) => (method === 'GET' ? statement : undefined));
    const old = randomBytes(entropy, 32);
    const { pin } = server;
    const sign = (sequence: number, pins: Uint8Array[], key = MANAGER): Uint8Array =>
      makeServerKeys(key, { sequence, pins });
    const known = sign(5, [old]);
    const trusting = (more: object): ServerTrust =>
      new ServerTrust({
        suite: nodeSuite,
        managerKey: MANAGER.publicKey,
        enrolUrl: server.url,
        ...more,
      });
    const outcome = async (more: object): Promise<string> => {
      const trust = trusting(more);
      return trust.post(Uint8Array.of(1, 2, 3)).then(
        () => 'done',
        (error: NakodoError) => error.code,
      );
    };
    const stranger = nodeSuite.signingKey(randomBytes(entropy, 32));
    const lies: readonly (readonly [string, Uint8Array | undefined])[] = [
      ['none', undefined],
      ['rubbish', randomBytes(entropy, 100)],
      ['too long', randomBytes(entropy, 10_000)],
      ['of another manager', sign(6, [pin], stranger)],
      ['of another key', sign(6, [old])],
      ['of the same sequence', sign(5, [pin])],
      ['older', sign(4, [pin])],
    ];
    for (const [what, said] of lies) {
      statement = said;
      t.equal(await outcome({ serverKeys: known }), 'server-untrusted', what);
    }
    statement = sign(9, [pin]);
    t.equal(await outcome({ ticketPin: old }), 'server-untrusted', 'may be from before the ticket');
    t.strictSame(server.heard, [], 'nothing was posted to any of them');

    statement = sign(6, [pin, old]);
    t.equal(await outcome({ serverKeys: known }), 'server-refused', 'it was asked: it is ours');
    t.strictSame(server.heard, ['POST']);
    t.equal(
      await outcome({ ticketPin: old }),
      'server-refused',
      'it knows the ticket’s key as well',
    );
    const trust = trusting({ serverKeys: known });
    t.notOk(trust.isPinned(pin));
    t.ok(await trust.follow(pin));
    t.ok(trust.isPinned(pin) && trust.isPinned(old));
    t.notOk(trust.learn(known), 'and never goes back');
  },
);

t.test('a home whose agent is at work is not enrolled anew under it', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  const agent = await world.agent('TERM1');
  const served = await serveAgent(agent, { log: silentLog });
  // The membership in it is renewed at each registration, which may be on its way to the disk.
  const kept = async (): Promise<unknown> => ({
    ...(JSON.parse(await readFile(agent.home.enrolment, 'utf8')) as object),
    membership: undefined,
  });
  const before = await kept();
  const ask = { uses: 1, forSeconds: 60, name: 'TERM1' };
  const { ticket } = await world.manager.operations.ticket(ask);
  const options = { home: agent.home.folder, ticket, name: undefined, ...TOOLS };
  await t.rejects(enrol(options), { code: 'already-running' });
  t.strictSame(await kept(), before);
  await served.close();
  await agent.stop();
  t.match(await enrol(options), { name: 'TERM1' });
});

t.test('what a server says is shown if it is a sentence', async (t) => {
  const said = async (message: string): Promise<string> => {
    const body = Buffer.from(JSON.stringify({ code: 'no', message, next: 'wait' }));
    const server = await impostor(t, () => body, 403);
    const trust = new ServerTrust({
      suite: nodeSuite,
      managerKey: MANAGER.publicKey,
      enrolUrl: server.url,
      ticketPin: server.pin,
    });
    return trust.post(Uint8Array.of(1)).then(
      () => '',
      (error: NakodoError) => error.message,
    );
  };
  t.equal(await said('not now'), 'not now');
  for (const odd of ['a\u001b[2J', 'a\u202eb', 'a'.repeat(60_000)]) {
    t.equal(await said(odd), 'the server refused (HTTP status 403)');
  }
});

t.test('a ticket leads to the server whose key it names, to no other', async (t) => {
  const world = await RealWorld.start(t);
  const ask = { uses: 2, forSeconds: 60, name: 'TERM1' };
  const { ticket } = await world.manager.operations.ticket(ask);
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') throw new Error(inside);
  t.equal(inside.pin?.length, 32);
  t.match(inside.url, /^https:/);
  const forged = (change: object): string => formatTicket({ ...inside, ...change });
  const home = world.home('NEW');
  const enrolWith = (text: string): Promise<object> =>
    enrol({ home, ticket: text, name: undefined, ...TOOLS });
  const wrong = randomBytes(entropy, 32);
  const untrusted = { code: 'server-untrusted' };
  await t.rejects(enrolWith(forged({ pin: wrong })), untrusted, 'another TLS key');
  await t.rejects(enrolWith(forged({ managerKey: MANAGER.publicKey })), untrusted);
  await t.rejects(enrolWith(forged({ agreementKey: wrong })), untrusted);
  await t.rejects(enrolWith(forged({ url: 'http://192.0.2.1:80/nakodo/1/enrol' })), {
    code: 'plain-not-loopback',
  });
  t.notOk((await readdir(home)).includes('enrolment.json'), 'nothing was believed');
  t.match(await enrolWith(forged({ expiresAt: 1 })), { name: 'TERM1' }, 'the server judges');
  const stored = JSON.parse(await readFile(join(home, 'enrolment.json'), 'utf8')) as {
    serverKeys: string;
    agreementKey: string;
  };
  t.match(stored, { version: 2, serverKeys: /^[\w-]{40,}$/, agreementKey: /^[\w-]{43}$/ });
});
