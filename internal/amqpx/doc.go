// Package amqpx is what the programs of this tutorial share: connecting, coming
// back after a lost connection, declaring, consuming until the program is asked to
// stop, and publishing with publisher confirms.
//
// Its centre is [Run]. Run opens a [Session], which is an AMQP channel on a
// connection of its own, and calls the program's function with it. A lost session
// takes all that belonged to it along: its deliveries end, its acknowledgements
// fail without harm, and Run calls the function again with a new session. That is
// safe because declaring is idempotent, and it is the whole recovery: a consumer
// is a function that declares, binds and consumes.
//
// The RabbitMQ guides that it follows:
//
//   - consumers: https://www.rabbitmq.com/docs/consumers
//   - acknowledgements and confirms: https://www.rabbitmq.com/docs/confirms
//   - connections and their recovery: https://www.rabbitmq.com/docs/connections
package amqpx
