// The work of testdata/client in Java, with RabbitMQ's Java client.
//
//     AMQP_URL=amqp://... java -cp ... Peer.java

import com.rabbitmq.client.*;
import java.io.*;
import java.lang.management.ManagementFactory;
import java.util.Scanner;
import java.util.concurrent.*;

class Peer {
    static final AMQP.BasicProperties PERSISTENT = new AMQP.BasicProperties.Builder()
        .contentType("application/octet-stream").deliveryMode(2).build();

    public static void main(String[] args) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        factory.setAutomaticRecoveryEnabled(false);
        System.out.printf("Java client %s, Java %s%n",
            factory.getClientProperties().get("version"), System.getProperty("java.version"));
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            var words = new Scanner(line);
            try (var connection = factory.newConnection()) {
                Channel channel = connection.createChannel();
                Watch watch = words.next().equals("publish")
                    ? publish(channel, words.next(), words.nextInt(), words.nextInt(), words.nextInt())
                    : consume(channel, words.next(), words.nextInt(), words.nextInt(), words.next());
                watch.print();
            }
        }
    }

    // A watch measures a run, from its making to print.
    static class Watch {
        final long start = System.nanoTime(), cpu = processorTime();

        // The time of all threads, the garbage collector's and the compiler's too.
        static long processorTime() {
            return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
        }

        void print() {
            System.out.println((System.nanoTime() - start) / 1e9 + " " + (processorTime() - cpu) / 1e9);
        }
    }

    static Watch publish(Channel channel, String queue, int n, int size, int window) throws Exception {
        var free = new Semaphore(window);
        channel.confirmSelect();
        channel.addReturnListener((code, text, exchange, key, properties, body) -> fail());
        channel.addConfirmListener(new ConfirmListener() {
            long confirmed = 0;

            public void handleAck(long tag, boolean multiple) {
                free.release((int) (tag - confirmed)); // a queue confirms in order
                confirmed = tag;
            }

            public void handleNack(long tag, boolean multiple) {
                fail();
            }
        });
        var body = new byte[size];
        var watch = new Watch();
        for (int i = 0; i < n; i++) {
            free.acquire();
            channel.basicPublish("", queue, true, PERSISTENT, body);
        }
        free.acquire(window);
        return watch;
    }

    static Watch consume(Channel channel, String queue, int n, int prefetch, String ack) throws Exception {
        boolean automatic = ack.equals("automatic");
        var all = new CountDownLatch(n);
        channel.basicQos(prefetch);
        var watch = new Watch();
        channel.basicConsume(queue, automatic, new DefaultConsumer(channel) {
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                throws IOException {
                if (!automatic) {
                    channel.basicAck(envelope.getDeliveryTag(), false);
                }
                all.countDown();
            }
        });
        all.await();
        channel.basicQos(prefetch); // after this answer, the broker has the last acknowledgement
        return watch;
    }

    static void fail() {
        System.err.println("Peer.java: the broker refused a message");
        System.exit(1);
    }
}
