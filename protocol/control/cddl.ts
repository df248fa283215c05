// The CDDL (RFC 8610) of everything that is CBOR on our wire, written from the declarations that
// the code runs on, so that docs/wire.md cannot say something else. Pure: text in memory.

import {
  answerStatement,
  extensionQuestion,
  extensionStatement,
  requestStatement,
  verdictStatement,
} from '../consent/statements.ts';
import { AssertionFailed } from '../errors.ts';
import { expiry, grant } from '../grant.ts';
import {
  enrolRequest,
  enrolResponse,
  membershipRequest,
  membershipResponse,
} from '../identity/enrolment.ts';
import { membership } from '../identity/membership.ts';
import { receipt } from '../identity/receipt.ts';
import { revocationList } from '../identity/revocation.ts';
import { serverKeys } from '../identity/server-keys.ts';
import { envelope } from '../identity/signed.ts';
import { ticket } from '../identity/ticket.ts';
import { managerToken, terminalToken } from '../identity/token.ts';
import { LIMITS } from '../limits.ts';
import {
  KIND_NUMBERS,
  type Kind,
  MESSAGE_TYPES,
  WIRE_VERSION,
  candidate,
  foundAddress,
  listEntry,
  publicKeys,
  relayServer,
  relayTerms,
  stunServer,
  terms,
  wantedAddress,
} from './messages.ts';
import type { CodedWord, FieldForm, Type } from './schema.ts';

interface Rule {
  readonly name: string;
  readonly type: Type<unknown>;
  /** What is behind the name. */
  readonly says: string;
}

/** Records that others refer to by name. */
const SHARED: readonly Rule[] = [
  rule('candidate', candidate, 'a transport address: IPv4 or IPv6 address bytes, port, kind'),
  rule('wanted-address', wantedAddress, 'names one address record of one terminal'),
  rule('found-address', foundAddress, 'one address record as the broker has it'),
  rule('terms', terms, 'a limit in time, in bytes, both or none'),
  rule('list-entry', listEntry, 'one line of an allow-list as it travels'),
  rule('public-keys', publicKeys, 'the two public keys of a terminal'),
  rule('stun-server', stunServer, 'who shows a terminal its own address'),
  rule('relay-server', relayServer, 'a TURN server'),
  rule('relay-terms', relayTerms, 'how one end of a session may use a relay'),
];

const SIGNED: readonly Rule[] = [
  rule('request', requestStatement, 'signed by the caller as `request`; made again, never sent'),
  rule('answer', answerStatement, 'its BLAKE2s-256 stands in `verdict`; made again, never sent'),
  rule('verdict', verdictStatement, 'signed by the callee as `verdict`'),
  rule('extension', extensionStatement, 'signed by the asker as `extension`; never sent'),
  rule(
    'extension-question',
    extensionQuestion,
    'its BLAKE2s-256 is `request` in the `verdict` about an extension; never sent',
  ),
  rule('grant', grant, 'signed as `grant`; its bytes are the prologue of the handshake'),
  rule('expiry', expiry, 'signed as `expiry`: cumulative totals, the higher revision holds'),
  rule('envelope', envelope, 'how a signed body travels by itself'),
  rule('membership', membership, 'in an envelope, signed by the manager as `membership`'),
  rule('terminal-token', terminalToken, 'in an envelope, signed by the terminal as `token`'),
  rule('manager-token', managerToken, 'in an envelope, signed by the manager as `manager-token`'),
  rule('ticket', ticket, 'as text: `nakodo1` and base32 of this'),
  rule('enrol-request', enrolRequest, 'in an envelope, signed by the terminal as `enrol`'),
  rule('enrol-response', enrolResponse, 'in an envelope, signed by the manager as `enrolled`'),
  rule(
    'membership-request',
    membershipRequest,
    'in an envelope, signed by the terminal as `membership-request`',
  ),
  rule(
    'membership-response',
    membershipResponse,
    'in an envelope, signed by the manager as `membership-response`',
  ),
  rule('server-keys', serverKeys, 'in an envelope, signed by the manager as `server-keys`'),
  rule('revocation-list', revocationList, 'signed by the manager as `revocation`'),
  rule('receipt', receipt, 'in an envelope, signed by the manager as `receipt`'),
];

const NAMED = new Map<Type<unknown>, string>(
  [...SHARED, ...SIGNED].map(({ name, type }) => [type, name]),
);

