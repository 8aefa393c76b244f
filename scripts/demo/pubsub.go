package main

import "slices"

func pubsub(s *stage) {
	s.watch("Watch who gets which line: everybody who listens at that moment, and nobody else.")

	unheard := s.start("emitter", "emit_log", "Is anybody there?").exits(0)

	receiver1 := s.start("receiver-1", "receive_logs").await(1, "[*] Waiting for logs")
	receiver2 := s.start("receiver-2", "receive_logs").await(1, "[*] Waiting for logs")
	s.start("emitter", "emit_log", "A line for two").exits(0)
	receiver1.await(1, "A line for two")
	receiver2.await(1, "A line for two")

	late := s.start("receiver-3", "receive_logs").await(1, "[*] Waiting for logs")
	s.start("emitter", "emit_log", "A line for three").exits(0)
	for _, receiver := range []*process{receiver1, receiver2, late} {
		receiver.await(1, "A line for three")
		receiver.stop()
	}

	both := []string{"A line for two", "A line for three"}
	s.claim(len(unheard.printed(" [!] nobody is listening")) == 1,
		"a line for nobody is discarded: the emitter says so, and it is no failure")
	s.claim(slices.Equal(receiver1.printed(" [x] "), both) && slices.Equal(receiver2.printed(" [x] "), both),
		"two receivers get a copy each of the same lines")
	s.claim(slices.Equal(late.printed(" [x] "), both[1:]),
		"a receiver that comes late gets none of the earlier lines")
}
