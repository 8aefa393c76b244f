package main

func hello(s *stage) {
	s.watch("Watch the first message: it is sent before anybody receives, and waits in the queue.")

	s.run("sender", "send")
	waited := s.holds("hello", 1)

	receiver := s.start("receiver", "receive", "Waiting for messages")
	receiver.Await("Received Hello World!")
	s.run("sender", "send")
	receiver.Await("Received Hello World!")
	receiver.Stop()

	s.claim(waited, "a message that is sent before receive runs waits in the queue")
	s.claim(len(receiver.printed(" [x] Received ")) == 2, "receive got each of the two messages exactly once")
	s.claim(s.holds("hello", 0), "what was acknowledged has left the queue")
}
