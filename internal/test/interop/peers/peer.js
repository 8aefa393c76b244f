// Lessons 1 to 6, 8 and 9 in JavaScript, each as its program there would do it.
//
//     AMQP_URL=amqp://... node peer.js ROLE [ARGUMENT...]
//
// ROLE is a program's name in this repository, and the arguments are that
// program's. This file shares nothing with the Go programs, so that the tests
// notice a change on one side.
'use strict';

const { randomUUID } = require('node:crypto');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');

const declareQueue = (channel, name) =>
  channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } });

// A consumer lives as long as its channel. It says that it is waiting before it
// consumes, because the first messages may arrive together with basic.consume-ok.
const consuming = (channel) => once(channel, 'close');

async function send(channel) {
  await declareQueue(channel, 'hello');
  channel.sendToQueue('hello', Buffer.from('Hello World!'));
  console.log(' [x] Sent Hello World!');
}

async function receive(channel) {
  await declareQueue(channel, 'hello');
  console.log(' [*] Waiting for messages. To exit press CTRL+C');
  await channel.consume('hello', (message) => {
    console.log(` [x] Received ${message.content}`);
  }, { noAck: true });
  await consuming(channel);
}

async function newTask(channel, ...words) {
  const task = words.join(' ') || 'Hello World!';
  await declareQueue(channel, 'task_queue');
  channel.sendToQueue('task_queue', Buffer.from(task), { persistent: true });
  console.log(` [x] Sent ${task}`);
}

async function worker(channel, flag = '-unit', unit = '1s') {
  await declareQueue(channel, 'task_queue');
  await channel.prefetch(1);
  console.log(' [*] Waiting for messages. To exit press CTRL+C');
  await channel.consume('task_queue', async (message) => {
    if (message.properties.deliveryMode !== 2) {
      throw new Error('the task is not persistent');
    }
    const task = message.content.toString();
    console.log(` [x] Received ${task}`);
    await sleep((task.split('.').length - 1) * parseFloat(unit) * 1000);
    console.log(' [x] Done');
    channel.ack(message);
  });
  await consuming(channel);
}

async function emit(channel, exchange, kind, key, words) {
  const line = words.join(' ') || 'Hello World!';
  await channel.assertExchange(exchange, kind, { durable: false });
  channel.publish(exchange, key, Buffer.from(line));
  console.log(key ? ` [x] Sent ${key}:${line}` : ` [x] Sent ${line}`);
}

async function receiveEmitted(channel, exchange, kind, keys) {
  await channel.assertExchange(exchange, kind, { durable: false });
  const { queue } = await channel.assertQueue('', { exclusive: true, durable: false });
  for (const key of keys) {
    await channel.bindQueue(queue, exchange, key);
  }
  console.log(' [*] Waiting for logs. To exit press CTRL+C');
  await channel.consume(queue, (message) => {
    const key = kind === 'fanout' ? '' : `${message.fields.routingKey}:`;
    console.log(` [x] ${key}${message.content}`);
  }, { noAck: true });
  await consuming(channel);
}

async function rpcServer(channel) {
  await declareQueue(channel, 'rpc_queue');
  await channel.prefetch(1);
  console.log(' [x] Awaiting RPC requests');
  await channel.consume('rpc_queue', (request) => {
    const n = parseInt(request.content.toString(), 10);
    console.log(` [.] fib(${n})`);
    let [a, b] = [0n, 1n];
    for (let i = 0; i < n; i++) {
      [a, b] = [b, a + b];
    }
    const { replyTo, correlationId } = request.properties;
    channel.sendToQueue(replyTo, Buffer.from(a.toString()), { correlationId });
    channel.ack(request);
  });
  await consuming(channel);
}

// Makes all calls at once and prints the answers in the order of the calls. Like
// the tutorial's client, it does not declare the queue of requests.
async function rpcClient(channel, ...bodies) {
  const { queue: replyTo } = await channel.assertQueue('', { exclusive: true, durable: false });
  const waiting = new Map();
  await channel.consume(replyTo, (answer) => {
    waiting.get(answer.properties.correlationId)?.(answer.content.toString());
  }, { noAck: true });
  const calls = bodies.map((body) => new Promise((resolve) => {
    const correlationId = randomUUID();
    waiting.set(correlationId, resolve);
    console.log(` [x] Requesting fib(${body})`);
    channel.sendToQueue('rpc_queue', Buffer.from(body), { replyTo, correlationId });
  }));
  for (const call of calls) {
    console.log(` [.] Got ${await call}`);
  }
}

