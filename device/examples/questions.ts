// Questions and answers: one stream a question, as many at once as there is to ask. The question
// travels in the stream's parameters (at most 1024 bytes), so that it costs no round trip.
//   node out/device/examples/questions.js answer ~/term3
//   node out/device/examples/questions.js ask ~/term1 TERM3 uptime memory weather

import { freemem, uptime } from 'node:os';
import { text } from 'node:stream/consumers';
import { Agent, type Session } from 'nakodo';

const ANSWERS: Readonly<Record<string, () => string>> = {
  uptime: () => `${Math.round(uptime() / 60)} min`,
  memory: () => `${Math.round(freemem() / 1e6)} MB free`,
};

async function answer(home: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  agent.onIncoming(answerAll);
  console.log(`${agent.name} answers`);
  process.once('SIGINT', () => void agent.stop());
}

function answerAll(session: Session): void {
  session.on('stream', (stream) => {
    const question = Buffer.from(stream.parameters).toString();
    const known = Object.hasOwn(ANSWERS, question) ? ANSWERS[question]() : 'nobody knows';
    stream.end(known);
    // Nothing more is wanted of the asker: what it would still write is not waited for.
    stream.stopReading();
  });
}

async function ask(home: string, to: string, questions: readonly string[]): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  {
    // Closed at the end of this block, whatever happens in it.
    await using session = await agent.call({ to, service: 'questions' });
    const answers = questions.map(async (question) => {
      const stream = session.openStream('questions', Buffer.from(question));
      stream.end();
      return `${question}: ${await text(stream)}`;
    });
    for (const said of await Promise.all(answers)) console.log(said);
  }
  await agent.stop();
}

const [role, home, to, ...questions] = process.argv.slice(2);
await (role === 'answer' ? answer(home) : ask(home, to, questions));
