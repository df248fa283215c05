// The identifiers that cross the wire: fixed alphabet, fixed length, so that a topic built from one
// can hold neither a wildcard nor a slash. All are lower-case base32 (RFC 4648 §6, no padding).

import { base32 } from './base32.ts';
import type { Rng } from './random.ts';
import { randomBytes } from './random.ts';

declare const brand: unique symbol;

/** 32 characters: the first 20 bytes of BLAKE2s over a terminal's two public keys (design §3). */
export type DeviceId = string & { readonly [brand]: 'device' };
/** 26 characters (16 random bytes): one introduced talk (S2007). */
export type SessionId = string & { readonly [brand]: 'session' };
/** 26 characters (16 random bytes): one request and everything that answers it. */
export type RequestId = string & { readonly [brand]: 'request' };
/** 26 characters: one address record of a terminal, what a verdict relies on (S1000). */
export type RecordId = string & { readonly [brand]: 'record' };
/** 40 characters, `manager-` and 32 of its key's hash: a session manager's MQTT client ID. */
export type ManagerId = string & { readonly [brand]: 'manager' };
/** A terminal's name: 1 to 64 characters, see `isName` (patent ¶0024: e-mail addresses will do). */
export type Name = string & { readonly [brand]: 'name' };

/** Characters of a device ID. */
export const DEVICE_ID_LENGTH = 32;
const RANDOM_ID_BYTES = 16;

const DEVICE_ID = /^[a-z2-7]{32}$/;
const RANDOM_ID = /^[a-z2-7]{26}$/;
const MANAGER_ID = /^manager-[a-z2-7]{32}$/;
// Letters, digits and .-_@+ : no control characters, no wildcard, nothing a shell or a path minds.
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$/;

/** Whether a text has the form of such an identifier. */
export const isDeviceId = (text: string): text is DeviceId => DEVICE_ID.test(text);
export const isRandomId = (text: string): boolean => RANDOM_ID.test(text);
export const isSessionId = (text: string): text is SessionId => RANDOM_ID.test(text);
export const isManagerId = (text: string): text is ManagerId => MANAGER_ID.test(text);
export const isName = (text: string): text is Name => NAME.test(text);

const randomId = (rng: Rng): string => base32(randomBytes(rng, RANDOM_ID_BYTES));
/** New identifiers of 128 random bits. */
export const randomSessionId = (rng: Rng): SessionId => randomId(rng) as SessionId;
export const randomRequestId = (rng: Rng): RequestId => randomId(rng) as RequestId;
export const randomRecordId = (rng: Rng): RecordId => randomId(rng) as RecordId;
