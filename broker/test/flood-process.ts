// The process of an attacker: opens connections as it is told and leaves them half open. Ends with
// its parent.

import { type Socket, createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { FloodOrder, FloodState } from './broker-child.ts';

/** Connections in the making at once: below what the kernel keeps for the broker. */
const WINDOW = 64;

let opened = 0;
let ended = 0;
let making = 0;
let addresses = 0;
const open = new Set<Socket>();
const orders: FloodOrder[] = [];

function openNext(): void {
  const order = orders[0];
  if (order === undefined || making >= WINDOW) return;
  if (order.count === 0) {
    orders.shift();
    openNext();
    return;
  }
  orders[0] = { ...order, count: order.count - 1 };
  openOne(order);
  openNext();
}

function openOne({ port, bytes, perAddress, isTls }: FloodOrder): void {
  const number = perAddress === 0 ? 1 : 2 + Math.floor(addresses++ / perAddress);
  const localAddress = `127.0.${number >> 8}.${number & 255}`;
  const where = { host: '127.0.0.1', port, localAddress };
  const socket = isTls
    ? connectTls({ ...where, rejectUnauthorized: false })
    : createConnection(where);
  making += 1;
  let isMade = false;
  const made = (): void => {
    if (isMade) return;
    isMade = true;
    making -= 1;
    opened += 1;
    openNext();
  };
  socket.once(isTls ? 'secureConnect' : 'connect', () => {
    open.add(socket);
    if (bytes.length > 0) socket.write(Uint8Array.from(bytes));
    made();
  });
  socket.on('error', () => {});
  socket.resume();
  socket.once('close', () => {
    open.delete(socket);
    ended += 1;
    made();
  });
}

/** An order is added to those under way; `{}` asks how it stands. */
process.on('message', (message: Partial<FloodOrder>) => {
  if (message.port !== undefined) {
    orders.push(message as FloodOrder);
    openNext();
  }
  const state: FloodState = { opened, ended, open: open.size };
  process.send?.(state);
});
process.on('disconnect', () => process.exit());
