// Package amqpx is what the programs of this tutorial share: connecting,
// coming back after a lost connection, declaring the lessons' queues and
// exchanges, consuming until the program is asked to stop, and publishing
// with a publisher confirm.
//
// Its centre is [Run]. Run opens a [Session], which is one connection with one
// channel on it, and calls the program's function with it. When the session is
// lost, everything that belonged to it is void: its deliveries end, its
// acknowledgements fail without harm, and Run calls the function again on a
// fresh session. That is safe because declaring is idempotent, and it is the
// whole recovery: a function that declares, binds and consumes is all that a
// consumer needs.
//
// What it follows:
//
//   - consumers: https://www.rabbitmq.com/docs/consumers
//   - acknowledgements and confirms: https://www.rabbitmq.com/docs/confirms
//   - connections and their recovery: https://www.rabbitmq.com/docs/connections
package amqpx
