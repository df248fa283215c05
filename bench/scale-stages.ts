// Where a process spends its main thread: V8's own samples, each counted for the innermost frame
// that belongs to a stage (so that what Node does for us counts for who asked). Wall-clock samples:
// on a busy machine the shares hold, not the sum, so they are scaled to the processor time.

import { Session } from 'node:inspector';
import { fileURLToPath } from 'node:url';
import type { StageReport } from './scale-orders.ts';

/** Microseconds between two samples. */
const INTERVAL = 500;
const FUNCTIONS_SHOWN = 40;
/** Waits for the disk as well, which is no processor time. */
export const LMDB_STAGE = 'LMDB commit, other threads';

/** Stage by `function path`; the first that fits counts. */
const STAGES: readonly (readonly [RegExp, string])[] = [
  [/^\(idle\) /, 'idle'],
  // Of the profiler itself.
  [/^dispatch $/, 'idle'],
  [/^\(garbage collector\) /, 'garbage'],
  [/^\(program\) /, 'outside JavaScript'],
  [
    /^(verify|verifyStrictly|find|isSafe\S+|importPublicKey) \S*io\/node-crypto/,
    'Ed25519 check, keys',
  ],
  [/^sign \S*io\/node-crypto/, 'Ed25519 sign'],
  [/^(agree|dhKey|publicBytes|importPrivateKey) \S*io\/node-crypto/, 'X25519'],
  [/^(blake2s|hmacBlake2s) \S*io\/node-crypto| \S*protocol\/blake2s/, 'BLAKE2s, HMAC'],
  [/ \S*(io\/(node-crypto|aead-by-size|wasm-aead)|protocol\/aead\/)/, 'AEAD'],
  [/ \S*(store-lmdb|node_modules\/lmdb)/, LMDB_STAGE],
  [/ \S*(authenticated-store|row-seal)/, 'rows sealed'],
  [/ \S*bench\//, 'bench itself'],
  [/ \S*io\/udp|^\S* node:dgram/, 'UDP sockets'],
  [/ \S*io\/mqtt-link|node_modules\/mqtt/, 'MQTT client'],
  [/ \S*node_modules\/(aedes|mqemitter|fast)/, 'Aedes'],
  [/ \S*broker\/shell/, 'broker shell, guard, its sockets'],
  [/ \S*broker\//, 'broker core'],
  [/ \S*session-manager\/shell/, 'manager shell'],
  [/ \S*session-manager\//, 'manager core'],
  [/ \S*protocol\/data\//, 'Noise, data plane'],
  [
    / \S*device\/(shell\/(ends-store|pins-store|receipt-store|whole-file|list-reader))/,
    'home files',
  ],
  [/ \S*io\/files/, 'home files'],
  [/ \S*device\/(shell|agent)/, 'terminal shell'],
  [/ \S*device\//, 'terminal core'],
  [/ \S*protocol\/(control|identity|consent)/, 'messages: CBOR, seal, statements'],
  [/ \S*io\/(clock|entropy)/, 'clock, timers, entropy'],
];

interface Node {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    readonly lineNumber: number;
  };
  readonly children?: readonly number[];
}

interface Profile {
  readonly nodes: readonly Node[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** One profile of this process at a time. */
export class Stages {
  readonly #session = new Session();
  #before = process.cpuUsage();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#post('Profiler.enable');
    await this.#post('Profiler.setSamplingInterval', { interval: INTERVAL });
    await this.#post('Profiler.start');
    this.#before = process.cpuUsage();
  }

  async stop(): Promise<StageReport> {
    const { user, system } = process.cpuUsage(this.#before);
    const { profile } = (await this.#post('Profiler.stop')) as { readonly profile: Profile };
    this.#session.disconnect();
    return { ...summed(profile), userMicros: user, systemMicros: system };
  }

  #post(method: string, parameters: object = {}): Promise<object> {
    return new Promise((resolve, reject) => {
      this.#session.post(method, parameters, (error, result?: object) => {
        if (error === null) resolve(result ?? {});
        else reject(error);
      });
    });
  }
}

function summed({
  nodes,
  samples,
  timeDeltas,
}: Profile): Pick<StageReport, 'stages' | 'functions'> {
  const stageOfNode = new Map<number, string>();
  const placeOfNode = new Map<number, string>();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const visit = (node: Node, inherited: string): void => {
    const { functionName, url, lineNumber } = node.callFrame;
    const path = url.startsWith('file:') ? fileURLToPath(url) : url;
    const name = functionName === '' ? 'anonymous' : functionName.replace(/^(#|get |set )/, '');
    const stage = STAGES.find(([pattern]) => pattern.test(`${name} ${path}`))?.[1] ?? inherited;
    stageOfNode.set(node.id, stage);
    const file = path.replace(/^.*\/(out|node_modules)\//, '');
    placeOfNode.set(node.id, `${name} ${file}:${lineNumber + 1}`);
    for (const id of node.children ?? []) {
      const child = byId.get(id);
      if (child !== undefined) visit(child, stage);
    }
  };
  visit(nodes[0], 'other');
  const stages: Record<string, number> = {};
  const functions = new Map<string, number>();
  for (const [at, id] of samples.entries()) {
    const stage = stageOfNode.get(id) ?? 'other';
    const place = placeOfNode.get(id) ?? 'other';
    stages[stage] = (stages[stage] ?? 0) + timeDeltas[at];
    functions.set(place, (functions.get(place) ?? 0) + timeDeltas[at]);
  }
  const dearest = [...functions].sort((a, b) => b[1] - a[1]).slice(0, FUNCTIONS_SHOWN);
  return { stages, functions: dearest };
}
