package main

func hello(s *stage) {
	s.watch("Watch the first message: it is sent before anybody receives, and waits in the queue.")

	s.start("sender", "send").exits(0)
	waited := s.holds("hello", 1)

	receiver := s.start("receiver", "receive").await(1, "[*] Waiting for messages")
	receiver.await(1, "[x] Received Hello World!")

	s.start("sender", "send").exits(0)
	receiver.await(2, "[x] Received Hello World!")
	receiver.stop()

	s.claim(waited, "a message that is sent before receive runs waits in the queue")
	s.claim(len(receiver.printed(" [x] Received ")) == 2, "receive got each of the two messages exactly once")
	s.claim(s.holds("hello", 0), "what was acknowledged has left the queue")
}
