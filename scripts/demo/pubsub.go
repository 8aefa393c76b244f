package main

import "slices"

func pubsub(s *stage) {
	s.watch("Watch who gets which line: everybody who listens at that moment, and nobody else.")

	unheard := s.run("emitter", "emit_log 'Is anybody there?'")

	receiver1 := s.start("receiver-1", "receive_logs", "Waiting for logs")
	receiver2 := s.start("receiver-2", "receive_logs", "Waiting for logs")
	s.run("emitter", "emit_log A line for two")
	receiver1.Await("A line for two")
	receiver2.Await("A line for two")

	late := s.start("receiver-3", "receive_logs", "Waiting for logs")
	s.run("emitter", "emit_log A line for three")
	for _, receiver := range []process{receiver1, receiver2, late} {
		receiver.Await("A line for three")
		receiver.Stop()
	}

	both := []string{"A line for two", "A line for three"}
	s.claim(len(unheard.printed(" [!] nobody is listening")) == 1,
		"a line that nobody listens for is discarded, and the emitter says so without failing")
	s.claim(slices.Equal(receiver1.printed(" [x] "), both) && slices.Equal(receiver2.printed(" [x] "), both),
		"each of two receivers gets a copy of every line")
	s.claim(slices.Equal(late.printed(" [x] "), both[1:]),
		"a receiver that comes late gets none of the earlier lines")
}
