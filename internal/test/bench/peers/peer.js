// The work of testdata/client in JavaScript, with amqplib.
//
//     AMQP_URL=amqp://... node peer.js
'use strict';

const { createInterface } = require('node:readline');
// The tests of internal/test/interop install it.
const amqplib = '../../interop/peers/node_modules/amqplib';
const amqp = require(amqplib);

const now = () => {
  const { user, system } = process.cpuUsage(); // of all threads, in µs
  return [performance.now() / 1e3, (user + system) / 1e6];
};

async function publish(connection, queue, n, size, window) {
  const channel = await connection.createConfirmChannel();
  channel.on('return', () => { throw new Error('the broker returned a message'); });
  const body = Buffer.alloc(size);
  const options = { persistent: true, mandatory: true, contentType: 'application/octet-stream' };
  const start = now();
  await new Promise((resolve, reject) => {
    let published = 0;
    let confirmed = 0;
    const fillWindow = () => {
      for (; published < n && published - confirmed < window; published++) {
        channel.publish('', queue, body, options, onConfirm);
      }
    };
    const onConfirm = (error) => {
      if (error) {
        reject(error);
      } else if (++confirmed === n) {
        resolve();
      } else {
        fillWindow();
      }
    };
    fillWindow();
  });
  return start;
}

async function consume(connection, queue, n, prefetch, ack) {
  const channel = await connection.createChannel();
  await channel.prefetch(prefetch);
  const start = now();
  await new Promise((resolve) => {
    let taken = 0;
    channel.consume(queue, (message) => {
      if (ack === 'each') {
        channel.ack(message);
      }
      if (++taken === n) {
        resolve();
      }
    }, { noAck: ack === 'automatic' });
  });
  await channel.prefetch(prefetch); // after this answer, the broker has the last acknowledgement
  return start;
}

async function main() {
  console.log(`amqplib ${require(`${amqplib}/package.json`).version}, Node ${process.versions.node}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [role, queue, ...args] = line.split(' ');
    // By default, Node 18 tries only one address of "localhost".
    const connection = await amqp.connect(process.env.AMQP_URL, { autoSelectFamily: true });
    const work = role === 'publish' ? publish : consume;
    const start = await work(connection, queue, ...args.map((arg) => Number(arg) || arg));
    const end = now();
    console.log(end[0] - start[0], end[1] - start[1]);
    await connection.close();
  }
}

main();
