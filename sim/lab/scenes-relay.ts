// Bulk through the relay, held against what coturn forwards of plain UDP over the same links: a
// client of coturn's own (turnutils_uclient) that sends as much as the link takes to a sink. Both
// are measured for three seconds once they are under way; beside it stands the whole transfer.

import { createHmac } from 'node:crypto';
import { sendBulk } from './bulk.ts';
import { ACCESS, type Lab } from './lab.ts';
import { placeOf } from './matrix.ts';
import { A, B, type Doses, type Scene, median, on } from './stage.ts';
import { RELAY_PORT, RELAY_SECRET } from './terminals.ts';

const SINK = 'sink';
const SINK_PORT = 9_000;
const SINK_PROGRAM = `require('dgram').createSocket('udp4').bind(${SINK_PORT})`;
const PLAIN_BYTES = 1_200;
const PLAIN_CLIENTS = 4;
/** More than the window takes. */
const PLAIN_DATAGRAMS = 400_000;
/** Of its start, which is not measured. */
const WARM_MS = 6_000;
const WINDOW_MS = 3_000;
const HOUR_SECONDS = 3_600;
const MS_PER_SECOND = 1_000;
const ROUNDS = 3;
/** What is asked for. */
const SHARE_MIN = 0.7;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Two symmetric NATs: everything goes through the relay; in turn, as the machine has others. */
export async function relayScene({ megabytes }: Doses): Promise<Scene> {
  const [a, b] = [placeOf('symmetric', A), placeOf('symmetric', B)];
  const hosts = { server: {}, [A]: a.host, [B]: b.host, [SINK]: {} };
  const plan = { boxes: { ...a.boxes, ...b.boxes }, hosts, link: ACCESS };
  return on(plan, {}, async ({ lab, terminals }) => {
    const ours: number[] = [];
    const transfers: number[] = [];
    const plain: number[] = [];
    const ways: string[] = [];
    lab.start(SINK, process.execPath, ['-e', SINK_PROGRAM]);
    for (let round = 0; round < ROUNDS; round++) {
      plain.push(await plainRate(lab, round));
      const happen = (): Promise<void> => sleep(WINDOW_MS);
      const options = { from: A, to: B, megabytes: megabytes * 2, happen };
      const bulk = await sendBulk(terminals, options);
      ours.push(bulk.isWhole ? bulk.duringMbPerSecond : 0);
      transfers.push(bulk.isWhole ? bulk.mbPerSecond : 0);
      ways.push(String(bulk.said.said.way as string | undefined));
    }
    const share = median(ours) / median(plain);
    const shareOfAll = median(transfers) / median(plain);
    const isRelayed = ways.every((way) => way === 'relay');
    const words =
      `${median(ours).toFixed(1)} MB/s through the relay, ${(share * 100).toFixed(0)} % of the ` +
      `${median(plain).toFixed(1)} MB/s of plain UDP; from its first byte to its last ` +
      `${median(transfers).toFixed(1)} MB/s, ${(shareOfAll * 100).toFixed(0)} %` +
      (isRelayed ? '' : `; by ${ways.join(', ')}`);
    return {
      name: 'relay',
      lines: [words],
      figures: { ours, transfers, plain, ways },
      faults: share < SHARE_MIN || !isRelayed ? [`relay: ${words}`] : [],
    };
  });
}

/** Megabytes a second of plain UDP at the sink; each round has its user, for the quota. */
async function plainRate(lab: Lab, round: number): Promise<number> {
  const user = `${Math.floor(Date.now() / MS_PER_SECOND) + HOUR_SECONDS}:plain${round}`;
  const password = createHmac('sha1', RELAY_SECRET).update(user).digest('base64');
  const client = lab.start(A, 'turnutils_uclient', [
    '-c',
    '-s',
    '-u',
    user,
    '-w',
    password,
    '-p',
    String(RELAY_PORT),
    '-e',
    lab.side(SINK).host,
    '-r',
    String(SINK_PORT),
    '-m',
    String(PLAIN_CLIENTS),
    '-n',
    String(PLAIN_DATAGRAMS),
    '-l',
    String(PLAIN_BYTES),
    '-z',
    '0',
    lab.side('server').host,
  ]);
  client.stdout?.resume();
  client.stderr?.resume();
  await sleep(WARM_MS);
  const [before, begun] = [lab.udp(SINK).heard, performance.now()];
  await sleep(WINDOW_MS);
  const bytes = (lab.udp(SINK).heard - before) * PLAIN_BYTES;
  const seconds = (performance.now() - begun) / MS_PER_SECOND;
  await lab.end(client);
  return bytes / 1e6 / seconds;
}