async function pipelineSubmit(channel, ...numbers) {
  await declareQueue(channel, 'pipeline_numbers');
  for (const n of numbers.length > 0 ? numbers : ['30']) {
    channel.sendToQueue('pipeline_numbers', Buffer.from(n), { persistent: true, messageId: randomUUID() });
    console.log(` [x] Submitted ${n}`);
  }
}

async function pipelineStage(channel) {
  await declareQueue(channel, 'pipeline_numbers');
  await declareQueue(channel, 'pipeline_results');
  await channel.prefetch(1);
  console.log(' [*] Waiting for messages. To exit press CTRL+C');
  await channel.consume('pipeline_numbers', async (number) => {
    const { deliveryMode, messageId } = number.properties;
    if (deliveryMode !== 2) {
      throw new Error('the number is not persistent');
    }
    const n = parseInt(number.content.toString(), 10);
    let [headers, result] = [{ error: 'too large for JavaScript' }, number.content];
    if (n <= 10000) {
      console.log(` [.] fib(${n})`);
      let [a, b] = [0n, 1n];
      for (let i = 0; i < n; i++) {
        [a, b] = [b, a + b];
      }
      [headers, result] = [{ n }, Buffer.from(a.toString())];
    }
    channel.sendToQueue('pipeline_results', result, { persistent: true, mandatory: true, messageId, headers });
    await channel.waitForConfirms();
    channel.ack(number);
  });
  await consuming(channel);
}

async function pipelineCollect(channel) {
  await declareQueue(channel, 'pipeline_results');
  const seen = new Set();
  console.log(' [*] Waiting for messages. To exit press CTRL+C');
  await channel.consume('pipeline_results', (result) => {
    const { deliveryMode, messageId, headers } = result.properties;
    if (deliveryMode !== 2) {
      throw new Error('the result is not persistent');
    }
    if (seen.has(messageId)) {
      console.log(` [!] ${result.content} again, ignored`);
    } else if ('error' in headers) {
      console.log(` [!] no result for "${result.content}": ${headers.error}`);
    } else {
      console.log(` [x] fib(${headers.n}) = ${result.content}`);
    }
    seen.add(messageId);
    channel.ack(result);
  });
  await consuming(channel);
}

async function retryTask(channel, ...words) {
  const task = words.join(' ');
  await declareQueue(channel, 'retry_tasks');
  channel.sendToQueue('retry_tasks', Buffer.from(task), { persistent: true });
  console.log(` [x] Sent ${task}`);
}

async function readParked(channel) {
  await declareQueue(channel, 'retry_parked');
  console.log(' [*] Waiting for messages. To exit press CTRL+C');
  await channel.consume('retry_parked', (message) => {
    const { deliveryMode, headers } = message.properties;
    if (deliveryMode !== 2) {
      throw new Error('the task is not persistent');
    }
    console.log(` [x] Parked ${message.content} after ${headers.attempts} attempts: ${headers.error}`);
    channel.ack(message);
  });
  await consuming(channel);
}

const roles = {
  send,
  receive,
  new_task: newTask,
  worker,
  emit_log: (channel, ...words) => emit(channel, 'logs', 'fanout', '', words),
  receive_logs: (channel) => receiveEmitted(channel, 'logs', 'fanout', ['']),
  emit_log_direct: (channel, severity = 'info', ...words) =>
    emit(channel, 'direct_logs', 'direct', severity, words),
  receive_logs_direct: (channel, ...severities) =>
    receiveEmitted(channel, 'direct_logs', 'direct', severities),
  emit_log_topic: (channel, topic = 'anonymous.info', ...words) =>
    emit(channel, 'topic_logs', 'topic', topic, words),
  receive_logs_topic: (channel, ...bindingKeys) =>
    receiveEmitted(channel, 'topic_logs', 'topic', bindingKeys),
  rpc_server: rpcServer,
  rpc_client: rpcClient,
  pipeline_submit: pipelineSubmit,
  pipeline_stage: pipelineStage,
  pipeline_collect: pipelineCollect,
  retry_task: retryTask,
  read_parked: readParked,
};

async function main([role, ...args]) {
  // By default, Node 18 tries only one address of "localhost".
  const connection = await amqp.connect(process.env.AMQP_URL, { autoSelectFamily: true });
  const channel = await connection.createConfirmChannel();
  await roles[role](channel, ...args);
  await channel.waitForConfirms(); // the broker may lose what is unconfirmed when its channel closes
  await channel.close();
  await connection.close();
}

main(process.argv.slice(2));
