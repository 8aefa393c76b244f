package main

import "slices"

func routing(s *stage) {
	s.watch("Watch the routing keys: a line goes to the queues that are bound with exactly its severity.")

	errors := s.start("receiver-1", "receive_logs_direct error", "Waiting for logs")
	several := s.start("receiver-2", "receive_logs_direct info warning error", "Waiting for logs")

	s.run("emitter", "emit_log_direct info The disk is fine")
	s.run("emitter", "emit_log_direct warning The disk is nearly full")
	unmatched := s.run("emitter", "emit_log_direct debug The disk spins")
	s.run("emitter", "emit_log_direct error The disk is full")
	for _, receiver := range []process{errors, several} {
		receiver.Await("error:The disk is full") // the last line: nothing can come after it
		receiver.Stop()
	}

	s.claim(slices.Equal(errors.printed(" [x] "), []string{"error:The disk is full"}),
		"the queue that is bound with error gets the error and nothing else")
	s.claim(slices.Equal(several.printed(" [x] "), []string{
		"info:The disk is fine", "warning:The disk is nearly full", "error:The disk is full"}),
		"one queue can have several binding keys: info, warning and error")
	s.claim(len(unmatched.printed(" [!] nobody is listening for this severity")) == 1,
		"a line whose severity nobody has bound is discarded, and the emitter says so")
}