const TEXT_RULES = [
  '; Texts of a fixed alphabet',
  'device-id  = tstr .regexp "[a-z2-7]{32}"        ; first 20 bytes of BLAKE2s over the keys',
  'random-id  = tstr .regexp "[a-z2-7]{26}"        ; 16 random bytes',
  'manager-id = tstr .regexp "manager-[a-z2-7]{32}"',
  'name       = tstr .regexp "[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"',
  `url        = tstr .regexp "(https?|mqtts?)://[!-~]+" ; at most ${LIMITS.urlMax} characters`,
  'ip-address = bstr .size 4 / bstr .size 16',
  'ascii      = tstr .regexp "[!-~]+"',
];

/** The names of all message kinds, in the order of their numbers. */
export const KINDS: readonly Kind[] = (Object.keys(KIND_NUMBERS) as Kind[]).sort(
  (a, b) => KIND_NUMBERS[a] - KIND_NUMBERS[b],
);

/** The whole CDDL: messages in the order of the story, then what they are made of. */
export function cddl(): string {
  const kinds = KINDS.map(ruleName);
  const lines = [`message = ${kinds.join('\n        / ')}`, ''];
  for (const kind of KINDS) lines.push(...messageRule(kind), '');
  for (const named of [...SHARED, ...SIGNED]) lines.push(...namedRule(named), '');
  return [...lines, ...TEXT_RULES].join('\n');
}

function messageRule(kind: Kind): readonly string[] {
  const fields = fieldsOf(MESSAGE_TYPES[kind]).filter((field) => field.key > 1);
  const head = [
    ['0', String(WIRE_VERSION), 'wire version'],
    ['1', String(KIND_NUMBERS[kind]), 'kind'],
  ] as const;
  return [`${ruleName(kind)} = {`, ...columns([...head, ...fields.map(row)]), '}'];
}

function namedRule({ name, type, says }: Rule): readonly string[] {
  return [`; ${says}`, `${name} = {`, ...columns(fieldsOf(type).map(row)), '}'];
}

type Row = readonly [key: string, type: string, comment: string];

function row(field: FieldForm): Row {
  const words = field.type.form.is === 'word' ? `: ${wordsOf(field.type.form.words)}` : '';
  return [
    `${field.required ? '' : '? '}${field.key}`,
    typeText(field.type),
    `${kebab(field.property)}${words}`,
  ];
}

/** Lines `  key: type, ; comment`, comments below one another as far as types are short. */
function columns(rows: readonly Row[]): readonly string[] {
  const starts = rows.map(([key, type]) => `  ${key}: ${type},`);
  const width = Math.min(Math.max(...starts.map((start) => start.length)), 44);
  return rows.map(([, , comment], at) => `${starts[at].padEnd(width)} ; ${comment}`);
}

/** A type as it is referred to: its rule's name, or in place. */
function typeText(type: Type<unknown>): string {
  const name = NAMED.get(type);
  if (name !== undefined) return name;
  const { form } = type;
  switch (form.is) {
    case 'uint':
      return `0..${form.max}`;
    case 'exactly':
      return String(form.value);
    case 'address':
      return 'ip-address';
    case 'text':
      return `tstr .size (0..${form.max})`;
    case 'ascii':
      return `ascii .size (1..${form.max})`;
    case 'bytes':
      return form.min === form.max
        ? `bstr .size ${form.min}`
        : `bstr .size (${form.min}..${form.max})`;
    case 'word':
      return `${form.words[0].code}..${form.words[form.words.length - 1].code}`;
    case 'list':
      return `[0*${form.max} ${typeText(form.of)}]`;
    case 'record':
      throw new AssertionFailed('every record that is referred to has a rule');
    default:
      return form.is;
  }
}

function fieldsOf(type: Type<unknown>): readonly FieldForm[] {
  return type.form.is === 'record' ? type.form.fields : [];
}

function wordsOf(words: readonly CodedWord[]): string {
  return words.map(({ code, word }) => `${code} ${word}`).join(', ');
}

/** `connect` is the message's rule; `address` would be too general a name for one. */
function ruleName(kind: Kind): string {
  return `${kebab(kind)}-message`;
}

function kebab(camel: string): string {
  return camel.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`);
}

function rule<T>(name: string, type: Type<T>, says: string): Rule {
  return { name, type: type as Type<unknown>, says };
}
