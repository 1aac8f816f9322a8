// The triage example as a handler in JavaScript. It needs Node.js 18 or later
// and no packages:
//
//     PORT=3000 node handler.js
'use strict';

const http = require('node:http');

// Failed says what to answer bellows with: 429 and 503 are a delay, other 4xx
// make the job a dead letter, 5xx is an attempt.
class Failed extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    Object.assign(this, { status, retryAfter });
  }
}

// unsafe calls may have had their effect when their answer is lost, and must
// not be made again: a 422 gives the job to a person.
function unsafe(method) {
  return method === 'POST' || method === 'PATCH';
}

// failure reads an answer that is not 2xx. Bellows-Sent is there when it comes
// from bellows itself.
async function failure(method, path, response) {
  const said = `${method} ${path}: ${response.status} ${(await response.text()).slice(0, 300)}`;
  const retryAfter = response.headers.get('retry-after');
  if (response.status === 429 || (response.status === 503 && retryAfter !== null)) {
    return new Failed(response.status, said, retryAfter ?? '30');
  }
  const sent = response.headers.get('bellows-sent') ?? 'true';
  const lost = response.status === 502 || response.status === 504;
  if (response.status < 500 || (unsafe(method) && lost && sent === 'true')) {
    return new Failed(422, said);
  }
  return new Failed(500, said);
}

// Client calls Jira through bellows. It has a ticket for this job and never
// sees a token of Atlassian's.
class Client {
  constructor(egress, ticket) {
    Object.assign(this, { egress, ticket });
  }

  // call resolves to the answer, or to null for the status that is no failure.
  async call(as, method, path, { body, none } = {}) {
    const headers = { authorization: `Bearer ${this.ticket}`, 'bellows-as': as, accept: 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const response = await this.send(method, path, { method, headers, body: JSON.stringify(body), redirect: 'error' });
    if (response.status === none) return null;
    if (!response.ok) throw await failure(method, path.split('?')[0], response);
    const text = await response.text();
    return text === '' ? {} : JSON.parse(text);
  }

  async send(method, path, options) {
    try {
      return await fetch(`${this.egress}/jira${path}`, options);
    } catch (error) {
      const sent = error.cause?.code !== 'ECONNREFUSED';
      throw new Failed(unsafe(method) && sent ? 422 : 500, `${method}: ${error.cause?.message ?? error.message}`);
    }
  }

  comment(as, key, text) {
    const body = { type: 'doc', version: 1, content: [{ type: 'paragraph', content: [{ type: 'text', text }] }] };
    return this.call(as, 'POST', `/rest/api/3/issue/${key}/comment`, { body: { body } });
  }
}

// triage answers a bug report, and asks for a description where there is none.
// A job may come twice, so it looks whether the comment is there.
async function triage(event, jira) {
  const key = encodeURIComponent(event.issue.key);
  const issue = await jira.call('app', 'GET', `/rest/api/3/issue/${key}?fields=description,comment`, { none: 404 });
  if (issue === null) return; // it is gone: nothing is left to do
  const { description, comment } = issue.fields;
  const text = description
    ? `Thank you. ${event.issue.key} is in our queue.`
    : `Thank you. Please describe in ${event.issue.key} what you did and what happened.`;
  if (!comment.comments.some((c) => JSON.stringify(c.body).includes(text))) {
    await jira.comment('app', key, text);
  }
  const body = { state: description ? 'ready' : 'incomplete' };
  await jira.call('app', 'PUT', `/rest/api/3/issue/${key}/properties/triage`, { body });
}

// handOver writes a comment in the name of whoever handed the issue over.
async function handOver(event, jira) {
  await jira.comment(`user:${event.atlassianId}`, encodeURIComponent(event.issue.key), 'I have handed this over.');
}

const handlers = { '/triage': triage, '/hand-over': handOver };

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString('utf8'));
}

const server = http.createServer(async (request, response) => {
  try {
    const handler = request.method === 'POST' && handlers[request.url];
    if (!handler) throw new Failed(404, `there is no handler at ${request.url}`);
    const job = await read(request); // a CloudEvent; its id is the job's
    await handler(job.data, new Client(request.headers['bellows-egress'], request.headers['bellows-ticket']));
    response.writeHead(204).end();
  } catch (error) {
    const status = error instanceof Failed ? error.status : 500;
    console.error(`${request.url}: ${error.message}`);
    const headers = { 'content-type': 'application/json' };
    if (error.retryAfter !== undefined) headers['retry-after'] = error.retryAfter;
    response.writeHead(status, headers).end(JSON.stringify({ error: { message: error.message } }));
  }
});

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening at http://127.0.0.1:${server.address().port}`);
});
